"""Dead letters on the bus: the original bytes as they were, and headers that say where they lay and why they are here."""

from datetime import datetime

from driftwheel.bus import Outgoing, Record
from driftwheel_schemas import DeadLetter, dead_letters_of

PREFIX = "__dlq.errors."
"""The prefix of Kafka's own dead letters (KIP-1191); `index` and what follows it are ours."""

REPLAYED = "__dlq.replayed."
"""The prefix of what a replayed record says: the letter it comes `from`, as a place, and that letter's `id`."""


def outgoing(letter: DeadLetter) -> Outgoing:
    """*letter* as a record of `dlq.<topic>`."""
    said = {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "message": letter.detail,
        "index": letter.index,
        "reason": letter.reason,
        "size": letter.size_bytes,
        "sha256": letter.sha256,
        "id": letter.id,
        "tenant": letter.tenant,
        "event_id": letter.event_id,
        "at": letter.at.isoformat(),
    }
    return Outgoing(
        dead_letters_of(letter.topic),
        letter.payload,
        key=letter.id,
        headers={f"{PREFIX}{name}": str(value).encode() for name, value in said.items()},
    )


def letter_of(record: Record) -> DeadLetter:
    """The dead letter in *record*. Raises `KeyError` and `ValueError` for a record that is none."""
    said = {
        name.removeprefix(PREFIX): value.decode("utf-8", "replace") for name, value in record.headers.items() if name.startswith(PREFIX)
    }
    return DeadLetter(
        id=said["id"],
        tenant=said["tenant"],
        topic=said["topic"],
        partition=int(said["partition"]),
        offset=int(said["offset"]),
        index=int(said["index"]),
        reason=said["reason"],
        detail=said["message"],
        event_id=said["event_id"],
        size_bytes=int(said["size"]),
        sha256=said["sha256"],
        payload=record.value,
        at=datetime.fromisoformat(said["at"]),
    )


def place_of(letter: DeadLetter) -> str:
    """Where *letter* lay, as `topic[partition]@offset#index`."""
    return f"{letter.topic}[{letter.partition}]@{letter.offset}#{letter.index}"


def replayed(letter: DeadLetter, partition: int) -> Outgoing:
    """The bytes of *letter* as a record of the topic they came from."""
    headers = {f"{REPLAYED}id": letter.id.encode(), f"{REPLAYED}from": place_of(letter).encode()}
    return Outgoing(letter.topic, letter.payload, partition=partition, headers=headers)
