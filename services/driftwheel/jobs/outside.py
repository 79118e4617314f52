"""What a job needs of the world, as callables, and what it tells the world."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from driftwheel.jobs.dataset import Example
from driftwheel.jobs.launchers import Launcher
from driftwheel.jobs.promote import Champion
from driftwheel_schemas import Job, Promotion, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The row of table `datasets`: what a job trained on; `manifest` is JSON."""

    id: str
    tenant: str
    app: str
    job_id: str
    trigger_id: str
    train_rows: int
    eval_rows: int
    heldout_rows: int
    manifest: str
    at: datetime


Said = Job | Snapshot | Promotion
"""What a job tells the world: an event for the bus, a row for the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """
    What a job needs of the world.

    `examples` and `champion` are asked once a job. `emit` has stored and published what it is given when it returns;
    it may be given the same again after a crash. `clock` says the time, aware and in UTC.
    """

    examples: Callable[[Trigger], Sequence[Example]]
    champion: Callable[[Trigger], Champion | None]
    launcher: Launcher
    emit: Callable[[Said], None]
    clock: Callable[[], datetime]
