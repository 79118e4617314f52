"""
The shell on Kafka: one Faust app per role reads the partitions of its group and hands what it read to the carrier.

Measured on Faust 0.15.3 (docs/decisions/0011): a record costs it some 60 µs whatever is in it, so a record is an envelope
of many events. Values are raw bytes; there are no tables; the web server is off. Faust's own acks are off as well: after a
rebalance its stream acks what it skips as stale, which a crash at that moment would lose. What is done is committed by the
carrier, offset by offset, only after it is stored and published.
"""

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode import CrashingSupervisor

from driftwheel.bus import Claim, Record
from driftwheel.bus.kafka_client import KafkaSettings, group_id, tls, token_provider
from driftwheel.errors import DriftwheelError, NotOwner
from driftwheel.pipeline import Worker
from driftwheel.pipeline.carrier import Carrier, Outside, ShellSettings
from driftwheel.pipeline.health import Health

log = logging.getLogger(__name__)

HAND_OVER_S = 30.0
"""How long a rebalance waits for the batch in hand; half of the time that Kafka gives a member to join again."""


PARTS = 4
"""Batches of `max_bytes` that are held at a time: waiting for the next ones costs up to `linger_s`, every four batches."""


class _ReadsOnly(BootStrategy):  # type: ignore[misc]  # faust's classes are seen as untyped
    """What follows from a batch goes out through our bus: Faust's producer would be a second connection that nobody uses."""

    enable_kafka_producer = False
    enable_web = False


class _App(faust.App):  # type: ignore[misc]
    BootStrategy = _ReadsOnly


