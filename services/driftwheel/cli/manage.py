"""`admin`: the schema of the store, the topics, and keys."""

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from driftwheel.cli.context import console, of, store_of
from driftwheel.config import Settings
from driftwheel_schemas import topics as known_topics

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

    from driftwheel.bus.kafka_topics import Step

topics = typer.Typer(no_args_is_help=True, help="The topics of topics.toml, and the cluster's.")
admin = typer.Typer(no_args_is_help=True, help="The schema of the store, the topics, and keys.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to *app*."""
    admin.add_typer(topics, name="topics")
    app.add_typer(admin, name="admin")


@admin.command()
def migrate(context: typer.Context) -> None:
    """Bring the store to the newest schema."""
    from driftwheel.store.migrate import migrate as run

    done = run(store_of(of(context).settings()))
    console.print("\n".join(f"applied {name}" for name in done) or "the store has the newest schema")


@topics.command("list")
def list_() -> None:
    """Every topic: its partitions, its key, how long it is kept, and what for."""
    for topic in known_topics().values():
        kept = f"{topic.retention_hours} h" if topic.retention_hours else "for ever"
        console.print(f"{topic.name}: {topic.partitions} partitions by {topic.key}, kept {kept}. {topic.purpose}")


@topics.command()
def check(context: typer.Context) -> None:
    """What differs between topics.toml and the cluster. Exit code 1 when something does."""
    steps = asyncio.run(_differences(of(context).settings()))
    console.print("\n".join(map(str, steps)) or "the cluster is as topics.toml says", markup=False, soft_wrap=True)
    if steps:
        raise typer.Exit(1)


@topics.command()
def apply(
    context: typer.Context,
    accept_rekey: Annotated[
        bool, typer.Option("--accept-rekey", help="Add partitions, though every event and every series gets another place.")
    ] = False,
) -> None:
    """Make the cluster as topics.toml says. What is as it should be stays; nothing is ever deleted."""
    settings = of(context).settings()

    async def act() -> tuple[list[str], list[str]]:
        from driftwheel.bus import kafka_topics
        from driftwheel.bus.kafka import KafkaBus

        bus = KafkaBus(settings.bus.kafka)
        try:
            async with bus.admin() as admin:
                steps = await _plan(admin, settings)
                done = await kafka_topics.apply(admin, steps, accept_rekey=accept_rekey)
                return [str(step) for step in done], [str(step) for step in steps if step not in done]
        finally:
            await bus.close()

    if not settings.bus.kafka.servers:
        asyncio.run(_ensure_local(settings))
        return
    done, left = asyncio.run(act())
    console.print("\n".join(f"mended: {step}" for step in done) or "nothing to do", markup=False, soft_wrap=True)
    for step in left:
        console.print(f"left as it is: {step}", markup=False, soft_wrap=True)


async def _ensure_local(settings: Settings) -> None:
    from driftwheel.wiring import open_bus

    async with open_bus(settings):
        console.print("the local log has every topic")


async def _differences(settings: Settings) -> "list[Step]":
    from driftwheel.bus.kafka import KafkaBus

    if not settings.bus.kafka.servers:
        return []
    bus = KafkaBus(settings.bus.kafka)
    try:
        async with bus.admin() as admin:
            return await _plan(admin, settings)
    finally:
        await bus.close()


async def _plan(admin: "AIOKafkaAdminClient", settings: Settings) -> "list[Step]":
    from driftwheel.bus import kafka_topics

    wanted = list(known_topics().values())
    return kafka_topics.plan(wanted, await kafka_topics.read(admin, wanted), replication=settings.bus.kafka.replication)


@admin.command()
def keys(tenant: str = typer.Option("default", help="Whose events come with this key.")) -> None:
    """Make a key. It is shown once; what goes into the settings is its digest."""
    name, secret = secrets.token_hex(4), secrets.token_urlsafe(24)
    console.print(f"key (shown once): dw_{name}_{secret}")
    console.print(
        f'\n[bold]driftwheel.toml[/bold]\n\\[collector.keys.{name}]\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\ntenant = "{tenant}"',
        highlight=False,
    )
