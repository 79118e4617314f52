"""Recorded fields → the JSON of one contract event, in the sender's thread."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from driftwheel.sdk._queue import Item
from driftwheel_schemas import Feedback, Inference, Message, Text
from driftwheel_schemas.shapes import feedback_fields, inference_fields, moment, to_wire

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_EVENT_BYTES = 896 * 1024
"""An encoded event must fit an envelope on the bus (900 KiB); texts are cut until it does."""
_BUDGETS = (MAX_EVENT_BYTES, 384 << 10, 128 << 10, 32 << 10, 4 << 10)
"""Characters left to each text, one try after the other: JSON may need six bytes for a character."""

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
Event = Inference | Feedback
_inference = cast("Callable[..., Inference]", Inference)
_feedback = cast("Callable[..., Feedback]", Feedback)


def encode(item: Item, app: str) -> tuple[bytes, bool]:
    """
    The event's JSON, at most 896 KiB, and whether something of it had to be cut (an inference says so in `truncated`).

    Raises ValueError for a field that cannot be told, or an event that is too large without its texts.
    """
    event = _inference_of(item, app) if item.kind == "inferences" else _feedback_of(item, app)
    for budget in _BUDGETS:
        shorter, texts = _shortened(event, budget)
        cut = ", ".join(["structure", *texts] if item.cut else texts)
        if _length(shorter) > MAX_EVENT_BYTES:
            continue
        if cut and isinstance(shorter, Inference):
            shorter = replace(shorter, attributes={**shorter.attributes, "truncated": cut})
        body = _JSON.encode(to_wire(shorter)).encode()
        if len(body) <= MAX_EVENT_BYTES:
            return body, bool(cut)
    raise ValueError(f"event: is over {MAX_EVENT_BYTES >> 10} KiB even without its texts")


def _inference_of(item: Item, app: str) -> Inference:
    fields = {"app": app, "model": "", **inference_fields(item.fields)}
    if "started_at" not in fields:  # recorded when the answer was there: it began a latency earlier
        latency = fields.get("latency_s")
        began = timedelta(seconds=latency) if isinstance(latency, int | float) and 0 < latency < 1e6 else timedelta()
        fields["started_at"] = moment(item.at_ns) - began
    return _inference(**{**fields, "id": item.id})


def _feedback_of(item: Item, app: str) -> Feedback:
    fields = {"app": app, "at": moment(item.at_ns), **feedback_fields(item.fields)}
    return _feedback(**{**fields, "id": item.id})


def _shortened(event: Event, budget: int) -> tuple[Event, list[str]]:
    """*event* with no text over *budget* characters, and which were cut from how many."""
    names = ("prompt", "response") if isinstance(event, Inference) else ("comment", "correction")
    texts: dict[str, Text] = {name: getattr(event, name) for name in names}
    long = {name: text for name, text in texts.items() if _characters(text) > budget}
    if not long:
        return event, []
    short = {name: _cut(text, budget) for name, text in long.items()}
    return replace(event, **short), [f"{name} from {_characters(text)} characters" for name, text in long.items()]  # type: ignore[arg-type]


def _cut(text: Text, budget: int) -> Text:
    """The beginning of a string; of messages the last ones, each from its beginning: the question is at the end."""
    if isinstance(text, str):
        return text[:budget]
    kept: list[Message] = []
    for message in reversed(text):
        content = message.content[:budget]
        budget -= len(content)
        calls = tuple(replace(call, arguments=call.arguments[:budget]) for call in message.tool_calls)
        budget -= sum(len(call.arguments) for call in calls)
        kept.append(replace(message, content=content, tool_calls=calls))
    return tuple(reversed(kept))


def _characters(text: object) -> int:
    if isinstance(text, str):
        return len(text)
    messages = text if isinstance(text, tuple) else ()
    return sum(len(message.content) + sum(len(call.arguments) for call in message.tool_calls) for message in messages)


def _length(event: Event) -> int:
    """Less than the event's JSON will take, found without encoding megabytes for nothing."""
    if isinstance(event, Feedback):
        return _characters(event.comment) + _characters(event.correction)
    return _characters(event.prompt) + _characters(event.response)
