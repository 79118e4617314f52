"""What a person answers: a pending trigger is approved or refused, an incident is over, or nobody wants to hear of it for a while."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from driftwheel.bus import Bus
from driftwheel.errors import DriftwheelError
from driftwheel.pipeline.detection_series import row_of
from driftwheel.pipeline.envelope import pack
from driftwheel.pipeline.series import instant
from driftwheel.policies.incidents import ALONE, OVER
from driftwheel.store import Store
from driftwheel_schemas import Incident, Observation, Trigger, Verdict, derived_id
from driftwheel_schemas.topics import OBSERVATIONS, TRIGGERS, VERDICTS


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
    await tell(bus, store, answered)
    return answered


async def tell(bus: Bus, store: Store, trigger: Trigger) -> None:
    """Store *trigger* where it is not stored yet, then publish it."""
    rows = await asyncio.to_thread(store.missing, "triggers", [msgspec.to_builtins(trigger)])
    await asyncio.to_thread(store.insert, "triggers", rows)
    await bus.append(list(pack(TRIGGERS, await bus.partitions(TRIGGERS), [(trigger.app, trigger)])))


def incident(store: Store, incident_id: str) -> Incident:
    """The incident whose id begins with *incident_id*. Raises `DriftwheelError` when no single one does."""
    rows = store.ask("incident", {"id": incident_id})
    if len(rows) != 1:
        raise DriftwheelError(f"{len(rows)} incidents begin with {incident_id!r}; `driftwheel verdict` lists them")
    return msgspec.convert(rows[0], Incident)


async def resolve(bus: Bus, store: Store, about: Incident, why: str, now: datetime) -> Sequence[Verdict]:
    """
    Say that *about* is over: of each of its verdicts that stands, once more, with `resolved_at`. Returns these.

    Detectors are told to take what comes from now on as usual. A rule that is still broken stays silent until it was kept again.
    An answer that was stored and not published, since something died or did not answer in between, is published by the next one.
    """
    waiting = [id_ for id_ in about.verdicts if id_ not in about.over]
    known = [msgspec.convert(row, Verdict) for row in await asyncio.to_thread(store.ask, "verdicts_of", {"ids": waiting})]
    standing = [one for one in known if one.resolved_at is None]
    ended = [one for one in known if one.resolved_at] + [
        replace(one, revision=one.revision + 1, resolved_at=now, accepted_at=now, reason=f"{one.reason}{OVER}{why}") for one in standing
    ]
    await asyncio.to_thread(store.insert, "verdicts", [row_of(one) for one in ended[len(known) - len(standing) :]])
    accepted = [(one.series, _accept(one, now)) for one in ended if not one.detector.startswith(ALONE)]
    await bus.append(list(pack(VERDICTS, await bus.partitions(VERDICTS), [(one.app, one) for one in ended])))
    await bus.append(list(pack(OBSERVATIONS, await bus.partitions(OBSERVATIONS), accepted)))
    return ended


LONGEST = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snooze:
    """Who is not told until when: of one incident, or of the apps and signals that match the patterns."""

    until: datetime
    reason: str
    tenant: str = "default"
    incident_id: str = ""
    app: str = ""
    signal: str = ""


def snooze(store: Store, about: Snooze, now: datetime) -> None:
    """
    Let nobody be told of openings that *about* covers; an end is told to whom the opening was. A new one replaces an old one.

    Raises `DriftwheelError` beyond `LONGEST`: what sleeps for longer than the outbox is looked through would never be told.
    """
    if about.until - now > LONGEST:
        raise DriftwheelError(
            f"a snooze lasts {LONGEST.days} days at most; a rule or an action that nobody wants belongs out of the settings"
        )
    row = msgspec.to_builtins(about) | {"id": derived_id("snooze", about.incident_id, about.app, about.signal), "at": instant(now)}
    store.insert("snoozes", [row | {"revision": int(now.timestamp()), "until": instant(about.until)}])


def _accept(verdict: Verdict, now: datetime) -> Observation:
    return Observation(
        id=derived_id("accept", verdict.id),
        tenant=verdict.tenant,
        app=verdict.app,
        signal=verdict.signal,
        segment=verdict.segment,
        kind="accept",
        unit="",
        at=now,
        accepted_at=now,
        inference_id="",
    )
