"""Tokens in and out, as the provider counted them."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftwheel_schemas import Inference

MOST = 2**32 - 1
"""The largest count that the store's UInt32 holds; more, or less than none, is no count."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """
    `tokens.input.count` (cached ones included), `tokens.output.count` (reasoning ones included),
    `tokens.cached.count` and `tokens.reasoning.count`, each where it is known.
    """

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        counts = {
            "input": event.input_tokens,
            "output": event.output_tokens,
            "cached": event.cached_tokens,
            "reasoning": event.reasoning_tokens,
        }
        for name, count in counts.items():
            if count is not None and 0 <= count <= MOST:
                yield f"tokens.{name}.count", float(count)
