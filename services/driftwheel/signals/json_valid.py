"""Whether an answer that has to be JSON is JSON."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from driftwheel_schemas import Inference, text_of, tool_calls_of


@dataclass(frozen=True, slots=True)
class JsonValid:
    """
    `json.valid.flag`, where JSON was asked for and the call worked: 1 if the whole answer parses, else 0.

    Nothing is tolerated: no fence round it, no words before it, no NaN. Tool calls alone, and an app that logs no
    texts, say nothing.
    """

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        if event.response_format != "json" or event.error_type or not (event.prompt or event.response):
            return
        text = text_of(event.response)
        if text or not tool_calls_of(event.response):
            yield "json.valid.flag", float(_parses(text))


def _parses(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):  # the latter: some thousand open brackets, a model in a loop
        return False
    return True
