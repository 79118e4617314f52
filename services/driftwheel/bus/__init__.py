"""
The bus: topics of partitions, an append-only log each, read by groups that commit how far they came.

This is the port. `local.py` keeps the log in SQLite on one machine; `kafka.py` speaks to Apache Kafka.
`tests/contracts/test_bus.py` is the contract that every implementation passes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from driftwheel_schemas.topics import Topic


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to append: its value, its key and headers; `partition` wins over the hash of the key."""

    topic: str
    value: bytes
    key: str = ""
    partition: int | None = None
    headers: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read. Offsets of a partition grow by one; `appended_at` is the bus's own clock."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, bytes]
    appended_at: datetime


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A partition of a topic, as a consumer owns it."""

    topic: str
    partition: int


class Consumer(Protocol):
    """
    One member of a group. Each partition of its topics belongs to one member at a time.

    Only one task uses a consumer. After a rebalance the new owner reads from the committed offset, so what
    the old one did and had not committed is done again: whoever writes checks what is there (docs/architecture.md).
    """

    async def poll(self, *, max_records: int = 500, timeout_s: float = 0.1) -> list[Record]:
        """
        The next records of the owned partitions, at most *max_records*; empty after *timeout_s* without any.

        Joins the group, keeps the membership alive and takes part in rebalances: call it at least every ten
        seconds. A partition that was lost and comes back is missing from `owned` after one poll at least, so that its
        owner notices and starts anew. Raises `Busy` when the log cannot be read now.
        """
        ...

    def owned(self) -> frozenset[Claim]:
        """The partitions that this member owns since its last `poll`."""
        ...

    async def seek(self, claim: Claim, offset: int) -> None:
        """Read *claim* from *offset* next. Raises `NotOwner` for a partition of another member."""
        ...

    async def committed(self, claim: Claim) -> int:
        """The offset to be read next after a restart: 0, or the oldest kept, when nothing was committed."""
        ...

    async def commit(self, claim: Claim, offset: int) -> None:
        """
        Everything below *offset* is done. Durable on return.

        Raises `NotOwner` when the partition was given to another member meanwhile.
        """
        ...

    async def close(self) -> None:
        """Leave the group, so that others take over at once. Does not commit."""
        ...


class Bus(Protocol):
    """A connection to the log. Closed with `close`; safe to share between the tasks of one event loop."""

    unread: Counter[str]
    """Topic → records that retention dropped before a group had read them, as far as this process saw it."""

    async def ensure(self, topics: Sequence[Topic]) -> None:
        """Create what is missing of *topics*. Raises `ConfigError` for a topic that has other partitions."""
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions *topic* has. Raises `ConfigError` for an unknown topic, naming the known ones."""
        ...

    async def append(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """
        Append *records*, all of one topic; the partition and offset of each once all are durable (docs/architecture.md).

        A record with a key and no partition goes to `partition_of(key, n)`; one without a key to any. The order of
        records in one call is kept within a partition. Raises `BusFull` or `Busy` (nothing of the call may have landed, or
        some of it: it may be sent again, since identity is the event id), `ConfigError` for an unknown topic.
        """
        ...

    async def consumer(self, group: str, topics: Sequence[str]) -> Consumer:
        """A new member of *group* that reads *topics*."""
        ...

    async def ends(self, topic: str) -> dict[int, int]:
        """For each partition the offset that the next record will get."""
        ...

    async def lag(self, group: str, topic: str) -> dict[int, int]:
        """For each partition how many records *group* has not committed yet."""
        ...

    async def close(self) -> None:
        """Flush and let go. Consumers are closed too."""
        ...
