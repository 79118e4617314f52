"""How good the answers are: by what people and judges say, and by what can be read from them."""

from driftwheel_boards.board import Board, Panel

READ = "time refusal_share empty_share repeated_share json_valid_share language_mismatch_share"

BOARD = Board(
    "driftwheel-quality",
    "Quality & feedback",
    "What people and judges say of the answers, and what can be read from them.",
    {
        "What people say": (
            Panel("Thumbs up", "feedback_over_time", "share", columns="time thumbs_share thumbs_low_share thumbs_high_share", width=12),
            Panel("Coverage", "feedback_coverage", "share", columns="time judged_share", width=6),
            Panel("Lag of feedback", "feedback_over_time", "s", columns="time lag_p50_s lag_p95_s", width=6),
            Panel("Feedback", "feedback_over_time", "count", "bars", "time thumbs corrections comments"),
            Panel("Scores of judges and code", "judgements", "score"),
            Panel("Kinds of feedback", "feedback_kinds", "mixed", "table"),
        ),
        "What can be read from the answers": (
            Panel("What can be read", "answers", "share", columns=READ, width=16),
            Panel("Errors by kind", "parts_over_time", "count", "bars", "time name errors", 8, {"by": "error_type", "weight": "errors"}),
        ),
        "Where to look first": (Panel("Prompt versions that please least", "versions_judged", "mixed", "table", width=24),),
    },
    "now-7d",
)
