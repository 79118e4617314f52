"""
One topic on disk: segments, each a SQLite file (WAL), the newest takes records, old ones are dropped whole.

A record's offset is dense within its partition, also with several writing processes: it is given under the write lock
of the newest segment. A segment is sealed by the existence of the next one, which is made under that same lock.
"""

import errno
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from driftwheel.bus import Outgoing, Record
from driftwheel.errors import BusFull, ConfigError
from driftwheel_schemas import partition_of

SCHEMA = """
CREATE TABLE records (partition INTEGER, offset INTEGER, key TEXT, value BLOB, headers TEXT, at REAL);
CREATE UNIQUE INDEX place ON records (partition, offset);
CREATE TABLE ends (partition INTEGER PRIMARY KEY, start INTEGER, next INTEGER);
CREATE TABLE meta (created REAL);
"""
VERSION = 1
BUSY_MS = 10_000


def connect(file: Path, synchronous: str) -> sqlite3.Connection:
    """A connection in autocommit mode. Raises `ConfigError` for a file of another version."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, VERSION):
        raise ConfigError(f"{file}: is a log of version {found}, this release reads {VERSION}; give another data folder")
    return connection


@contextmanager
def writing(connection: sqlite3.Connection, place: Path) -> Iterator[None]:
    """A write transaction; all of it or nothing. Raises `BusFull` when the disk takes no more, or another holds the lock too long."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except sqlite3.OperationalError as failed:
        _roll_back(connection)
        raise full(place, failed) from failed
    except BaseException:
        _roll_back(connection)
        raise


