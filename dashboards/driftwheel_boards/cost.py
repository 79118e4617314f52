"""What the answers cost, whom, and what could be saved."""

from driftwheel_boards.board import Board, Panel

COLUMNS = "name requests input_tokens output_tokens cached_share cost_usd cost_per_request_usd"
BY_MODEL, BY_APP = {"by": "model", "weight": "cost_usd"}, {"by": "app", "weight": "cost_usd"}
BY_VERSION, BY_USER = {"by": "prompt_version", "weight": "cost_usd"}, {"by": "user", "weight": "cost_usd"}

BOARD = Board(
    "driftwheel-cost",
    "Cost & tokens",
    "US dollars and tokens by model, app, prompt version and user.",
    {
        "This time range": (
            Panel("Cost", "traffic", "mixed", "stat", "cost_usd cost_per_request_usd tokens cached_share priced_share", 24),
        ),
        "Over time": (
            Panel("Cost by model", "parts_over_time", "usd", "bars", "time name cost_usd", 8, BY_MODEL),
            Panel("Cost by app", "parts_over_time", "usd", "bars", "time name cost_usd", 8, BY_APP),
            Panel("Cost by prompt version", "parts_over_time", "usd", "bars", "time name cost_usd", 8, BY_VERSION),
            Panel("Tokens", "traffic", "tokens", "bars", "time uncached_tokens cached_tokens output_tokens"),
            Panel("Cached share of prompts", "traffic", "share", columns="time cached_share"),
            Panel("Cost of a request", "traffic", "usd", columns="time cost_per_request_usd"),
        ),
        "Who and what": (
            Panel("Models", "parts", "mixed", "table", COLUMNS, 12, BY_MODEL),
            Panel("Prompt versions", "parts", "mixed", "table", COLUMNS, 12, BY_VERSION),
            Panel("Users", "parts", "mixed", "table", "name requests cost_usd", 24, BY_USER),
        ),
    },
    "now-7d",
)
