"""
Verdicts → incidents: what a person is told of. Pure; the incidents known so far come in, time comes from the verdict.

Drift of one app and one onset is one incident, however many series show it. A rule and an alert of the team's own each are
an incident of their own: a burning error budget must not vanish in a drift that somebody has put off till morning.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from driftwheel.detectors.words import amount
from driftwheel_schemas import Incident, Verdict, derived_id

TOGETHER = timedelta(hours=24)
"""What began so near to an incident's opening belongs to it: an onset is known to within its first units, which may take hours."""

MOST = 200
"""Verdicts that one incident names; more of the same change are taken in without a word."""

ALONE = ("rule.", "alert")

OVER = "; over: "
"""What stands in the reason of a verdict between what it was and why it is over."""

MOVED = {"up": "is up", "down": "is down", "other": "has changed"}


def follow(verdict: Verdict, incidents: Iterable[Incident]) -> Incident | None:
    """
    The incident that *verdict* opens or changes, as it is then; None where it changes none (it was said before, or is quiet).

    Replay changes nothing: a verdict that an incident names is known, also when it is said again with a larger sample.
    """
    incidents = list(incidents)
    known = next((one for one in incidents if verdict.id in one.verdicts), None)
    if verdict.resolved_at:
        return _end(known, verdict) if known and verdict.id not in known.over else None
    if not verdict.drifted or (known and known.state == "resolved"):
        return None
    if known:
        return _changed(known, verdict, severity="page") if _graver(verdict, known) else None
    near = None if verdict.detector.startswith(ALONE) else _near(verdict, incidents)
    if near is None:
        return _open(verdict)
    return _join(near, verdict) if len(near.verdicts) < MOST else None


def resolve(incident: Incident, at: datetime, why: str) -> Incident | None:
    """*incident* as it is once it is over; None where it was already."""
    if incident.state == "resolved":
        return None
    return replace(incident, state="resolved", revision=incident.revision + 1, changed_at=at, resolved_at=at, resolution=why)


def _open(verdict: Verdict) -> Incident:
    return Incident(
        id=derived_id("incident", verdict.id),
        tenant=verdict.tenant,
        app=verdict.app,
        state="open",
        severity=verdict.severity,
        title=_title(verdict),
        reason=verdict.reason,
        signals=(verdict.signal,),
        segments=(verdict.segment,),
        verdicts=(verdict.id,),
        detector=verdict.detector,
        onset=verdict.onset,
        opened_at=verdict.accepted_at,
        changed_at=verdict.accepted_at,
    )


def _near(verdict: Verdict, incidents: Iterable[Incident]) -> Incident | None:
    """
    The open incident of the same app that opened nearest to the verdict's onset, if it did near it at all.

    By the collector's clock, as all that decides: old traffic may be loaded in an hour, and clients' clocks may be wrong.
    """
    of_app = (one for one in incidents if one.state == "open" and (one.tenant, one.app) == (verdict.tenant, verdict.app))
    began = verdict.onset_accepted_at or verdict.accepted_at
    apart = {one.id: abs(began - one.opened_at) for one in of_app if not one.detector.startswith(ALONE)}
    best = min(apart, key=lambda id_: (apart[id_], id_), default=None)
    return next((one for one in incidents if one.id == best and apart[best] <= TOGETHER), None)


def _join(incident: Incident, verdict: Verdict) -> Incident:
    signals, segments = {*incident.signals, verdict.signal}, {*incident.segments, verdict.segment}
    others = len(incident.verdicts)
    return _changed(
        incident,
        verdict,
        title=f"{incident.title.split(', and ')[0]}, and {others} more",
        signals=(*incident.signals[:1], *sorted(signals - {incident.signals[0]})),
        segments=(*incident.segments[:1], *sorted(segments - {incident.segments[0]})),
        verdicts=(*incident.verdicts, verdict.id),
        severity="page" if _graver(verdict, incident) else incident.severity,
    )


def _end(incident: Incident, verdict: Verdict) -> Incident | None:
    over = (*incident.over, verdict.id)
    changed = _changed(incident, verdict, over=over)
    if incident.state == "open" and set(over) >= set(incident.verdicts) and verdict.resolved_at:
        return replace(changed, state="resolved", resolved_at=verdict.resolved_at, resolution=verdict.reason.rpartition(OVER)[2])
    return changed


def _changed(incident: Incident, verdict: Verdict, **changes: object) -> Incident:
    changed_at = max(incident.changed_at, verdict.accepted_at)
    return replace(incident, revision=incident.revision + 1, changed_at=changed_at, **changes)  # type: ignore[arg-type]


def _graver(verdict: Verdict, incident: Incident) -> bool:
    return (verdict.severity, incident.severity) == ("page", "ticket")


def _title(verdict: Verdict) -> str:
    """One line for the one who is woken: where, what, how far."""
    app = "all apps" if verdict.app == "*" else verdict.app
    if verdict.detector == "alert":
        return f"{app}: alert {verdict.signal.removeprefix('alert.')}"
    noun = "share" if verdict.signal.endswith(".flag") else ""
    change = "" if verdict.current is None else amount(verdict.current, noun)
    if change and verdict.baseline is not None:
        change = f"{amount(verdict.baseline, noun)} → {change}"
    return f"{app}: {verdict.signal} {MOVED[verdict.direction]}{f' ({change})' if change else ''}"
