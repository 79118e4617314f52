"""`query`, `doctor`, `dataset`: what is there, and whether it does well."""

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from driftwheel.cli.context import console, of, reach, store_of
from driftwheel.config import Settings
from driftwheel.errors import DriftwheelError
from driftwheel.store import Row

if TYPE_CHECKING:
    from driftwheel.bus import Bus

Data = Annotated[Path | None, typer.Option(help="The data folder of the running system.")]
CELL = 120
"""Characters of a cell; the JSON of `--json` has all."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to *app*."""
    app.command()(query)
    app.command()(doctor)
    app.command()(dataset)


def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(help="A SELECT; tables are in the database driftwheel.")],
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a row.")] = False,
) -> None:
    """Ask the store."""
    rows = store_of(of(context).settings(data)).query(sql, read_only=True)
    if json:
        import msgspec

        for row in rows:
            print(msgspec.json.encode(row).decode())  # noqa: T201  data goes to stdout as it is
        return
    show(rows, f"{len(rows)} rows")


def dataset(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="[ID]", help="A dataset's id; without it, all of them.")] = "",
    data: Data = None,
) -> None:
    """What models were trained on."""
    store = store_of(of(context).settings(data))
    if not id_:
        show(store.ask("datasets"), "datasets")
        return
    rows = store.query("SELECT manifest FROM driftwheel.datasets FINAL WHERE id = {id:String} LIMIT 1", {"id": id_})
    if not rows:
        raise DriftwheelError(f"no dataset {id_!r}; `driftwheel dataset` lists them")
    console.print_json(rows[0]["manifest"])


def doctor(context: typer.Context, data: Data = None) -> None:
    """Check what runs: store, bus, lags, dead letters, disk. Exit code 1 when something is wrong."""
    settings = of(context).settings(data)
    found = asyncio.run(_examine(reach(settings)))
    table = Table("what", "state", "")
    for what, fine, text in found:
        table.add_row(what, "[green]ok[/green]" if fine else "[red]look[/red]", escape(text))
    console.print(table)
    if not all(fine for _, fine, _ in found):
        raise typer.Exit(1)


async def _examine(settings: Settings) -> list[tuple[str, bool, str]]:
    from driftwheel.store.clickhouse import ClickHouse
    from driftwheel.supervisor import find_running
    from driftwheel.wiring import open_bus

    store = ClickHouse(settings.store)
    version = store.query("SELECT version() AS version")[0]["version"]
    found = [("store", True, f"ClickHouse {version} at {settings.store.host}:{settings.store.port}")]
    async with open_bus(settings) as bus:
        found += await _bus_of(bus)
    letters = store.ask("dead_letters_by_reason")
    found += [
        (f"dead letters of {row['topic']}", False, f"{row['letters']} for {row['reason']}, the last: {row['detail']}") for row in letters
    ]
    found += [
        (
            f"notices to {row['action']}",
            False,
            f"{row['failed']} given up, {row['notices'] - row['failed']} waiting, the last: {row['detail']}",
        )
        for row in store.ask("notices_stuck")
    ]
    unmatched = store.ask("feedback_matching")[0]
    found.append(
        (
            "feedback",
            True,
            f"{unmatched['matched']} matched, {unmatched['waiting']} wait for their inference, median lag {unmatched['lag_s'] or 0:.0f} s",
        )
    )
    running = find_running(settings.data)
    for name, port in running.metrics_ports.items() if running else ():
        found.append((f"metrics of {name}", True, f"http://127.0.0.1:{port}/metrics"))
    free = shutil.disk_usage(settings.data).free / 1024**3
    found.append(("disk", free > 1, f"{free:.1f} GiB free in {settings.data}"))
    return found


async def _bus_of(bus: "Bus") -> list[tuple[str, bool, str]]:
    """How far behind every role is and, on Kafka, whether the topics are as they should be."""
    from driftwheel.bus.kafka import KafkaBus
    from driftwheel_schemas import topics

    found = []
    if isinstance(bus, KafkaBus):
        steps = await bus.plan(list(topics().values()))
        differ = f"; {len(steps)} differences, the first: {steps[0]} (`driftwheel admin topics check`)" if steps else ""
        found.append(("bus", not steps, f"Kafka at {bus.settings.servers}{differ}"))
    for name, topic in topics().items():
        for reader in topic.readers:
            if reader == "cli":
                continue
            if isinstance(bus, KafkaBus) and not await bus.known(reader):
                found.append((f"{reader} ← {name}", True, "nothing acked yet: it was not started here, or nothing came"))
                continue
            lag = sum((await bus.lag(reader, name)).values())
            found.append((f"{reader} ← {name}", lag < 1_000, f"{lag} envelopes behind"))
    return found


def show(rows: list[Row], title: str) -> None:
    """Rows as a table; every value is untrusted text."""
    if not rows:
        console.print(f"{title}: nothing yet")
        return
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    console.print(table)


def facts(row: Row) -> None:
    """One row, a line each."""
    table = Table(show_header=False)
    for name, value in row.items():
        table.add_row(name, escape(_cell(value, 2_000)))
    console.print(table)


def printable(text: str) -> str:
    r"""
    *text*, with what could steer a terminal escaped.

    >>> printable("a\x1b[2J\u202eb\n\tc é")
    'a\\x1b[2J\\u202eb\n\tc é'
    """
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)


def _cell(value: object, most: int = CELL) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else printable(str(value))
    return text if len(text) <= most else f"{text[: most - 1]}…"
