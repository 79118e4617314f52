"""How long the first token took."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftwheel_schemas import Inference


@dataclass(frozen=True, slots=True)
class Ttft:
    """`ttft.seconds`: the time to the first token of a streamed answer; negative ones are no measurement."""

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        if event.ttft_s is not None and event.ttft_s >= 0:
            yield "ttft.seconds", event.ttft_s
