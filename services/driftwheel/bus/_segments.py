"""
One topic on disk: segments, each a SQLite file (WAL), the newest takes records, old ones are dropped whole.

A record's offset is dense within its partition, also with several writing processes: it is given under the write lock
of the newest segment. A segment is sealed by the existence of the next one, which is made under that same lock and
before anything is written, so that a reader who sees it finds all that went before, and a kill leaves no gap.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from driftwheel.bus import Outgoing, Record
from driftwheel.bus._files import VERSION, Gone, connect, writing
from driftwheel.errors import ConfigError
from driftwheel_schemas import partition_of

R = TypeVar("R")

SCHEMA = """
CREATE TABLE records (partition INTEGER, offset INTEGER, key TEXT, value BLOB, headers TEXT, at REAL);
CREATE UNIQUE INDEX place ON records (partition, offset);
CREATE TABLE ends (partition INTEGER PRIMARY KEY, start INTEGER, next INTEGER);
CREATE TABLE meta (created REAL);
"""

OPEN_FILES = 8
"""Segments of a topic that a process keeps open: each takes three file descriptors, of 1,024 that a process usually has."""

Places = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Held:
    """What a topic holds: its records, their bytes on disk, and when the oldest was appended (None in an empty one)."""

    records: int
    bytes: int
    oldest: datetime | None


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
        try:
            found = sorted(int(file.stem) for file in self.folder.iterdir() if file.suffix == ".db")
        except FileNotFoundError:
            return []
        for number in self._open.keys() - set(found):
            self._open.pop(number).close()  # dropped by another process: only now is its space free
        return found

    def append(self, calls: Sequence[Sequence[Outgoing]], now: float) -> list[Places | ConfigError]:
        """Append the records of several calls in one transaction: their places, or why this one call cannot be kept."""
        while (placed := self._look(lambda numbers: self._append(numbers[-1], calls, now))) is None:
            continue  # sealed while we waited for the lock
        return placed

    def roll(self, now: float, older_than: float) -> None:
        """Begin a new segment if the newest holds anything and was begun before *older_than*."""
        number = self.numbers()[-1]
        connection = self._connection(number)
        with writing(connection):
            if self._created(number) < older_than:
                self._sealed(number, now, above=0)

    def read(self, partition: int, offset: int, limit: int, max_bytes: float = inf) -> list[Record]:
        """At most *limit* records or *max_bytes* (but one) of *partition* from *offset* on, or from the oldest kept."""
        return self._look(lambda numbers: list(self._read(numbers, partition, offset, limit, max_bytes)))

    def ends(self) -> dict[int, int]:
        """For each partition the next offset."""
        return self._look(lambda numbers: self._ends(numbers[-1]))

    def starts(self) -> dict[int, int]:
        """For each partition the oldest offset that is kept."""
        return self._look(lambda numbers: self._first(numbers[0]))

    def resume(self, partition: int, offset: int) -> int:
        """Where to read on from *offset*: the oldest kept, if that is gone or the log, made anew perhaps, does not reach so far."""
        oldest = self.starts()[partition]
        return offset if oldest <= offset <= self.ends()[partition] else oldest

    def sealed(self) -> list[tuple[int, float, dict[int, int], dict[int, int]]]:
        """Of each segment but the newest: its number, when its successor was begun, and the offsets it begins and ends before."""
        return self._look(
            lambda numbers: [(number, self._created(after), self._first(number), self._first(after)) for number, after in pairwise(numbers)]
        )

    def held(self) -> Held:
        """How much there is, and since when."""
        return self._look(self._held)

    def drop(self, number: int) -> bool:
        """Remove a segment, unless another process just did. A reader that has it open reads on in peace."""
        if connection := self._open.pop(number, None):
            connection.close()
        self._starts.pop(number, None)
        try:
            self._file(number).unlink()
        except FileNotFoundError:
            return False
        for suffix in ("-wal", "-shm"):
            Path(f"{self._file(number)}{suffix}").unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Let go of the files."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _look(self, at: Callable[[list[int]], R]) -> R:
        """What there is to see in the segments; once more when one was dropped while we looked."""
        while True:
            if not (numbers := self.numbers()):
                raise ConfigError(f"{self.folder}: the files of this topic are gone; restore them, or start with another data folder")
            try:
                return at(numbers)
            except Gone:
                continue

    def _read(self, numbers: Sequence[int], partition: int, offset: int, limit: int, max_bytes: float) -> Iterator[Record]:
        for number, after in zip(numbers, [*numbers[1:], None], strict=True):
            if after is not None and self._first(after)[partition] <= offset:
                continue
            rows = self._connection(number).execute(
                "SELECT offset, key, value, headers, at FROM records WHERE partition = ? AND offset >= ? ORDER BY offset LIMIT ?",
                (partition, offset, limit),
            )
            with closing(rows):
                for at, key, value, headers, when in rows:
                    yield Record(self.folder.name, partition, at, key, value, _unheaders(headers), datetime.fromtimestamp(when, UTC))
                    limit -= 1
                    max_bytes -= len(value)
                    if limit <= 0 or max_bytes <= 0:
                        return

    def _held(self, numbers: Sequence[int]) -> Held:
        records = sum(self._ends(numbers[-1]).values()) - sum(self._first(numbers[0]).values())
        first = self._connection(numbers[0]).execute("SELECT at FROM records ORDER BY rowid LIMIT 1").fetchone()
        return Held(records, sum(map(self._size, numbers)), datetime.fromtimestamp(first[0], UTC) if first else None)

    def _append(self, number: int, calls: Sequence[Sequence[Outgoing]], now: float) -> list[Places | ConfigError] | None:
        connection = self._connection(number)
        with writing(connection):
            if self._sealed(number, now):
                return None
            ends = self._ends(number)
            placed = [self._place(call, ends) for call in calls]
            connection.executemany(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (partition, offset, record.key, record.value, _headers(record.headers), now)
                    for call, places in zip(calls, placed, strict=True)
                    if not isinstance(places, ConfigError)
                    for record, (partition, offset) in zip(call, places, strict=True)
                ),
            )
            connection.executemany("UPDATE ends SET next = ? WHERE partition = ?", ((end, p) for p, end in ends.items()))
        return placed

    def _place(self, call: Sequence[Outgoing], ends: dict[int, int]) -> Places | ConfigError:
        """Where the records of *call* go; *ends* moves on, unless one of them has no place."""
        moved, places = dict(ends), []
        for record in call:
            partition = record.partition
            if partition is None:  # without a key: where least is, so that partitions stay even
                partition = partition_of(record.key, len(moved)) if record.key else min(moved, key=moved.__getitem__)
            if partition not in moved:
                return ConfigError(f"{self.folder.name}: has no partition {partition}, only 0 to {len(moved) - 1}")
            places.append((partition, moved[partition]))
            moved[partition] += 1
        ends.update(moved)
        return places

    def _sealed(self, number: int, now: float, *, above: int | None = None) -> bool:
        """Whether there is a next segment; it is begun when this one holds records and more bytes than it should. Under the lock."""
        if self._file(number + 1).exists():
            return True
        ends = self._ends(number)
        if ends == self._first(number) or self._size(number) <= (self._segment_bytes if above is None else above):
            return False
        self._make(number + 1, ends, now)
        return True

    def _make(self, number: int, ends: Mapping[int, int], now: float) -> None:
        """A new segment, complete before it has its name."""
        beside = self.folder / f".{number}.{uuid4().hex}"
        try:
            with closing(sqlite3.connect(beside, isolation_level=None)) as made:
                made.execute("PRAGMA journal_mode = WAL")
                made.executescript(SCHEMA)
                made.executemany("INSERT INTO ends VALUES (?, ?, ?)", ((p, end, end) for p, end in ends.items()))
                made.execute("INSERT INTO meta VALUES (?)", (now,))
                made.execute(f"PRAGMA user_version = {VERSION}")
            os.link(beside, self._file(number))  # unlike a rename it never replaces the one of another process
        except FileExistsError:
            pass  # two processes began the topic at the same time
        finally:
            for left in self.folder.glob(f"{beside.name}*"):
                left.unlink(missing_ok=True)

    def _size(self, number: int) -> int:
        """Bytes of a segment, with what has not been moved from its write-ahead log yet."""
        files = (self._file(number), Path(f"{self._file(number)}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _ends(self, number: int) -> dict[int, int]:
        return dict(self._connection(number).execute("SELECT partition, next FROM ends"))

    def _first(self, number: int) -> dict[int, int]:
        """For each partition the first offset of a segment."""
        if number not in self._starts:
            self._starts[number] = dict(self._connection(number).execute("SELECT partition, start FROM ends"))
        return self._starts[number]

    def _created(self, number: int) -> float:
        return float(self._connection(number).execute("SELECT created FROM meta").fetchone()[0])

    def _connection(self, number: int) -> sqlite3.Connection:
        connection = self._open.pop(number, None) or connect(self._file(number), self._synchronous)
        self._open[number] = connection  # the one used last stands last
        if len(self._open) > OPEN_FILES:
            self._open.pop(next(iter(self._open))).close()
        return connection

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:012d}.db"


def _headers(headers: Mapping[str, bytes]) -> str:
    return json.dumps({name: value.hex() for name, value in headers.items()}) if headers else ""


def _unheaders(text: str) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in json.loads(text).items()} if text else {}
