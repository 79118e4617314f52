"""
Loose shapes from the first week → the contract, and the contract → JSON. Pure; the standard library only.

The SDK and the collector read what apps give with the same functions, so that a field means the same on every way in.
Names of models stay as they are given: `gpt-4o-2024-08-06` is not rewritten to `gpt-4o`, because a dated model is
another model to a drift detector.
"""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from driftwheel_schemas._messages import Loose, clean, first, text, words
from driftwheel_schemas._moments import moment
from driftwheel_schemas._wire import finite, to_wire
from driftwheel_schemas.events import Feedback, Inference

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["FEEDBACK_ALIASES", "INFERENCE_ALIASES", "clean", "feedback_fields", "inference_fields", "moment", "text", "to_wire"]

_STAMPED = frozenset({"tenant", "accepted_at"})
"""The collector's own stamps, never taken from a client."""

INFERENCE_ALIASES: dict[str, tuple[str, ...]] = {
    "started_at": ("timestamp", "start_time", "startTime", "created_at", "ts", "created"),
    "ended_at": ("end_time", "endTime", "completed_at"),
    "latency_s": ("latency_seconds", "duration_s", "duration_seconds"),
    "latency_ms": ("duration_ms", "processing_time_ms", "response_time_ms"),
    "ttft_s": ("ttft_seconds", "time_to_first_token_s"),
    "ttft_ms": ("time_to_first_token_ms",),
    "model": ("model_name",),
    "prompt": ("messages", "input", "question"),
    "response": ("output", "completion", "answer"),
    "input_tokens": ("prompt_tokens",),
    "output_tokens": ("completion_tokens",),
    "cost_usd": ("cost", "response_cost"),
    "finish_reason": ("stop_reason", "finish_reasons"),
    "error_type": ("error",),
    "response_id": ("completion_id",),
    "session_id": ("thread_id", "conversation_id"),
    "user_id": ("user", "end_user"),
    "environment": ("env",),
    "attributes": ("metadata",),
    "usage": (),
}
FEEDBACK_ALIASES: dict[str, tuple[str, ...]] = {
    "at": ("timestamp", "created_at", "ts", "time"),
    "name": ("key",),
    "value": ("score",),
    "rating": (),
    "thumbs": ("thumb",),
    "label": ("category", "category_name"),
    "comment": ("reason", "explanation", "rationale"),
    "correction": ("expected", "expected_output", "corrected"),
    "source": ("annotator_kind", "feedback_source"),
    "author": ("rater_id", "user_id", "user"),
    "response_id": ("completion_id",),
    "session_id": ("thread_id", "conversation_id"),
}
_SOURCES = {"human": "user", "end_user": "user", "app": "user", "llm": "judge", "model": "judge", "api": "code"}
_THUMBS = {
    "up": 1.0,
    "thumbs_up": 1.0,
    "like": 1.0,
    "positive": 1.0,
    "👍": 1.0,
    "down": 0.0,
    "thumbs_down": 0.0,
    "dislike": 0.0,
    "negative": 0.0,
    "👎": 0.0,
}


def inference_fields(loose: Loose) -> dict[str, object]:
    """
    The keyword fields of an `Inference` in a loose mapping: contract names, and the usual other names for them.

    Unknown names are ignored, `None` counts as not given, and text where a number belongs is left for validation to refuse.
    A response that is a provider's whole answer also gives its model, id, usage and finish reason.
    Raises ValueError, beginning with the field's name, for a time or a number that cannot be one.

    >>> sorted(inference_fields({"messages": "Hi", "answer": "Hello", "model": "m", "latency_ms": 20, "shoe_size": 44}).items())
    [('latency_s', 0.02), ('model', 'm'), ('prompt', 'Hi'), ('response', 'Hello')]
    """
    found = _named(_INFERENCE_NAMES, loose)
    if isinstance(answer := found.get("response"), dict):
        found = _told_by(answer) | found
    if isinstance(usage := found.pop("usage", None), dict):
        found = _counts(usage) | found
    for name in ("latency", "ttft"):
        if (millis := found.pop(f"{name}_ms", None)) is not None:
            found.setdefault(f"{name}_s", millis / 1000 if isinstance(millis, int | float) else millis)
    _time(found, "started_at", "ended_at")
    _duration(found)
    for name, role in (("prompt", "user"), ("response", "assistant")):
        if name in found:
            found[name] = text(found[name], role)
    if isinstance(cost := found.get("cost_usd"), float | int) and not isinstance(cost, bool):
        found["cost_usd"] = Decimal(str(cost))
    if "error_type" in found:
        found["error_type"] = _error_type(found["error_type"])
    if isinstance(labels := found.get("attributes"), dict):
        found["attributes"] = {words(key): words(value) for key, value in labels.items() if value is not None}
    return _checked(_INFERENCE_TEXTS, found)


def feedback_fields(loose: Loose) -> dict[str, object]:
    """
    The keyword fields of a `Feedback` in a loose mapping; as `inference_fields`.

    Thumbs and other yes or no become 1.0 or 0.0; a `rating` is a value. A value in words is a label. Without a `name`, what
    was given names it: `thumbs`, `rating`, `correction`, `comment`, else `feedback`.

    >>> feedback_fields({"thumbs": "down", "response_id": "chatcmpl-1"})
    {'response_id': 'chatcmpl-1', 'name': 'thumbs', 'value': 0.0}
    """
    found = _named(_FEEDBACK_NAMES, loose)
    value = first(found, "value", "thumbs", "rating")
    named_by = ("thumbs", "rating") if value is not None else ("correction", "comment")
    given = "thumbs" if isinstance(value, bool) else next((name for name in named_by if name in found), "feedback")
    found.setdefault("name", given)
    for hint in ("thumbs", "rating"):
        found.pop(hint, None)
    if isinstance(value, str):
        found |= _in_words(found, value.strip())
    elif value is not None:
        found["value"] = float(value) if isinstance(value, bool) else value
    if isinstance(source := found.get("source"), dict):
        found["source"] = source.get("type") or "user"
    if isinstance(source := found.get("source"), str):
        found["source"] = _SOURCES.get(source.lower(), source.lower())
    if "correction" in found:
        found["correction"] = words(found["correction"])
    _time(found, "at")
    return _checked(_FEEDBACK_TEXTS, found)


