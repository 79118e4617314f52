"""The boards, as code: what each panel asks, in which unit, drawn how. `python -m driftwheel_boards` writes them for Grafana."""

from driftwheel_boards import cost, drift, latency, overview, pipeline, quality, retraining, usage
from driftwheel_boards.board import Board, Panel, View, view

__all__ = ["BOARDS", "Board", "Panel", "View", "view"]

BOARDS: tuple[Board, ...] = (
    overview.BOARD,
    latency.BOARD,
    cost.BOARD,
    quality.BOARD,
    usage.BOARD,
    drift.BOARD,
    retraining.BOARD,
    pipeline.BOARD,
)
"""In the order in which a person goes through them."""
