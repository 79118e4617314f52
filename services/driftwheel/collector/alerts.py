"""
The team's own alerts as verdicts: what Alertmanager (webhook version 4) and Grafana post when one of their rules fires. Pure.

Such a verdict goes the way of all verdicts: it opens an incident, and policies decide over it. It states no promise and no sample.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from driftwheel.checks import MAX_NAME, MAX_VALUE, BadField
from driftwheel.collector.decode import Rejection
from driftwheel.collector.http import Refusal
from driftwheel.pipeline.series import segment_of_values
from driftwheel.policies.incidents import OVER
from driftwheel.policies.rules import FIELDS
from driftwheel_schemas import Verdict, derived_id

OWN = "DriftwheelIncident"
"""The name of the alerts that we post: one that comes back is no news."""

GRAVE = frozenset({"page", "critical", "emergency", "error", "high"})
MOST = 500
PROMISE = "the team's own alert, no promise"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a group as it is posted; `endsAt` counts only where it is resolved."""

    labels: Mapping[str, str]
    startsAt: datetime  # noqa: N815  Alertmanager's names
    status: Literal["firing", "resolved"]
    endsAt: datetime | None = None  # noqa: N815
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Group:
    alerts: Sequence[msgspec.Raw]
    truncatedAlerts: int = 0  # noqa: N815


@dataclass(slots=True)
class Heard:
    """What a request brought: verdicts, alerts that cannot be used, our own that came back, and how many the sender left out."""

    verdicts: list[Verdict] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    own: int = 0
    truncated: int = 0


def hear(body: bytes, tenant: str, now: datetime) -> Heard:
    """The verdicts in *body*. Raises `Refusal` where it is no webhook of version 4."""
    try:
        group = msgspec.json.decode(body, type=_Group)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise Refusal(400, "shape", f"this is no webhook of Alertmanager or Grafana (version 4): {wrong}") from wrong
    if len(group.alerts) > MOST:
        raise Refusal(413, "size", f"{len(group.alerts)} alerts at once; send at most {MOST}, group_by makes groups smaller")
    heard = Heard(truncated=max(0, group.truncatedAlerts))
    for index, raw in enumerate(group.alerts):
        try:
            alert = msgspec.json.decode(raw, type=Alert)
            if alert.labels.get("alertname", "").startswith(OWN):
                heard.own += 1
            else:
                heard.verdicts.append(verdict_of(alert, tenant, now))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            heard.rejected.append(Rejection(index, f"$.alerts[{index}]", str(wrong), "shape"))
        except BadField as wrong:
            heard.rejected.append(Rejection(index, f"$.alerts[{index}]{wrong.path}", str(wrong), wrong.reason))
    return heard


def verdict_of(alert: Alert, tenant: str, now: datetime) -> Verdict:
    """
    What *alert* says, with the same id at each repetition. Raises `BadField` for labels that are missing or too long.

    The label `app` is needed; `signal` and the fields of a segment (`model`, `prompt_version`, …) are used where they are given.
    A sender's clock may be wrong: no alert begins or ends after *now*.
    """
    for name in ("alertname", "app"):
        if not alert.labels.get(name, "").strip():
            raise BadField(f".labels.{name}", "empty", f"is missing; add the label `{name}` to the rule")
    labels = {name: _plain(alert.labels.get(name, ""), MAX_NAME) for name in ("alertname", "signal", *FIELDS)}
    if alert.startsAt.tzinfo is None or (alert.endsAt and alert.endsAt.tzinfo is None):
        raise BadField(".startsAt", "time", "needs a time zone, as in 2026-01-02T03:04:05Z")
    segment = segment_of_values(FIELDS, (labels[name] for name in FIELDS))
    digest = derived_id(*(part for pair in sorted(alert.labels.items()) for part in pair))[:8]
    series = f"{tenant}/alert:{labels['alertname']}:{digest}{{{segment}}}"
    over = alert.status == "resolved"
    starts_at = min(alert.startsAt, now)
    return Verdict(
        id=derived_id(series, "alert", "", alert.startsAt.isoformat()),
        tenant=tenant,
        app=labels["app"],
        signal=labels["signal"] or f"alert.{labels['alertname']}",
        segment=segment,
        series=series,
        detector="alert",
        reference_version="",
        epoch=max(0, int(alert.startsAt.timestamp())) % 2**32,
        revision=int(over),
        drifted=True,
        evidence=0.0,
        level=0.0,
        promise=PROMISE,
        at=starts_at,
        accepted_at=now,
        onset=starts_at,
        onset_accepted_at=starts_at,
        reason=f"alert {labels['alertname']}: {_said(alert)}" + (f"{OVER}it was resolved where it came from" if over else ""),
        severity="page" if alert.labels.get("severity", "").lower() in GRAVE else "ticket",
        resolved_at=min(max(alert.endsAt or now, starts_at), now) if over else None,
    )


def _said(alert: Alert) -> str:
    texts = (_plain(alert.annotations.get(name, ""), MAX_VALUE) for name in ("summary", "description", "message"))
    return next((text for text in texts if text), "no summary was given")


def _plain(text: str, most: int) -> str:
    """One line of at most *most* characters."""
    return _CONTROL.sub(" ", text)[:most].strip()


def encoded(verdicts: Sequence[Verdict]) -> list[tuple[str, msgspec.Raw]]:
    """The verdicts as the bus takes them, by their app."""
    return [(verdict.app, msgspec.Raw(msgspec.json.encode(verdict))) for verdict in verdicts]
