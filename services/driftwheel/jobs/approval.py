"""A person's answer to a pending trigger: stored, then published, like every decision."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

import msgspec

from driftwheel.bus import Bus
from driftwheel.errors import DriftwheelError
from driftwheel.pipeline.envelope import pack
from driftwheel.store import Store
from driftwheel_schemas import Trigger
from driftwheel_schemas.topics import TRIGGERS


async def answer(bus: Bus, store: Store, trigger_id: str, state: Literal["approved", "refused"], now: datetime) -> Trigger:
    """
    Let the pending trigger whose id begins with *trigger_id* start its job, or refuse it.

    The answer is the same trigger with the odd revision behind the one that asks (see `policies.decide`). Raises
    `DriftwheelError` when no single trigger begins so, or when it is not pending.
    """
    rows = store.ask("trigger", {"id": trigger_id})
    if len(rows) != 1:
        raise DriftwheelError(f"{len(rows)} triggers begin with {trigger_id!r}; `driftwheel jobs list` shows them")
    asked = msgspec.convert(rows[0], Trigger)
    if asked.state != "pending":
        raise DriftwheelError(f"trigger {asked.id} is {asked.state}, not pending; only a pending one can be answered")
    answered = replace(asked, state=state, revision=asked.revision + 1, reason=f"{state} by a person: {asked.reason}", at=now)
    store.insert("triggers", [msgspec.to_builtins(answered)])
    await bus.append(list(pack(TRIGGERS, await bus.partitions(TRIGGERS), [(answered.app, answered)])))
    return answered
