"""A member of a group of Kafka."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from driftwheel.bus import Claim, Record
from driftwheel.bus.kafka_client import KafkaSettings, client_options, group_id
from driftwheel.errors import Busy, NotOwner

if TYPE_CHECKING:
    from driftwheel.bus.kafka import KafkaBus

T = TypeVar("T")

Fetched = dict[TopicPartition, list[ConsumerRecord]]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Notes that partitions moved; the consumer acts on it at its next poll."""

    def __init__(self) -> None:
        self.moved = asyncio.Event()

    async def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002  all of them, in the eager protocol
        self.moved.set()

    async def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002
        self.moved.set()


class KafkaConsumer:
    """
    One member of a group; see the `Consumer` port.

    A member that does not poll for *silence_s* leaves its group, and others take over.
    """

    def __init__(self, bus: "KafkaBus", group: str, topics: Sequence[str], silence_s: float) -> None:
        settings: KafkaSettings = bus.settings
        self._bus, self._group = bus, group
        self._listener = _Listener()
        self._owned: frozenset[Claim] = frozenset()
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=group_id(settings, group),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=int(silence_s * 1000),
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.session_timeout_s * 200),
            max_partition_fetch_bytes=4 * 1024**2,
            fetch_max_wait_ms=100,
        )
        self._settings, self._topics = settings, [settings.physical(topic) for topic in topics]
        self._fetching: asyncio.Task[Fetched] | None = None

    async def start(self) -> None:
        """Join the group. Raises `Busy` when the cluster does not answer."""
        self._consumer.subscribe(self._topics, listener=self._listener)
        await _in_words(self._consumer.start())

    async def poll(self, *, max_records: int = 500, timeout_s: float = 0.1) -> list[Record]:
        """The next records of the owned partitions, at most *max_records*; empty after *timeout_s* without any."""
        if self._follow():
            return []
        end = time.monotonic() + timeout_s
        while True:
            left = max(0.0, min(end - time.monotonic(), 0.5))  # a rebalance meanwhile is noticed in half a second
            found = await self._fetch(int(left * 1000), max_records)
            if self._listener.moved.is_set():
                self._unread(found)
                self._follow()
                return []
            if found or time.monotonic() >= end:
                return [record_of(one, self._settings) for records in found.values() for one in records]

    def owned(self) -> frozenset[Claim]:
        """The partitions that this member owns since its last `poll`."""
        return self._owned

    async def seek(self, claim: Claim, offset: int) -> None:
        """Read *claim* from *offset* next. Raises `NotOwner` for a partition of another member."""
        if self._fetching:  # of a poll that was cut off
            self._unread(await self._fetch(0, 1))
        try:
            self._consumer.seek(self._place(claim), offset)
        except IllegalStateError as lost:
            raise self._lost(claim) from lost

    async def committed(self, claim: Claim) -> int:
        """The offset to be read next after a restart: 0, or the oldest kept, when nothing was committed."""
        where = self._place(claim)
        begins: dict[TopicPartition, int] = await _in_words(self._consumer.beginning_offsets([where]))
        return max(await _in_words(self._consumer.committed(where)) or 0, begins[where])

    async def commit(self, claim: Claim, offset: int) -> None:
        """Everything below *offset* is done; durable on return. Raises `NotOwner` when the partition is another's by now."""
        if claim not in self._owned:
            raise self._lost(claim)
        try:
            await self._consumer.commit({self._place(claim): offset})
        except (CommitFailedError, IllegalStateError) as lost:
            raise self._lost(claim) from lost
        except KafkaError as away:
            raise Busy(f"the commit of {self._group} was not taken: {away!r}") from away

    async def close(self) -> None:
        """Leave the group, so that others take over at once. Does not commit."""
        if self._bus.gone(self):
            self._owned = frozenset()
            if self._fetching:
                self._fetching.cancel()
            await self._consumer.stop()

    async def _fetch(self, timeout_ms: int, max_records: int) -> Fetched:
        """Records, whose positions have moved with them: the fetch of a poll that was cut off is the next one's."""
        fetching = self._fetching = self._fetching or asyncio.create_task(
            self._consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)
        )
        try:
            found: Fetched = await asyncio.shield(fetching)
        except KafkaError as away:
            self._fetching = None
            raise Busy(f"Kafka does not answer: {away!r}") from away
        self._fetching = None
        return found

    def _follow(self) -> bool:
        """Own what is assigned now; what was assigned anew is missing until the next poll, so that its owner starts anew too."""
        if self._listener.moved.is_set():
            self._listener.moved.clear()
            self._owned = frozenset()
            return True
        self._owned = frozenset(Claim(self._settings.logical(one.topic), one.partition) for one in self._consumer.assignment())
        return False

    def _unread(self, found: Fetched) -> None:
        """Records that came with the rebalance come again with the next poll."""
        for where, records in found.items():
            if where in self._consumer.assignment():
                self._consumer.seek(where, records[0].offset)

    def _place(self, claim: Claim) -> TopicPartition:
        return TopicPartition(self._settings.physical(claim.topic), claim.partition)

    def _lost(self, claim: Claim) -> NotOwner:
        return NotOwner(f"{claim.topic}[{claim.partition}] of group {self._group} belongs to another member")


def record_of(one: ConsumerRecord, settings: KafkaSettings) -> Record:
    """A record as Kafka gives it, as we know it: a tombstone is an empty value, a missing key the empty one."""
    return Record(
        topic=settings.logical(one.topic),
        partition=one.partition,
        offset=one.offset,
        key=(one.key or b"").decode("utf-8", "replace"),
        value=one.value or b"",
        headers={name: value or b"" for name, value in one.headers},
        appended_at=datetime.fromtimestamp(max(0, one.timestamp) / 1000, UTC),
    )


async def _in_words(call: Awaitable[T]) -> T:
    try:
        return await call
    except KafkaError as away:
        raise Busy(f"Kafka does not answer: {away!r}") from away
