"""Whether the call failed."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftwheel_schemas import Inference


@dataclass(frozen=True, slots=True)
class Error:
    """`error.flag`: 1 where the call has an error type (timeout, rate limit, provider failure), else 0."""

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        yield "error.flag", float(bool(event.error_type))
