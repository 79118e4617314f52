"""
The bus on Apache Kafka, through aiokafka. Topics are never created in passing: `driftwheel admin topics apply` does that.

Kafka keeps what was acknowledged by all in-sync replicas (`acks=all`, idempotent producer). A call of `append` that
fails may have landed in part: it is sent again, and identity is the event id (docs/architecture.md).
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import CommitFailedError, KafkaError, MessageSizeTooLargeError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from driftwheel.bus import Consumer, Outgoing
from driftwheel.bus._kafka_consumer import KafkaConsumer
from driftwheel.bus.kafka_client import KafkaSettings, client_options, group_id
from driftwheel.bus.kafka_topics import Step, apply, delete, partitions_of, plan, read
from driftwheel.errors import Busy, ConfigError
from driftwheel_schemas import partition_of
from driftwheel_schemas.topics import Topic

log = logging.getLogger(__name__)

SILENCE_S = 30.0
"""A consumer that does not poll for so long leaves its group; the port asks for a poll every ten seconds."""

LARGEST = 8 * 1024**2
"""Of a record, 8 MiB: our own are below 1 MiB, the broker's `max.message.bytes` decides about those of others."""


C = TypeVar("C", AIOKafkaProducer, AIOKafkaConsumer, AIOKafkaAdminClient)


