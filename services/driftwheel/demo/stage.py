"""The stage: the whole embedded system in a folder, an app that logs to it, and eyes on what it finds."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import driftwheel
from driftwheel.answers import answer
from driftwheel.bus import Bus
from driftwheel.config import Settings, load
from driftwheel.demo.story import Asked, Click, latency
from driftwheel.errors import DriftwheelError
from driftwheel.jobs.folder import CONFIG, QUESTIONS, Progress, read_lines, to_lines, write
from driftwheel.jobs.generate import ANSWERS, Answered
from driftwheel.jobs.generate import Asked as Question
from driftwheel.jobs.launchers import Run
from driftwheel.jobs.launchers import load as load_launcher
from driftwheel.jobs.settings import Generation
from driftwheel.store import Row
from driftwheel.store.clickhouse import ClickHouse, StoreSettings
from driftwheel.supervisor import Supervisor
from driftwheel.wiring import open_bus
from driftwheel_schemas import derived_id, partition_of, topics
from driftwheel_schemas.topics import FEEDBACK, INFERENCES, OBSERVATIONS, VERDICTS

APP = "helpdesk"
PROVIDER_MODEL = "assistant-large"
READERS = {"signals": INFERENCES, "enrich": INFERENCES, "feedback": FEEDBACK, "detection": OBSERVATIONS, "triggers": VERDICTS}
PRICE_PER_TOKEN = Decimal("0.000002")


@dataclass(slots=True)
class Stage:
    """The running system, as the app and the audience see it."""

    folder: Path
    store: ClickHouse
    bus: Bus
    sent: int = 0
    told: set[str] = field(default_factory=set)

    def say(self, asked: Asked, answer: str, click: Click | None, model: str) -> None:
        """What the app does for one question: log the call, and later the click."""
        words = len(asked.question.split()), len(answer.split())
        seconds = latency(asked, answer)
        inference = driftwheel.record(
            id=derived_id("demo", asked.session),
            model=model,
            provider="demo",
            prompt=[{"role": "user", "content": asked.question}],
            response=answer,
            started_at=asked.at,
            latency_s=seconds,
            input_tokens=round(words[0] * 1.4),
            output_tokens=round(words[1] * 1.4),
            cost_usd=PRICE_PER_TOKEN * round(sum(words) * 1.4),
            session_id=asked.session,
            user_id=f"user-{partition_of(asked.session, 97)}",
            prompt_name="helpdesk",
            prompt_version="3",
            attributes={"intent": asked.intent.intent, "topic": asked.intent.topic},
        )
        if click:
            driftwheel.feedback(
                id=derived_id("demo", asked.session, "click"),
                inference_id=inference,
                name="thumbs",
                value=click.thumb,
                correction=click.correction,
                at=asked.at + timedelta(seconds=seconds) + click.after,
            )
        self.sent += 1

    async def ask(self, sql: str, **params: object) -> list[Row]:
        """Rows of the store."""
        return await asyncio.to_thread(self.store.query, sql, params)

    async def alarms(self) -> list[Row]:
        """The alarms in the order in which they rang, as they stood then."""
        return await self.ask(
            "SELECT * FROM driftwheel.verdicts FINAL WHERE drifted AND revision = 0 AND NOT startsWith(detector, 'rule.') ORDER BY at"
        )

    async def approve(self, trigger_id: str) -> None:
        """Say yes to a pending trigger, as `driftwheel jobs approve` does."""
        await answer(self.bus, self.store, trigger_id, "approved", datetime.now(UTC))

    async def drained(self, tell: Callable[[int], None], within_s: float = 300.0) -> None:
        """Until every worker has done all that was sent; *tell* hears how much is still to do."""
        driftwheel.flush(30)
        end = time.monotonic() + within_s
        quiet = 0
        while quiet < 3:
            left = sum([sum((await self.bus.lag(group, topic)).values()) for group, topic in READERS.items()])
            tell(left)
            quiet = 0 if left else quiet + 1
            if time.monotonic() > end:
                raise DriftwheelError(f"the workers do not keep up ({left} envelopes to do); their logs are in {self.folder / 'logs'}")
            await asyncio.sleep(0.5)


@asynccontextmanager
async def raise_curtain(folder: Path, config: Path, environ: Mapping[str, str]) -> AsyncIterator[Stage]:
    """The system, started in *folder* with the settings in *config*, and stopped at the end."""
    settings = load(config, {**environ, "DRIFTWHEEL_DATA": str(folder)})
    supervisor = Supervisor(settings, config)
    try:
        running = await supervisor.start()
        driftwheel.init(endpoint=f"http://{running.host}:{running.collector_port}", app=APP)
        store = ClickHouse(StoreSettings(port=running.store_port, password=running.store_password))
        async with open_bus(settings) as bus:
            yield Stage(folder, store, bus)
            await asyncio.to_thread(driftwheel.shutdown)
    finally:
        await supervisor.stop()
        await _tidy(settings)


async def _tidy(settings: Settings) -> None:
    """Take the demo's own topics off somebody's cluster."""
    from driftwheel.bus.kafka import KafkaBus

    async with open_bus(settings) as bus:
        if settings.bus.kafka.namespace and isinstance(bus, KafkaBus):
            await bus.delete(list(topics().values()))


def answers_of(questions: Iterable[str], folder: Path, generation: Generation, on_progress: Callable[[Progress], None]) -> dict[str, str]:
    """What the model really answers, in a process of its own; about a minute for 200 questions on two cores."""
    asked = [Question(id=str(number), question=question) for number, question in enumerate(dict.fromkeys(questions))]
    write(folder / QUESTIONS, to_lines(asked))
    write(folder / CONFIG, to_lines([generation]))
    load_launcher("local").run(Run(module="driftwheel.jobs.generate", folder=folder, timeout_s=1800), on_progress)
    said = {row.id: row.answer for row in read_lines(folder / ANSWERS, Answered)}
    return {row.question: said[row.id] for row in asked}
