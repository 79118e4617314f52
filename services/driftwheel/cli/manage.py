"""`admin`: the schema of the store, the topics, actions, and keys."""

import asyncio
import hashlib
import secrets
from datetime import UTC, datetime
from typing import Annotated

import typer

from driftwheel.cli.context import console, of, store_of
from driftwheel.errors import ConfigError
from driftwheel_schemas import topics as known_topics

topics = typer.Typer(no_args_is_help=True, help="The topics of topics.toml, and the cluster's.")
actions = typer.Typer(no_args_is_help=True, help="Who is told of incidents.")
admin = typer.Typer(no_args_is_help=True, help="The schema of the store, the topics, actions, and keys.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to *app*."""
    admin.add_typer(topics, name="topics")
    admin.add_typer(actions, name="actions")
    app.add_typer(admin, name="admin")


@admin.command()
def migrate(context: typer.Context) -> None:
    """Bring the store to the newest schema."""
    from driftwheel.store.migrate import migrate as run

    done = run(store_of(of(context).settings()))
    console.print("\n".join(f"applied {name}" for name in done) or "the store has the newest schema")


@actions.command("list")
def list_actions(context: typer.Context) -> None:
    """The configured actions, and what each is told of."""
    for one in of(context).settings().actions:
        console.print(f"{one.name}: {one.use}, from {one.severity} on, apps {one.app}, {', '.join(one.on)}", markup=False)


@actions.command()
def test(context: typer.Context, name: Annotated[str, typer.Argument()]) -> None:
    """Send a test notice through an action, now, and say what the receiver said."""
    from driftwheel.actions import Notice, Reach, load
    from driftwheel.wiring import clock
    from driftwheel_schemas import new_id

    settings, now = of(context).settings(), clock()
    use = next((one for one in settings.actions if one.name == name), None)
    if use is None:
        raise ConfigError(f"no action called {name!r}; known: {', '.join(one.name for one in settings.actions) or 'none'}")
    at = settings.notify
    notice = Notice(
        id=new_id(),
        kind="test",
        tenant="default",
        app="driftwheel",
        severity="ticket",
        subject=new_id(),
        title="Driftwheel: a test",
        text="Somebody tried whether this channel works. Nothing is wrong.",
        link=at.link,
        at=now,
        starts_at=now,
    )
    reach_ = Reach(allow_private=at.allow_private, timeout_s=at.timeout_s, start=lambda _: None)
    console.print(f"{name}: {load(use, reach_).send(notice)}", markup=False)


@topics.command("list")
def list_() -> None:
    """Every topic: its partitions, its key, how long it is kept, and what for."""
    for topic in known_topics().values():
        kept = f"{topic.retention_hours} h" if topic.retention_hours else "for ever"
        console.print(f"{topic.name}: {topic.partitions} partitions by {topic.key}, kept {kept}. {topic.purpose}")


@topics.command()
def check(context: typer.Context) -> None:
    """What differs between topics.toml and the cluster. Exit code 1 when something does."""
    settings = of(context).settings()

    async def act() -> list[str]:
        async with open_bus(settings) as bus:
            return [str(step) for step in await bus.plan(list(known_topics().values()))] if isinstance(bus, KafkaBus) else []

    from driftwheel.bus.kafka import KafkaBus
    from driftwheel.wiring import open_bus

    steps = asyncio.run(act())
    console.print("\n".join(steps) or "the bus is as topics.toml says", markup=False, soft_wrap=True)
    if steps:
        raise typer.Exit(1)


@topics.command()
def apply(
    context: typer.Context,
    accept_rekey: Annotated[
        bool, typer.Option("--accept-rekey", help="Add partitions, though every event and every series gets another place.")
    ] = False,
) -> None:
    """Make the bus as topics.toml says. What is as it should be stays; nothing is ever deleted."""
    settings = of(context).settings()

    async def act() -> list[str]:
        async with open_bus(settings) as bus:
            if not isinstance(bus, KafkaBus):
                return []  # the local log has every topic as soon as it is opened
            steps = await bus.plan(list(known_topics().values()))
            done = await bus.apply(steps, accept_rekey=accept_rekey)
            return [f"{'mended' if step in done else 'left as it is'}: {step}" for step in steps]

    from driftwheel.bus.kafka import KafkaBus
    from driftwheel.wiring import open_bus

    console.print("\n".join(asyncio.run(act())) or "nothing to do", markup=False, soft_wrap=True)


@topics.command()
def rewind(
    context: typer.Context,
    role: Annotated[str, typer.Argument(help="Whose group reads again: signals, feedback, enrich, detection, triggers.")],
    to: Annotated[str, typer.Option(help="A time (2026-11-25T03:00Z) or an offset; what is older than the topic keeps is not there.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """
    Let a role read its topic again. Its workers must be stopped. What is stored stays: every event is there once.

    After a store was put back from a backup, this brings in what came since.
    """
    read = [topic for topic in known_topics().values() if role in topic.readers and role != "cli"]
    if not read:
        known = sorted({reader for topic in known_topics().values() for reader in topic.readers} - {"cli"})
        raise ConfigError(f"no role called {role!r} reads a topic; known: {', '.join(known)}")
    target = int(to) if to.isdecimal() else _moment(to)
    if not yes:
        typer.confirm(f"Let {role} read {', '.join(topic.name for topic in read)} again from {target}?", abort=True)

    async def act() -> list[str]:
        async with open_bus(of(context).settings()) as bus:
            if not isinstance(bus, KafkaBus):
                raise ConfigError("bus: the local log has no rewind; send the file again with `driftwheel send`, what is stored stays")
            return [f"{topic.name}: {await bus.rewind(role, topic.name, target)}" for topic in read]

    from driftwheel.bus.kafka import KafkaBus
    from driftwheel.wiring import open_bus

    console.print("\n".join(asyncio.run(act())), markup=False, soft_wrap=True)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise ConfigError(f"--to: {text!r} is neither an offset nor a time such as 2026-11-25T03:00Z") from wrong
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@admin.command()
def keys(tenant: str = typer.Option("default", help="Whose events come with this key.")) -> None:
    """Make a key. It is shown once; what goes into the settings is its digest."""
    name, secret = secrets.token_hex(4), secrets.token_urlsafe(24)
    console.print(f"key (shown once): dw_{name}_{secret}")
    console.print(
        f'\n[bold]driftwheel.toml[/bold]\n\\[collector.keys.{name}]\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\ntenant = "{tenant}"',
        highlight=False,
    )
