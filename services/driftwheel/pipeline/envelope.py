"""
Envelopes: a record on the bus is a JSON array of contract events, or a single event (docs/architecture.md).

What cannot be decoded is set aside event by event, with its place and its bytes; its neighbours go on.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from driftwheel.bus import Outgoing, Record
from driftwheel.checks import BadField, check_feedback, check_inference
from driftwheel_schemas import DeadLetter, Feedback, Inference, derived_id, partition_of

E = TypeVar("E")

MAX_EVENTS = 500
MAX_BYTES = 900 * 1024
"""900 KiB: Kafka's default limit for a record is 1 MiB, and headers and keys need room."""

NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no JSON of the kind: the last two for a string that is no UTF-8, and for brackets in brackets."""

CHECKS: dict[type, Callable[[Any, datetime], Any]] = {Inference: check_inference, Feedback: check_feedback}
"""What else must hold of an event that a client made."""


@dataclass(frozen=True, slots=True)
class Placed(Generic[E]):
    """An event and the place it lay in."""

    event: E
    record: Record
    index: int


@dataclass(slots=True)
class Opened(Generic[E]):
    """What was in some records: events in their places, and what could not be read."""

    events: list[Placed[E]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


def open_envelopes(records: Iterable[Record], kind: type[E]) -> Opened[E]:
    """
    Decode *records* into events of *kind*; a bad one becomes a dead letter with reason `undecodable`.

    Anyone may produce to a topic, so what comes from a client is checked here as the collector checks it.
    """
    decode = msgspec.json.Decoder(kind).decode
    check = CHECKS.get(kind, _unchecked)
    opened: Opened[E] = Opened()
    for record in records:
        for index, raw in enumerate(_items(record.value)):
            try:
                opened.events.append(Placed(check(decode(raw), record.appended_at), record, index))
            except NO_JSON as wrong:
                opened.letters.append(letter(record, index, bytes(raw), reason="undecodable", detail=str(wrong)))
            except BadField as wrong:
                opened.letters.append(letter(record, index, bytes(raw), reason="undecodable", detail=f"${wrong.path} {wrong}"))
    return opened


def letter(record: Record, index: int, payload: bytes, *, reason: str, detail: str, event_id: str = "") -> DeadLetter:
    """The dead letter for what lay at *index* of *record*; the same place and bytes give the same letter."""
    digest = hashlib.sha256(payload).hexdigest()
    return DeadLetter(
        id=derived_id("dead", record.topic, record.partition, record.offset, index, digest),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        index=index,
        reason=reason,
        detail=detail[:2000],
        event_id=event_id,
        size_bytes=len(payload),
        sha256=digest,
        payload=payload[:MAX_BYTES],
        at=record.appended_at,
    )


def pack(topic: str, partitions: int, keyed: Iterable[tuple[str, object]]) -> Iterator[Outgoing]:
    """One envelope or more per target partition for (key, event) pairs; the order within a partition is kept."""
    lanes: dict[int, list[bytes]] = {}
    encode = msgspec.json.Encoder().encode
    for key, event in keyed:
        lanes.setdefault(partition_of(key, partitions), []).append(encode(event))
    for partition, events in sorted(lanes.items()):
        for chunk in _chunks(events):
            yield Outgoing(topic, b"[" + b",".join(chunk) + b"]", partition=partition)


def _unchecked(event: E, _now: datetime) -> E:
    return event


def _items(value: bytes) -> Sequence[bytes | msgspec.Raw]:
    if value.lstrip()[:1] == b"[":
        try:
            return msgspec.json.decode(value, type=list[msgspec.Raw])
        except NO_JSON:
            return [value]
    return [value]


def _chunks(events: Sequence[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for event in events:
        if chunk and (len(chunk) == MAX_EVENTS or size + len(event) > MAX_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(event)
        size += len(event) + 1
    if chunk:
        yield chunk
