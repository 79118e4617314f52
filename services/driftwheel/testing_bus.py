"""A bus in memory, for tests of what speaks to a bus. It keeps the port's promises but outlives nothing."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from driftwheel.bus import Claim, Outgoing, Record
from driftwheel.errors import ConfigError
from driftwheel_schemas import partition_of
from driftwheel_schemas.topics import Topic


class MemoryBus:
    """The `Bus` port over lists. `failure` is raised by the next appends while it is set; `appends` counts the calls."""

    def __init__(self) -> None:
        self.logs: dict[str, list[list[Record]]] = {}
        self.committed: dict[tuple[str, Claim], int] = {}
        self.unread: Counter[str] = Counter()
        self.appends = 0
        self.failure: Exception | None = None

    async def ensure(self, topics: Sequence[Topic]) -> None:
        """Create what is missing of *topics*."""
        for topic in topics:
            log = self.logs.setdefault(topic.name, [[] for _ in range(topic.partitions)])
            if len(log) != topic.partitions:
                raise ConfigError(f"{topic.name}: has {len(log)} partitions, not {topic.partitions}")

    async def partitions(self, topic: str) -> int:
        """How many partitions *topic* has."""
        return len(self._log(topic))

    async def append(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """Append all of *records* or, when `failure` is set, none."""
        self.appends += 1
        if self.failure:
            raise self.failure
        return [self._append(record, self._log(record.topic)) for record in records]

    async def consumer(self, group: str, topics: Sequence[str]) -> "MemoryConsumer":
        """The one member of *group*."""
        return MemoryConsumer(self, group, [Claim(topic, p) for topic in topics for p in range(len(self._log(topic)))])

    async def ends(self, topic: str) -> dict[int, int]:
        """For each partition the offset that the next record will get."""
        return {p: len(log) for p, log in enumerate(self._log(topic))}

    async def lag(self, group: str, topic: str) -> dict[int, int]:
        """For each partition how many records *group* has not committed yet."""
        return {p: len(log) - self.committed.get((group, Claim(topic, p)), 0) for p, log in enumerate(self._log(topic))}

    async def close(self) -> None:
        """Nothing is held."""

    def records(self, topic: str) -> list[Record]:
        """Everything in *topic*, partition by partition."""
        return [record for log in self._log(topic) for record in log]

    def _log(self, topic: str) -> list[list[Record]]:
        if topic not in self.logs:
            raise ConfigError(f"no topic called {topic!r}; known: {', '.join(sorted(self.logs))}")
        return self.logs[topic]

    def _append(self, record: Outgoing, log: list[list[Record]]) -> tuple[int, int]:
        partition = partition_of(record.key, len(log)) if record.partition is None else record.partition
        offset = len(log[partition])
        log[partition].append(Record(record.topic, partition, offset, record.key, record.value, record.headers, datetime.now(UTC)))
        return partition, offset


class MemoryConsumer:
    """The only member of its group, so it owns everything."""

    def __init__(self, bus: MemoryBus, group: str, claims: Sequence[Claim]) -> None:
        self._bus = bus
        self._group = group
        self._at = {claim: bus.committed.get((group, claim), 0) for claim in claims}

    async def poll(self, *, max_records: int = 500, timeout_s: float = 0.1) -> list[Record]:  # noqa: ARG002  # the port's
        """The next records; does not wait for *timeout_s*, but lets others of the event loop have their turn."""
        await asyncio.sleep(0)
        found: list[Record] = []
        for claim, at in self._at.items():
            news = self._bus.logs[claim.topic][claim.partition][at : at + max_records - len(found)]
            self._at[claim] = at + len(news)
            found += news
        return found

    def owned(self) -> frozenset[Claim]:
        """Every partition of its topics."""
        return frozenset(self._at)

    async def seek(self, claim: Claim, offset: int) -> None:
        """Read *claim* from *offset* next."""
        self._at[claim] = offset

    async def committed(self, claim: Claim) -> int:
        """The offset to be read next after a restart."""
        return self._bus.committed.get((self._group, claim), 0)

    async def commit(self, claim: Claim, offset: int) -> None:
        """Everything below *offset* is done."""
        self._bus.committed[self._group, claim] = offset

    async def close(self) -> None:
        """Nothing is held."""
