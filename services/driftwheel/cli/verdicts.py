"""`verdict` and `backtest`: what is wrong and why, what a person answers to it, and what a rule would have said."""

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from driftwheel.cli.context import console, of, reach, store_of
from driftwheel.cli.look import Data, facts, show
from driftwheel.config import duration
from driftwheel.errors import ConfigError, DriftwheelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from driftwheel.policies.rules import Rule
    from driftwheel.store.clickhouse import ClickHouse
    from driftwheel_schemas import Verdict

MOMENTS = 2_000
"""At how many moments of the past a rule is judged: each is one question to the store, some 10 to 100 ms."""

verdict = typer.Typer(help="What is wrong, since when and why; and what you say to it.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to *app*."""
    app.add_typer(verdict, name="verdict")
    app.command()(backtest)


@verdict.callback(invoke_without_command=True)
def newest(context: typer.Context, data: Data = None) -> None:
    """Incidents and the newest verdicts."""
    if context.invoked_subcommand is None:
        store = store_of(of(context).settings(data))
        show(store.ask("newest_incidents", {"limit": 20}), "incidents: open ones first")
        show(store.ask("newest_verdicts", {"limit": 40}), "newest verdicts: alarms first, then the quiet series with the most evidence")


@verdict.command("show")
def show_one(context: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID")], data: Data = None) -> None:
    """One verdict or incident by the beginning of its id, and what followed from it."""
    store = store_of(of(context).settings(data))
    if rows := store.ask("verdict", {"id": id_}):
        facts(rows[0])
        show(store.ask("triggers_of_verdict", {"id": rows[0]["id"]}), "what policies decided")
    elif incidents := store.ask("incident", {"id": id_}):
        facts(incidents[0])
        show(store.ask("told", {"id": incidents[0]["id"]}), "who was told")
    else:
        raise DriftwheelError(f"no verdict or incident begins with {id_!r}; `driftwheel verdict` lists the newest")


@verdict.command()
def resolve(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="INCIDENT")],
    reason: Annotated[str, typer.Option(help="Why it is over; told to whom the incident was.")] = "a person said so",
    data: Data = None,
) -> None:
    """Say that an incident is over: what comes from now on is usual again."""
    from driftwheel import answers
    from driftwheel.store.clickhouse import ClickHouse
    from driftwheel.wiring import clock, open_bus

    settings = reach(of(context).settings(data))

    async def act() -> "Sequence[Verdict]":
        store = ClickHouse(settings.store)
        about = answers.incident(store, id_)
        async with open_bus(settings) as bus:
            return await answers.resolve(bus, store, about, reason, clock())

    console.print(f"{len(asyncio.run(act()))} verdicts are over; detectors among them learn anew what is usual")


@verdict.command()
def snooze(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="[INCIDENT]", help="One incident; or name apps and signals.")] = "",
    for_: Annotated[str, typer.Option("--for", help="How long: 30m, 4h, 2d; 0s ends it.")] = "4h",
    app: Annotated[str, typer.Option(help="A pattern of apps.")] = "",
    signal: Annotated[str, typer.Option(help="A pattern of signals.")] = "",
    reason: Annotated[str, typer.Option()] = "a person said so",
    data: Data = None,
) -> None:
    """Let nobody be told for a while. What opens meanwhile is told afterwards, if it is not over by then."""
    from driftwheel import answers
    from driftwheel.wiring import clock

    if bool(id_) == bool(app or signal):
        raise ConfigError("verdict snooze: name one incident, or --app and --signal patterns")
    store, now = store_of(of(context).settings(data)), clock()
    until = now + duration(for_, "--for")
    about = answers.incident(store, id_) if id_ else None
    whose = {"tenant": about.tenant, "incident_id": about.id} if about else {"app": app, "signal": signal}
    answers.snooze(store, answers.Snooze(until=until, reason=reason, **whose), now)
    console.print(f"nobody is told until {until:%Y-%m-%d %H:%M} UTC; `driftwheel verdict snooze … --for 0s` ends it")


def backtest(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="RULE", help="A rule of the settings.")],
    last: Annotated[str, typer.Option(help="How far back.")] = "7d",
    every: Annotated[str, typer.Option(help="At which distance it is judged; without it, half a window, at most 2,000 times.")] = "",
    data: Data = None,
) -> None:
    """What a rule would have said of the past: when it broke, for how long, how far."""
    from rich.progress import track

    from driftwheel.wiring import clock

    settings = of(context).settings(data)
    rule = next((one for one in settings.rules if one.name == name), None)
    if rule is None:
        raise ConfigError(f"backtest: no rule called {name!r}; known: {', '.join(one.name for one in settings.rules) or 'none'}")
    span, now = duration(last, "--last"), clock()
    step = duration(every, "--every") if every else max(min(rule.window / 2, timedelta(minutes=15)), span / MOMENTS)
    moments = [now - span + n * step for n in range(int(span / step) + 1)]
    said = list(past(rule, store_of(settings), track(moments, f"judging {name} {len(moments)} times", console=console, transient=True)))
    show([_row(one, said) for one in said if one.resolved_at is None], f"rule {name}, the last {last}, every {step}")
    if step > rule.window:
        console.print(f"What lasted less than {step} may be missing: the window is {rule.window}; judge more often with --every")


def past(rule: "Rule", store: "ClickHouse", moments: "Iterable[datetime]") -> "Iterator[Verdict]":
    """What *rule* would have said at *moments*, one after the other, by the same judgement as in the worker."""
    from driftwheel.pipeline.rules import Book, judge, question_of

    book = Book()
    for now in moments:
        windows = rule.windows(now)
        question = question_of(rule, windows)
        yield from book.enter(rule, judge(rule, windows, store.ask(question.name, question.params)), now)


def _row(verdict: "Verdict", said: "Sequence[Verdict]") -> dict[str, object]:
    over = next((one.resolved_at for one in said if one.id == verdict.id and one.resolved_at), None)
    lasted = str(over - verdict.accepted_at).split(".")[0] if over else "until now"
    return {
        "broke at": f"{verdict.accepted_at:%Y-%m-%d %H:%M:%S}",
        "for": verdict.segment or "everything",
        "lasted": lasted,
        "severity": verdict.severity,
        "reason": verdict.reason,
    }
