"""How fast the answer came."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftwheel.signals.tokens import MOST
from driftwheel_schemas import Inference

LEAST_SPAN_S = 0.001
"""Below a millisecond the clocks say more than the model."""


@dataclass(frozen=True, slots=True)
class Speed:
    """
    `output.tokens_per_second`: of the tokens after the first where its time is known, else of all of them.

    >>> from datetime import UTC, datetime
    >>> event = Inference(id="i", app="a", model="m", started_at=datetime.now(UTC), output_tokens=101, latency_s=2.5, ttft_s=0.5)
    >>> list(Speed()(event))
    [('output.tokens_per_second', 50.0)]
    """

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        if event.latency_s is None or event.output_tokens is None:
            return
        tokens, span_s = event.output_tokens, event.latency_s
        if event.ttft_s is not None and event.ttft_s >= 0:
            tokens, span_s = tokens - 1, span_s - event.ttft_s
        if 0 < tokens <= MOST and span_s >= LEAST_SPAN_S:
            yield "output.tokens_per_second", tokens / span_s
