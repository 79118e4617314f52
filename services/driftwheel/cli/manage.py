"""`admin`: the schema of the store, the topics, and keys."""

import asyncio
import hashlib
import secrets

import typer

from driftwheel.cli.context import console, of, store_of

admin = typer.Typer(no_args_is_help=True, help="The schema of the store, the topics, and keys.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to *app*."""
    app.add_typer(admin, name="admin")


@admin.command()
def migrate(context: typer.Context) -> None:
    """Bring the store to the newest schema."""
    from driftwheel.store.migrate import migrate as run

    done = run(store_of(of(context).settings()))
    console.print("\n".join(f"applied {name}" for name in done) or "the store has the newest schema")


@admin.command()
def topics(context: typer.Context) -> None:
    """Create the topics that are missing, and list all."""
    from driftwheel.wiring import open_bus
    from driftwheel_schemas import topics as known

    async def ensure() -> None:
        async with open_bus(of(context).settings()):
            pass

    asyncio.run(ensure())
    for topic in known().values():
        kept = f"{topic.retention_hours} h" if topic.retention_hours else "for ever"
        console.print(f"{topic.name}: {topic.partitions} partitions by {topic.key}, kept {kept}. {topic.purpose}")


@admin.command()
def keys(tenant: str = typer.Option("default", help="Whose events come with this key.")) -> None:
    """Make a key. It is shown once; what goes into the settings is its digest."""
    name, secret = secrets.token_hex(4), secrets.token_urlsafe(24)
    console.print(f"key (shown once): dw_{name}_{secret}")
    console.print(
        f'\n[bold]driftwheel.toml[/bold]\n\\[collector.keys.{name}]\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\ntenant = "{tenant}"',
        highlight=False,
    )
