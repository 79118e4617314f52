"""
Who is let in: events sorted by what is known of their ids (docs/architecture.md).

Identity is the event id. An event that is stored already is not stored again, yet what follows from it is always
published; the first content of an id wins, other content under it is a dead letter with reason `id_conflict`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from driftwheel.bus import Claim, Record
from driftwheel.checks import amend
from driftwheel.errors import TooManyRejects
from driftwheel.pipeline import Question
from driftwheel.pipeline.envelope import Opened, Placed, letter
from driftwheel.pipeline.ledger import Ledger
from driftwheel_schemas import DeadLetter, Feedback, Inference

E = TypeVar("E", Inference, Feedback)

MAX_REJECT_SHARE = 0.5
MIN_FOR_SHARE = 20
"""More than half of a batch of at least twenty is a bad deploy, not bad data (docs/architecture.md)."""


@dataclass(slots=True)
class Admission(Generic[E]):
    """What a batch holds: events to store (with their digests), events stored before, and conflicts."""

    fresh: list[tuple[Placed[E], int]] = field(default_factory=list)
    repeated: list[Placed[E]] = field(default_factory=list)
    conflicts: list[DeadLetter] = field(default_factory=list)

    @property
    def valid(self) -> list[Placed[E]]:
        """Every event whose consequences are published: the fresh ones and the repeated."""
        return [placed for placed, _ in self.fresh] + self.repeated


def digest_of(event: E) -> int:
    """63 bits of the content of *event*: all but when it was accepted, so that a repeated request is no conflict."""
    accepted_at = event.accepted_at
    content = msgspec.json.encode(amend(event, accepted_at=None))  # and back: a copy would cost 7 µs, more than the rest
    amend(event, accepted_at=accepted_at)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest()) >> 1  # 63: some JSON readers know no more


def admit(events: Iterable[Placed[E]], ledgers: Mapping[int, Ledger]) -> Admission[E]:
    """Sort *events* by what is known of their ids: in the ledger of their partition, and earlier in the batch."""
    found: Admission[E] = Admission()
    batch: dict[str, int] = {}
    for placed in events:
        event, digest = placed.event, digest_of(placed.event)
        known = batch.get(event.id)
        if known is None:
            known = ledgers[placed.record.partition].get(event.id)
        if known is None:
            batch[event.id] = digest
            found.fresh.append((placed, digest))
        elif known == digest:
            found.repeated.append(placed)
        else:
            found.conflicts.append(_conflict(placed))
    return found


def check_rejects(opened: Opened[E], records: Sequence[Record]) -> None:
    """Raise `TooManyRejects` when most of a batch is bad, so that the worker stands still instead of emptying its topic."""
    bad, good = len(opened.letters), len(opened.events)
    if bad + good >= MIN_FOR_SHARE and bad > MAX_REJECT_SHARE * (bad + good):
        first = opened.letters[0]
        raise TooManyRejects(
            f"{records[0].topic}: {bad} of {bad + good} events from offset {records[0].offset} on cannot be used "
            f"(first: {first.detail}); nothing is acknowledged. Mend the producer or this release, then restart the worker."
        )


class Ledgers:
    """
    The ledger of each owned partition of one topic, seeded from the store when a partition is assigned.

    A ledger that was seeded to its limit does not reach back for ever: `floor` is the oldest moment that it does. Of what
    was accepted before (a topic is read again from long ago) only the store knows whether it is there.
    """

    def __init__(self, topic: str, question: str, limit: int) -> None:
        self.topic, self.question, self.limit = topic, question, limit
        self.of: dict[int, Ledger] = {}
        self.floor: dict[int, str] = {}

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:
        """Ask for what is stored of *claim*; the store computes the partition of an id as the bus does."""
        return [Question(self.question, {"partition": claim.partition, "partitions": partitions, "limit": self.limit})]

    def assigned(self, claim: Claim, stored: Iterable[Mapping[str, object]]) -> None:
        """Start the ledger of *claim*; *stored* comes newest first."""
        rows, ledger = list(stored), Ledger(self.limit)
        ledger.seed((str(row["id"]), int(str(row["digest"]))) for row in reversed(rows))
        self.of[claim.partition] = ledger
        self.floor[claim.partition] = str(rows[-1]["accepted_at"]) if len(rows) >= self.limit else ""

    def add(self, row: Mapping[str, Any]) -> None:
        """*row* is stored now. It may be of a partition that is another's since; one below the floor would push out a newer one."""
        partition = row["partition"]
        if partition in self.of and row["accepted_at"] >= self.floor[partition]:
            self.of[partition].add(row["id"], row["digest"])

    def reach(self, moments: Iterable[tuple[int, str]]) -> bool:
        """Whether the ledgers know of all that was stored at *moments*: partitions, and when something was accepted there."""
        return all(at >= self.floor[partition] for partition, at in moments)

    def revoked(self, claim: Claim) -> None:
        """Forget *claim*: another owner writes there now."""
        self.of.pop(claim.partition, None)
        self.floor.pop(claim.partition, None)


def acks_of(records: Iterable[Record]) -> dict[Claim, int]:
    """The offset behind the last record of each partition."""
    return {Claim(record.topic, record.partition): record.offset + 1 for record in records}


def _conflict(placed: Placed[E]) -> DeadLetter:
    return letter(
        placed.record,
        placed.index,
        msgspec.json.encode(placed.event),
        reason="id_conflict",
        detail=f"id {placed.event.id} is stored with other content; the first content wins. Give every event an id of its own.",
        event_id=placed.event.id,
    )
