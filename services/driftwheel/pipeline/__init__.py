"""
The workers: a pure core each, and the shells that run them.

A core gets values and returns values. What it must know of the store it asks as named questions, what it wants done
it returns as an `Outcome`; the shell (`local.py`, or `faust_shell.py` on Kafka) asks, inserts, publishes and acks, always
in this order (docs/architecture.md). Time comes in with the batch; no core reads a clock.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from driftwheel.bus import Claim, Outgoing, Record
from driftwheel_schemas import DeadLetter

Row = dict[str, Any]
"""A row of a table, column → value, as JSON can carry it. Every row has an `id`."""

Answer = list[Row]
"""The rows that answer a question."""


@dataclass(frozen=True, slots=True)
class Question:
    """A named question to the store (`store/questions/*.sql`) with its bound parameters."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Insert:
    """Rows for one table. Rows whose `id` (and `revision`, where the table has one) is stored already are left out."""

    table: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a core works on: records of its partitions (none on a mere tick) and the shell's clock."""

    records: Sequence[Record]
    now: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What has to be done, in this order: insert (text before facts), publish, tell the dead letters, ack.

    `acks` holds for each partition the offset below which all is done; a core that acks later leaves it out. `doubtful`
    says that the core cannot know what is stored already (its memory does not reach back so far): the store is asked.
    """

    inserts: Sequence[Insert] = ()
    publish: Sequence[Outgoing] = ()
    letters: Sequence[DeadLetter] = ()
    acks: Mapping[Claim, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    doubtful: bool = False

    def steps(self) -> "Iterator[Step]":
        """What to do, one step after the other. Every shell follows this order and no other (docs/architecture.md)."""
        yield from (insert for insert in self.inserts if insert.rows)
        if self.publish:
            yield Publish(self.publish)
        if self.letters:
            yield Bury(self.letters)
        if self.acks:
            yield Ack(self.acks)


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell others. Only after everything they could ask about is stored."""

    records: Sequence[Outgoing]


@dataclass(frozen=True, slots=True)
class Bury:
    """Set aside what could not be used."""

    letters: Sequence[DeadLetter]


@dataclass(frozen=True, slots=True)
class Ack:
    """Only now is it done: below these offsets nothing is read again."""

    offsets: Mapping[Claim, int]


Step = Insert | Publish | Bury | Ack


class Worker(Protocol):
    """
    A core. Called from one task at a time, but not always from the same thread.

    For a batch the shell asks `wants`, then calls `process` with the answers, carries the outcome out, and calls
    `landed`. When it dies in between, another owner starts again from what is committed: so for the same records
    `process` must want the same rows and publish the same events, whatever is stored already.
    """

    @property
    def group(self) -> str:
        """The consumer group; also the name of the role."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """What it reads."""
        ...

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:
        """What to ask before the first record of *claim*, one of *partitions*."""
        ...

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        """Take over *claim*; its records come from the committed offset on."""
        ...

    def revoked(self, claim: Claim) -> None:
        """Forget everything of *claim*."""
        ...

    def wants(self, batch: Batch) -> Sequence[Question]:
        """What has to be known to process *batch*."""
        ...

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:
        """
        What has to be done for *batch*. May take long (a model runs): the shell calls it in a thread.

        Raises `TooManyRejects` when most events are bad, and then nothing of the batch is done.
        """
        ...

    def landed(self, outcome: Outcome) -> None:
        """Everything in *outcome* is stored and published; remember it."""
        ...
