"""The writer of a local bus: one thread, and whatever waits for it at a time is committed together (group commit)."""

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftwheel.bus import Outgoing
from driftwheel.bus._segments import Segments
from driftwheel.errors import BusFull, Busy, ConfigError, DriftwheelError

QUEUE_BYTES = 64 * 1024**2
"""Bytes that may wait for the disk; above it, `Busy`."""

MEASURE_EVERY = 64 * 1024**2
"""Bytes after which the size of the whole log is measured again."""

Places = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `append` that waits for the writer; its records are of one topic."""

    topic: str
    records: Sequence[Outgoing]
    size: int
    done: "asyncio.Future[Places]"


class Writer:
    """Takes calls from any event loop and resolves them when their records are on disk."""

    def __init__(self, folder: Path, open_log: Callable[[str], Segments], *, max_bytes: int, clock: Callable[[], float]) -> None:
        self._folder, self._open_log, self._max_bytes, self._clock = folder, open_log, max_bytes, clock
        self._logs: dict[str, Segments] = {}
        self._queue: deque[Call] = deque()
        self._queued_bytes = 0
        self._size, self._unmeasured = 0, MEASURE_EVERY
        self._work = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="bus-write", daemon=True)
        self._thread.start()

    async def append(self, records: Sequence[Outgoing]) -> Places:
        """Where each of *records* lies, once all of them are durable."""
        topics = {record.topic for record in records}
        if len(topics) != 1:
            raise ConfigError(f"one call appends to one topic, not to {sorted(topics)}: its records are kept all or none")
        call = Call(topics.pop(), records, sum(len(record.value) for record in records), asyncio.get_running_loop().create_future())
        with self._work:
            if self._queued_bytes and self._queued_bytes + call.size > QUEUE_BYTES:
                raise Busy(f"{self._folder}: {self._queued_bytes} bytes wait for the disk; the same again later")
            self._queue.append(call)
            self._queued_bytes += call.size
            self._work.notify()
        return await call.done

    def close(self) -> None:
        """Commit what waits and end. Blocks."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join()

    def _run(self) -> None:
        while calls := self._wait():
            for topic, group in itertools.groupby(sorted(calls, key=lambda call: call.topic), key=lambda call: call.topic):
                self._commit(topic, list(group))
            with self._work:
                self._queued_bytes -= sum(call.size for call in calls)
        for log in self._logs.values():
            log.close()

    def _wait(self) -> list[Call]:
        with self._work:
            while not self._queue and not self._closing:
                self._work.wait()
            calls = list(self._queue)
            self._queue.clear()
        return calls

    def _commit(self, topic: str, calls: Sequence[Call]) -> None:
        try:
            self._check_size(sum(call.size for call in calls))
            if topic not in self._logs:
                self._logs[topic] = self._open_log(topic)
            results = self._logs[topic].append([call.records for call in calls], self._clock())
        except (DriftwheelError, OSError) as failed:
            for call in calls:
                _tell(call, failed)
        else:
            for call, places in zip(calls, results, strict=True):
                _tell(call, places)

    def _check_size(self, coming: int) -> None:
        """Raise `BusFull` when the log is at its bound; measured now and then, since looking at every file takes time."""
        self._unmeasured += coming
        if self._unmeasured >= min(MEASURE_EVERY, self._max_bytes // 8) or self._size > self._max_bytes:
            self._size = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())
            self._unmeasured = 0
        if self._size > self._max_bytes:
            raise BusFull(
                f"{self._folder}: the log is at its bound of {self._max_bytes} bytes; wait for its readers, or raise [bus] max_bytes", 5.0
            )


def _tell(call: Call, result: Places | Exception) -> None:
    """Resolve *call* in its own loop, unless its caller is gone."""

    def resolve() -> None:
        if call.done.done():
            return
        if isinstance(result, Exception):
            call.done.set_exception(result)
        else:
            call.done.set_result(result)

    loop = call.done.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)
