"""
The local bus: a durable log on one machine, used by several processes at once (docs/architecture.md).

`NORMAL` survives kill -9 of any process: what was committed lies in the system's page cache. `FULL` syncs every commit
and survives power loss.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from driftwheel.bus import Outgoing
from driftwheel.bus._consumer import LocalConsumer
from driftwheel.bus._files import in_words, size_of
from driftwheel.bus._groups import Groups
from driftwheel.bus._segments import Held, Segments
from driftwheel.bus._writer import Writer
from driftwheel.errors import Busy, ConfigError
from driftwheel_schemas.topics import Topic

R = TypeVar("R")

SEGMENT_BYTES = 128 * 1024**2
SEGMENT_AGE = 1 / 8
"""A segment is sealed after an eighth of its topic's retention, so that little is kept for longer than it must be."""

LOOK_S, LOOK_IDLE_S, IDLE_AFTER_S = 0.02, 0.1, 5.0
"""How often other processes' records are looked for: 50 times a second, ten times when none came for five seconds."""

LEASE_S = 30.0


@dataclass(frozen=True, slots=True)
class Dropped:
    """A segment that retention removed: how many records it held, and how many of them some group had not read."""

    topic: str
    records: int
    unread: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """How a local bus keeps its log; see `BusSettings` for what users set."""

    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    max_bytes: int = 20 * 1024**3
    segment_bytes: int = SEGMENT_BYTES
    lease_s: float = LEASE_S
    clock: Callable[[], float] = time.time


