"""`up`, `run`, `demo`, `send`: what runs, and what puts events in."""

import asyncio
import enum
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.panel import Panel

from driftwheel.cli.context import console, of
from driftwheel.sdk.client import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from driftwheel.supervisor import Supervisor

Data = Annotated[Path | None, typer.Option(help="The data folder.")]


class Kind(enum.Enum):
    """What the lines of a file are."""

    auto = "auto"
    inference = "inference"
    feedback = "feedback"


Port = Annotated[int | None, typer.Option(help="The collector's port.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to *app*."""
    app.command()(up)
    app.command()(run)
    app.command()(demo)
    app.command()(send)


def up(
    context: typer.Context,
    data: Data = None,
    port: Port = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on; others than loopback need keys.")] = None,
) -> None:
    """Run everything on this machine until Ctrl-C: collector, workers, store and jobs."""
    from driftwheel.supervisor import Supervisor

    settings = of(context).settings(data)
    collector = settings.collector
    if port is not None:
        collector = replace(collector, port=port)
    if host is not None:
        collector = replace(collector, host=host)
    asyncio.run(_up(Supervisor(replace(settings, collector=collector), of(context).config)))


async def _up(supervisor: "Supervisor") -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    try:
        with console.status("starting the store, the collector and the workers"):
            running = await supervisor.start()
        url = f"http://{running.host}:{running.collector_port}"
        console.print(
            Panel(
                f"Send events to [bold]{url}[/bold]\n\n"
                f"  import driftwheel\n"
                f'  driftwheel.init(endpoint="{url}", app="my-app")\n'
                f'  driftwheel.record(model="gpt-4o", prompt="Hi", response="Hello")\n\n'
                f"Data and logs: {supervisor.settings.data.absolute()}\n"
                f"Look: driftwheel query, driftwheel verdict, driftwheel doctor. Stop: Ctrl-C.",
                title="Driftwheel is up",
                expand=False,
            )
        )
        await stop.wait()
        console.print("stopping; what is in hand is finished first")
    finally:
        await supervisor.stop()


def run(
    context: typer.Context,
    roles: Annotated[
        list[str], typer.Argument(help="store | collector | signals | feedback | detection | rules | triggers | enrich | jobs")
    ],
    parent_pid: Annotated[int, typer.Option(help="End when this process ends.", hidden=True)] = 0,
) -> None:
    """Run one role, or several workers, in this process."""
    from driftwheel.wiring import run_roles

    run_roles(roles, of(context).settings(), parent_pid=parent_pid)


def demo(
    context: typer.Context,
    fast: Annotated[bool, typer.Option("--fast", help="Up to the trigger, without training.")] = False,
    hopeless: Annotated[bool, typer.Option("--hopeless", help="The other ending: training cannot help, and the gate says so.")] = False,
    data: Annotated[Path | None, typer.Option(help="Your own questions and answers (JSONL).")] = None,
    intents: Annotated[int, typer.Option(help="How many intents of the corpus are played.")] = 24,
    kafka: Annotated[str, typer.Option(help="HOST:PORT of a Kafka: the events go through it and Faust, on topics of the demo's own.")] = "",
    keep: Annotated[Path | None, typer.Option(help="Keep the data folder here, to look at it afterwards.")] = None,
) -> None:
    """The whole loop in minutes: an app degrades, Driftwheel notices, trains, proves and promotes."""
    from driftwheel.demo import DemoOptions
    from driftwheel.demo.play import run as run_demo

    of(context).settings()  # a wrong setting is told before anything starts
    raise typer.Exit(run_demo(DemoOptions(fast=fast, hopeless=hopeless, data=data, keep=keep, intents=intents, kafka=kafka), console))


def send(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="JSONL of inferences and feedback, .gz too; - is stdin.")],
    map_: Annotated[str, typer.Option("--map", help="Our field = theirs, as in prompt=question,response=answer.text.")] = "",
    kind: Annotated[Kind, typer.Option(help="What the lines are.")] = Kind.auto,
    app: Annotated[str, typer.Option(help="The app, where lines do not say.")] = "default",
    model: Annotated[str, typer.Option(help="The model, where lines do not say.")] = "",
    rate: Annotated[float, typer.Option(help="Events a second; 0 is as fast as it goes.")] = 0.0,
    endpoint: Annotated[str | None, typer.Option(help="Where the collector is; else the one that runs on the data folder.")] = None,
    data: Data = None,
) -> None:
    """Replay a file of inferences and feedback from any source. A second run of the same file changes nothing."""
    from driftwheel.sdk.send import SendOptions, SendReport, parse_map, send_file
    from driftwheel.sdk.transport import HttpTransport
    from driftwheel.supervisor import find_running

    running = find_running(of(context).settings(data).data)
    found = f"http://{running.host}:{running.collector_port}" if running else DEFAULT_ENDPOINT
    options = SendOptions(
        kind=kind.value, fields=parse_map(map_), app=app, model=model, rate=rate, api_key=of(context).environ.get("DRIFTWHEEL_API_KEY", "")
    )
    with console.status("sending") as status:

        def show(report: SendReport) -> None:
            status.update(f"{report.sent} of {report.read} lines sent")

        report = send_file(file, HttpTransport(endpoint or found), options, show)
    console.print(str(report), markup=False)
    if not report.complete or report.rejects:
        raise typer.Exit(1)