def full(place: Path, failed: sqlite3.OperationalError) -> Exception:
    """What a failed write means to the caller."""
    if failed.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return BusFull(f"{place}: the disk takes no more ({failed}); free some space, what was not accepted is sent again", 5.0)
    if failed.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BusFull(f"{place}: another process holds the log for more than {BUSY_MS / 1000:.0f} s; the same again later", 1.0)
    return failed


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class Segments:
    """The log of one topic. One instance belongs to one thread."""

    def __init__(self, folder: Path, *, synchronous: str, segment_bytes: int) -> None:
        self.folder = folder
        self._synchronous, self._segment_bytes = synchronous, segment_bytes
        self._open: dict[int, sqlite3.Connection] = {}
        self._starts: dict[int, dict[int, int]] = {}

    def create(self, partitions: int, now: float) -> None:
        """The first segment, if there is none. Raises `ConfigError` when the topic has another number of partitions."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.numbers():
            self._make(0, dict.fromkeys(range(partitions), 0), now)
        if (found := len(self.ends())) != partitions:
            raise ConfigError(f"{self.folder.name}: has {found} partitions, {partitions} are asked for; a topic keeps its partitions")

    def numbers(self) -> list[int]:
        """The segments that are there, oldest first."""
        return sorted(int(file.stem) for file in self.folder.glob("*.db"))

    def append(self, calls: Sequence[Sequence[Outgoing]], now: float) -> list[list[tuple[int, int]]]:
        """Append the records of several calls in one transaction: the partition and offset of each."""
        while True:
            number = self.numbers()[-1]
            connection = self._connection(number)
            with writing(connection, self.folder):
                if self._file(number + 1).exists():
                    continue  # sealed while we waited for the lock
                ends = dict(connection.execute("SELECT partition, next FROM ends"))
                placed = [[self._place(record, ends) for record in call] for call in calls]
                connection.executemany(
                    "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        (partition, offset, record.key, record.value, _headers(record.headers), now)
                        for call, places in zip(calls, placed, strict=True)
                        for record, (partition, offset) in zip(call, places, strict=True)
                    ),
                )
                connection.executemany("UPDATE ends SET next = ? WHERE partition = ?", ((end, p) for p, end in ends.items()))
                if self._size(number) > self._segment_bytes:
                    self._make(number + 1, ends, now)
            return placed

    def roll(self, now: float, older_than: float) -> None:
        """Begin a new segment if the newest holds anything and was begun before *older_than*."""
        number = self.numbers()[-1]
        connection = self._connection(number)
        with writing(connection, self.folder):
            created = connection.execute("SELECT created FROM meta").fetchone()[0]
            used = connection.execute("SELECT 1 FROM records LIMIT 1").fetchone()
            if used and created < older_than and not self._file(number + 1).exists():
                self._make(number + 1, dict(connection.execute("SELECT partition, next FROM ends")), now)

    def read(self, partition: int, offset: int, limit: int) -> list[Record]:
        """At most *limit* records of *partition* from *offset* on, or from the oldest kept."""
        found: list[Record] = []
        numbers = self.numbers()
        for number, after in zip(numbers, [*numbers[1:], None], strict=True):
            if after is not None and self._start(after, partition) <= offset:
                continue
            rows = self._connection(number).execute(
                "SELECT offset, key, value, headers, at FROM records WHERE partition = ? AND offset >= ? ORDER BY offset LIMIT ?",
                (partition, offset, limit - len(found)),
            )
            found += [
                Record(self.folder.name, partition, at, key, bytes(value), _unheaders(headers), datetime.fromtimestamp(when, UTC))
                for at, key, value, headers, when in rows
            ]
            if len(found) == limit:
                break
        return found

    def ends(self) -> dict[int, int]:
        """For each partition the next offset."""
        return dict(self._connection(self.numbers()[-1]).execute("SELECT partition, next FROM ends"))

    def starts(self) -> dict[int, int]:
        """For each partition the oldest offset that is kept."""
        number = self.numbers()[0]
        self._start(number, 0)
        return self._starts[number]

    def changed(self) -> tuple[int, int]:
        """A token that changes when any process has appended."""
        number = self.numbers()[-1]
        return number, self._connection(number).execute("PRAGMA data_version").fetchone()[0]

    def sealed(self) -> list[tuple[int, float, dict[int, int]]]:
        """Of each segment but the newest: its number, when its successor was begun, and the offsets behind its last records."""
        numbers = self.numbers()
        return [(number, self._created(after), {p: self._start(after, p) for p in self.starts()}) for number, after in pairwise(numbers)]

    def drop(self, number: int) -> None:
        """Remove a segment. A reader that has it open reads on in peace."""
        if connection := self._open.pop(number, None):
            connection.close()
        self._starts.pop(number, None)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._file(number)}{suffix}").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _place(self, record: Outgoing, ends: dict[int, int]) -> tuple[int, int]:
        partition = record.partition
        if partition is None:  # without a key: where least is, so that partitions stay even
            partition = partition_of(record.key, len(ends)) if record.key else min(ends, key=ends.__getitem__)
        if partition not in ends:
            raise ConfigError(f"{self.folder.name}: has no partition {partition}, only 0 to {len(ends) - 1}")
        offset = ends[partition]
        ends[partition] = offset + 1
        return partition, offset

    def _make(self, number: int, ends: Mapping[int, int], now: float) -> None:
        """A new segment, complete before it has its name."""
        beside = self.folder / f".{number}.{os.getpid()}"
        beside.unlink(missing_ok=True)
        with sqlite3.connect(beside) as made:
            made.executescript(SCHEMA)
            made.executemany("INSERT INTO ends VALUES (?, ?, ?)", ((p, end, end) for p, end in ends.items()))
            made.execute("INSERT INTO meta VALUES (?)", (now,))
            made.execute(f"PRAGMA user_version = {VERSION}")
        made.close()
        try:
            os.link(beside, self._file(number))  # unlike a rename it never replaces the one of another process
        except FileExistsError:
            pass  # two processes began the topic at the same time
        except OSError as failed:
            if failed.errno != errno.ENOSPC:
                raise
            raise BusFull(f"{self.folder}: the disk is full; free some space, what was not accepted is sent again", 5.0) from failed
        finally:
            beside.unlink(missing_ok=True)

    def _size(self, number: int) -> int:
        """Bytes of a segment, with what has not been moved from its write-ahead log yet."""
        files = (self._file(number), Path(f"{self._file(number)}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _start(self, number: int, partition: int) -> int:
        if number not in self._starts:
            self._starts[number] = dict(self._connection(number).execute("SELECT partition, start FROM ends"))
        return self._starts[number][partition]

    def _created(self, number: int) -> float:
        return float(self._connection(number).execute("SELECT created FROM meta").fetchone()[0])

    def _connection(self, number: int) -> sqlite3.Connection:
        if number not in self._open:
            self._open[number] = connect(self._file(number), self._synchronous)
        return self._open[number]

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:012d}.db"


def _headers(headers: Mapping[str, bytes]) -> str:
    return json.dumps({name: value.hex() for name, value in headers.items()}) if headers else ""


def _unheaders(text: str) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in json.loads(text).items()} if text else {}
