"""The writer of a local bus: one thread; what comes for a topic while it is busy is committed together (group commit)."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from driftwheel.bus import Outgoing
from driftwheel.bus._files import in_words, size_of
from driftwheel.bus._segments import Places, Segments
from driftwheel.errors import BusFull, Busy, ConfigError

QUEUE_BYTES = 64 * 1024**2
"""Bytes that may wait for the disk; above it, `Busy`."""

RECORD_BYTES = 100
"""What a record weighs beside its bytes: it bounds how many empty ones may wait."""

MEASURE_EVERY = 64 * 1024**2
"""Bytes after which the size of the whole log is measured again."""


@dataclass(slots=True)
class Batch:
    """Calls of `append` for one topic that are committed together; `done` holds what became of each."""

    done: "Future[list[Places | ConfigError]]"
    calls: list[Sequence[Outgoing]] = field(default_factory=list)
    size: int = 0


class Writer:
    """Takes calls from any event loop and resolves them when their records are on disk."""

    def __init__(self, folder: Path, open_log: Callable[[str], Segments], *, max_bytes: int, clock: Callable[[], float]) -> None:
        self._folder, self._open_log, self._max_bytes, self._clock = folder, open_log, max_bytes, clock
        self._logs: dict[str, Segments] = {}
        self._waiting: dict[str, Batch] = {}
        self._queued_bytes = 0
        self._size, self._unmeasured = 0, MEASURE_EVERY
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "bus-write")

    async def append(self, records: Sequence[Outgoing]) -> Places:
        """Where each of *records* lies, once all of them are durable."""
        topics = {record.topic for record in records}
        if len(topics) != 1:
            raise ConfigError(f"one call appends to one topic, not to {sorted(topics)}: its records are kept all or none")
        batch, index = self._enqueue(topics.pop(), records)
        outcomes = await asyncio.shield(asyncio.wrap_future(batch.done))  # a caller that gives up takes no other along
        outcome = outcomes[index]
        if isinstance(outcome, ConfigError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Commit what waits and end. Blocks."""
        self._thread.shutdown()
        for log in self._logs.values():
            log.close()

    def _enqueue(self, topic: str, records: Sequence[Outgoing]) -> tuple[Batch, int]:
        size = sum(map(_weight, records))
        with self._lock:
            if self._queued_bytes and self._queued_bytes + size > QUEUE_BYTES:
                raise Busy(f"{self._folder}: {self._queued_bytes} bytes wait for the disk; the same again later")
            batch = self._waiting.get(topic)
            if batch is None:
                batch = self._waiting[topic] = Batch(self._thread.submit(self._commit, topic))
            batch.calls.append(records)
            batch.size += size
            self._queued_bytes += size
            return batch, len(batch.calls) - 1

    def _commit(self, topic: str) -> list[Places | ConfigError]:
        with self._lock:
            batch = self._waiting.pop(topic)
        try:
            with in_words(self._folder / topic):
                self._check_size(batch.size)
                if topic not in self._logs:
                    self._logs[topic] = self._open_log(topic)
                return self._logs[topic].append(batch.calls, self._clock())
        finally:
            with self._lock:
                self._queued_bytes -= batch.size

    def _check_size(self, coming: int) -> None:
        """Raise `BusFull` when the log is at its bound; measured now and then, since looking at every file takes time."""
        self._unmeasured += coming
        if self._unmeasured >= min(MEASURE_EVERY, self._max_bytes // 8) or self._size > self._max_bytes:
            self._size = size_of(self._folder)
            self._unmeasured = 0
        if self._size > self._max_bytes:
            raise BusFull(
                f"{self._folder}: the log is at its bound of {self._max_bytes} bytes; wait for its readers, or raise [bus] max_bytes", 5.0
            )


def _weight(record: Outgoing) -> int:
    """Bytes that *record* holds in the queue. Raises `ConfigError` for a key that is no text, before others wait with it."""
    try:
        key = len(record.key.encode())
    except UnicodeEncodeError as failed:
        raise ConfigError(f"{record.topic}: the key {record.key!r} cannot be written as UTF-8; give a key of whole characters") from failed
    return RECORD_BYTES + key + len(record.value) + sum(len(name) + len(value) for name, value in record.headers.items())
