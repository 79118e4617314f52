"""What the demo prints: what is real and what is played, and at the end the chain from the change to the decision."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from driftwheel.demo import DemoOptions
from driftwheel.demo.pager import told
from driftwheel.demo.screen import Screen
from driftwheel.demo.stage import PROVIDER_MODEL, Stage
from driftwheel.store import Row

THUMBS = """
SELECT multiIf(model != {provider:String}, 'with the new champion', i.started_at < {changed:DateTime64(6, 'UTC')}, 'before the change', 'after the change') AS act,
       count() AS sessions, countIf(isNotNull(f.value)) AS clicks, avgIf(f.value, isNotNull(f.value)) AS thumbs_up, max(i.started_at) AS last
FROM (SELECT id, model, started_at FROM driftwheel.inferences FINAL WHERE app = 'helpdesk') AS i
LEFT JOIN (SELECT inference_id, toNullable(value) AS value FROM driftwheel.feedback FINAL WHERE matched = 1) AS f ON f.inference_id = toString(i.id)
GROUP BY act ORDER BY last
"""


def opening(console: Console, options: DemoOptions, count: int) -> None:
    """Say what is going to happen, what of it is real, and how long it takes."""
    played = "the order of the questions, the clock (a day passes in seconds) and who clicks"
    real = "the answers after the change (a small model writes them), embeddings, detection, training, evaluation and the decision"
    if options.hopeless:
        real = "embeddings, detection, training, evaluation and the decision"
    takes = "about 3 minutes" if options.fast else "some 10 minutes on two cores, a third of it training"
    console.print(
        Panel(
            f"A helpdesk assistant of {count} intents answers questions. One day its provider silently changes"
            f"{', and people get angry at answers that are right' if options.hopeless else ' its model'}.\n"
            f"Watch Driftwheel notice{'' if options.fast else ', train, evaluate and decide'}: {takes}.\n\n"
            f"[bold]Played:[/bold] {played}.\n[bold]Real:[/bold] {real}.",
            title="driftwheel demo",
            expand=False,
        )
    )


@dataclass(slots=True)
class Chain:
    """What was found, from the change to the decision."""

    changed_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    promoted_at: datetime | None = None
    alarms: list[Row] = field(default_factory=list)
    told: list[Row] = field(default_factory=list)
    trigger: Row = field(default_factory=dict)
    promotion: Row = field(default_factory=dict)
    dataset: Row = field(default_factory=dict)
    job: Row = field(default_factory=dict)
    acts: list[Row] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def promoted(self) -> bool:
        """Whether the gate let the candidate through."""
        return self.promotion.get("decision") == "promote"

    async def notice(self, stage: Stage, screen: Screen) -> None:
        """Say each new alarm once, and what somebody was told of it."""
        known = {alarm["id"] for alarm in self.alarms}
        for alarm in await stage.alarms():
            if alarm["id"] not in known:
                self.alarms.append(alarm)
                screen.line(
                    f"[bold yellow]noticed[/bold yellow]  {alarm['signal']}{_moved(alarm)}, {alarm['units_to_alarm']} sessions after its onset"
                )
        for notice in told(stage.folder / "told.jsonl")[len(self.told) :]:
            self.told.append(notice)
            screen.line(f"[bold red]told[/bold red]     {notice['kind']}: {escape(notice['title'])}")

    async def collect(self, stage: Stage) -> None:
        """Ask the store for everything that the end tells."""
        self.acts = await stage.ask(THUMBS, provider=PROVIDER_MODEL, changed=self.changed_at.strftime("%Y-%m-%d %H:%M:%S.%f"))
        self.dataset = next(iter(await stage.ask("SELECT * FROM driftwheel.datasets FINAL LIMIT 1")), {})
        self.job = next(iter(await stage.ask("SELECT * FROM driftwheel.jobs FINAL LIMIT 1")), {})
        self.told = list(told(stage.folder / "told.jsonl"))
        if self.job:
            result = stage.folder / "jobs" / self.job["id"] / "finetune" / "result.json"
            self.training = msgspec.json.decode(result.read_bytes()) if result.exists() else {}

    def print(self, console: Console, options: DemoOptions) -> None:
        """The chain, and how to look further."""
        table = Table(title="From the change to the decision", show_header=False, show_lines=True, expand=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, text in self._rows():
            table.add_row(name, text)
        console.print(table)
        console.print(_further(options.keep))

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("changed", f"{self.changed_at:%d %b %H:%M} by the clock of the story")]
        promise = f"\n[dim]each: {escape(self.alarms[0]['promise'])}[/dim]" if self.alarms else ""
        rows.append(("noticed", ("\n".join(map(self._alarm, self.alarms)) or "nothing") + promise))
        rows.append(("told", escape("\n".join(f"{one['kind']}: {one['title']}" for one in self.told)) or "nobody"))
        if self.trigger:
            rows.append(("trigger", escape(f"{self.trigger['id']} ({self.trigger['state']})\n{self.trigger['reason']}")))
        if self.dataset:
            rows.append(
                (
                    "dataset",
                    "{id}: {train_rows} questions to train on, {eval_rows} to test with, {heldout_rows} of intents never trained".format(
                        **self.dataset
                    ),
                )
            )
        if self.training:
            rows.append(("training", self._training()))
        if self.promotion:
            rows += [
                ("evaluation", self._evaluation()),
                ("decision", f"[bold]{self.promotion['decision']}[/bold]: {escape(self.promotion['reason'])}"),
            ]
        rows.append(
            (
                "people",
                "\n".join(
                    f"{act['act']}: {act['thumbs_up']:.0%} thumbs up of {act['clicks']} clicks in {act['sessions']} sessions"
                    for act in self.acts
                    if act["clicks"]
                ),
            )
        )
        if self.promoted:
            later = [alarm for alarm in self.alarms if self.promoted_at and datetime.fromisoformat(alarm["at"]) >= self.promoted_at]
            rows.append(
                (
                    "since then",
                    f"{len(later)} alarms"
                    if later
                    else "detection is quiet (the new champion is a segment of its own and fills its reference first)",
                )
            )
        return rows

    def _alarm(self, alarm: Row) -> str:
        at, onset = datetime.fromisoformat(alarm["at"]), alarm["onset"]
        hours = (at - self.changed_at).total_seconds() / 3600
        when = f"{hours:.1f} h after the change" if hours >= 0 else f"{-hours:.1f} h BEFORE the change: a false alarm"
        began = f", onset put at {datetime.fromisoformat(onset):%d %b %H:%M}" if onset else ""
        return f"{alarm['signal']}{_moved(alarm)}: {when}{began}, {alarm['units_to_alarm']} sessions later"

    def _training(self) -> str:
        m = self.training.get("metrics", {})
        return (
            f"{m['train.steps']:.0f} steps on {m['train.rows']:.0f} questions in {m['train.seconds']:.0f} s, "
            f"loss {m['train.loss.first']:.2f} → {m['train.loss.last']:.2f}, {m['valid.loss']:.2f} on questions that it did not see"
        )

    def _evaluation(self) -> str:
        p = self.promotion
        m: dict[str, float] = p["metrics"]
        lines = [
            (
                f"{p['candidate']} against {p['champion']}, {p['sample_size']} questions that were not trained on: {p['metric']} {p['estimate']:+.3f}, "
                f"{p['confidence']:.0%} interval {p['interval_low']:+.3f} to {p['interval_high']:+.3f}, p = {p['p_value']:.2g}"
            ),
            f"test: {p['test']}",
            *(
                f"{name}: similarity {m[f'{side}.champion.similarity']:.2f} → {m[f'{side}.candidate.similarity']:.2f}, "
                f"token F1 {m[f'{side}.champion.f1']:.2f} → {m[f'{side}.candidate.f1']:.2f} ({m[f'{side}.questions']:.0f} questions)"
                for side, name in (("eval", "intents that were trained"), ("heldout", "intents that were not"))
                if f"{side}.champion.f1" in m
            ),
        ]
        if "general.nll.base" in m:
            lines.append(
                f"general prompts: {m['general.nll.base']:.2f} → {m['general.nll.candidate']:.2f} nats a token (higher would be forgetting)"
            )
        return escape("\n".join(lines))


def _moved(alarm: Row) -> str:
    known = alarm["baseline"] is not None and alarm["current"] is not None
    return f" {alarm['baseline']:.3g} → {alarm['current']:.3g}" if known else ""


def _further(keep: Path | None) -> str:
    if keep is None:
        return "Play it again with `--keep FOLDER`, then `driftwheel up --data FOLDER` and look: `driftwheel verdict`, `driftwheel query 'SELECT …'`. Your own questions: `--data FILE`. The other ending: `--hopeless`."
    return f"Everything is kept in {keep}. Look further: `driftwheel up --data {keep}`, then `driftwheel verdict --data {keep}`, `driftwheel query --data {keep} 'SELECT …'`."
