"""Who uses the apps, how much, and in which languages."""

from driftwheel_boards.board import Board, Panel

BY_APP, BY_LANGUAGE = {"by": "app", "weight": "requests"}, {"by": "language", "weight": "requests"}
BY_USER, BY_PROVIDER = {"by": "user", "weight": "requests"}, {"by": "provider", "weight": "requests"}

BOARD = Board(
    "driftwheel-usage",
    "Usage",
    "Users, sessions, apps and languages; newcomers, and those who come back.",
    {
        "This time range": (Panel("Usage", "traffic", "count", "stat", "users sessions requests requests_per_session apps", 24),),
        "Over time": (
            Panel("Sessions", "traffic", "count", columns="time sessions", width=12),
            Panel("New and returning users", "newcomers", "count", "bars", width=12),
            Panel("Requests by app", "parts_over_time", "count", "bars", "time name requests", 8, BY_APP),
            Panel("Requests by language of the prompt", "parts_over_time", "count", "bars", "time name requests", 8, BY_LANGUAGE),
            Panel("Requests by provider", "parts_over_time", "count", "bars", "time name requests", 8, BY_PROVIDER),
        ),
        "Who and what": (
            Panel("Apps", "parts", "mixed", "table", "name requests users error_share last_at", 12, BY_APP),
            Panel("Users", "parts", "mixed", "table", "name requests error_share", 12, BY_USER),
        ),
    },
    "now-7d",
)
