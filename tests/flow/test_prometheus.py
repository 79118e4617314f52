"""A real Prometheus over a running system: it scrapes us, answers for our numbers, and its alerts reach Alertmanager."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alerting import alertmanager, get, prometheus, wait_for
from driftwheel_schemas import derived_id
from needed import needed
from receiving import Receiver, receiver
from system import CHEAP, SETTINGS, System, running_system

pytestmark = pytest.mark.slow

RULES = [
    {
        "alert": "EventsRejected",
        "expr": "driftwheel_collector_rejected_total > 0",
        "labels": {"severity": "ticket"},
        "annotations": {"summary": "{{ $labels.job }} refuses events: {{ $labels.reason }}"},
    }
]


@dataclass(slots=True)
class Watched:
    """A system with the two that watch it; `pages` is where each process has its numbers."""

    system: System
    prometheus: str
    alertmanager: str
    hook: Receiver
    pages: Mapping[str, str]

    def ask(self, query: str) -> Mapping[str, float]:
        """PromQL: the value by job."""
        found = get(f"{self.prometheus}/api/v1/query", query=query)["data"]["result"]
        return {one["metric"].get("job", ""): float(one["value"][1]) for one in found}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Three good events and a bad one went in."""
    for command in ("prometheus", "promtool", "prometheus-alertmanager"):
        needed(command)
    folder = tmp_path_factory.mktemp("watched")
    with (
        running_system(folder, SETTINGS, CHEAP) as system,
        receiver() as hook,
        alertmanager(folder, f"http://127.0.0.1:{hook.port}/hook") as manager,
    ):
        ports = {"collector": system.running.collector_port, **system.running.metrics_ports}
        pages = {job: f"127.0.0.1:{port}" for job, port in ports.items()}
        with prometheus(folder, pages, RULES, manager) as url:
            now = datetime.now(UTC).isoformat()
            good = [{"id": derived_id(n), "app": "shop", "model": "m", "started_at": now, "latency_s": 0.4} for n in range(3)]
            system.post("/v1/inferences", [*good, {"id": "bad", "app": "shop"}])
            yield Watched(system, url, manager, hook, pages)


def test_prometheus_finds_every_process_up(watched: Watched) -> None:
    """Collector, workers and detection answer a scrape."""
    wait_for(lambda: watched.ask("up") == dict.fromkeys(watched.pages, 1.0))

    targets = get(f"{watched.prometheus}/api/v1/targets")["data"]["activeTargets"]
    assert {target["labels"]["job"]: target["lastError"] for target in targets} == dict.fromkeys(watched.pages, "")


def test_what_went_in_can_be_asked_of_prometheus(watched: Watched) -> None:
    """Accepted, refused and stored, by PromQL; a histogram gives quantiles."""
    wait_for(lambda: watched.ask('driftwheel_worker_events_total{role="signals",what="stored"}') == {"workers": 3.0})

    assert watched.ask('driftwheel_collector_accepted_total{event="inference"}') == {"collector": 3.0}
    assert watched.ask('sum by (job) (driftwheel_collector_rejected_total{event="inference"})') == {"collector": 1.0}
    assert watched.ask("min by (job) (driftwheel_worker_ready)") == {"workers": 1.0, "detection": 1.0}
    quantile = "histogram_quantile(0.9, sum by (le, job) (driftwheel_worker_delay_seconds_bucket{role='signals'}))"
    assert 0 < watched.ask(quantile)["workers"] < 60


def test_an_alert_of_prometheus_on_our_numbers_reaches_alertmanager(watched: Watched) -> None:
    """And goes on from there, with what it is about in its labels."""
    alerts = wait_for(lambda: get(f"{watched.alertmanager}/api/v2/alerts", filter='alertname="EventsRejected"'))

    (alert,) = alerts
    assert alert["labels"]["job"] == "collector"
    assert alert["annotations"]["summary"] == f"collector refuses events: {alert['labels']['reason']}"
    (got, *_) = wait_for(lambda: watched.hook.got)
    assert json.loads(got.body)["alerts"][0]["labels"] == alert["labels"]


def test_promtool_finds_nothing_in_our_pages(watched: Watched, tmp_path: Path) -> None:
    """Every metric has a help text and a name as Prometheus wants it."""
    promtool = needed("promtool")
    for job, address in watched.pages.items():
        page = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read()
        done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, b""), job
