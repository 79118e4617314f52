"""What every command gets: the settings, read once, and the way to what runs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from driftwheel.config import Settings, load
from driftwheel.errors import DriftwheelError

if TYPE_CHECKING:
    from driftwheel.store.clickhouse import ClickHouse

console = Console()


@dataclass(frozen=True, slots=True)
class Context:
    """The settings file and the environment, as given."""

    config: Path | None
    environ: dict[str, str]

    def settings(self, data: Path | None = None) -> Settings:
        """The settings; *data* wins over the data folder that they name."""
        settings = load(self.config, self.environ)
        return replace(settings, data=data) if data else settings


def of(context: typer.Context) -> Context:
    """The context of a command."""
    found: Context = context.find_root().obj
    return found


def reach(settings: Settings) -> Settings:
    """
    The settings with the port and the password of the store that runs on the data folder.

    Raises `DriftwheelError` when none is named in the settings and none runs there.
    """
    from driftwheel.supervisor import find_running

    if settings.store.port:
        return settings
    running = find_running(settings.data)
    if running is None:
        raise DriftwheelError(f"nothing runs on {settings.data}; start it with `driftwheel up`, or name a ClickHouse server in [store]")
    store = replace(settings.store, port=running.store_port, password=running.store_password)
    collector = replace(settings.collector, host=running.host, port=running.collector_port)
    return replace(settings, store=store, collector=collector)


def store_of(settings: Settings) -> "ClickHouse":
    """The store that the settings name, or that runs on the data folder."""
    from driftwheel.store.clickhouse import ClickHouse

    return ClickHouse(reach(settings).store)
