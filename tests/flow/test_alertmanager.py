"""Our incidents in a real Alertmanager: they stand as long as they last, end, and are told by it in its own way."""

import json
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from alerting import alertmanager, get, wait_for
from driftwheel.actions import ActionUse, Notice, Reach, load
from receiving import Receiver, receiver

NUMBERS = count()
LINK = "https://grafana.example.com/d/driftwheel?var-incident=1"


@dataclass(slots=True)
class Watched:
    """An Alertmanager and what it tells its own webhook."""

    url: str
    hook: Receiver

    def send(self, notice: Notice) -> str:
        """As the outbox does."""
        use = ActionUse(name="am", use="alertmanager", params={"url": self.url})
        return load(use, Reach(allow_private=("127.0.0.1",))).send(notice)

    def alerts(self, name: str, value: str) -> list[Mapping[str, Any]]:
        """The active alerts whose label *name* is *value*."""
        found: list[Mapping[str, Any]] = get(f"{self.url}/api/v2/alerts", active="true", filter=f'{name}="{value}"')
        return found

    def hooked(self, incident: str, status: str) -> Mapping[str, Any] | None:
        """The first that it posted of *incident* with *status*."""
        posts: list[Mapping[str, Any]] = [json.loads(got.body) for got in self.hook.got]
        return next((post for post in posts if post["status"] == status and post["groupLabels"].get("incident") == incident), None)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One for all tests; each has an incident of its own."""
    with receiver() as hook, alertmanager(tmp_path_factory.mktemp("am"), f"http://127.0.0.1:{hook.port}/hook") as url:
        yield Watched(url, hook)


@pytest.fixture
def opened() -> Notice:
    """An incident that opened just now."""
    now = datetime.now(UTC)
    return Notice(
        id=f"notice-{next(NUMBERS)}",
        kind="incident.opened",
        tenant="default",
        app="shop-assistant",
        severity="ticket",
        subject=f"incident-{next(NUMBERS)}",
        title="Ticket: refusal.flag is up",
        text="19% of the answers are refusals, 2% were before.",
        link=LINK,
        at=now,
        starts_at=now - timedelta(minutes=20),
        labels={"detector": "flag_rate", "signal": "refusal.flag"},
        data={"revision": 0},
    )


def over(notice: Notice, **changes: Any) -> Notice:
    """The end of *notice*."""
    now = datetime.now(UTC)
    end = replace(notice, id=f"{notice.id}-end", kind="incident.resolved", at=now, ends_at=now, data={"revision": 2})
    return replace(end, **changes)


def test_an_open_incident_stands_longer_than_alertmanager_waits(watched: Watched, opened: Notice) -> None:
    """An alert without an end, posted at the same moment, is gone after resolve_timeout; ours is not, and carries our labels."""
    assert watched.send(opened) == "200"
    without_end = json.dumps([{"labels": {"alertname": "WithoutEnd"}}]).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{watched.url}/api/v2/alerts", without_end, {"content-type": "application/json"}), timeout=10
    ).close()
    assert watched.alerts("alertname", "WithoutEnd")
    wait_for(lambda: not watched.alerts("alertname", "WithoutEnd"))

    (alert,) = watched.alerts("incident", opened.subject)
    assert alert["status"]["state"] == "active"
    assert alert["labels"] == {
        "alertname": "DriftwheelIncident",
        "app": "shop-assistant",
        "tenant": "default",
        "severity": "ticket",
        "detector": "flag_rate",
        "signal": "refusal.flag",
        "incident": opened.subject,
    }
    assert alert["annotations"] == {"summary": opened.title, "description": opened.text}
    assert alert["generatorURL"] == LINK
    assert datetime.fromisoformat(alert["startsAt"]) == opened.starts_at.replace(microsecond=opened.starts_at.microsecond // 1000 * 1000)


def test_told_twice_it_is_one_alert(watched: Watched, opened: Notice) -> None:
    """An attempt too many changes nothing there."""
    watched.send(opened)
    (first,) = watched.alerts("incident", opened.subject)
    watched.send(opened)
    (again,) = watched.alerts("incident", opened.subject)

    assert {name: first[name] for name in ("fingerprint", "startsAt", "endsAt")} == {
        name: again[name] for name in ("fingerprint", "startsAt", "endsAt")
    }


@pytest.mark.parametrize("ahead_s", [0, 30], ids=["clocks agree", "ours is 30 s ahead"])
def test_an_incident_that_is_over_is_gone(ahead_s: float, watched: Watched, opened: Notice) -> None:
    """The end finds the alert by its labels, also where our clock runs ahead of Alertmanager's."""
    watched.send(opened)
    assert watched.alerts("incident", opened.subject)
    watched.send(over(opened, ends_at=datetime.now(UTC) + timedelta(seconds=ahead_s)))

    assert not watched.alerts("incident", opened.subject)


def test_an_incident_that_began_a_moment_ago_can_end(watched: Watched, opened: Notice) -> None:
    """Its end is never before its start, which Alertmanager would refuse."""
    sudden = over(opened, starts_at=datetime.now(UTC))

    assert watched.send(sudden) == "200"
    assert not watched.alerts("incident", opened.subject)


def test_a_ticket_that_became_a_page_ends_as_both(watched: Watched, opened: Notice) -> None:
    """The severity is a label, so they are two alerts; neither stays behind."""
    watched.send(opened)
    watched.send(over(opened, severity="page"))

    assert not watched.alerts("incident", opened.subject)


def test_triggers_and_tests_stand_for_an_hour(watched: Watched, opened: Notice) -> None:
    """They have no end of their own."""
    for kind, name in (("trigger.pending", "DriftwheelTrigger"), ("promotion.decided", "DriftwheelPromotion"), ("test", "DriftwheelTest")):
        watched.send(over(opened, kind=kind, at=opened.at))
        (alert,) = watched.alerts("alertname", name)
        left = datetime.fromisoformat(alert["endsAt"]) - opened.at
        assert timedelta(minutes=59) < left <= timedelta(hours=1)


def test_alertmanager_tells_its_own_webhook_of_the_opening_and_the_end(watched: Watched, opened: Notice) -> None:
    """Version 4 of its payload, with the fields that our own hook for it reads."""
    watched.send(opened)
    firing = wait_for(lambda: watched.hooked(opened.subject, "firing"))
    watched.send(over(opened))
    resolved = wait_for(lambda: watched.hooked(opened.subject, "resolved"))

    for post in (firing, resolved):
        assert set(post) == {
            *("version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels"),
            *("commonLabels", "commonAnnotations", "externalURL", "alerts"),
        }
        (alert,) = post["alerts"]
        assert post["version"] == "4"
        assert set(alert) == {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}
        assert alert["status"] == post["status"]
    assert firing["alerts"][0]["fingerprint"] == resolved["alerts"][0]["fingerprint"]
    assert firing["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
