"""Whether everything that comes in is stored, how fast, and where what is lost went."""

from driftwheel_boards.board import Board, Panel, Thresholds, Words

OLD: Thresholds = ((900.0, "orange"), (3600.0, "red"))
WORDS: Words = ((0, "not ready", "red"), (1, "ready", "green"))
EVENTS = ("driftwheel_worker_events_total",)
ACCEPTED = {"names": ("driftwheel_collector_accepted_total",), "by": ("event",), "only": ("*",)}
STORED = {"names": EVENTS, "by": ("role", "what"), "only": ("stored", "enriched", "observed")}
LAG = {"names": ("driftwheel_worker_lag_records",), "by": ("role", "topic")}
READY = {"names": ("driftwheel_worker_ready",), "by": ("role",)}
DELAY = {"names": ("driftwheel_worker_delay_seconds_bucket",), "by": ("role",)}
REDACTED = {"names": ("driftwheel_collector_redactions_total",), "by": ("kind",), "only": ("*",)}
REFUSED = {"names": ("driftwheel_collector_rejected_total",), "by": ("event", "reason"), "only": ("*",)}
LOST = {
    "names": EVENTS,
    "by": ("role", "what"),
    "only": (
        "undecodable",
        "id_conflict",
        "unmatched",
        "letters",
        "dropped_unread",
        "series_refused",
        "series_unreadable",
        "sampled_out",
        "groups_full",
        "incidents_forgotten",
    ),
}

BOARD = Board(
    "driftwheel-pipeline",
    "Pipeline health",
    "From the collector to the store: throughput, lag, delays, losses by reason, dead letters, and notices that did not land.",
    {
        "Now": (
            Panel("Since the last event", "freshness", "s", "stat", width=24, thresholds=OLD),
            Panel("Workers", "workers", "mixed", "table", "role instance state lag_records heard_s", 12),
            Panel("Ready", "gauges", "count", "states", "time name least", 12, READY, words=WORDS),
        ),
        "Flow": (
            Panel("Accepted by the collector", "counters", "per_s", "timeseries", "time name per_s", 8, ACCEPTED),
            Panel("Stored and worked on", "counters", "per_s", "timeseries", "time name per_s", 8, STORED),
            Panel("Lag in records", "gauges", "count", "timeseries", "time name total", 8, LAG),
            Panel("p95 from the bus to stored", "histograms", "s", "timeseries", "time name p95_s", 12, DELAY),
            Panel("Redactions by kind", "counters", "count", "bars", "time name increase", 12, REDACTED),
        ),
        "What did not get through": (
            Panel("Refused by the collector", "counters", "count", "bars", "time name increase", 6, REFUSED),
            Panel("Losses of workers by reason", "counters", "count", "bars", "time name increase", 6, LOST),
            Panel("Dead letters by reason", "letters_over_time", "count", "bars", width=6),
            Panel("Notices by where they stand", "notices_over_time", "count", "bars", width=6),
            Panel("Open dead letters", "letters_open", "mixed", "table", width=12),
            Panel("Notices that did not land at once", "notices_told", "mixed", "table", width=12),
        ),
    },
    "now-6h",
)
