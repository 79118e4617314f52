"""Incidents as alerts of a Prometheus Alertmanager, which groups, silences and routes them (API v2; tested with 0.25)."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from driftwheel.actions import Notice, Reach
from driftwheel.actions.reach import Receiver
from driftwheel.actions.words import harmless, line

OPEN, SHORT = timedelta(days=30), timedelta(hours=1)
"""
How long an opened alert stays without another word; and what has no end: a trigger, a promotion, a test. Without an end,
Alertmanager would call it resolved after its own `resolve_timeout` (5 minutes), should we be away for so long.
"""
SKEW = timedelta(minutes=1)
"""An end is told as this much earlier: one in the future of Alertmanager's clock would lose against the 30 days."""


class Alertmanager:
    """
    POSTs to `url`/api/v2/alerts. An alert is its labels: they are the same at an incident's opening and its end.

    They are `alertname` (`DriftwheelIncident`), `app`, `tenant`, `severity`, `incident` and the notice's own (`detector`, `signal`).
    An incident that was a ticket and ends as a page ends both. `headers` may carry an `Authorization`, as may user and password
    in the URL.
    """

    renews_s = 300.0
    """It forgets alerts when it restarts; what stands is told again."""

    def __init__(self, reach: Reach, *, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._receiver = Receiver("alertmanager", f"{url.rstrip('/')}/api/v2/alerts", headers or {}, reach)

    def send(self, notice: Notice) -> str:
        """Alertmanager's answer; the same notice again changes nothing."""
        alerts = [_alert(notice, notice.severity, _end(notice))]
        if notice.severity == "page" and notice.data.get("revision", 0):
            alerts.append(_alert(notice, "ticket", notice.starts_at))
        return self._receiver.post(msgspec.json.encode(alerts), {"content-type": "application/json"})


def _alert(notice: Notice, severity: str, end: datetime) -> dict[str, object]:
    what = notice.kind.partition(".")[0]
    labels = {re.sub(r"\W", "_", name, flags=re.ASCII): value for name, value in notice.labels.items()} | {
        "alertname": f"Driftwheel{what.title()}",
        "app": notice.app,
        "tenant": notice.tenant,
        "severity": severity,
        what: notice.subject,
    }
    return {
        "labels": {name: line(value) for name, value in labels.items()},
        "annotations": {"summary": line(notice.title), "description": harmless(notice.text)},
        "startsAt": notice.starts_at,
        "endsAt": end,
        "generatorURL": notice.link,
    }


def _end(notice: Notice) -> datetime:
    if notice.kind == "incident.resolved":
        return max(notice.starts_at, (notice.ends_at or notice.at) - SKEW)
    return notice.at + (OPEN if notice.kind == "incident.opened" else SHORT)
