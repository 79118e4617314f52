"""
From the bytes of a request to sealed events: decode, check, cut, redact, stamp, encode. Pure; time comes in.

`sift` is the heavy part and may run in a thread; `seal` runs in the event loop right before the events are handed on,
so that `accepted_at` grows along every partition.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic

import msgspec

from driftwheel.checks import BadField, E, amend, check_feedback, check_inference
from driftwheel.collector.decode import Decoder, Loose, Rejection, rejection
from driftwheel.collector.settings import CollectorSettings
from driftwheel.pipeline.envelope import MAX_BYTES
from driftwheel.privacy import Counts, Redactor, hash_user
from driftwheel_schemas import Feedback, Inference, Message, Text
from driftwheel_schemas.shapes import feedback_fields, inference_fields
from driftwheel_schemas.topics import FEEDBACK, INFERENCES

TRUNCATED = "driftwheel.truncated"
"""The attribute that names the texts of an inference that were cut."""


@dataclass(slots=True)
class Sifted(Generic[E]):
    """What one request holds: good events with their places, what is rejected, and what was done to them."""

    events: list[tuple[int, E]]
    rejected: list[Rejection]
    array: bool
    redactions: Counts = field(default_factory=Counter)
    truncated: set[int] = field(default_factory=set)
    duplicates: int = 0


class Intake(Generic[E]):
    """The way in for one kind of event."""

    def __init__(
        self, name: str, topic: str, kind: type[E], loose: Callable[[Loose], Mapping[str, object]], check: Callable[[E, datetime], E]
    ) -> None:
        self.name = name
        self.topic = topic
        self._decoder: Decoder[E] = Decoder(kind, loose)
        self._check: Callable[[E, datetime], E] = check
        self._encode = msgspec.json.Encoder().encode

    def sift(self, body: bytes, now: datetime, settings: CollectorSettings) -> Sifted[E]:
        """The events in *body* that can be accepted. Raises `Refusal` where the body as a whole cannot."""
        events, rejected, array = self._decoder.decode(body, settings.max_events)
        sifted: Sifted[E] = Sifted([], rejected, array)
        redactor = Redactor(settings.redaction)
        seen: set[str] = set()
        for index, event in events:
            try:
                good = self._check(event, now)
            except BadField as wrong:
                rejected.append(rejection(array, index, wrong))
                continue
            sifted.duplicates += good.id in seen
            seen.add(good.id)
            if len(body) > settings.max_text_bytes:  # else no text in it can be longer
                good, cut = shorten(good, settings.max_text_bytes)
                sifted.truncated.update([index] if cut else [])
            good, counts = _redact(redactor, good)
            if counts:
                sifted.redactions += counts
            sifted.events.append((index, good))
        rejected.sort(key=lambda one: one.index)
        return sifted

    def seal(self, sifted: Sifted[E], tenant: str, accepted_at: datetime, user_secret: str) -> list[tuple[str, msgspec.Raw]]:
        """
        The events, stamped and encoded, by id. What a client said of `tenant` and `accepted_at` is overwritten.

        An event that does not fit an envelope is cut until it does; one that cannot be cut so far is rejected.
        """
        sealed: list[tuple[str, msgspec.Raw]] = []
        for index, event in sifted.events:
            stamped = amend(event, tenant=tenant, accepted_at=accepted_at)
            if user_secret:
                name = "user_id" if isinstance(event, Inference) else "author"
                amend(stamped, **{name: hash_user(getattr(event, name), secret=user_secret.encode(), tenant=tenant)})
            try:
                sealed.append((stamped.id, msgspec.Raw(self._fit(stamped, index, sifted))))
            except BadField as wrong:
                sifted.rejected.append(rejection(sifted.array, index, wrong))
        sifted.rejected.sort(key=lambda one: one.index)
        return sealed

    def _fit(self, event: E, index: int, sifted: Sifted[E]) -> bytes:
        try:
            encoded = self._encode(event)
            most = MAX_BYTES - 65_536  # room for the other fields, if one text is the reason
            while len(encoded) > MAX_BYTES and most > 256:
                sifted.truncated.add(index)
                event, _ = shorten(event, most)
                encoded = self._encode(event)
                most //= 2
        except UnicodeEncodeError as wrong:
            raise BadField(
                "", "shape", f"has half a character in {wrong.object[max(0, wrong.start - 10) : wrong.start]!r}…; send whole UTF-8"
            ) from wrong
        if len(encoded) > MAX_BYTES:
            raise BadField("", "size", f"has {len(encoded)} bytes without its texts, an event may have {MAX_BYTES}")
        return encoded


INFERENCE = Intake("inference", INFERENCES, Inference, inference_fields, check_inference)
FEEDBACK_IN = Intake("feedback", FEEDBACK, Feedback, feedback_fields, check_feedback)


def shorten(event: E, most: int) -> tuple[E, list[str]]:
    """*event* with every text of more than *most* bytes cut, and the names of these. An inference says so in its attributes."""
    cut: list[str] = []
    if isinstance(event, Feedback):
        texts = {name: _cut(getattr(event, name), most, name, cut) for name in ("comment", "correction")}
        return (amend(event, **texts) if cut else event), cut
    both = {name: _cut_text(getattr(event, name), most, name, cut) for name in ("prompt", "response")}
    if cut:
        amend(event, **both, attributes={**event.attributes, TRUNCATED: ", ".join(cut)[:1024]})
    return event, cut


def _cut_text(text: Text, most: int, name: str, cut: list[str]) -> Text:
    if isinstance(text, str):
        return _cut(text, most, name, cut)
    return tuple(_cut_message(message, most, f"{name}[{index}]", cut) for index, message in enumerate(text))


def _cut_message(message: Message, most: int, name: str, cut: list[str]) -> Message:
    before = len(cut)
    content = _cut(message.content, most, f"{name}.content", cut)
    arguments = [_cut(call.arguments, most, f"{name}.tool_calls[{i}]", cut) for i, call in enumerate(message.tool_calls)]
    uris = [_cut(a.uri, min(most, 4096), f"{name}.attachments[{i}]", cut) for i, a in enumerate(message.attachments)]
    if len(cut) == before:
        return message
    calls = tuple(replace(call, arguments=short) for call, short in zip(message.tool_calls, arguments, strict=True))
    attachments = tuple(replace(a, uri=short) for a, short in zip(message.attachments, uris, strict=True))
    return replace(message, content=content, tool_calls=calls, attachments=attachments)


def _cut(text: str, most: int, name: str, cut: list[str]) -> str:
    """Cut between words where there are any: the half of a card number would pass the redaction."""
    if len(text) * 4 <= most or len(encoded := text.encode("utf-8", "replace")) <= most:
        return text
    cut.append(name)
    head = encoded[:most]
    gap = max(head.rfind(b" ", most - 256), head.rfind(b"\n", most - 256))
    return head[: gap if gap > 0 else most].decode("utf-8", "ignore")


def _redact(redactor: Redactor, event: E) -> tuple[E, Counts]:
    if isinstance(event, Inference):
        return redactor.redact_inference(event)
    return redactor.redact_feedback(event)
