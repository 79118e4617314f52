"""
The events of Driftwheel: one frozen dataclass each, the standard library only.

What travels on the bus is JSON of these classes (docs/architecture.md): a record is an array of events, or one event.
`id` is the identity of an event everywhere; whoever writes checks what is already there (docs/architecture.md).
Field names follow the OpenTelemetry GenAI conventions where one exists; units are in the names.

What is said and decided about them stands in `decisions.py`. Every timestamp is an aware UTC `datetime`. An empty string means "not given"; `None` means "not measured".
`tenant` and `accepted_at` are stamped by the collector and never taken from a client.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from driftwheel_schemas.decisions import Flat, Incident, Job, Promotion, Severity, Trigger, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool that the model asks for; `arguments` is JSON text, untrusted."""

    id: str = ""
    name: str
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A part of a message that is no text: its kind, size and digest, never its bytes."""

    media_type: str
    size_bytes: int = 0
    sha256: str = ""
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message. `content` is text; an answer that is only tool calls has none."""

    role: str
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    attachments: tuple[Attachment, ...] = ()


Text = str | tuple[Message, ...]
"""A prompt or a response: plain text, or messages. Read it with `texts.text_of`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """
    One call of a model: prompt, response, times, tokens, cost, who, which prompt version.

    `input_tokens` includes cached ones, `output_tokens` includes reasoning ones (OpenTelemetry GenAI).
    `error_type` is empty for a call that worked. `response_format` is `json` where JSON was asked for.
    """

    id: str
    app: str
    started_at: datetime
    model: str
    provider: str = ""
    operation: str = "chat"
    prompt: Text = ""
    response: Text = ""
    latency_s: float | None = None
    ttft_s: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: Decimal | None = None
    finish_reason: str = ""
    error_type: str = ""
    response_format: str = ""
    response_id: str = ""
    response_model: str = ""
    session_id: str = ""
    user_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    environment: str = ""
    attributes: Flat = field(default_factory=dict)
    tenant: str = "default"
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """
    What a person, a judge or code said of an inference or a session; may arrive before it.

    It names what it is about by `inference_id`, else `response_id`, else `trace_id` + `span_id`, else `session_id`.
    `value` is a number (thumbs: 1 or 0); `correction` is the answer that should have been given.
    """

    id: str
    at: datetime
    name: str
    app: str = ""
    value: float | None = None
    label: str = ""
    comment: str = ""
    correction: str = ""
    source: Literal["user", "judge", "code"] = "user"
    author: str = ""
    inference_id: str = ""
    response_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    session_id: str = ""
    tenant: str = "default"
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """
    One unit's value for one series: what detectors eat. `id` is uuid5(inference or feedback id, signal, version).

    Exactly one of `value` and `vector` is set. `vector` is little-endian bfloat16, two bytes a dimension.
    `kind` says how it is judged: a number by its rank, a flag (0 or 1) by its rate, a vector by its novelty. An `accept` holds
    nothing: from it on the series learns anew what is usual, as a person (or a promotion) said.
    `unit` is the session (else user and hour, else the inference): of one unit only the first observation counts.
    """

    id: str
    tenant: str = "default"
    app: str
    signal: str
    segment: str
    kind: Literal["number", "flag", "vector", "accept"]
    unit: str
    at: datetime
    accepted_at: datetime
    inference_id: str
    value: float | None = None
    vector: bytes | None = None

    @property
    def series(self) -> str:
        """The series this belongs to, `signal{segment}` behind its tenant; also its key on the bus."""
        return f"{self.tenant}/{self.signal}{{{self.segment}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What could not be used: where it lay, why, and its bytes (the first 900 KiB and the digest of all)."""

    id: str
    tenant: str = "default"
    topic: str
    partition: int
    offset: int
    index: int
    reason: str
    detail: str
    event_id: str = ""
    size_bytes: int
    sha256: str
    payload: bytes
    at: datetime


EVENTS: dict[str, type] = {
    "inference": Inference,
    "feedback": Feedback,
    "observation": Observation,
    "verdict": Verdict,
    "incident": Incident,
    "trigger": Trigger,
    "job": Job,
    "promotion": Promotion,
    "dead_letter": DeadLetter,
}
"""Every event by name: the names of the JSON Schemas and of the example folders."""

__all__ = [
    "EVENTS",
    "Attachment",
    "DeadLetter",
    "Feedback",
    "Flat",
    "Incident",
    "Inference",
    "Job",
    "Message",
    "Observation",
    "Promotion",
    "Severity",
    "Text",
    "ToolCall",
    "Trigger",
    "Verdict",
]