def _names(kind: "type[DataclassInstance]", aliases: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, int]]:
    """Every name that *kind* is read by → the field it means, and its rank: the contract's own name wins."""
    own = {f.name: (f.name, 0) for f in fields(kind) if f.name not in _STAMPED}
    other = {alias: (name, rank) for name, known in aliases.items() for rank, alias in enumerate((name, *known))}
    return other | own


_INFERENCE_NAMES = _names(Inference, INFERENCE_ALIASES)
_FEEDBACK_NAMES = _names(Feedback, FEEDBACK_ALIASES)
_INFERENCE_TEXTS = frozenset(f.name for f in fields(Inference) if f.type is str)
_FEEDBACK_TEXTS = frozenset(f.name for f in fields(Feedback) if f.type is str)


def _named(names: Mapping[str, tuple[str, int]], loose: Loose) -> dict[str, object]:
    ranked: dict[str, tuple[int, object]] = {}
    for key, value in loose.items():
        if value is not None and (known := names.get(key)):
            name, rank = known
            if name not in ranked or rank < ranked[name][0]:
                ranked[name] = (rank, value)
    return {name: value for name, (_, value) in ranked.items()}


def _told_by(answer: Loose) -> dict[str, object]:
    """What a provider's whole answer (an object with choices, usage or a stop reason) tells besides its text."""
    if not any(key in answer for key in ("choices", "usage", "stop_reason", "candidates")):
        return {}
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    told = {
        "model": answer.get("model"),
        "response_model": answer.get("model"),
        "response_id": answer.get("id"),
        "finish_reason": choice.get("finish_reason") or answer.get("stop_reason"),
        "usage": answer.get("usage"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _counts(usage: Loose) -> dict[str, object]:
    """Tokens in a `usage` object; Anthropic counts cached input apart, the contract counts it in."""
    into = first(usage, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    out = first(usage, "completion_tokens_details", "output_tokens_details", "output_token_details")
    apart = [n for name in ("cache_read_input_tokens", "cache_creation_input_tokens") if isinstance(n := usage.get(name), int)]
    entered = first(usage, "input_tokens", "prompt_tokens")
    counts = {
        "input_tokens": entered + sum(apart) if isinstance(entered, int) and "prompt_tokens" not in usage else entered,
        "output_tokens": first(usage, "output_tokens", "completion_tokens"),
        "cached_tokens": first(into if isinstance(into, dict) else usage, "cached_tokens", "cache_read", "cache_read_input_tokens"),
        "reasoning_tokens": first(out if isinstance(out, dict) else usage, "reasoning_tokens", "reasoning"),
    }
    return {name: value for name, value in counts.items() if value is not None}


def _time(found: dict[str, object], *names: str) -> None:
    for name in names:
        if name in found:
            try:
                found[name] = moment(found[name])
            except ValueError as wrong:
                raise ValueError(f"{name}: {wrong}") from None


def _duration(found: dict[str, object]) -> None:
    """`ended_at` is no field of the contract: it gives the latency, or the start where only the latency is known."""
    started, ended, latency = found.get("started_at"), found.pop("ended_at", None), found.get("latency_s")
    if not isinstance(ended, datetime):
        return
    if isinstance(started, datetime):
        if ended < started:
            raise ValueError(f"ended_at: {ended.isoformat()} is before started_at {started.isoformat()}")
        found.setdefault("latency_s", (ended - started).total_seconds())
    else:
        known = isinstance(latency, int | float) and math.isfinite(latency) and 0 <= latency < 1e9
        found["started_at"] = ended - timedelta(seconds=latency if known and isinstance(latency, int | float) else 0)


def _in_words(found: dict[str, object], said: str) -> dict[str, object]:
    """A value in words: a thumb is a number, a number in text is left for validation, anything else is a label."""
    found.pop("value", None)
    if (thumb := _THUMBS.get(said.lower())) is not None:
        return {"value": thumb}
    try:
        float(said)
    except ValueError:
        return {"label": found.get("label") or said}
    return {"value": said}


def _error_type(error: object) -> object:
    """A short word that can be counted: of `RateLimitError: too many` the class, of a whole sentence only `error`."""
    if isinstance(error, dict):
        error = first(error, "type", "error_class", "code", "name") or True
    if isinstance(error, bool):
        return "error" if error else ""
    said = words(error).strip()
    head = said.split(":", 1)[0].rsplit(".", 1)[-1]
    return head if head and " " not in head else "error" if said else ""


def _checked(texts: frozenset[str], found: dict[str, object]) -> dict[str, object]:
    """*found* with ids in numbers as text, clean strings, and no number that JSON has not."""
    for name, value in found.items():
        if isinstance(value, float | Decimal):
            try:
                finite(value)
            except ValueError as wrong:
                raise ValueError(f"{name}: {wrong}") from None
        if name in texts:
            one = value[0] if isinstance(value, list | tuple) and value else value
            one = str(one) if isinstance(one, int | uuid.UUID) else one
            found[name] = clean(one) if isinstance(one, str) else one
    return found
