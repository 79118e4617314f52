"""
The only module that knows chDB's private `_chdb` (chdb-core is pinned for it).

The public `chdb.Connection` has no `classify_query`, so it cannot tell a question from a change.
"""

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from driftwheel.errors import MissingExtra
from driftwheel.store.embedded.failure import Failure

INSERT_SLICE = 1 << 20
"""1 MiB a piece: the engine copies each, and a larger one gains nothing."""


class NoEngine(MissingExtra):
    """chDB cannot be installed on this machine, or is not."""

    def __init__(self, system: str, libc: str) -> None:
        super().__init__("chdb", "server")
        if system == "win32" or (system == "linux" and libc != "glibc"):
            needs = "the embedded store needs chDB, which has no wheel for Windows or musl (Alpine)"
            self.args = (f"{needs}; run a ClickHouse server and name it in driftwheel.toml: [store] host and port",)


def load() -> ModuleType:
    """The module of chDB; costs about a second. Raises `NoEngine`, a `MissingExtra`, where it is not installed."""
    try:
        from chdb import _chdb
    except ImportError as missing:
        raise NoEngine(sys.platform, platform.libc_ver()[0]) from missing
    module: ModuleType = _chdb
    return module


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer to a statement and what it cost; `rows` are those of the result."""

    data: bytes = b""
    rows: int = 0
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Class:
    """What a text would do: how many statements, and whether they only read."""

    statements: int
    reads: bool


class _Result(Protocol):
    """chDB's result: rows and bytes of the answer, of what was read for it, and of what was written."""

    def bytes(self) -> bytes: ...
    def rows_read(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...
    def rows_written(self) -> int: ...
    def bytes_written(self) -> int: ...


def _answer(done: _Result) -> Answer:
    read = (done.rows_read(), done.storage_rows_read(), done.storage_bytes_read())
    return Answer(done.bytes(), *read, done.rows_written(), done.bytes_written())


class Handle:
    """A connection of its own: its settings, database and temporary tables are nobody else's. One thread at a time."""

    def __init__(self, core: ModuleType, where: str) -> None:
        with engine_words():
            self._raw = core.connect(where)

    def run(self, sql: str | bytes, fmt: str = "Null", params: Mapping[str, str] | None = None) -> Answer:
        """Run *sql*; an answer in *fmt* unless the text says another. Raises `Failure`."""
        with engine_words():
            return _answer(self._raw.query(sql, fmt, params=dict(params or {})))

    def stream(self, sql: bytes, fmt: str, params: Mapping[str, str]) -> Iterator[Answer]:
        """The blocks of a SELECT in *fmt*, one by one as they are asked for; closing it cancels the query."""
        with engine_words():
            running = self._raw.send_query(sql, fmt, params=dict(params))
        finished = False
        try:
            while True:
                with engine_words():
                    piece = self._raw.streaming_fetch_result(running)
                    finished = piece is None or not piece.rows_read()
                if finished:
                    return
                yield _answer(piece)
        finally:
            if not finished:
                try:
                    self._raw.streaming_cancel_query(running)
                except RuntimeError:
                    pass  # it has failed or was killed already

    def insert(self, head: bytes, fmt: str, pieces: Sequence[bytes]) -> Answer:
        """Insert *pieces* of *fmt* by the statement *head* (without FORMAT); all of it or, when it fails, nothing of the last block."""
        with engine_words():
            running = self._raw.send_insert(head, fmt)
            try:
                for piece in pieces:
                    view = memoryview(piece)
                    for start in range(0, len(view), INSERT_SLICE):
                        self._raw.insert_append(running, bytes(view[start : start + INSERT_SLICE]))
                done = self._raw.insert_done(running)
            except BaseException:
                try:
                    self._raw.insert_cancel(running)
                except RuntimeError:
                    pass  # the failed insert is over already
                raise
            rows, size = done.rows_written(), sum(map(len, pieces))
            return Answer(read_rows=rows, read_bytes=size, written_rows=rows, written_bytes=done.bytes_written())

    def classify(self, sql: bytes) -> Class:
        """What *sql* would do, without doing it; nothing at all for a text that cannot be parsed."""
        with engine_words():
            found = self._raw.classify_query(sql)
        return Class(found["statement_count"], found["query_class"].name == "READ_ONLY")

    def close(self) -> None:
        """Let go; temporary tables go with it."""
        with engine_words():
            self._raw.close()


@contextmanager
def engine_words() -> Iterator[None]:
    """Turns what the binding raises into a `Failure` with the engine's own code and words."""
    try:
        yield
    except UnicodeDecodeError as raw:  # a message that quotes bytes which are no UTF-8
        raise Failure.said(raw.object.decode("utf-8", "replace")) from None
    except (RuntimeError, ValueError, TypeError, MemoryError) as said:
        raise Failure.said(str(said)) from said


def quoted(value: str) -> str:
    r"""
    *value* as a string literal.

    >>> quoted("it's a \\")
    "'it\\'s a \\\\'"
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """*name* as a quoted identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
