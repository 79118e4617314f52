"""What workers count, for Prometheus: one family of counters, and who is ready."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from driftwheel.pipeline.local import Health


class Meters:
    """Reads the health of each role when Prometheus asks; the workers know nothing of it."""

    def __init__(self, roles: Mapping[str, Health]) -> None:
        self._roles = roles

    def collect(self) -> Iterator[Metric]:
        """
        `driftwheel_worker_events_total{role, what}` and `driftwheel_worker_ready{role}`.

        Of feedback, `matched` and `lag_seconds` give the match rate and the mean lag. A worker that stands still is not ready.
        """
        events = CounterMetricFamily("driftwheel_worker_events", "What workers did, by role and kind", labels=("role", "what"))
        ready = GaugeMetricFamily("driftwheel_worker_ready", "1 while the worker takes events", labels=("role",))
        for role, health in self._roles.items():
            ready.add_metric((role,), float(health.ready))
            for what, count in dict(health.counts).items():
                events.add_metric((role, what), count)
        yield from (events, ready)


def serve(roles: Mapping[str, Health], port: int) -> None:
    """Serve `/metrics` of *roles* on loopback, in a thread."""
    registry = CollectorRegistry()
    registry.register(Meters(roles))
    start_http_server(port, "127.0.0.1", registry)
