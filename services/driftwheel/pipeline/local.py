"""
The local shell: runs a core against a bus and a store, in the one order that loses nothing (docs/architecture.md).

Ask, process, insert (only what is missing, text before facts), publish, tell the dead letters, ack. A kill anywhere
in between is mended by the next owner, which does the same again.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import msgspec

from driftwheel.bus import Bus, Claim, Consumer, Record
from driftwheel.errors import NotOwner, TooManyRejects
from driftwheel.pipeline import Ack, Answer, Batch, Bury, Insert, Outcome, Publish, Question, Worker
from driftwheel.pipeline.envelope import MAX_BYTES, pack
from driftwheel.pipeline.patience import Patience
from driftwheel.store import Store
from driftwheel_schemas import DeadLetter, dead_letters_of

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Records read at a time while they may be big: a batch exceeds its `max_bytes` by 28 MiB (of 900 KiB each) then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellSettings:
    """
    How a shell batches and retries.

    It gathers records for `linger_s`, or until `max_records` or `max_bytes`: the three inserts of a batch cost some 80 ms
    of CPU however few rows they have, which is 12 µs an event in a full batch (6,500 events of 1.2 KB).
    Below 0.5 s of lingering the store makes parts faster than two cores merge them. `max_records` is what the enrich
    worker takes at once, so that events sent one by one are all enriched.
    """

    linger_s: float = 0.5
    max_records: int = 500
    max_bytes: int = 8 * 1024 * 1024
    tick_s: float = 1.0
    retry_for_s: float = 300.0


@dataclass(slots=True)
class Health:
    """How a shell does: what `/health/ready` and `/metrics` tell."""

    paused: str = ""
    ready: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, counts: Mapping[str, int]) -> None:
        """Add *counts* to what was counted so far."""
        for name, n in counts.items():
            self.counts[name] = self.counts.get(name, 0) + n


class Shell:
    """Runs one core until told to stop. Restart it after any error: nothing acked is undone, nothing else is lost."""

    def __init__(
        self, worker: Worker, bus: Bus, store: Store, *, clock: Callable[[], datetime], settings: ShellSettings | None = None
    ) -> None:
        self.health = Health()
        self._worker, self._bus, self._store, self._clock = worker, bus, store, clock
        self._settings = settings or ShellSettings()
        self._doubt: dict[Claim, int] = {}
        self._biggest = MAX_BYTES
        self._retry = Patience(worker.group, for_s=self._settings.retry_for_s)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop* is set; what is in hand then is finished first."""
        self._retry.gave_up = stop.is_set
        consumer = await self._bus.consumer(self._worker.group, self._worker.topics)
        try:
            while not stop.is_set():
                records = await self._gather(consumer)
                try:
                    await self._step(consumer, records)
                except NotOwner as lost:
                    log.warning("%s: %s; its new owner does the rest", self._worker.group, lost)
                except TooManyRejects as reason:
                    self.health.paused, self.health.ready = str(reason), False
                    log.error("%s stands still: %s", self._worker.group, reason)  # noqa: TRY400  a sentence, no traceback
                    await stop.wait()
        finally:
            await consumer.close()

    async def _gather(self, consumer: Consumer) -> list[Record]:
        """Records of some *linger_s*, none after a tick; those of a partition that is new here only after its seeds."""
        end = time.monotonic() + self._settings.tick_s
        records: list[Record] = []
        while (room := self._room(records)) > 0 and (left := end - time.monotonic()) > 0:
            more = await self._retry(partial(consumer.poll, max_records=room, timeout_s=left))
            if more and not records:
                end = min(end, time.monotonic() + self._settings.linger_s)
            self._biggest = max((len(record.value) for record in more), default=self._biggest)
            records += more
            kept = await self._take_over(consumer)
            records = [record for record in records if Claim(record.topic, record.partition) in kept]
        return records

    def _room(self, records: Sequence[Record]) -> int:
        """How many records to read next, by the biggest of those read last; none when the batch is full. Each read costs 1 to 10 ms."""
        left = self._settings.max_bytes - sum(len(record.value) for record in records)
        return min(self._settings.max_records - len(records), max(AT_ONCE, left // self._biggest)) if left > 0 else 0

    async def _take_over(self, consumer: Consumer) -> frozenset[Claim]:
        """Follow a rebalance. The partitions that were owned before it and still are: only their records are in order."""
        owned, before = consumer.owned(), frozenset(self._doubt)
        for claim in before - owned:
            self._worker.revoked(claim)
            del self._doubt[claim]
        for claim in sorted(owned - before):
            answers = await self._ask(self._worker.seeds(claim, await self._bus.partitions(claim.topic)))
            start = self._worker.assigned(claim, answers)
            end = (await self._bus.ends(claim.topic))[claim.partition]
            await consumer.seek(claim, await consumer.committed(claim) if start is None else start)
            self._doubt[claim] = end
        self.health.ready = True
        return owned & before

    async def _step(self, consumer: Consumer, records: Sequence[Record]) -> None:
        batch = Batch(records, self._clock())
        answers = await self._ask(self._worker.wants(batch))
        outcome = await asyncio.to_thread(self._worker.process, batch, answers)
        doubtful = any(record.offset < self._doubt[Claim(record.topic, record.partition)] for record in records)
        for step in outcome.steps():
            match step:
                case Insert():
                    await self._insert(step, doubtful=doubtful)
                case Publish():
                    await self._retry(partial(self._bus.append, step.records))
                case Bury():
                    await self._bury(step.letters)
                case Ack():  # what landed is known even if the partition turns out to be another's by now
                    self._land(outcome)
                    for claim, offset in step.offsets.items():
                        await self._retry(partial(consumer.commit, claim, offset))
        if not outcome.acks:
            self._land(outcome)

    def _land(self, outcome: Outcome) -> None:
        self._worker.landed(outcome)
        self.health.count(outcome.counts)

    async def _insert(self, insert: Insert, *, doubtful: bool) -> None:
        """Insert what is missing. Where an earlier try may have landed, the store is asked first what is there."""
        ask = doubtful

        async def once() -> None:
            nonlocal ask
            rows = await asyncio.to_thread(self._store.missing, insert.table, insert.rows) if ask else insert.rows
            ask = True
            if rows:
                await asyncio.to_thread(self._store.insert, insert.table, rows)

        await self._retry(once)

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        await self._insert(Insert("dead_letters", [msgspec.to_builtins(letter) for letter in letters]), doubtful=True)
        for topic in sorted({letter.topic for letter in letters}):
            keyed = [(letter.id, letter) for letter in letters if letter.topic == topic]
            target = dead_letters_of(topic)
            envelopes = list(pack(target, await self._bus.partitions(target), keyed))
            await self._retry(partial(self._bus.append, envelopes))

    async def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        return [await self._retry(partial(asyncio.to_thread, self._store.ask, one.name, one.params)) for one in questions]
