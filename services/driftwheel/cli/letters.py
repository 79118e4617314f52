"""`dlq`: what could not be used, why, and back with it once it can be."""

import asyncio
import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from driftwheel import replay as core
from driftwheel.cli.context import console, of, reach, store_of
from driftwheel.cli.look import facts, printable
from driftwheel.cli.look import show as table
from driftwheel.config import SECONDS, Settings
from driftwheel.errors import DriftwheelError
from driftwheel.pipeline.letters import place_of
from driftwheel.store import Row, Store
from driftwheel_schemas import DeadLetter

KEPT_S = 45 * SECONDS["d"]
"""Letters are kept for 30 days, and a week's part is dropped when its last day is over."""

AT_ONCE = 10_000
"""Letters that one command puts back."""

SHOWN, DUMPED = 16_384, 256
"""Characters of a payload that `show` writes, and bytes of one that is no text."""

Data = Annotated[Path | None, typer.Option(help="The data folder of the running system.")]
Topic = Annotated[str, typer.Option(help="Only letters of this topic.")]
Reason = Annotated[str, typer.Option(help="Only letters with this reason.")]
Since = Annotated[str, typer.Option(help="Only letters of the last 90m, 24h, 7d.")]

dlq = typer.Typer(no_args_is_help=True, help="Dead letters: what could not be used, why, and back with it once it can be.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to *app*."""
    app.add_typer(dlq, name="dlq")


@dlq.command()
def ls(
    context: typer.Context,
    topic: Topic = "",
    reason: Reason = "",
    since: Since = "30d",
    limit: Annotated[int, typer.Option(help="At most so many letters.", min=1, max=AT_ONCE)] = 40,
    open_: Annotated[bool, typer.Option("--open", help="Only letters that were not put back yet.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a letter.")] = False,
    data: Data = None,
) -> None:
    """The newest dead letters, below how many there are of each topic and reason."""
    store = store_of(of(context).settings(data))
    chosen = {"topic": topic, "reason": reason, "since_s": _seconds(since)}
    rows = store.ask("dead_letters", chosen | {"id": "", "open": int(open_), "limit": limit})
    if json:
        for row in rows:
            typer.echo(msgspec.json.encode(row))
        return
    for row in store.ask("dead_letter_counts", chosen):
        console.print(f"{row['topic']} {row['reason']}: {row['letters']} letters, {row['open']} open", markup=False, soft_wrap=True)
    table([_line(row) for row in rows], "dead letters")


@dlq.command()
def show(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="The beginning of a letter's id.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes, as they are.")] = False,
    data: Data = None,
) -> None:
    """One dead letter: where it lay, why it is here, where it was put back, and its bytes."""
    store = store_of(of(context).settings(data))
    row = _one(store, id_)
    letter = next(letter for page in core.pages(store, [row]) for letter in page)
    if raw:
        typer.echo(letter.payload, nl=False)
        return
    facts({"place": place_of(letter), **row})
    if replays := store.ask("replays_of_letter", {"id": letter.id}):
        table(replays, "put back; failed_as is the letter that came of it")
    typer.echo(_text(letter))