class LocalBus:
    """The `Bus` port on a folder. Every process opens its own, in its event loop, and closes it in the end."""

    def __init__(self, folder: Path, settings: LocalSettings | None = None) -> None:
        self.folder, self.settings = folder, settings or LocalSettings()
        folder.mkdir(parents=True, exist_ok=True)
        self._reader = ThreadPoolExecutor(1, "bus-read")
        self._logs: dict[str, Segments] = {}
        self._groups: Groups | None = None
        self.unread: Counter[str] = Counter()
        self._writer = Writer(folder, self._open_log, max_bytes=self.settings.max_bytes, clock=self.settings.clock)
        self._consumers: list[LocalConsumer] = []
        self._topics: dict[str, Topic] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def ensure(self, topics: Sequence[Topic]) -> None:
        """Create what is missing of *topics*. Raises `ConfigError` for a topic that has other partitions."""

        def create(topic: Topic) -> None:
            log = self._logs.get(topic.name) or self._new_log(topic.name)
            log.create(topic.partitions, self.settings.clock())
            self._logs[topic.name] = log

        for topic in topics:
            await self.in_reader(create, topic)
            self._topics[topic.name] = topic

    async def partitions(self, topic: str) -> int:
        """How many partitions *topic* has. Raises `ConfigError` for an unknown topic, naming the known ones."""
        return len(await self.ends(topic))

    async def append(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """Append *records*, all of one topic: the partition and offset of each, once all are durable."""
        if not records:
            return []
        placed = await self._writer.append(records)
        self._tell_consumers(records[0].topic)
        return placed

    async def consumer(self, group: str, topics: Sequence[str]) -> LocalConsumer:
        """A new member of *group* that reads *topics*."""
        partitions = {topic: await self.partitions(topic) for topic in topics}
        consumer = LocalConsumer(self, group, partitions)
        self._consumers.append(consumer)
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name="bus-watch")
        return consumer

    async def ends(self, topic: str) -> dict[int, int]:
        """For each partition the offset that the next record will get."""
        return await self.in_reader(lambda: self.log(topic).ends())

    async def lag(self, group: str, topic: str) -> dict[int, int]:
        """For each partition how many records *group* has not committed yet."""

        def count() -> dict[int, int]:
            log, committed = self.log(topic), self.groups().committed(group, topic)
            return {p: end - log.resume(p, committed.get(p, 0)) for p, end in log.ends().items()}

        return await self.in_reader(count)

    async def retain(self, now: datetime) -> list[Dropped]:
        """
        Drop whole segments that are past their topic's retention.

        When the log is above three quarters of its bound, also those that every group has passed. A record that some
        group has not read is dropped only by its retention, and is counted as `unread`.
        """
        return await self.in_reader(self._retain, now.timestamp())

    async def describe(self) -> dict[str, Held]:
        """What each topic in the folder holds, for metrics."""
        return await self.in_reader(lambda: {topic: self.log(topic).held() for topic in self._known()})

    async def close(self) -> None:
        """Flush and let go. Consumers are closed too."""
        try:
            for consumer in list(self._consumers):
                await consumer.close()
        finally:
            if self._watcher:
                self._watcher.cancel()
                await asyncio.gather(self._watcher, return_exceptions=True)
            await asyncio.to_thread(self._let_go)

    async def in_reader(self, do: Callable[..., R], *arguments: object) -> R:
        """Run *do* in the thread that owns the reading connections. Raises `BusFull`, `Busy` and `ConfigError` as sentences."""

        def run() -> R:
            with in_words(self.folder):
                return do(*arguments)

        return await asyncio.get_running_loop().run_in_executor(self._reader, run)

    def log(self, topic: str) -> Segments:
        """The log of *topic*; for the reader's thread."""
        if topic not in self._logs:
            self._logs[topic] = self._open_log(topic)
        return self._logs[topic]

    def groups(self) -> Groups:
        """The groups; for the reader's thread."""
        if self._groups is None:
            self._groups = Groups(self.folder / "groups.db", synchronous=self.settings.synchronous, lease_s=self.settings.lease_s)
        return self._groups

    def gone(self, consumer: LocalConsumer) -> bool:
        """Forget *consumer*, which closes. Whether it was open."""
        known = consumer in self._consumers
        if known:
            self._consumers.remove(consumer)
        return known

    def _open_log(self, topic: str) -> Segments:
        log = self._new_log(topic)
        if not log.numbers():
            raise ConfigError(f"no topic called {topic!r}; known: {', '.join(self._known()) or 'none yet'}")
        return log

    def _known(self) -> list[str]:
        return sorted(one.name for one in self.folder.iterdir() if one.is_dir())

    def _new_log(self, topic: str) -> Segments:
        return Segments(self.folder / topic, synchronous=self.settings.synchronous, segment_bytes=self.settings.segment_bytes)

    def _tell_consumers(self, topic: str) -> None:
        for consumer in self._consumers:
            if topic in consumer.topics:
                consumer.news.set()

    async def _watch(self) -> None:
        """Look for what other processes appended."""
        seen: dict[str, dict[int, int]] = {}
        last = time.monotonic()
        while True:
            topics = {topic for consumer in self._consumers for topic in consumer.topics}
            try:
                ends = await self.in_reader(lambda topics=topics: {topic: self.log(topic).ends() for topic in topics})
            except Busy:
                ends = {}  # wakes them all: who polls now meets the same, and says it
            for topic in topics:
                if topic not in ends or seen.get(topic) != ends[topic]:
                    self._tell_consumers(topic)
                    last = time.monotonic()
            seen = ends
            await asyncio.sleep(LOOK_S if time.monotonic() - last < IDLE_AFTER_S else LOOK_IDLE_S)

    def _retain(self, now: float) -> list[Dropped]:
        tight = size_of(self.folder) > self.settings.max_bytes * 3 / 4
        dropped = []
        for topic in self._topics.values():
            log, passed = self.log(topic.name), self.groups().passed(topic.name)
            if topic.retention_hours:
                log.roll(now, now - topic.retention_hours * 3600 * SEGMENT_AGE)
            for number, sealed_at, starts, ends in log.sealed():
                old = bool(topic.retention_hours) and sealed_at < now - topic.retention_hours * 3600
                unread = max(
                    (sum(max(0, end - max(group.get(p, 0), starts[p])) for p, end in ends.items()) for group in passed.values()), default=0
                )
                if old or (tight and passed and not unread):
                    if log.drop(number):
                        self.unread[topic.name] += unread
                        dropped.append(Dropped(topic.name, sum(ends.values()) - sum(starts.values()), unread))
                else:
                    break  # older ones first: offsets stay without a gap
        return dropped

    def _let_go(self) -> None:
        self._writer.close()
        self._reader.shutdown()
        for log in self._logs.values():
            log.close()
        if self._groups:
            self._groups.close()
