"""What is told: incidents, triggers and promotions as notices, and notices as rows of the outbox. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

import msgspec

from driftwheel.actions import ActionUse, Notice
from driftwheel.pipeline import Row
from driftwheel.pipeline.series import instant
from driftwheel_schemas import Incident, Promotion, Trigger, derived_id

SHOWN = 5
"""Signals and segments that a text names; the event behind it has all."""


def of_incident(incident: Incident, link: str = "") -> Notice:
    """The notice of an incident that opened, or is over."""
    over = incident.state == "resolved"
    what = f"Signals: {_some(incident.signals)}. Segments: {_some(incident.segments)}."
    since = f" Since about {incident.onset:%Y-%m-%d %H:%M} UTC." if incident.onset else ""
    return Notice(
        id="",
        kind="incident.resolved" if over else "incident.opened",
        tenant=incident.tenant,
        app=incident.app,
        severity=incident.severity,
        subject=incident.id,
        title=f"{'Over' if over else incident.severity.capitalize()}: {incident.title}",
        text=f"{incident.resolution} (it was: {incident.reason})" if over else f"{incident.reason}\n{what}{since}",
        link=_link(link, "incident", incident.id),
        at=incident.changed_at,
        starts_at=incident.onset or incident.opened_at,
        ends_at=incident.resolved_at,
        labels={"detector": incident.detector, "signal": incident.signals[0]},
        data=msgspec.to_builtins(incident),
    )


def of_trigger(trigger: Trigger, link: str = "") -> Notice | None:
    """The notice of a trigger that waits for a person or was let through; None of one that is held or refused."""
    if trigger.state not in ("pending", "approved"):
        return None
    waits = f"It waits for a person: driftwheel jobs approve {trigger.id[:8]}" if trigger.state == "pending" else "It starts."
    return Notice(
        id="",
        kind="trigger.pending" if trigger.state == "pending" else "trigger.approved",
        tenant=trigger.tenant,
        app=trigger.app,
        severity="ticket",
        subject=trigger.id,
        title=f"{trigger.app}: policy {trigger.policy} asks for {trigger.job}",
        text=f"{trigger.reason}\n{waits}",
        link=_link(link, "trigger", trigger.id),
        at=trigger.at,
        starts_at=trigger.at,
        labels={"policy": trigger.policy, "signal": trigger.signal},
        data=msgspec.to_builtins(trigger),
    )


def of_promotion(promotion: Promotion, link: str = "") -> Notice:
    """The notice of what the gate decided."""
    return Notice(
        id="",
        kind="promotion.decided",
        tenant=promotion.tenant,
        app=promotion.app,
        severity="ticket",
        subject=promotion.id,
        title=f"{promotion.app}: {promotion.decision} {promotion.candidate}",
        text=promotion.reason,
        link=_link(link, "promotion", promotion.id),
        at=promotion.at,
        starts_at=promotion.at,
        labels={"decision": promotion.decision},
        data=msgspec.to_builtins(promotion),
    )


def outbox(notice: Notice, actions: Iterable[ActionUse]) -> Iterator[Row]:
    """
    A row for each of *actions* that is to be told; its id is the notice's, the same in every replay.

    An opening is told once for each severity: who routes by it must hear when a ticket becomes a page.
    """
    what = (notice.kind, notice.severity) if notice.kind == "incident.opened" else (notice.kind,)
    for action in actions:
        if action.hears(notice):
            id_ = derived_id("outbox", action.name, notice.subject, *what)
            yield row_of(replace(notice, id=id_), action.name, notice.at)


def row_of(notice: Notice, action: str, decided_at: datetime) -> Row:
    """*notice* for *action*, as it waits in the outbox."""
    return {
        "tenant": notice.tenant,
        "id": notice.id,
        "revision": 0,
        "app": notice.app,
        "action": action,
        "kind": notice.kind,
        "subject": notice.subject,
        "state": "pending",
        "attempts": 0,
        "detail": "",
        "notice": msgspec.json.encode(notice).decode(),
        "decided_at": instant(decided_at),
        "due_at": instant(decided_at),
        "done_at": None,
    }


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _link(base: str, what: str, id_: str) -> str:
    """`{id}` in the configured link is the incident's; a link without it leads to a board."""
    return base.replace("{what}", what).replace("{id}", id_)
