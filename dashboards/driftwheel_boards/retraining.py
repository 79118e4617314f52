"""From a verdict to a better model: triggers, jobs, gates and promotions."""

from driftwheel_boards.board import Board, Panel, Thresholds

WAITING: Thresholds = ((1.0, "orange"),)
BETTER: Thresholds = ((0.0, "green"),)

BOARD = Board(
    "driftwheel-retraining",
    "Retraining",
    "What the policies decided, what the jobs do, and what the gate let through.",
    {
        "How it stands": (
            Panel("Waits for you", "retraining_totals", "count", "stat", "pending_triggers", 6, thresholds=WAITING),
            Panel(
                "Policies, jobs and the gate",
                "retraining_totals",
                "count",
                "stat",
                "approved held running_jobs failed_jobs promoted rejected",
                18,
            ),
        ),
        "Over time": (
            Panel("Triggers by state", "triggers_over_time", "count", "bars", width=12),
            Panel("Candidates against champions", "gate_estimates", "score", width=12, thresholds=BETTER),
        ),
        "One by one": (
            Panel("Triggers", "triggers_told", "mixed", "table", width=24),
            Panel("Jobs", "jobs_told", "mixed", "table", width=24),
            Panel("Decisions of the gate", "gates", "mixed", "table", width=24),
            Panel("Champions", "champions", "mixed", "table", width=24),
            Panel("Lineage: from the trigger to the decision", "lineage", "mixed", "table", width=24),
        ),
    },
    "now-30d",
)
