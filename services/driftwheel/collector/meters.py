"""What the collector counts, for Prometheus; every name says its unit."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Meters:
    """The collector's own registry: two collectors in one process do not share numbers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.accepted = Counter("driftwheel_collector_accepted", "Events that are durable on the bus.", ["event"], registry=registry)
        self.rejected = Counter(
            "driftwheel_collector_rejected", "Events and bodies that were refused.", ["event", "reason"], registry=registry
        )
        self.redactions = Counter("driftwheel_collector_redactions", "Masks put into texts.", ["kind"], registry=registry)
        self.truncated = Counter("driftwheel_collector_truncated", "Events whose texts were cut.", ["event"], registry=registry)
        self.duplicates = Counter("driftwheel_collector_duplicates", "Ids that came twice in one request.", ["event"], registry=registry)
        self.received = Counter("driftwheel_collector_received_bytes", "Bytes of bodies, inflated.", ["event"], registry=registry)
        self.requests = Counter("driftwheel_collector_requests", "Answers by status.", ["event", "status"], registry=registry)
        self.latency = Histogram(
            "driftwheel_collector_request_seconds",
            "From the head of a request to its answer.",
            ["event"],
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=registry,
        )
        self.in_flight = Gauge("driftwheel_collector_in_flight_bytes", "Bytes of bodies in memory.", registry=registry)

    def page(self) -> bytes:
        """The numbers in Prometheus' text format."""
        return generate_latest(self.registry)
