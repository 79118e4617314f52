"""How long the call took."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftwheel_schemas import Inference


@dataclass(frozen=True, slots=True)
class Latency:
    """
    `latency.seconds`: from the request to the last token, as the app measured it.

    A negative time is a client's clock that was set back, not a measurement: no reading.
    """

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        if event.latency_s is not None and event.latency_s >= 0:
            yield "latency.seconds", event.latency_s
