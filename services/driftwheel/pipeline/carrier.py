"""
What both shells share: a core, the store and the bus, and the one order that loses nothing (docs/architecture.md).

Ask, process, insert (only what is missing, text before facts), publish, tell the dead letters, ack. A kill anywhere in
between is mended by the next owner, which does the same again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec

from driftwheel.bus import Bus, Claim, Record
from driftwheel.errors import NotOwner, TooManyRejects
from driftwheel.pipeline import Ack, Answer, Batch, Bury, Insert, Outcome, Publish, Question, Worker
from driftwheel.pipeline.health import Health
from driftwheel.pipeline.letters import outgoing
from driftwheel.pipeline.patience import Patience
from driftwheel.store import Store
from driftwheel_schemas import DeadLetter

log = logging.getLogger(__name__)

LAG_EVERY_S = 5.0

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
class Outside:
    """What a shell works with: the bus, the store, the clock."""

    bus: Bus
    store: Store
    clock: Callable[[], datetime]


@dataclass(slots=True)
class _Doubt:
    """
    The first records of a partition, of which an earlier owner may have had some in hand: as many as a batch holds.

    Asking about every record of a long backlog would cost a look-up of each id, some 10 µs, and as many bound parameters.
    """

    records: int
    bytes_: int

    def covers(self, record: Record) -> bool:
        """Whether *record*, the next one, is in doubt."""
        if self.records <= 0:
            return False
        self.records -= 1
        self.bytes_ -= len(record.value)
        if self.bytes_ <= 0:
            self.records = min(self.records, AT_ONCE)
        return True


Commit = Callable[[Claim, int], Awaitable[None]]
"""Everything of the claim below the offset is done; raises `NotOwner` when the partition is another's by now."""


class Carrier:
    """Carries out what one core wants. Restart it after any error: nothing acked is undone, nothing else is lost."""

    def __init__(self, worker: Worker, outside: Outside, settings: ShellSettings, commit: Commit) -> None:
        self.worker, self.health = worker, Health()
        self.retry = Patience(worker.group, for_s=settings.retry_for_s, waits=self.health.waits)
        self._outside, self._commit = outside, commit
        self._settings = settings
        self._doubt: dict[Claim, _Doubt] = {}
        self._lag_at = 0.0

    @property
    def claims(self) -> frozenset[Claim]:
        """The partitions that the core works on."""
        return frozenset(self._doubt)

    async def follow(self, owned: Iterable[Claim]) -> None:
        """Give up what is not *owned* any more, take over what is owned anew: ask what is stored of it."""
        owned = frozenset(owned)
        for claim in self.claims - owned:
            self.worker.revoked(claim)
            del self._doubt[claim]
        if owned - self.claims:  # before anything is acked: what retention took meanwhile is seen only now
            await self._look_at_lag(now=True)
        for claim in sorted(owned - self.claims):
            answers = await self._ask(self.worker.seeds(claim, await self._outside.bus.partitions(claim.topic)))
            self.worker.assigned(claim, answers)
            self._doubt[claim] = _Doubt(self._settings.max_records, self._settings.max_bytes)
        self.health.ready = True

    async def step(self, records: Sequence[Record]) -> bool:
        """One batch, or a mere tick. False when the worker must stand still: most of the batch is bad, nothing of it is acked."""
        self.health.alive()
        try:
            await self._step(records)
            await self._look_at_lag()
        except NotOwner as lost:
            log.warning("%s: %s; its new owner does the rest", self.worker.group, lost)
        except TooManyRejects as reason:
            self.health.paused, self.health.ready = str(reason), False
            log.error("%s stands still: %s", self.worker.group, reason)  # noqa: TRY400  a sentence, no traceback
            return False
        return True

    async def _step(self, records: Sequence[Record]) -> None:
        batch = Batch(records, self._outside.clock())
        answers = await self._ask(self.worker.wants(batch))
        began = time.perf_counter()
        outcome = await asyncio.to_thread(self.worker.process, batch, answers)
        self.health.took("process", time.perf_counter() - began)
        doubtful = self._doubtful(records) or outcome.doubtful
        for step in outcome.steps():
            began = time.perf_counter()
            match step:
                case Insert():
                    await self._insert(step, doubtful=doubtful)
                case Publish():
                    await self.retry(partial(self._outside.bus.append, step.records))
                case Bury():
                    await self._bury(step.letters)
                case Ack():  # what landed is known even if the partition turns out to be another's by now
                    self._land(outcome)
                    for claim, offset in step.offsets.items():
                        await self.retry(partial(self._commit, claim, offset))
            self.health.took(type(step).__name__.lower(), time.perf_counter() - began)
        if not outcome.acks:
            self._land(outcome)
        self.health.batch(records, self._outside.clock())

    def _doubtful(self, records: Sequence[Record]) -> bool:
        """Whether an earlier owner may have stored some of *records* without acking them."""
        return sum(self._doubt[Claim(record.topic, record.partition)].covers(record) for record in records) > 0

    def _land(self, outcome: Outcome) -> None:
        self.worker.landed(outcome)
        self.health.count(outcome.counts)

    async def _insert(self, insert: Insert, *, doubtful: bool) -> None:
        """Insert what is missing. Where an earlier try may have landed, the store is asked first what is there."""
        ask, store = doubtful, self._outside.store

        async def once() -> None:
            nonlocal ask
            rows = await asyncio.to_thread(store.missing, insert.table, insert.rows) if ask else insert.rows
            self.health.count({"skipped": len(insert.rows) - len(rows)})
            ask = True
            if rows:
                await asyncio.to_thread(store.insert, insert.table, rows)

        await self.retry(once)

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        """Rows to look at, and the original bytes on the topic of dead letters."""
        await self._insert(Insert("dead_letters", [msgspec.to_builtins(letter) for letter in letters]), doubtful=True)
        for topic in sorted({letter.topic for letter in letters}):
            await self.retry(partial(self._outside.bus.append, [outgoing(letter) for letter in letters if letter.topic == topic]))

    async def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        return [await self.retry(partial(asyncio.to_thread, self._outside.store.ask, one.name, one.params)) for one in questions]

    async def _look_at_lag(self, *, now: bool = False) -> None:
        """How far behind this worker is, every five seconds or *now*."""
        if not now and time.monotonic() - self._lag_at < LAG_EVERY_S:
            return
        self._lag_at = time.monotonic()
        lags: dict[Claim, int] = {}
        for topic in self.worker.topics:
            lag = await self.retry(partial(self._outside.bus.lag, self.worker.group, topic))
            lags |= {claim: lag[claim.partition] for claim in self.claims if claim.topic == topic}
        self.health.lags(lags)
        if gone := sum(self._outside.bus.unread[topic] for topic in self.worker.topics):
            self.health.counts["dropped_unread"] = gone
