"""The play, act by act: before the change, after it, what Driftwheel makes of it, and how the app goes on."""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from rich.console import Console

import driftwheel
from driftwheel.demo import DemoOptions, report
from driftwheel.demo.corpus import Intent, cast_of, from_file, intents
from driftwheel.demo.report import Chain
from driftwheel.demo.screen import Screen
from driftwheel.demo.stage import APP, PROVIDER_MODEL, Stage, answers_of, raise_curtain
from driftwheel.demo.story import Asked, Phase, questions, react
from driftwheel.demo.trouble import APP as TROUBLED
from driftwheel.demo.trouble import bad_hour
from driftwheel.errors import DriftwheelError
from driftwheel.jobs.folder import Progress
from driftwheel.jobs.settings import Generation

SESSIONS: dict[Phase, int] = {"before": 720, "after": 360, "promoted": 260}
"""The references take 300 of the first; 360 hold some 200 questions, a minute of a small model's time."""

DAYS: dict[Phase, int] = {"before": 12, "after": 4, "promoted": 3}
PACE = 15.0
"""Sessions a second: a day passes in four."""

TRIGGER_WITHIN_S, JOB_WITHIN_S = 120.0, 1500.0


def run(options: DemoOptions, console: Console) -> int:
    """Play; 0 when the story came to its end, whichever it was."""
    with ExitStack() as stack:
        if options.keep:
            folder = options.keep.absolute()
            if (folder / "bus").exists():
                raise DriftwheelError(f"{folder}: holds the data of an earlier run; give --keep a folder that is new")
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="driftwheel-demo-", ignore_cleanup_errors=True)))
        corpus = from_file(options.data) if options.data else cast_of(intents(), options.intents)
        return asyncio.run(Play(options, console, folder, corpus).all())


