"""`jobs` and `model`: triggers that wait for a person, jobs, champions and where they come from."""

import asyncio
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
    from driftwheel.answers import answer
    from driftwheel.store.clickhouse import ClickHouse
    from driftwheel.wiring import clock, open_bus

    settings = reach(of(context).settings(data))

    async def act() -> str:
        async with open_bus(settings) as bus:
            return (await answer(bus, ClickHouse(settings.store), id_, state, clock())).id

    console.print(f"trigger {asyncio.run(act())} is {state}; `driftwheel jobs list` shows how its job does")


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
