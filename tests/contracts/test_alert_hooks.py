"""The team's own alerts: what Alertmanager and Grafana post becomes verdicts, or a sentence that says why not."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from collecting import NOW, Collecting, collecting
from driftwheel.collector.settings import CollectorSettings, Key
from driftwheel_schemas import Verdict
from driftwheel_schemas.topics import VERDICTS

START = (NOW - timedelta(minutes=5)).isoformat().replace("+00:00", "Z")


def alert(**changes: Any) -> dict[str, Any]:
    """One alert as Alertmanager 0.25 posts it."""
    labels = {"alertname": "ErrorRate", "app": "shop", "model": "gpt-4o-mini", "severity": "critical"} | changes.pop("labels", {})
    known = {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "20 % of the calls fail", "runbook_url": "http://wiki/errors"},
        "startsAt": START,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "5a3d1b6f7c8e9d0a",
    }
    return known | changes


def group(*alerts: Any, **more: Any) -> dict[str, Any]:
    """A webhook of version 4; Grafana adds fields of its own."""
    known = {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "driftwheel",
        "alerts": list(alerts),
    }
    return known | {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "orgId": 1, "title": "x"} | more


def verdicts(collector: Collecting) -> list[Verdict]:
    return [one for log in collector.bus.logs[VERDICTS] for record in log for one in msgspec.json.decode(record.value, type=list[Verdict])]


def post(body: Any, settings: CollectorSettings | None = None, key: str = "") -> tuple[httpx.Response, list[Verdict], dict[str, float]]:
    """The answer to *body*, the verdicts on the bus, and what was counted."""

    async def act() -> tuple[httpx.Response, list[Verdict], dict[str, float]]:
        async with collecting(settings) as collector:
            content = body if isinstance(body, bytes) else msgspec.json.encode(body)
            answer = await collector.client.post(
                "/v1/hooks/alertmanager", content=content, headers={"authorization": f"Bearer {key}"} if key else {}
            )
            counts = {
                reason: await collector.metric(f'driftwheel_collector_rejected_total{{event="alert",reason="{reason}"}}')
                for reason in ("own", "truncated", "shape", "empty")
            }
            return answer, verdicts(collector), counts

    return asyncio.run(act())


def test_a_firing_alert_is_a_verdict() -> None:
    """With its app, segment, severity, onset and words; it states no promise."""
    answer, (one,), _ = post(group(alert()))

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": [], "ignored": 0})
    assert (one.app, one.segment, one.signal) == ("shop", "app=shop,model=gpt-4o-mini", "alert.ErrorRate")
    assert (one.detector, one.drifted, one.severity, one.resolved_at) == ("alert", True, "page", None)
    assert (one.onset, one.accepted_at) == (NOW - timedelta(minutes=5), NOW)
    assert one.reason == "alert ErrorRate: 20 % of the calls fail"


def test_repetitions_have_one_id_and_the_end_has_it_too() -> None:
    """Alertmanager posts again and again; the endsAt of a firing alert is no end."""
    _, (first,), _ = post(group(alert()))
    _, (again,), _ = post(group(alert(endsAt=(NOW + timedelta(hours=1)).isoformat())))
    _, (ended,), _ = post(group(alert(status="resolved", endsAt=(NOW - timedelta(minutes=1)).isoformat())))
    _, (next_time,), _ = post(group(alert(startsAt=NOW.isoformat())))

    assert (again.id, again.revision, again.resolved_at) == (first.id, 0, None)
    assert (ended.id, ended.revision, ended.resolved_at) == (first.id, 1, NOW - timedelta(minutes=1))
    assert next_time.id != first.id


def test_other_labels_are_another_alert_and_a_signal_may_be_named() -> None:
    """Policies find it by the name of the signal."""
    _, seen, _ = post(group(alert(), alert(labels={"pod": "b"}), alert(labels={"signal": "error.flag", "severity": "warning"})))

    assert len({one.id for one in seen}) == 3
    assert sorted((one.signal, one.severity) for one in seen) == [("alert.ErrorRate", "page")] * 2 + [("error.flag", "ticket")]


def test_bad_alerts_cost_their_neighbours_nothing() -> None:
    """Each is refused with its path and the cure."""
    answer, seen, counts = post(group(alert(), alert(labels={"app": " "}), {"status": "firing"}, 7, alert(startsAt="2026-03-02T12:00:00")))

    assert (answer.status_code, len(seen)) == (202, 1)
    rejected = {one["path"]: one["error"] for one in answer.json()["rejected"]}
    assert rejected["$.alerts[1].labels.app"] == "is missing; add the label `app` to the rule"
    assert set(rejected) == {"$.alerts[1].labels.app", "$.alerts[2]", "$.alerts[3]", "$.alerts[4].startsAt"}
    assert (counts["shape"], counts["empty"]) == (2, 1)


def test_our_own_alerts_that_come_back_are_no_news() -> None:
    """An Alertmanager that we tell may route everything to this hook: that is no circle."""
    answer, seen, counts = post(group(alert(labels={"alertname": "DriftwheelIncident"}), truncatedAlerts=3))

    assert (answer.status_code, answer.json()["ignored"], seen) == (202, 1, [])
    assert (counts["own"], counts["truncated"]) == (1, 3)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"alerts": {}}', b"null"])
def test_what_is_no_webhook_is_a_400_with_a_sentence(body: bytes) -> None:
    """Whatever the bytes are."""
    answer, seen, _ = post(body)

    assert (answer.status_code, seen) == (400, [])
    assert "no webhook of Alertmanager or Grafana" in answer.json()["detail"]


def test_too_many_alerts_are_refused_as_a_whole() -> None:
    """A group is bounded."""
    assert post(group(*[alert()] * 501))[0].status_code == 413


def test_a_wrong_clock_moves_nothing_into_the_future_and_text_is_one_bounded_line() -> None:
    """Senders' clocks differ, and summaries are untrusted."""
    hostile = "<b>\x1b[2J\n" + "x" * 5000
    tomorrow, long_ago = (NOW + timedelta(days=1)).isoformat(), "0001-01-01T00:00:00Z"
    _, seen, _ = post(
        group(
            alert(startsAt=tomorrow, annotations={"summary": hostile}, labels={"app": "a" * 9000}),
            alert(startsAt=long_ago, status="resolved", endsAt=tomorrow),
        )
    )

    ahead = next(one for one in seen if one.app.startswith("a"))
    behind = next(one for one in seen if one.app == "shop")
    assert (ahead.onset, len(ahead.app), len(ahead.reason) < 1100, "\x1b" in ahead.reason) == (NOW, 256, True, False)
    assert (behind.resolved_at, behind.epoch) == (NOW, 0)


def test_a_key_needs_the_scope_and_brings_the_tenant() -> None:
    """An alert may start a training: a key that may only send events may not send alerts."""
    import hashlib

    digest = hashlib.sha256(b"secret").hexdigest()
    keys = {"a": Key(sha256=digest), "b": Key(sha256=digest, tenant="bank", scopes=("alerts:write",))}
    settings = CollectorSettings(keys=keys)

    assert post(group(alert()), settings)[0].status_code == 401
    assert post(group(alert()), settings, "dw_a_secret")[0].status_code == 403
    answer, (one,), _ = post(group(alert()), settings, "dw_b_secret")
    assert (answer.status_code, one.tenant) == (202, "bank")
