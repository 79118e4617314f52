"""
Delivery by identity (docs/architecture.md), proved on the pure worker core before anything is built on it.

A Hypothesis state machine plays a log of two partitions, a store that keeps whatever lands, and owners that are killed
at any step, repeat requests, hand partitions over while paused in mid-batch, and go on later as if nothing had happened.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from driftwheel.bus import Claim, Record
from driftwheel.pipeline import Ack, Batch, Bury, Insert, Outcome, Publish, Question, Step
from driftwheel.pipeline.signals import Signals, SignalsSettings
from driftwheel.signals.latency import Latency
from driftwheel_schemas import Inference, Observation, derived_id, partition_of
from driftwheel_schemas.topics import INFERENCES

PARTITIONS = 2
BATCH = 4
START = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass
class Log:
    """The bus: two partitions of envelopes, and how far the group has acked."""

    records: dict[int, list[Record]] = field(default_factory=lambda: {p: [] for p in range(PARTITIONS)})
    acked: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    published: list[Observation] = field(default_factory=list)
    buried: list[str] = field(default_factory=list)

    def append(self, partition: int, events: Sequence[Inference]) -> None:
        """One envelope, as the collector packs it."""
        log = self.records[partition]
        log.append(Record(INFERENCES, partition, len(log), "", msgspec.json.encode(events), {}, START))


@dataclass
class Shelf:
    """The store: every row that ever landed, in order; `final` is what FINAL shows."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        self.rows.setdefault(table, []).extend(rows)

    def missing(self, table: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        stored = {row["id"] for row in self.rows.get(table, [])}
        return [row for row in rows if row["id"] not in stored]

    def ids(self, table: str) -> list[str]:
        return [row["id"] for row in self.rows.get(table, [])]

    def ask(self, question: Question) -> list[dict[str, Any]]:
        assert question.name == "stored_inferences"
        rows = [row for row in self.rows.get("inferences", []) if row["partition"] == question.params["partition"]]
        newest = [{"id": row["id"], "digest": row["digest"], "accepted_at": row["accepted_at"]} for row in reversed(rows)]
        return newest[: question.params["limit"]]


class Owner:
    """A worker process that owns one partition: a core, where it reads, and the steps of the batch in its hands."""

    def __init__(self, log: Log, shelf: Shelf, partition: int, ledger_limit: int = 1000) -> None:
        self.log, self.shelf, self.partition = log, shelf, partition
        self.core = Signals([Latency()], observations=1, settings=SignalsSettings(ledger_limit=ledger_limit))
        claim = Claim(INFERENCES, partition)
        self.core.assigned(claim, [shelf.ask(question) for question in self.core.seeds(claim, PARTITIONS)])
        self.position = log.acked[partition]
        self.doubt = self.position + BATCH  # an earlier owner had no more than one batch in hand
        self.steps: Iterator[Step] = iter(())
        self.outcome: Outcome | None = None
        self.doubtful = False

    def take(self, count: int) -> None:
        """Process the next records; nothing of it is done yet."""
        records = self.log.records[self.partition][self.position : self.position + count]
        if records:
            assert len(records) <= BATCH
            self.outcome = self.core.process(Batch(records, START), [])
            self.doubtful = any(record.offset < self.doubt for record in records) or self.outcome.doubtful
            self.steps = self.outcome.steps()
            self.position += len(records)

    def step(self, *, fenced: bool = False) -> bool:
        """Do the next step as a shell does. False when the batch is done. A *fenced* owner may not ack any more."""
        for step in self.steps:
            match step:
                case Insert(table, rows):
                    self.shelf.insert(table, self.shelf.missing(table, rows) if self.doubtful else rows)
                case Publish(records):
                    for record in records:
                        self.log.published += msgspec.json.decode(record.value, type=list[Observation])
                case Bury(letters):
                    self.log.buried += [letter.event_id for letter in letters]
                case Ack(offsets):
                    assert self.outcome is not None
                    self.core.landed(self.outcome)
                    for claim, offset in offsets.items():
                        if not fenced:
                            self.log.acked[claim.partition] = max(self.log.acked[claim.partition], offset)
            return True
        return False


class Delivery(RuleBasedStateMachine):
    """Whatever happens, what was accepted is stored and published once, with the content that came first."""

    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.log, self.shelf = Log(), Shelf()
        self.accepted: dict[str, Inference] = {}
        self.conflicts: set[str] = set()
        self.owners = {p: Owner(self.log, self.shelf, p) for p in range(PARTITIONS)}
        self.paused: list[Owner] = []
        self.handed_over = False

    def _accept(self, events: Sequence[Inference]) -> None:
        for event in events:
            first = self.accepted.setdefault(event.id, event)
            if replace(first, accepted_at=None) != replace(event, accepted_at=None):
                self.conflicts.add(event.id)
        for partition in range(PARTITIONS):
            lane = [event for event in events if partition_of(event.id, PARTITIONS) == partition]
            if lane:
                self.log.append(partition, lane)

    @rule(
        target=sent,
        numbers=st.lists(st.integers(0, 40), min_size=1, max_size=4),
        late=st.integers(0, 72),
        latency=st.sampled_from([0.5, 2.0]),
    )
    def request(self, numbers: list[int], late: int, latency: float) -> list[Inference]:
        """Accept a request; numbers repeat, so ids come again, now and then with other content; some events are late."""
        events = [
            Inference(
                id=derived_id("event", n),
                app="shop",
                model="m",
                started_at=START - timedelta(hours=late if n % 5 == 0 else 0),
                latency_s=latency if n % 7 == 0 else 1.0,
                session_id=f"s{n % 3}",
                prompt=f"question {n}",
                accepted_at=START + timedelta(seconds=len(self.accepted)),
            )
            for n in numbers
        ]
        self._accept(events)
        return events

    @rule(events=sent)
    def retry(self, events: list[Inference]) -> None:
        """The 202 was lost: the client sends the same again, and it is accepted at another time."""
        self._accept([replace(event, accepted_at=START + timedelta(hours=1)) for event in events])

    @rule(partition=st.integers(0, PARTITIONS - 1), count=st.integers(1, 3), steps=st.integers(0, 6))
    def work(self, partition: int, count: int, steps: int) -> None:
        """An owner goes on with what is in its hands, and takes new records when it is done."""
        owner = self.owners[partition]
        for _ in range(steps):
            if not owner.step():
                owner.take(count)

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def kill(self, partition: int) -> None:
        """Kill -9, at whatever step it is; a new owner starts from what is acked and stored."""
        self.owners[partition] = Owner(self.log, self.shelf, partition)

    @rule(partition=st.integers(0, PARTITIONS - 1), landed=st.integers(0, 3))
    def half_landed(self, partition: int, landed: int) -> None:
        """The store takes some rows of the next insert, then the owner dies."""
        owner = self.owners[partition]
        for step in owner.steps:
            if isinstance(step, Insert):
                rows = self.shelf.missing(step.table, step.rows) if owner.doubtful else list(step.rows)
                self.shelf.insert(step.table, rows[:landed])
            break
        self.kill(partition)

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def rebalance(self, partition: int) -> None:
        """The owner is stopped in mid-batch and loses its partition; it will go on without knowing."""
        self.paused.append(self.owners[partition])
        self.handed_over = True
        self.kill(partition)

    @precondition(lambda self: self.paused)
    @rule(steps=st.integers(1, 6))
    def wake(self, steps: int) -> None:
        """A paused old owner goes on: its inserts still land, its acks are refused."""
        owner = self.paused[-1]
        if not any(owner.step(fenced=True) for _ in range(steps)):
            self.paused.pop()

    @invariant()
    def nothing_is_acked_that_is_not_stored(self) -> None:
        stored = set(self.shelf.ids("inferences"))
        texts = set(self.shelf.ids("payloads"))
        for partition, acked in self.log.acked.items():
            for record in self.log.records[partition][:acked]:
                for event in msgspec.json.decode(record.value, type=list[Inference]):
                    assert event.id in stored
        assert stored <= texts, "text lands before the facts"

    @invariant()
    def without_a_second_writer_no_row_is_doubled(self) -> None:
        if not self.handed_over:
            for table in ("inferences", "payloads", "aliases"):
                ids = self.shelf.ids(table)
                assert len(ids) == len(set(ids)), table

    def teardown(self) -> None:
        """Let everybody finish: everything accepted is stored with its first content, published, and every conflict told."""
        for owner in self.paused:
            while owner.step(fenced=True):
                pass
        for partition in range(PARTITIONS):
            self.kill(partition)
            owner = self.owners[partition]
            while self.log.acked[partition] < len(self.log.records[partition]):
                if not owner.step():
                    owner.take(2)
        final = {row["id"]: row for row in self.shelf.rows.get("inferences", [])}
        assert final.keys() == self.accepted.keys()
        for id_, event in self.accepted.items():
            assert final[id_]["latency_s"] == event.latency_s, "the first content wins"
            assert final[id_]["started_at"].startswith(f"{event.started_at:%Y-%m-%dT%H:%M}")
        assert {one.id for one in self.log.published} == {derived_id(id_, "latency.seconds", 1) for id_ in self.accepted}
        assert {one.value for one in self.log.published} <= {event.latency_s for event in self.accepted.values()}
        assert set(self.log.buried) == self.conflicts
        if not self.handed_over:
            assert len(self.shelf.ids("inferences")) == len(self.accepted)


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=500, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_a_topic_that_is_read_again_from_its_beginning_doubles_nothing() -> None:
    """Somebody rewinds a group: of what lies before the memory of its new owner the store is asked, and new events go on as ever."""
    log, shelf = Log(), Shelf()

    def accept(numbers: range) -> None:
        for n in numbers:
            at = START + timedelta(seconds=n)
            log.append(0, [Inference(id=derived_id(n), app="a", model="m", started_at=at, accepted_at=at, latency_s=1.0)])

    def play() -> int:
        """Everything that is to do; how often the store was asked."""
        owner, asked = Owner(log, shelf, 0, ledger_limit=5), 0
        while log.acked[0] < len(log.records[0]):
            owner.take(2)
            asked += owner.doubtful
            while owner.step():
                pass
        return asked

    accept(range(20))
    play()
    log.acked[0] = 0
    accept(range(20, 30))
    assert play() == 8, "fifteen records before the memory of five"
    assert sorted(shelf.ids("inferences")) == sorted(derived_id(n) for n in range(30))
    accept(range(30, 40))
    assert play() == 2, "what an earlier owner may have had in hand"
    assert sorted(shelf.ids("inferences")) == sorted(derived_id(n) for n in range(40))
