"""The role `jobs`: approved triggers → jobs, one at a time, each told to the store and the bus as it moves on."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from driftwheel.answers import resolve
from driftwheel.bus import Bus, Claim, Consumer, Record
from driftwheel.errors import Interrupted
from driftwheel.jobs.dataset import Example
from driftwheel.jobs.launchers import Launcher
from driftwheel.jobs.outside import Outside, Said, Snapshot
from driftwheel.jobs.promote import Champion, champion_of
from driftwheel.jobs.runner import run_job
from driftwheel.jobs.settings import JobSettings
from driftwheel.pipeline.envelope import open_envelopes, pack
from driftwheel.pipeline.health import Health
from driftwheel.pipeline.letters import outgoing
from driftwheel.pipeline.patience import Patience
from driftwheel.store import Row, Store
from driftwheel_schemas import DeadLetter, Incident, Job, Promotion, Trigger
from driftwheel_schemas.topics import JOBS, PROMOTIONS, TRIGGERS

T = TypeVar("T")

log = logging.getLogger(__name__)

EXAMPLES = 20_000
DAYS = 90
"""How many examples a dataset is chosen from, and of how many days: what the store keeps of inferences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where jobs run and how: the data folder, the settings, the clock."""

    data: Path
    settings: JobSettings
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class _Todo:
    """A trigger in its place; None for one that could not be read."""

    trigger: Trigger | None
    claim: Claim
    offset: int


class Jobs:
    """
    Runs jobs, one at a time, until told to stop.

    A trigger is acked at the end of its job, so a job that was cut off goes on where it was at the next start.
    """

    def __init__(self, bus: Bus, store: Store, launcher: Launcher, place: Place, health: Health | None = None) -> None:
        self._health = health or Health()
        self._bus, self._store, self._place = bus, store, place
        self._patience = Patience("jobs")
        self._stopping = asyncio.Event()
        self._outside = Outside(
            examples=self._examples,
            champion=lambda trigger: champion(self._store, trigger.tenant, trigger.app),
            launcher=launcher,
            emit=self._emit,
            clock=place.clock,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """
        Work until *stop*; the job in hand then is cut off at its next word.

        A job takes minutes to hours. The consumer keeps polling meanwhile: a member that is silent for ten seconds
        loses its partitions.
        """
        self._stopping, self._patience.gave_up, self._loop = stop, stop.is_set, asyncio.get_running_loop()
        consumer = await self._bus.consumer("jobs", [TRIGGERS])
        todo: deque[_Todo] = deque()
        running: asyncio.Task[None] | None = None
        try:
            while not stop.is_set():
                records = await self._patience(partial(consumer.poll, max_records=100, timeout_s=0.5))
                self._health.alive()
                self._health.ready = True
                todo += [one for record in records for one in await self._open(record)]
                if running and running.done():
                    await running
                    running = None
                if todo and not running:
                    running = asyncio.create_task(self._one(consumer, todo.popleft()))
        finally:
            if running:
                await asyncio.gather(running, return_exceptions=True)
            await consumer.close()

    async def _open(self, record: Record) -> list[_Todo]:
        """The triggers in *record*, what cannot be read buried; only the last of them acks, when all of it is done."""
        opened = open_envelopes([record], Trigger)
        if opened.letters:
            await self._bury(opened.letters)
        claim = Claim(record.topic, record.partition)
        return [*(_Todo(placed.event, claim, record.offset - 1) for placed in opened.events), _Todo(None, claim, record.offset)]

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        """Rows to look at, and the original bytes on the topic of dead letters, as every worker does."""
        log.error("%s offset %s: %s; it is in dead_letters", letters[0].topic, letters[0].offset, letters[0].detail)
        rows = [msgspec.to_builtins(letter) for letter in letters]
        await self._patience(
            partial(asyncio.to_thread, lambda: self._store.insert("dead_letters", self._store.missing("dead_letters", rows)))
        )
        await self._patience(partial(self._bus.append, [outgoing(letter) for letter in letters]))

    async def _one(self, consumer: Consumer, todo: _Todo) -> None:
        trigger = todo.trigger
        if trigger and trigger.state == "approved":
            log.info("trigger %s of policy %s: %s for %s", trigger.id, trigger.policy, trigger.job, trigger.app)
            place = self._place
            try:
                job = await asyncio.to_thread(run_job, trigger, outside=self._outside, data=place.data, settings=place.settings)
            except Interrupted:
                return
            log.info("job %s %s: %s", job.id, job.state, job.detail)
        await self._patience(partial(consumer.commit, todo.claim, todo.offset + 1))

    def _examples(self, trigger: Trigger) -> list[Example]:
        dataset = self._place.settings.dataset
        asked = {"tenant": trigger.tenant, "app": trigger.app, "days": DAYS, "limit": EXAMPLES, "group_by": dataset.group_by}
        return [msgspec.convert(row, Example) for row in self._ask("training_examples", asked)]

    def _ask(self, question: str, params: Mapping[str, Any]) -> list[Row]:
        return self._wait(lambda: asyncio.to_thread(self._store.ask, question, params))

    def _emit(self, said: Said) -> None:
        """Store it, then publish it. Called from the thread of the job."""
        if self._stopping.is_set():
            raise Interrupted("the process stops; the job goes on at the next start")
        self._wait(lambda: self._tell(said))

    async def _tell(self, said: Said) -> None:
        table = {Job: "jobs", Snapshot: "datasets", Promotion: "promotions"}[type(said)]
        missing = await asyncio.to_thread(self._store.missing, table, [msgspec.to_builtins(said)])
        await asyncio.to_thread(self._store.insert, table, missing)
        if not isinstance(said, Snapshot):
            topic = JOBS if isinstance(said, Job) else PROMOTIONS
            await self._bus.append(list(pack(topic, await self._bus.partitions(topic), [(said.app, said)])))
        if isinstance(said, Promotion) and said.decision == "promote":
            await self._close(said)

    async def _close(self, promotion: Promotion) -> None:
        """A better model serves: what it was trained for is over, and what comes now is the new usual."""
        for row in await asyncio.to_thread(self._store.ask, "trigger", {"id": promotion.trigger_id}):
            for known in await asyncio.to_thread(self._store.ask, "incident", {"id": row["incident_id"]}):
                why = f"{promotion.candidate} was promoted"
                await resolve(self._bus, self._store, msgspec.convert(known, Incident), why, self._place.clock())

    def _wait(self, do: Callable[[], Awaitable[T]]) -> T:
        return asyncio.run_coroutine_threadsafe(self._patience(do), self._loop).result()


def champion(store: Store, tenant: str, app: str) -> Champion | None:
    """Who serves *app* by what was promoted; None while nothing was."""
    rows = store.ask("champion", {"tenant": tenant, "app": app})
    return champion_of(app, [msgspec.convert(row, Promotion) for row in rows], tenant)
