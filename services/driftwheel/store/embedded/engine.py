"""The engine of one data folder: handles that are set up for a request, sessions, kills."""

import fcntl
import itertools
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from driftwheel.errors import DriftwheelError, InUse
from driftwheel.store.embedded.config import READER, Limits, connection
from driftwheel.store.embedded.core import Handle, identifier, load, quoted
from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.kills import Job, Killer
from driftwheel.store.embedded.native import Column, names_and_types
from driftwheel.store.embedded.request import Order, Table
from driftwheel.store.embedded.sessions import Kept, Sessions

log = logging.getLogger(__name__)

MARK = "http_max_uri_size"
"""chDB gives a query an id that nobody can choose or learn. This setting means nothing in a process whose engine has no
HTTP server, and is seen in system.processes: a number of its own in it makes the queries of a request known."""

ONE_LINE = {"print_pretty_type_names": "0"}
"""Type names in Native blocks stand on one line; DESCRIBE would break those of named tuples."""

SUSPICIOUS = ("allow_suspicious_low_cardinality_types", "allow_suspicious_variant_types", "allow_suspicious_types_in_order_by")


class Engine:
    """
    Opens *folder*, which is this process's alone from then on.

    Raises `InUse` when another process has it, `NoEngine` where chDB is not installed, `ConfigError` for a bad folder.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._core, self._limits = load(), limits
        self._where = connection(folder, limits)
        self._marks = itertools.count(secrets.randbits(48) << 12)
        _check_free(folder)
        try:
            self._first = Handle(self._core, self._where)
        except Failure as refused:
            _check_free(folder)  # another process may have been quicker
            raise DriftwheelError(f"{folder}: the engine does not start ({refused}); its own words stand above") from refused
        self._own_default_database(folder)
        said = self._first.run("SELECT version(), timezone()", "TSV").data.decode().split()
        self.version, self.timezone = said[0], said[1]
        self.sessions = Sessions()
        self.killer = Killer(self._kill)

    def handle(self) -> Handle:
        """A new handle; takes 0.2 ms."""
        return Handle(self._core, self._where)

    @contextmanager
    def opened(self, order: Order, job: Job) -> Iterator[Handle]:
        """A handle set up as *order* wants it; nothing of it is left for the next request, except in a session."""
        with ExitStack() as stack:
            kept = stack.enter_context(self.sessions.entered(order.user_name, order.session)) if order.session else None
            if kept and (kept.handle or order.statement.stateful):
                lent = kept.handle or self._begin(kept, order)
                job.mark = kept.mark
                stack.enter_context(_lent(lent, order, self._settings(order)))
                yield lent
                return
            handle = self._handle_for(order)
            stack.callback(handle.close)
            job.mark = next(self._marks)
            self._set_up(handle, order, job.mark)
            yield handle

    def as_buffers(self, rows: bytes) -> tuple[list[Column], bytes]:
        """An answer in RowBinaryWithNamesAndTypes as columns and FORMAT Buffers: for statements that only run once."""
        columns, at = names_and_types(rows)
        structure = ", ".join(f"c{n} {kind}" for n, (_, kind) in enumerate(columns))
        text = rows[at:].replace(b"\\", b"\\\\").replace(b"'", b"\\'")
        handle = self.handle()
        try:
            handle.run(_set({"max_query_size": "0", "max_threads": "1", **dict.fromkeys(SUSPICIOUS, "1")}))
            sql = b"SELECT * FROM format(RowBinary, " + quoted(structure).encode() + b", '" + text + b"')"
            return columns, handle.run(sql, "Buffers").data
        finally:
            handle.close()

    def close(self) -> None:
        """Let the folder go. Nothing may be at work any more."""
        self.killer.close()
        self.sessions.close()
        self._first.close()

    def _own_default_database(self, folder: Path) -> None:
        """
        Make `default` an ordinary database.

        chDB lays a view of the file system over it, so that every unknown table is looked for as a file: without the
        right to read files nothing works there, and with it every client could read them.
        """
        self._first.run("DETACH DATABASE default")
        known = folder / "metadata" / "default.sql"
        try:
            if known.exists():
                self._first.run("ATTACH DATABASE default")
        except Failure as unknown:
            if "Cannot find UUID mapping" not in unknown.words:
                raise
            known.unlink()  # after a restart the engine does not know an Atomic database that has no tables
        if not known.exists():
            self._first.run("CREATE DATABASE default ENGINE = Atomic")
        self._first.run("USE default")

    def _begin(self, kept: Kept, order: Order) -> Handle:
        handle = self._handle_for(order)
        kept.mark = next(self._marks)
        handle.run(_set({**ONE_LINE, MARK: str(kept.mark)}))
        if order.user.readonly:
            handle.run(_set({"readonly": str(order.user.readonly)}))
        kept.handle = handle
        return handle

    def _set_up(self, handle: Handle, order: Order, mark: int) -> None:
        if order.database:
            handle.run(f"USE {identifier(order.database)}")
        wanted = self._settings(order)
        level = _readonly(order, wanted.pop("readonly", ""))
        strict = {name: wanted.pop(name) for name in wanted.keys() - self._limits.caps} if order.user.readonly == 1 else {}
        handle.run(_set({"log_comment": order.query_id, **wanted, **ONE_LINE, MARK: str(mark)}))
        for table in order.tables:
            _bring(handle, table)
        if b"{" in order.statement.text and order.statement.data is not None and order.params:
            handle.run(_set({f"param_{name}": value for name, value in order.params.items()}))  # send_insert takes no parameters
        if level:
            handle.run(_set({"readonly": str(level)}))
        if strict:
            handle.run(_set(strict))  # refused in the engine's own words

    def _handle_for(self, order: Order) -> Handle:
        """A new handle that keeps to the caps of its user; no later profile takes the constraints of this one away."""
        handle = self.handle()
        if order.user.readonly:
            handle.run(_set({"profile": READER, **{name: str(most) for name, most in self._limits.caps.items()}}))
        return handle

    def _settings(self, order: Order) -> dict[str, str]:
        """The settings of the URL, those with a cap no higher than it."""
        caps = self._limits.caps if order.user.readonly else {}
        return {name: _clamped(asked, caps[name]) if name in caps else asked for name, asked in order.settings.items()}

    def _kill(self, marks: list[int]) -> None:
        handle = self.handle()
        try:
            wanted = ", ".join(quoted(str(mark)) for mark in marks)
            handle.run(f"KILL QUERY WHERE Settings[{quoted(MARK)}] IN ({wanted}) ASYNC")
        finally:
            handle.close()


def _bring(handle: Handle, table: Table) -> None:
    handle.run(f"CREATE TEMPORARY TABLE {identifier(table.name)} ({table.structure})")
    handle.insert(f"INSERT INTO {identifier(table.name)}".encode(), table.fmt, [table.data])


def _clamped(asked: str, cap: int) -> str:
    """
    The least of the two, where 0 means no bound; what is no number is left to the engine, which knows the cap as well.

    >>> [_clamped(asked, 60) for asked in ("65", "5", "0", "a lot")]
    ['60', '5', '60', 'a lot']
    """
    try:
        return asked if 0 < float(asked) <= cap else str(cap)
    except ValueError:
        return asked


def _readonly(order: Order, asked: str) -> int:
    """1 wins over 2, 2 over nothing."""
    levels = {order.user.readonly, 2 if order.reads_only else 0, int(asked) if asked in ("1", "2") else 0} - {0}
    return min(levels, default=0)


@contextmanager
def _lent(handle: Handle, order: Order, settings: Mapping[str, str]) -> Iterator[None]:
    """Database, settings and external tables of one request on the handle of a session, and back."""
    undo: list[str] = []
    wanted = {name: value for name, value in settings.items() if name != "readonly"}
    try:
        if order.database:
            undo.append("USE " + identifier(handle.run("SELECT currentDatabase()", "TSVRaw").data.decode().removesuffix("\n")))
            handle.run(f"USE {identifier(order.database)}")
        if wanted:
            _checked(wanted)
            undo.append(_set(_before(handle, wanted)))
            handle.run(_set(wanted))
        for table in order.tables:
            undo.append(f"DROP TEMPORARY TABLE IF EXISTS {identifier(table.name)}")
            _bring(handle, table)
        yield
    finally:
        for statement in reversed(undo):
            try:
                handle.run(statement)
            except Failure as refused:
                log.warning("a session keeps a setting of one request: %s", refused)


def _before(handle: Handle, wanted: Mapping[str, str]) -> dict[str, str | None]:
    """The values that settings have now; None for their default."""
    names = ", ".join(map(quoted, wanted))
    rows = handle.run(f"SELECT name, value, changed FROM system.settings WHERE name IN ({names})", "JSONEachRow").data
    found = msgspec.json.Decoder(dict[str, str | int]).decode_lines(rows)
    return {str(row["name"]): str(row["value"]) if row["changed"] else None for row in found}


def _set(values: Mapping[str, str | None]) -> str:
    """
    One SET for *values*; None stands for the default.

    >>> _set({"max_threads": "2", "readonly": None})
    "SET max_threads = '2', readonly = DEFAULT"
    """
    _checked(values)
    return "SET " + ", ".join(f"{name} = {'DEFAULT' if value is None else quoted(value)}" for name, value in values.items())


def _checked(values: Mapping[str, str | None]) -> None:
    for name in values:
        if not re.fullmatch(r"\w{1,128}", name, re.ASCII):
            raise Failure(115, f"Unknown setting {name[:80]!r}")


def _check_free(folder: Path) -> None:
    """
    Raises `InUse` when another process holds the engine's lock, which is on its file `status`.

    chDB prints that on stderr and raises without a word, so the lock is asked.
    """
    try:
        held = os.open(folder / "status", os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        raise InUse(_locked(folder)) from taken
    finally:
        os.close(held)


def _locked(folder: Path) -> str:
    """
    What to do about a folder that another process has.

    >>> _locked(Path("data/store"))
    'data/store: another process has this store open; ask that one over HTTP, stop it, or give another folder with --path'
    """
    return f"{folder}: another process has this store open; ask that one over HTTP, stop it, or give another folder with --path"
