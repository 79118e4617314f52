"""What workers tell Prometheus and whoever watches over processes: `/metrics`, `/health/live`, `/health/ready`."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from driftwheel.pipeline.health import Health, Spread

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Meters:
    """Reads the health of each role when Prometheus asks; the workers know nothing of it."""

    def __init__(self, roles: Mapping[str, Health]) -> None:
        self._roles = roles

    def collect(self) -> Iterator[Metric]:
        """
        `driftwheel_worker_…`: `events_total{role, what}` (`skipped` are rows that were stored already), `ready{role}`,
        `lag_records{role, topic, partition}`, and the histograms `step_seconds{role, step}`, `delay_seconds{role}` (from the
        bus's clock to stored) and `batch_records{role}`.

        Of feedback, `matched` and `lag_seconds` give the match rate and the mean lag. A worker that stands still is not ready.
        """
        name = "driftwheel_worker"
        events = CounterMetricFamily(f"{name}_events", "What workers did, by role and kind", labels=("role", "what"))
        ready = GaugeMetricFamily(f"{name}_ready", "1 while the worker takes events", labels=("role",))
        lag = GaugeMetricFamily(f"{name}_lag_records", "Records that are not acked yet", labels=("role", "topic", "partition"))
        steps = HistogramMetricFamily(f"{name}_step_seconds", "Seconds of each step of a batch", labels=("role", "step"))
        delay = HistogramMetricFamily(f"{name}_delay_seconds", "From the bus's clock to stored, oldest of a batch", labels=("role",))
        batch = HistogramMetricFamily(f"{name}_batch_records", "Records of a batch", labels=("role",))
        for role, health in self._roles.items():
            ready.add_metric((role,), float(health.ready))
            for what, count in dict(health.counts).items():
                events.add_metric((role, what), count)
            for claim, records in dict(health.lag).items():
                lag.add_metric((role, claim.topic, str(claim.partition)), records)
            for step, spread in dict(health.steps).items():
                _add(steps, (role, step), spread)
            _add(delay, (role,), health.delay)
            _add(batch, (role,), health.records)
        yield from (events, ready, lag, steps, delay, batch)


def registry_of(roles: Mapping[str, Health]) -> CollectorRegistry:
    """The numbers of *roles*, for whoever asks."""
    registry = CollectorRegistry()
    registry.register(Meters(roles))
    return registry


def serve(roles: Mapping[str, Health], host: str, port: int) -> Callable[[], None]:
    """Serve *roles* in a thread; call what comes back to end it. `/health/live` and `/health/ready` answer 503 for a no."""
    metrics = make_wsgi_app(registry_of(roles))

    def app(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/health/live":
                return _answer(start, {role: health.live for role, health in roles.items()}, {})
            case "/health/ready":
                ready = {role: health.ready and health.live for role, health in roles.items()}
                return _answer(start, ready, {role: health.paused for role, health in roles.items() if health.paused})
        page: Iterable[bytes] = metrics(environ, start)
        return page

    server = make_server(host, port, app, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return server.shutdown


class _Quiet(WSGIRequestHandler):
    """Without a line for each request, and without waiting for ever for one."""

    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Nobody reads the access log of a health check."""


def _answer(start: "StartResponse", roles: Mapping[str, bool], paused: Mapping[str, str]) -> list[bytes]:
    fine = all(roles.values())
    start("200 OK" if fine else "503 Service Unavailable", [("content-type", "application/json")])
    return [json.dumps({"ok": fine, "roles": roles, "paused": paused}).encode()]


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], spread: Spread) -> None:
    counts = list(accumulate(spread.counts))
    bounds = [*(str(float(bound)) for bound in spread.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, counts, strict=True)), spread.total)