class FaustShell:
    """Runs one core on the partitions that its group gives it, until told to stop. Any error ends it: start it again."""

    def __init__(self, worker: Worker, outside: Outside, kafka: KafkaSettings, settings: ShellSettings | None = None) -> None:
        self._worker, self._kafka, self._settings = worker, kafka, settings or ShellSettings()
        self._carrier = Carrier(worker, outside, self._settings, self._commit)
        self._turn = asyncio.Lock()
        self._stop = asyncio.Event()
        self._open = False
        self._followed = self._held = 0
        self._room = asyncio.Event()
        self._app = app_of(group_id(kafka, worker.group), kafka)
        topic = self._app.topic(*map(kafka.physical, worker.topics), value_serializer="raw", key_serializer="raw", acks=False)
        self._app.agent(topic, name=worker.group, supervisor_strategy=CrashingSupervisor)(self._read)
        self._app.on_partitions_revoked.connect(self._hand_over)
        self._app.on_partitions_assigned.connect(self._take_over)

    @property
    def health(self) -> Health:
        """How it does."""
        return self._carrier.health

    @property
    def claims(self) -> frozenset[Claim]:
        """The partitions that it works on."""
        return self._carrier.claims

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop* is set; what is in hand then is finished first. Raises what the app crashed of."""
        self._stop, self._carrier.retry.gave_up = stop, stop.is_set
        await self._app.start()
        try:
            while not stop.is_set():
                if self._app.crashed:
                    raise DriftwheelError(f"{self._worker.group}: the consumer crashed ({self._app.crash_reason!r})")
                try:
                    await asyncio.wait_for(stop.wait(), self._settings.tick_s)
                except TimeoutError:
                    await self._tick()
            async with self._turn:
                self._open = False
        finally:
            await self._app.stop()

    async def _read(self, stream: Any) -> None:  # noqa: ANN401  a faust.Stream
        stream.add_processor(self._admit)
        async for events in stream.noack_take(self._settings.max_records, within=self._settings.linger_s):
            for part in in_bytes([event.message for event in events], self._settings.max_bytes):
                async with self._turn:
                    await self._batch(part)
                if self.health.paused:
                    await self._stop.wait()
            self._held -= sum(len(event.message.value or b"") for event in events)
            self._room.set()

    async def _admit(self, value: bytes | None) -> bytes | None:
        """Faust counts records, we bytes: a record goes on to the buffer of `noack_take` once there is room for it."""
        size = len(value or b"")
        while self._held and self._held + size > PARTS * self._settings.max_bytes:
            self._room.clear()
            await self._room.wait()
        self._held += size
        return value

    async def _batch(self, messages: Sequence[Any]) -> None:
        """One batch. What was read before a rebalance is dropped: whoever has the partition now reads it again."""
        if await self._follow() and (
            records := [record_of(message, self._kafka) for message in messages if message.generation_id == self._followed]
        ):
            await self._carrier.step(records)

    async def _tick(self) -> None:
        if self._turn.locked() or self.health.paused:
            return  # a batch is under way, or it waits for the store: either is more than a tick
        async with self._turn:
            if await self._follow():
                await self._carrier.step([])

    async def _follow(self) -> bool:
        """Work on what this member owns since the last rebalance, everything seeded anew. False while one is under way."""
        while self._open and self._followed != (now := self._app.consumer_generation_id):
            await self._carrier.follow(())
            await self._carrier.follow(Claim(self._kafka.logical(one.topic), one.partition) for one in self._app.consumer.assignment())
            self._followed = now
        return self._open

    async def _hand_over(self, _app: object, revoked: set[object], **_: object) -> None:
        """Before others read these partitions, finish and commit the batch in hand: then they repeat nothing."""
        self._open = False
        try:
            async with asyncio.timeout(HAND_OVER_S), self._turn:
                log.info("%s hands over %d partitions", self._worker.group, len(revoked))
        except TimeoutError:
            log.warning("%s: the batch in hand is not done after %.0f s; its next owner does it again", self._worker.group, HAND_OVER_S)

    async def _take_over(self, _app: object, assigned: set[object], **_: object) -> None:
        log.info("%s takes over %d partitions", self._worker.group, len(assigned))
        self._open = True

    async def _commit(self, claim: Claim, offset: int) -> None:
        """Faust's `Consumer.commit` knows only its own acks; the driver's is the one that takes an offset, and crashes of what is lost."""
        consumer, where = self._app.consumer, faust.types.TP(self._kafka.physical(claim.topic), claim.partition)
        if where not in consumer.assignment() or not await consumer._commit({where: offset}):  # noqa: SLF001
            raise NotOwner(f"{claim.topic}[{claim.partition}] of group {self._worker.group} belongs to another member")


def app_of(group: str, kafka: KafkaSettings) -> faust.App:
    """An app that reads as *group*, with the settings that were measured (docs/decisions/0011)."""
    return _App(
        group,
        broker=[f"kafka://{server}" for server in kafka.servers.split(",")],
        broker_credentials=credentials(kafka),
        store="memory://",
        datadir=Path(tempfile.gettempdir()) / "driftwheel-faust",
        autodiscover=False,
        web_enabled=False,
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{group}-{kafka.slot}" if kafka.slot else None,
        consumer_max_fetch_size=4 * 1024**2,
        stream_buffer_maxsize=128,
        broker_max_poll_records=64,
        stream_wait_empty=False,
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.session_timeout_s / 5,
        broker_rebalance_timeout=60.0,
        broker_request_timeout=90.0,
    )


def credentials(kafka: KafkaSettings) -> object:
    """What Faust sends to the brokers; None where they ask for nothing."""
    if kafka.security == "PLAINTEXT":
        return None
    context = tls(kafka)
    if kafka.security == "SSL":
        return faust.SSLCredentials(context)
    if kafka.mechanism == "OAUTHBEARER":
        return faust.OAuthCredentials(oauth_cb=token_provider(kafka), ssl_context=context)
    return faust.SASLCredentials(username=kafka.user, password=kafka.password, mechanism=kafka.mechanism, ssl_context=context)


def record_of(message: Any, kafka: KafkaSettings) -> Record:  # noqa: ANN401  a faust.types.Message
    """A message of Faust as we know it: a tombstone is an empty value."""
    return Record(
        topic=kafka.logical(message.topic),
        partition=message.partition,
        offset=message.offset,
        key=(message.key or b"").decode("utf-8", "replace"),
        value=message.value or b"",
        headers={name: value or b"" for name, value in _pairs(message.headers)},
        appended_at=datetime.fromtimestamp(max(0.0, message.timestamp), UTC),
    )


def in_bytes(messages: Sequence[Any], most: int) -> Iterator[list[Any]]:
    """*messages* in parts of at most *most* bytes, or of one message."""
    part: list[Any] = []
    size = 0
    for message in messages:
        length = len(message.value or b"")
        if part and size + length > most:
            yield part
            part, size = [], 0
        part.append(message)
        size += length
    if part:
        yield part


def _pairs(headers: Any) -> Sequence[tuple[str, bytes | None]]:  # noqa: ANN401
    return list(headers.items()) if hasattr(headers, "items") else list(headers or ())