@dataclass(slots=True)
class Play:
    """One performance."""

    options: DemoOptions
    console: Console
    folder: Path
    corpus: Sequence[Intent]
    chain: Chain = field(default_factory=Chain)
    start: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=sum(DAYS.values()), hours=1))

    async def all(self) -> int:
        """Every act; the exit code."""
        report.opening(self.console, self.options, len(self.corpus))
        with Screen(self.console) as screen:
            async with raise_curtain(self.folder, self._settings(), os.environ) as stage:
                through = f"Kafka at {self.options.kafka} and Faust" if self.options.kafka else "a log on this machine"
                screen.line(
                    f"The system is up: collector, workers, embeddings, store and jobs, each a process of its own; events go through {through}."
                )
                await self._until_the_change(stage, screen)
                noticed = await self._trigger(stage, screen)
                if noticed and not self.options.fast:
                    await stage.approve(self.chain.trigger["id"])
                    screen.line("A person would say yes now, with `driftwheel jobs approve`; the demo does.")
                    await self._job(stage, screen)
                if self.chain.promoted:
                    await self._promoted(stage, screen)
                await self._trouble(stage, screen)
                await self.chain.collect(stage)
        self.chain.print(self.console, self.options)
        return 0 if noticed else 1

    def _settings(self) -> Path:
        text = files("driftwheel.demo").joinpath("settings.toml").read_text("utf-8")
        heldout = ", ".join(f'"{one.intent}"' for one in self.corpus if one.heldout)
        file = self.folder / "driftwheel.toml"
        text = text.replace('group_by = "intent"', f'group_by = "intent"\nheldout = [{heldout}]')
        if self.options.kafka:
            text += f'\n[bus.kafka]\nservers = "{self.options.kafka}"\nnamespace = "demo-{secrets.token_hex(4)}."\n'
        text = text.replace('pager:Pager"', f'pager:Pager"\nparams = {{ file = "{self.folder / "told.jsonl"}" }}')
        file.write_text(text, "utf-8")
        return file

    def _asked(self, phase: Phase) -> list[Asked]:
        """The questions of an act, in order; after the change new topics and another language come in."""
        phases = list(DAYS)
        begin = self.start + timedelta(days=sum(DAYS[one] for one in phases[: phases.index(phase)]))
        known = [one for one in self.corpus if phase != "before" or one.phase == "base"]
        return list(questions(known, SESSIONS[phase], phase=phase, start=begin, span=timedelta(days=DAYS[phase]), seed=self.options.seed))

    async def _until_the_change(self, stage: Stage, screen: Screen) -> None:
        """Both acts; while the first is played, the small model writes the answers of the second."""
        after = self._asked("after")
        self.chain.changed_at = after[0].at
        answers = asyncio.create_task(self._answers(screen, after, "the new provider's answers", self._generation(40)))
        await self._perform(stage, screen, self._asked("before"), {}, PROVIDER_MODEL)
        said = await answers
        screen.line(
            f"[bold]{self.chain.changed_at:%d %b %H:%M}[/bold]  The provider silently changes its model; new topics and Portuguese questions come in."
        )
        await self._perform(stage, screen, after, said, PROVIDER_MODEL)
        await self._drain(stage, screen)

    def _generation(self, tokens: int, adapter: str = "") -> Generation:
        return Generation(adapter=adapter, max_new_tokens=tokens, cache=str(self.folder / "models" / ".base"))

    async def _answers(self, screen: Screen, asked: Sequence[Asked], what: str, generation: Generation) -> dict[str, str]:
        if self.options.hopeless:
            return {}
        wanted = [one.question for one in asked]

        def show(progress: Progress) -> None:
            screen.bar(what, progress.progress, f"{progress.step} of {len(set(wanted))}")

        return await asyncio.to_thread(answers_of, wanted, self.folder / "answers" / asked[0].phase, generation, show)

    async def _perform(self, stage: Stage, screen: Screen, asked: Sequence[Asked], said: dict[str, str], model: str) -> None:
        """Ask everything of an act; where nothing is *said*, the house answer is given."""
        began = time.monotonic()
        angry = self.options.hopeless and asked[0].phase == "after"
        for number, one in enumerate(asked, 1):
            answer = said.get(one.question, one.intent.answer)
            stage.say(one, answer, react(one, answer, angry=angry), model)
            screen.bar(
                f"sessions {one.phase} the change" if one.phase != "promoted" else "sessions with the new champion",
                number / len(asked),
                f"{number} of {len(asked)}, {one.at:%d %b}",
            )
            await asyncio.sleep(max(0.0, began + number / PACE - time.monotonic()))
            if number % 30 == 0:
                await self.chain.notice(stage, screen)

    async def _drain(self, stage: Stage, screen: Screen) -> None:
        most = 1

        def show(left: int) -> None:
            nonlocal most
            most = max(most, left)
            screen.bar("workers finish", 1 - left / most if left else 1.0, f"{left} envelopes to go" if left else "")

        await stage.drained(show)
        await self.chain.notice(stage, screen)

    async def _trigger(self, stage: Stage, screen: Screen) -> bool:
        """Wait for a policy to decide; False when none does."""
        end = time.monotonic() + TRIGGER_WITHIN_S
        while time.monotonic() < end:
            await self.chain.notice(stage, screen)
            rows = await stage.ask("SELECT * FROM driftwheel.triggers FINAL WHERE state IN ('approved', 'pending') ORDER BY at LIMIT 1")
            if rows:
                self.chain.trigger = rows[0]
                screen.line(
                    f"[bold green]trigger[/bold green]  {rows[0]['policy']} on {rows[0]['signal']}: {rows[0]['job']} is {rows[0]['state']}"
                )
                return True
            await asyncio.sleep(0.5)
        return False

    async def _job(self, stage: Stage, screen: Screen) -> None:
        """Watch the job to its end. Raises `DriftwheelError` when it fails."""
        end = time.monotonic() + JOB_WITHIN_S
        step = ""
        while time.monotonic() < end:
            rows = await stage.ask("SELECT * FROM driftwheel.jobs FINAL ORDER BY at LIMIT 1")
            if rows:
                job = rows[0]
                screen.bar(f"job: {job['kind']}", job["progress"], job["detail"][:70])
                if job["step"] != step:
                    step = job["step"]
                    screen.line(f"[bold cyan]job[/bold cyan]  {step}: {job['detail']}")
                if job["state"] == "failed":
                    raise DriftwheelError(f"the job failed: {job['detail']}")
                if job["state"] == "succeeded":
                    self.chain.promotion = (await stage.ask("SELECT * FROM driftwheel.promotions FINAL LIMIT 1"))[0]
                    return
            await asyncio.sleep(0.5)
        raise DriftwheelError(f"the job is not done after {JOB_WITHIN_S / 60:.0f} minutes; its log is {self.folder / 'logs' / 'jobs.log'}")

    async def _promoted(self, stage: Stage, screen: Screen) -> None:
        """The app asks for its champion and answers with it."""
        champion = await asyncio.to_thread(driftwheel.champion, APP)
        if champion is None:
            raise DriftwheelError("the collector names no champion though one was promoted; see logs/collector.log")
        screen.line(f"[bold]the app asks for its champion: {champion}[/bold]; it answers from now on")
        asked = self._asked("promoted")
        self.chain.promoted_at = asked[0].at
        adapter = self.chain.promotion["artifact"] if self.chain.promotion else ""
        said = await self._answers(screen, asked, "the champion's answers", self._generation(56, adapter))
        await self._perform(stage, screen, asked, said, champion)
        await self._drain(stage, screen)

    async def _trouble(self, stage: Stage, screen: Screen) -> None:
        """Another app has a bad hour; wait until somebody is told of it."""
        screen.line("Beside it another app, search, has an ordinary bad hour: timeouts, and events that nobody can use.")
        await bad_hour(stage, datetime.now(UTC))
        await self._drain(stage, screen)
        end = time.monotonic() + 30
        while time.monotonic() < end and not any(notice["app"] == TROUBLED for notice in self.chain.told):
            await asyncio.sleep(0.5)
            await self.chain.notice(stage, screen)
