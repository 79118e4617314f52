"""What has changed, since when, on which evidence, and where."""

from driftwheel_boards.board import Board, Panel, Thresholds, Words

ALL = {"states": ("*",)}
OPEN: Thresholds = ((1.0, "orange"),)
LEVEL: Thresholds = ((0.0, "red"),)
WORDS: Words = ((0, "quiet", "green"), (1, "drifting", "red"))

BOARD = Board(
    "driftwheel-drift",
    "Drift & incidents",
    "Evidence of each series against the level of its alarm; verdicts, incidents, and the segments that they are of.",
    {
        "How it stands": (
            Panel("Open incidents", "drift_totals", "count", "stat", "open_incidents open_pages", 8, thresholds=OPEN),
            Panel(
                "In this time range", "drift_totals", "mixed", "stat", "opened resolved oldest_open_s drifting_series watched_series", 16
            ),
        ),
        "Evidence": (
            Panel("Evidence over the level", "evidence", "log10", columns="time name over_level", width=16, thresholds=LEVEL),
            Panel("Incidents opened and resolved", "incidents_over_time", "count", "bars"),
            Panel("Series that have drifted", "evidence", "count", "states", "time name drifting", 24, words=WORDS),
        ),
        "What, where and why": (
            Panel("Incidents", "incidents_told", "mixed", "table", width=24, given=ALL),
            Panel("Verdicts", "verdicts_told", "mixed", "table", width=24),
            Panel("Segments", "segments_drifting", "mixed", "table", width=24),
        ),
    },
    "now-7d",
)
