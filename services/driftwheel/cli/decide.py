"""`jobs` and `model`: triggers that wait for a person, jobs, champions and where they come from."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from driftwheel.cli.context import console, of, reach, store_of
from driftwheel.cli.look import facts, show
from driftwheel.errors import DriftwheelError

Data = Annotated[Path | None, typer.Option(help="The data folder of the running system.")]

jobs = typer.Typer(no_args_is_help=True, help="Triggers that wait for a person, and jobs.")
model = typer.Typer(no_args_is_help=True, help="Champions, and where they come from.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to *app*."""
    app.add_typer(jobs, name="jobs")
    app.add_typer(model, name="model")


@jobs.command("list")
def list_(context: typer.Context, data: Data = None) -> None:
    """Triggers and jobs, newest first."""
    store = store_of(of(context).settings(data))
    show(store.ask("newest_triggers", {"limit": 40}), "triggers")
    show(store.ask("newest_jobs", {"limit": 40}), "jobs")


@jobs.command()
def approve(context: typer.Context, id_: Annotated[str, typer.Argument(metavar="TRIGGER")], data: Data = None) -> None:
    """Let a pending trigger start its job."""
    _answer(context, id_, data, "approved")


@jobs.command()
def refuse(context: typer.Context, id_: Annotated[str, typer.Argument(metavar="TRIGGER")], data: Data = None) -> None:
    """Say no to a pending trigger."""
    _answer(context, id_, data, "refused")


def _answer(context: typer.Context, id_: str, data: Path | None, state: Literal["approved", "refused"]) -> None:
    """A person's answer: the same trigger with the odd revision behind the one that asks (see `policies.decide`)."""
    from driftwheel.pipeline.envelope import pack
    from driftwheel.wiring import open_bus
    from driftwheel_schemas import Trigger
    from driftwheel_schemas.topics import TRIGGERS

    settings = reach(of(context).settings(data))
    store = store_of(settings)
    rows = store.ask("trigger", {"id": id_})
    if len(rows) != 1:
        raise DriftwheelError(f"{len(rows)} triggers begin with {id_!r}; `driftwheel jobs list` shows them")
    asked = msgspec.convert(rows[0], Trigger)
    if asked.state != "pending":
        raise DriftwheelError(f"trigger {asked.id} is {asked.state}, not pending; only a pending one can be answered")
    answer = replace(asked, state=state, revision=asked.revision + 1, reason=f"{state} by a person: {asked.reason}", at=datetime.now(UTC))

    async def publish() -> None:
        async with open_bus(settings) as bus:
            await bus.append(list(pack(TRIGGERS, await bus.partitions(TRIGGERS), [(answer.app, answer)])))

    store.insert("triggers", [msgspec.to_builtins(answer)])
    asyncio.run(publish())
    console.print(f"trigger {answer.id} is {state}; `driftwheel jobs list` shows how its job does")


@model.command()
def champion(context: typer.Context, app: Annotated[str, typer.Argument()], data: Data = None, tenant: str = "default") -> None:
    """The model that serves an app."""
    from driftwheel.jobs.service import champion as find

    found = find(store_of(of(context).settings(data)), tenant, app)
    if found is None:
        raise DriftwheelError(f"nothing was promoted for {app!r} yet; `driftwheel jobs list` shows what was tried")
    facts(msgspec.to_builtins(found))


@model.command()
def lineage(context: typer.Context, app: Annotated[str, typer.Argument()], data: Data = None, tenant: str = "default") -> None:
    """Every decision of the gate for an app, with its trigger, dataset and evidence."""
    show(store_of(of(context).settings(data)).ask("lineage", {"tenant": tenant, "app": app}), f"decisions for {app}")
