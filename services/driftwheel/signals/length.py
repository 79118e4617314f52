"""How much was asked and answered."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftwheel_schemas import Inference, text_of


@dataclass(frozen=True, slots=True)
class Length:
    """
    `length.prompt.chars`, `length.response.chars` and `length.response.words`.

    The prompt is what the user said last, without instructions and history; `tokens.input.count` has all of it.
    A call that failed has no answer whose length could mean anything; neither has an app that logs no texts.
    """

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        if prompt := text_of(event.prompt, "user") or text_of(event.prompt):
            yield "length.prompt.chars", float(len(prompt))
        if not event.error_type and (event.prompt or event.response):
            response = text_of(event.response)
            yield "length.response.chars", float(len(response))
            yield "length.response.words", float(len(response.split()))
