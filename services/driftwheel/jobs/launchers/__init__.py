"""
EXTENSION: launchers, one file each. A launcher runs a program of a job on a run folder and brings back its result.

To add one: a file here and a line in LAUNCHERS. `tests/contracts/test_launchers.py` then tests it.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from driftwheel.errors import ConfigError
from driftwheel.jobs.folder import Progress, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One program on one run folder, `python -m module folder`, and what it may use."""

    module: str
    folder: Path
    timeout_s: float = 3600.0
    memory_gib: float = 0.0
    disk_gib: float = 0.0


class Launcher(Protocol):
    """Runs programs of jobs, here or elsewhere."""

    def run(self, run: Run, on_progress: Callable[[Progress], None]) -> Result:
        """
        Run it to its end and return its result; blocks, for hours if need be.

        A run folder that holds the result of this very input is not run again: after a crash, call it again.
        Whatever `on_progress` raises ends the run. Raises `LauncherError` with the program's last lines when it
        could not start, failed, or took longer than `timeout_s`.
        """
        ...


from driftwheel.jobs.launchers.local import Local  # noqa: E402  the table needs the classes, and they need the port

LAUNCHERS: dict[str, Callable[..., Launcher]] = {
    "local": Local,
}


def load(name: str, params: Mapping[str, object] | None = None) -> Launcher:
    """
    The launcher called *name*, or the one at an import path `package.module:Class`, built with *params*.

    >>> load("local")
    Local()
    """
    if ":" in name:
        factory = cast("Callable[..., Launcher]", pkgutil.resolve_name(name))
    elif name in LAUNCHERS:
        factory = LAUNCHERS[name]
    else:
        raise ConfigError(f'jobs.launcher: no launcher called "{name}"; known: {", ".join(sorted(LAUNCHERS))}, or "package.module:Class"')
    return factory(**(params or {}))
