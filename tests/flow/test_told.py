"""From an event to a person: a rule breaks, an alert comes in, processes die in between; each is told once, and its end."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from driftwheel_schemas import new_id
from system import SETTINGS, System, count, kill, running_system, until

SECRET = "whsec_" + "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="


class Channel:
    """A receiver of webhooks on a port of its own, which can be closed and opened again; it verifies every signature."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.port = 0
        self.open()

    def open(self) -> None:
        channel = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                event = Webhook(SECRET).verify(body, {name.lower(): value for name, value in self.headers.items()})
                channel.ids.append(self.headers["webhook-id"])
                channel.got.append(event)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kinds(self, app: str = "shop") -> list[str]:
        return [one["type"].removeprefix("io.driftwheel.").removesuffix(".v1") for one in self.got if one["data"]["app"] == app]


@pytest.fixture
def channel() -> Iterator[Channel]:
    made = Channel()
    yield made
    made.close()


def settings(channel: Channel, link: str = "http://grafana.example/d/drift?var-incident={id}") -> str:
    return f"""{SETTINGS}
[[rules]]
name = "errors"
kind = "limit"
signal = "error.flag"
above = 0.2
window = "20s"
least = 5
severity = "page"

[[policies]]
name = "retrain-on-alert"
signal = "alert.*"

[[actions]]
name = "oncall"
use = "webhook"
on = ["incident", "trigger"]
params = {{ url = "http://127.0.0.1:{channel.port}/hook", secret = "{SECRET}" }}

[notify]
allow_private = ["127.0.0.1"]
link = "{link}"
"""


def send(system: System, error: str, n: int = 10) -> None:
    now = datetime.now(UTC).isoformat()
    calls = [
        {"id": new_id(), "app": "shop", "model": "m", "started_at": now, "session_id": new_id(), "error_type": error} for _ in range(n)
    ]
    system.post("/v1/inferences", calls)


@pytest.mark.slow
def test_a_broken_rule_is_told_once_with_its_end_whatever_is_killed(tmp_path: Path, channel: Channel) -> None:
    """
    The channel is away when the rule breaks; the deciding process is killed between decision and delivery, and the store after it.
    Once the channel is back it hears of the opening once, and of the end after the errors have stopped.
    """
    with running_system(tmp_path, settings(channel)) as system:
        channel.close()
        send(system, "Timeout")
        until(lambda: count(system, "outbox") == 1, 30)
        for victim in ("detection", "store", "detection"):
            kill(system.pid(victim))
            time.sleep(1.5)
        until(lambda: count(system, "outbox") == 1, 60)
        channel.open()
        until(lambda: bool(channel.got), 60)

        end = time.monotonic() + 20
        while time.monotonic() < end:  # good calls push the errors out of the window, and it stays so for a window
            send(system, "")
            time.sleep(1)
        until(lambda: "incident.resolved" in channel.kinds(), 60)

        assert channel.kinds() == ["incident.opened", "incident.resolved"]
        opened, ended = channel.got
        assert (opened["subject"], opened["data"]["severity"]) == (ended["subject"], "page")
        assert "rule errors for app=shop: the mean of error.flag over 20 s is 1, above the limit of 0.2" in opened["data"]["text"]
        assert opened["data"]["link"].endswith(f"var-incident={opened['subject']}")
        rows = system.store.query("SELECT state, attempts FROM driftwheel.outbox FINAL ORDER BY decided_at")
        assert [row["state"] for row in rows] == ["sent", "sent"]
        assert len(set(channel.ids)) == 2


@pytest.mark.slow
def test_the_teams_own_alert_becomes_an_incident_and_a_trigger_and_a_person_may_end_it(tmp_path: Path, channel: Channel) -> None:
    """Alertmanager's webhook in, an incident and a pending trigger out, both told; `verdict resolve` ends it, and that is told too."""
    from typer.testing import CliRunner

    from driftwheel.cli import app

    starts = datetime.now(UTC) - timedelta(minutes=1)
    labels = {"alertname": "Complaints", "app": "shop", "severity": "page"}
    alert = {"status": "firing", "labels": labels, "annotations": {"summary": "many complaints"}, "startsAt": starts.isoformat()}
    with running_system(tmp_path, settings(channel)) as system:
        for _ in range(3):
            assert system.post("/v1/hooks/alertmanager", {"version": "4", "alerts": [alert]})["accepted"] == 1
        until(lambda: len(channel.got) >= 2, 30)
        assert sorted(channel.kinds()) == ["incident.opened", "trigger.pending"]
        (trigger,) = system.store.query("SELECT policy, state, toString(incident_id) AS incident_id FROM driftwheel.triggers FINAL")
        assert (trigger["policy"], trigger["state"]) == ("retrain-on-alert", "pending")
        assert count(system, "verdicts", "detector = 'alert'") == 1

        arguments = ["--config", str(tmp_path / "driftwheel.toml"), "verdict"]
        data = ["--data", str(system.folder)]
        listed = CliRunner().invoke(app, [*arguments, *data], env={"COLUMNS": "200"})
        assert "shop: alert Complaints" in listed.output
        done = CliRunner().invoke(app, [*arguments, "resolve", trigger["incident_id"][:8], "--reason", "we called them", *data])
        assert "1 verdicts are over" in done.output, done.output
        until(lambda: len(channel.got) >= 3, 30)

        assert channel.kinds()[-1] == "incident.resolved"
        assert "we called them" in json.dumps(channel.got[-1])
        shown = CliRunner().invoke(app, [*arguments, "show", trigger["incident_id"][:8], *data], env={"COLUMNS": "200"})
        assert "incident.resolved" in shown.output


@pytest.mark.slow
def test_every_process_keeps_its_numbers_in_the_store(tmp_path: Path, channel: Channel) -> None:
    """The Pipeline board needs no second data source: what `/metrics` says is in `meters`."""
    with running_system(tmp_path, settings(channel)) as system:
        send(system, "")
        until(lambda: len(_instances(system)) >= 3, 45)
        until(lambda: _meter(system, "driftwheel_collector_accepted_total") == 10, 30)
        until(lambda: _meter(system, "driftwheel_worker_ready") > 0, 30)


def _instances(system: System) -> set[str]:
    return {row["instance"].split("/", 1)[1] for row in system.store.query("SELECT DISTINCT instance FROM driftwheel.meters")}


def _meter(system: System, name: str) -> float:
    rows = system.store.query("SELECT max(value) AS value FROM driftwheel.meters WHERE name = {name:String}", {"name": name})
    return float(rows[0]["value"])
