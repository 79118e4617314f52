"""How long people wait, and for what."""

from driftwheel_boards.board import Board, Panel

BY_MODEL = {"by": "model", "weight": "requests"}
BY_APP = {"by": "app", "weight": "requests"}

BOARD = Board(
    "driftwheel-latency",
    "Latency & streaming",
    "From the request to the first token and to the last, and the speed in between.",
    {
        "End to end": (
            Panel("Latency", "traffic", "s", columns="time latency_p50_s latency_p95_s latency_p99_s", width=12),
            Panel("How latencies spread", "latency_buckets", "count", "heatmap", width=12),
            Panel("p95 by model", "parts_over_time", "s", "timeseries", "time name latency_p95_s", 12, BY_MODEL),
            Panel("p95 by app", "parts_over_time", "s", "timeseries", "time name latency_p95_s", 12, BY_APP),
        ),
        "Streaming": (
            Panel("Time to first token", "traffic", "s", columns="time ttft_p50_s ttft_p95_s ttft_p99_s"),
            Panel("p95 time to first token by model", "parts_over_time", "s", "timeseries", "time name ttft_p95_s", 8, BY_MODEL),
            Panel("Output tokens a second", "traffic", "tokens_per_s", columns="time median_tokens_per_s slowest_tokens_per_s"),
        ),
        "Where it is slow": (
            Panel("Models", "parts", "mixed", "table", "name requests latency_p95_s error_share output_tokens", 12, BY_MODEL),
            Panel("Errors by kind", "parts_over_time", "count", "bars", "time name errors", 12, {"by": "error_type", "weight": "errors"}),
        ),
    },
)