class KafkaBus:
    """The `Bus` port on a cluster. Connects at the first use; closed with `close`."""

    def __init__(self, settings: KafkaSettings, *, silence_s: float = SILENCE_S) -> None:
        self.settings = settings
        self._silence_s = silence_s
        self.unread: Counter[str] = Counter()
        self._gone: dict[tuple[str, str, int], int] = {}
        self._counts: dict[str, int] = {}
        self._open = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._consumers: list[KafkaConsumer] = []

    async def ensure(self, topics: Sequence[Topic]) -> None:
        """Create what is missing of *topics*. Raises `ConfigError` for a topic that has other partitions."""
        steps = await self.plan(topics)
        if wrong := [step for step in steps if step.kind in {"partitions", "fewer-partitions"}]:
            raise ConfigError(f"{wrong[0]}; every event would get another place: `driftwheel admin topics apply --accept-rekey` adds them")
        async with self.admin() as admin:
            await apply(admin, [step for step in steps if step.kind == "create"])

    async def plan(self, topics: Sequence[Topic]) -> list[Step]:
        """What differs between *topics* and the cluster."""
        async with self.admin() as admin:
            wanted = [replace(topic, name=self.settings.physical(topic.name)) for topic in topics]
            return plan(wanted, await read(admin, wanted), replication=self.settings.replication, namespace=self.settings.namespace)

    async def apply(self, steps: Sequence[Step], *, accept_rekey: bool = False) -> list[Step]:
        """Do *steps*; those that were done. Raises `ConfigError` for more partitions without *accept_rekey*."""
        self._counts = {}
        async with self.admin() as admin:
            return await apply(admin, steps, accept_rekey=accept_rekey)

    async def delete(self, topics: Sequence[Topic]) -> None:
        """Delete *topics* with all that is in them: for installations that were made for an hour, as the demo's."""
        async with self.admin() as admin:
            await delete(admin, {self.settings.physical(topic.name) for topic in topics})

    async def partitions(self, topic: str) -> int:
        """How many partitions *topic* has. Raises `ConfigError` for an unknown topic, naming the known ones."""
        name = self.settings.physical(topic)
        if name not in self._counts:
            async with self.admin() as admin:
                self._counts = await partitions_of(admin)
            if name not in self._counts:
                known = ", ".join(sorted(name for name in self._counts if not name.startswith("__"))) or "none yet"
                raise ConfigError(
                    f"no topic called {name!r} on {self.settings.servers}; known: {known}. Run `driftwheel admin topics apply`"
                )
        return self._counts[name]

    async def append(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """Append *records*, all of one topic: the partition and offset of each, once all are durable."""
        if not records:
            return []
        count = await self.partitions(records[0].topic)
        placed, name = [_place(one, count) for one in records], self.settings.physical(records[0].topic)
        producer = await self._producing()
        try:
            sent = [
                await producer.send(name, one.value, key=one.key.encode() or None, partition=partition, headers=list(one.headers.items()))
                for one, partition in zip(records, placed, strict=True)
            ]
            await asyncio.wait(sent)  # not gather: a caller that gives up must not cancel what others share
            done = [one.result() for one in sent]
        except MessageSizeTooLargeError as big:
            raise ConfigError(f"{records[0].topic}: the broker takes no record that large ({big}); see max.message.bytes") from big
        except KafkaError as away:
            raise Busy(f"Kafka did not take it: {away!r}") from away
        return [(one.partition, one.offset) for one in done]

    async def consumer(self, group: str, topics: Sequence[str]) -> Consumer:
        """A new member of *group* that reads *topics*."""
        for topic in topics:
            await self.partitions(topic)
        consumer = KafkaConsumer(self, group, topics, self._silence_s)
        self._consumers.append(consumer)
        await consumer.start()
        return consumer

    async def ends(self, topic: str) -> dict[int, int]:
        """For each partition the offset that the next record will get."""
        wanted = await self._places(topic)
        reader = await self._reading()
        return {where.partition: end for where, end in (await _asked(reader.end_offsets(wanted))).items()}

    async def begins(self, topic: str) -> dict[int, int]:
        """For each partition the oldest offset that is kept."""
        wanted = await self._places(topic)
        reader = await self._reading()
        return {where.partition: begin for where, begin in (await _asked(reader.beginning_offsets(wanted))).items()}

    async def lag(self, group: str, topic: str) -> dict[int, int]:
        """For each partition how many records *group* has not committed yet; what retention took from it is logged and counted once."""
        name = self.settings.physical(topic)
        done = {where.partition: offset for where, offset in (await self._committed(group)).items() if where.topic == name}
        begins = await self.begins(topic)
        for partition, offset in done.items():
            told = self._gone.get((group, topic, partition), offset)
            if (lost := begins[partition] - max(offset, told)) > 0:
                self._gone[group, topic, partition] = begins[partition]
                self.unread[topic] += lost
                log.error(
                    "%s[%d]: retention dropped %d records that %s had not read; see lag and retention.ms", name, partition, lost, group
                )
        return {p: end - max(done.get(p, 0), begins[p]) for p, end in (await self.ends(topic)).items()}

    async def known(self, group: str) -> bool:
        """Whether *group* has ever committed anything: a role that was never started is not behind."""
        return bool(await self._committed(group))

    async def rewind(self, group: str, topic: str, to: datetime | int) -> dict[int, int]:
        """
        Let *group* read *topic* again from a time on, or from an offset of every partition; where each partition then is.

        Raises `ConfigError` while the group has members: they would go on from where they are.
        """
        places = await self._places(topic)
        consumer = AIOKafkaConsumer(**client_options(self.settings), group_id=group_id(self.settings, group), enable_auto_commit=False)
        begins, ends = await self.begins(topic), await self.ends(topic)
        await _started(consumer, self.settings)
        try:
            consumer.assign(places)
            if isinstance(to, datetime):
                found = await consumer.offsets_for_times(dict.fromkeys(places, int(to.timestamp() * 1000)))
                wanted = {place: one.offset if one else ends[place.partition] for place, one in found.items()}
            else:
                wanted = dict.fromkeys(places, to)
            wanted = {place: min(max(offset, begins[place.partition]), ends[place.partition]) for place, offset in wanted.items()}
            await consumer.commit(wanted)
        except CommitFailedError as members:
            raise ConfigError(f"the group {group_id(self.settings, group)} has members; stop its workers first") from members
        except KafkaError as away:
            raise Busy(f"Kafka at {self.settings.servers} does not answer: {away!r}") from away
        finally:
            await consumer.stop()
        return {place.partition: offset for place, offset in wanted.items()}

    async def close(self) -> None:
        """Flush and let go. Consumers are closed too."""
        for consumer in list(self._consumers):
            await consumer.close()
        producer, reader, admin = self._producer, self._reader, self._admin
        self._producer = self._reader = self._admin = None
        for client in (producer, reader):
            if client:
                await client.stop()
        if admin:
            await admin.close()

    def gone(self, consumer: KafkaConsumer) -> bool:
        """Forget *consumer*, which closes. Whether it was open."""
        known = consumer in self._consumers
        if known:
            self._consumers.remove(consumer)
        return known

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """The admin client, connected. Raises `Busy` where the cluster does not answer."""
        async with self._open:
            if self._admin is None:
                self._admin = await _started(AIOKafkaAdminClient(**client_options(self.settings)), self.settings)
        try:
            yield self._admin
        except KafkaError as away:
            raise Busy(f"Kafka at {self.settings.servers} does not answer: {away!r}") from away

    async def _committed(self, group: str) -> dict[TopicPartition, int]:
        async with self.admin() as admin:
            found = await _asked(admin.list_consumer_group_offsets(group_id(self.settings, group)))
        return {where: one.offset for where, one in found.items() if one.offset >= 0}

    async def _places(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(self.settings.physical(topic), partition) for partition in range(await self.partitions(topic))]

    async def _producing(self) -> AIOKafkaProducer:
        async with self._open:
            if self._producer is None:
                self._producer = await _started(
                    AIOKafkaProducer(
                        **client_options(self.settings),
                        acks="all",
                        enable_idempotence=True,
                        compression_type="lz4",
                        linger_ms=5,
                        max_batch_size=1024**2,  # one record of 900 KiB must fit
                        max_request_size=LARGEST,
                        request_timeout_ms=30_000,
                    ),
                    self.settings,
                )
        return self._producer

    async def _reading(self) -> AIOKafkaConsumer:
        async with self._open:
            if self._reader is None:
                self._reader = await _started(AIOKafkaConsumer(**client_options(self.settings), group_id=None), self.settings)
        return self._reader


def _place(one: Outgoing, count: int) -> int | None:
    if one.partition is not None and not 0 <= one.partition < count:
        raise ConfigError(f"{one.topic} has partitions 0 to {count - 1}, not {one.partition}")
    if one.partition is None and one.key:
        return partition_of(one.key, count)
    return one.partition


async def _started(client: C, settings: KafkaSettings) -> C:
    """*client*, connected. Raises `Busy` when nobody answers, `ConfigError` when we are not let in."""
    try:
        await client.start()
    except (KafkaError, OSError) as away:
        with contextlib.suppress(KafkaError, OSError):  # the first error is the one to tell
            await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
        if refusal := await _refusal(settings):
            raise ConfigError(
                f"bus.kafka.user: {settings.servers} does not let {settings.user or 'us'!r} in ({refusal}); mend user and password, or token, and mechanism"
            ) from away
        raise Busy(f"Kafka at {settings.servers} does not answer: {away!r}; see bus.kafka.servers") from away
    return client


async def _refusal(settings: KafkaSettings) -> str:
    """What a server says to who we are, empty where it says nothing: aiokafka tells that to its log alone, and us that nobody answers."""
    options = client_options(settings)
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers")):
        try:
            connection = await create_conn(host, port, **options)
        except (SaslAuthenticationFailed, UnsupportedSaslMechanismError) as no:
            return str(no)
        except (KafkaError, OSError):  # away, which the caller knows
            continue
        connection.close()
    return ""


async def _asked(call: Awaitable[dict[TopicPartition, Any]]) -> dict[TopicPartition, Any]:
    try:
        return await call
    except KafkaError as away:
        raise Busy(f"Kafka does not answer: {away!r}") from away