@dlq.command()
def replay(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Beginnings of letters' ids.")] = None,
    topic: Topic = "",
    reason: Reason = "",
    since: Since = "30d",
    force: Annotated[
        bool, typer.Option("--force", help="Also what would fail again. Twenty such letters at once can make a worker stand still.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
) -> None:
    """
    Put letters back on the topic they came from, as they were: by ID, or all open ones by --topic and --reason.

    Doing it twice is harmless for a good event: its identity is its id, so it is stored and counted once. One that fails
    again becomes a new letter, since its place is new. Cut letters stay where they are; conflicts and what this release
    cannot use either need --force.
    """
    from driftwheel.wiring import clock

    if bool(ids) == bool(topic or reason):
        raise DriftwheelError("dlq replay: give IDs, or --topic, --reason or both; `driftwheel dlq ls` shows them")
    settings = reach(of(context).settings(data))
    store = store_of(settings)
    chosen = {"topic": topic, "reason": reason, "since_s": _seconds(since), "id": "", "open": 1, "limit": AT_ONCE}
    named = {row["id"]: row for row in (_one(store, id_) for id_ in ids or ())}
    found = list(named.values()) or store.ask("dead_letters", chosen)[::-1]
    plan = core.plan(store, found, clock(), force=force)
    for fault, count in plan.refused.items():
        console.print(f"{count} of {len(found)} left: {fault.value}", markup=False, soft_wrap=True)
    topics = ", ".join(sorted({row["topic"] for row in plan.fit}))
    if dry_run or not plan.fit:
        console.print(f"{len(plan.fit)} of {len(found)} can be put back{topics and f' on {topics}'}", markup=False, soft_wrap=True)
        raise typer.Exit(bool(plan.refused) and not plan.fit)
    if not yes:
        typer.confirm(f"Put {len(plan.fit)} letters back on {topics}?", abort=True)
    marks = asyncio.run(_put_back(settings, store, plan.fit))
    console.print(
        f"{len(marks)} put back on {topics}; what fails again is a new letter in `driftwheel dlq ls`", markup=False, soft_wrap=True
    )


async def _put_back(settings: Settings, store: Store, fit: Sequence[Row]) -> list[Row]:
    from driftwheel.wiring import clock, open_bus

    async with open_bus(settings) as bus:
        return await core.put_back(bus, store, fit, clock)


def _one(store: Store, id_: str) -> Row:
    """The row of the one letter whose id begins with *id_*."""
    rows = store.ask("dead_letters", {"topic": "", "reason": "", "since_s": KEPT_S, "id": id_, "open": 0, "limit": 2})
    if len(rows) != 1:
        raise DriftwheelError(f"{'no' if not rows else 'more than one'} dead letter begins with {id_!r}; `driftwheel dlq ls` lists them")
    return rows[0]


def _seconds(since: str) -> int:
    number, unit = since[:-1], since[-1:]
    if unit not in SECONDS or not (number.isascii() and number.isdecimal()):
        raise DriftwheelError(f"--since: {since!r} is no duration; write a whole number and one of s, m, h, d, w, as in 24h")
    return min(int(number) * SECONDS[unit], KEPT_S)


def _line(row: Row) -> Row:
    """What a table shows of a letter."""
    return {
        "id": row["id"][:8],
        "at": row["at"][:19],
        "place": f"{row['topic']}[{row['partition']}]@{row['offset']}#{row['index']}",
        "reason": row["reason"],
        "detail": row["detail"],
        "bytes": row["size_bytes"],
        "replayed": (row["replayed_at"] or "")[:19],
        "replay_of": row["replay_of"][:8],
    }


def _text(letter: DeadLetter) -> str:
    """The payload of *letter* as a terminal may show it: text with what is not printable escaped, else the head of its bytes."""
    whole = letter.size_bytes == len(letter.payload)
    try:
        text, _ = codecs.utf_8_decode(letter.payload, "strict", whole)  # a cut may go through a character
    except UnicodeDecodeError:
        shown, left = _dump(letter.payload[:DUMPED]), letter.size_bytes - DUMPED
    else:
        shown, left = printable(text[:SHOWN]), letter.size_bytes - len(text[:SHOWN].encode())
    return f"{shown}\n… {left} more bytes, of which --raw writes those that were kept" if left > 0 else shown


def _dump(head: bytes) -> str:
    r"""
    Sixteen bytes a line: where, in hexadecimal, and those that are ASCII.

    >>> _dump(b"{\xff}")
    '00000000  7b ff 7d                                         {.}'
    """
    rows = [(at, head[at : at + 16]) for at in range(0, len(head), 16)]
    return "\n".join(f"{at:08x}  {row.hex(' '):<47}  {''.join(chr(b) if 32 <= b < 127 else '.' for b in row)}" for at, row in rows)
