"""The first page: is anything wrong, and where?"""

from driftwheel_boards.board import Board, Panel, Thresholds

SLO = {"objective": 0.99, "slow_s": 10.0}
"""99 of 100 inferences work and take at most ten seconds; alerts.toml has the alerts."""

BAD: Thresholds = ((0.02, "orange"), (0.05, "red"))
BURN: Thresholds = ((1.0, "orange"), (6.0, "red"))
LEFT: Thresholds = ((-100.0, "red"), (0.0, "orange"), (0.25, "green"))
OPEN: Thresholds = ((1.0, "orange"),)

BOARD = Board(
    "driftwheel-overview",
    "Overview",
    "Requests, errors, latency, cost and quality of all apps, the error budget, and what is open.",
    {
        "This time range": (
            Panel("Traffic", "traffic", "mixed", "stat", "requests latency_p95_s cost_usd", 9),
            Panel("Errors", "traffic", "share", "stat", "error_share", 3, thresholds=BAD),
            Panel("Thumbs up", "feedback_over_time", "share", "stat", "thumbs_share", 3),
            Panel("Budget left: 99 % below 10 s", "slo_burn", "share", "stat", "budget_left_share", 4, SLO, thresholds=LEFT),
            Panel("Open incidents", "drift_totals", "count", "stat", "open_incidents open_pages", 5, thresholds=OPEN),
        ),
        "How it goes": (
            Panel("Requests by app", "parts_over_time", "count", "bars", "time name requests", 8, {"by": "app", "weight": "requests"}),
            Panel("Error share", "traffic", "share", columns="time error_share", thresholds=BAD),
            Panel("Latency", "traffic", "s", columns="time latency_p50_s latency_p95_s latency_p99_s"),
            Panel("Cost by app", "parts_over_time", "usd", "bars", "time name cost_usd", 8, {"by": "app", "weight": "cost_usd"}),
            Panel("Quality", "answers", "share", columns="time refusal_share empty_share repeated_share"),
            Panel("Error budget burn", "slo_burn", "times", "timeseries", "time burn_1h burn_6h", 8, SLO, thresholds=BURN),
        ),
        "What is open": (Panel("Open incidents, most urgent first", "incidents_told", "mixed", "table", "", 24, {"states": ("open",)}),),
    },
)
