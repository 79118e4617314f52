"""Feedback finds its inference whether it comes before, with or hours after it, and whatever is killed meanwhile."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from driftwheel.bus import Claim, Record
from driftwheel.pipeline import Ack, Batch, Insert, Publish, Question
from driftwheel.pipeline.joiner import Joiner, JoinSettings
from driftwheel_schemas import Feedback, Inference, Observation, derived_id
from driftwheel_schemas.topics import FEEDBACK

START = datetime(2026, 1, 5, tzinfo=UTC)
CLAIM = Claim(FEEDBACK, 0)


def inference(n: int, *, session: str = "", tenant: str = "default") -> Inference:
    """Inference *n*, one a minute."""
    return Inference(
        id=derived_id("inference", n),
        app="shop",
        model=f"m{n % 2}",
        started_at=START + timedelta(minutes=n),
        response_id=f"r{n}",
        trace_id=f"t{n}",
        span_id="s",
        session_id=session or f"session{n}",
        tenant=tenant,
    )


def feedback(n: int, by: str, *, value: float = 1.0, at: datetime | None = None, tenant: str = "default") -> Feedback:
    """Feedback on inference *n* that names it *by* one of its names."""
    about = inference(n)
    names = {"inference_id": about.id} if by == "inference_id" else {by: getattr(about, by)}
    if by == "trace_id":
        names["span_id"] = "s"
    moment = at or about.started_at + timedelta(seconds=30)
    return Feedback(id=derived_id("feedback", n), at=moment, accepted_at=moment, name="thumbs", value=value, tenant=tenant, **names)


class World:
    """A log of feedback, the inferences that the store knows, and the rows that the joiner stored."""

    def __init__(self, **limits: Any) -> None:
        self.limits = JoinSettings(**limits)
        self.log: list[Record] = []
        self.acked = 0
        self.inferences: list[Inference] = []
        self.rows: list[dict[str, Any]] = []
        self.observations: list[Observation] = []
        self.now = START
        self.unmatched = 0
        self.restart()

    def restart(self) -> None:
        """Kill -9: a new core, seeded from what is stored; it reads from what is acked."""
        self.core = Joiner(1, self.limits)
        self.core.assigned(CLAIM, [self.ask(question) for question in self.core.seeds(CLAIM, 1)])
        self.position, self.doubt = self.acked, len(self.log)

    def send(self, *events: Feedback) -> None:
        self.log.append(Record(FEEDBACK, 0, len(self.log), "", msgspec.json.encode(events), {}, self.now))

    def ask(self, question: Question) -> list[dict[str, Any]]:
        final: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            if row["revision"] >= final.get(row["id"], row)["revision"]:
                final[row["id"]] = row
        match question.name:
            case "stored_feedback":
                return list(reversed(final.values()))
            case "unmatched_feedback":
                return [dict(row) for row in reversed(final.values()) if not row["matched"]]
            case "inferences_by_id":
                return [msgspec.to_builtins(one) for one in self.inferences if one.id in question.params["ids"]]
            case "inferences_by_alias":
                return [
                    msgspec.to_builtins(one) | {"name": name}
                    for one in self.inferences
                    for name in self._names(one)
                    if name in question.params["names"]
                ]
        raise AssertionError(question)

    @staticmethod
    def _names(one: Inference) -> Sequence[str]:
        return [f"response:{one.response_id}", f"span:{one.trace_id}/{one.span_id}", f"session:{one.session_id}"]

    def turn(self, steps: int = 99, *, after: timedelta = timedelta(seconds=90)) -> None:
        """One turn of the shell, of which only the first *steps* are done before the process is killed."""
        self.now += after
        records = self.log[self.position :]
        doubtful = any(record.offset < self.doubt for record in records)
        batch = Batch(records, self.now)
        outcome = self.core.process(batch, [self.ask(question) for question in self.core.wants(batch)])
        self.position = len(self.log)
        for number, step in enumerate(outcome.steps()):
            if number == steps:
                return self.restart()
            match step:
                case Insert(_, rows):
                    stored = {(row["id"], row["revision"]) for row in self.rows}
                    self.rows += [row for row in rows if not doubtful or (row["id"], row["revision"]) not in stored]
                case Publish(sent):
                    for record in sent:
                        self.observations += msgspec.json.decode(record.value, type=list[Observation])
                case Ack(offsets):
                    self.acked = offsets[CLAIM]
        self.core.landed(outcome)
        self.unmatched += outcome.counts["unmatched"]
        return None


BY = st.sampled_from(["inference_id", "response_id", "trace_id", "session_id"])


@settings(max_examples=600, deadline=None)
@given(
    plan=st.lists(
        st.one_of(
            st.tuples(st.just("feedback"), st.integers(0, 5), BY),
            st.tuples(st.just("inference"), st.integers(0, 5), st.just("")),
            st.tuples(st.just("turn"), st.integers(0, 5), st.just("")),
        ),
        max_size=25,
    )
)
def test_feedback_is_joined_once_in_whatever_order_things_come(plan: list[tuple[str, int, str]]) -> None:
    """All feedback is stored; all whose inference came is matched; its observation has one id, on the right segment."""
    world = World()
    sent: dict[int, str] = {}
    for what, n, by in plan:
        if what == "feedback":
            world.send(feedback(n, sent.setdefault(n, by)))
        elif what == "inference" and inference(n) not in world.inferences:
            world.inferences.append(inference(n))
        elif what == "turn":
            world.turn(n)
    world.turn()
    for _ in range(12):
        world.turn(after=timedelta(minutes=2))

    known = {one.id for one in world.inferences}
    final = {row["id"]: row for row in world.ask(Question("stored_feedback"))}
    joined = {n for n in sent if inference(n).id in known}
    assert final.keys() == {derived_id("feedback", n) for n in sent}
    assert {id_ for id_, row in final.items() if row["matched"]} == {derived_id("feedback", n) for n in joined}
    assert {one.id for one in world.observations} == {derived_id(derived_id("feedback", n), "feedback.thumbs.flag", 1) for n in joined}
    for n in joined:
        assert final[derived_id("feedback", n)]["model"] == f"m{n % 2}"
        assert final[derived_id("feedback", n)]["lag_s"] == 30
        assert any(one.segment == f"app=shop,model=m{n % 2}" and one.inference_id == inference(n).id for one in world.observations)
    assert world.core.waiting == len(sent) - len(joined)


def test_feedback_on_a_session_means_its_last_inference_before_it() -> None:
    """A thumb on a session is about the answer that the person had just seen."""
    world = World()
    world.inferences = [inference(n, session="chat") for n in range(4)]
    said = Feedback(id=derived_id("f"), at=START + timedelta(minutes=2, seconds=5), name="thumbs", value=0, session_id="chat")
    world.send(said)
    world.turn()

    assert [inference(2).id] == [one.inference_id for one in world.observations]


def test_feedback_never_finds_another_tenants_inference() -> None:
    """The names of inferences are private to a tenant, also when they are equal."""
    world = World()
    world.inferences = [inference(1, tenant="other")]
    world.send(feedback(1, "response_id", tenant="ours"), feedback(2, "inference_id", tenant="ours"))
    world.turn()

    assert world.observations == []
    assert world.core.waiting == 2


def test_unmatched_feedback_is_given_up_after_the_horizon_counted_and_kept() -> None:
    """Nothing is lost in silence: the row stays, unmatched, and the loss is a number."""
    world = World(horizon=timedelta(hours=1))
    world.send(feedback(3, "response_id"))
    world.turn()
    world.turn(after=timedelta(hours=2))

    assert (world.unmatched, world.core.waiting) == (1, 0)
    assert [(row["revision"], row["matched"]) for row in world.rows] == [(0, 0)]


def test_what_waits_is_bounded() -> None:
    """Beyond the bound the oldest is given up first, and counted."""
    world = World(max_waiting=3)
    world.send(*[feedback(n, "response_id") for n in range(5)])
    world.turn()

    assert (world.unmatched, world.core.waiting) == (2, 3)


def test_a_repeated_request_stores_no_second_row() -> None:
    """A client that lost its 202 sends again, after the join as well as before it."""
    world = World()
    world.inferences = [inference(1)]
    world.send(feedback(1, "inference_id"))
    world.turn()
    world.send(feedback(1, "inference_id"))
    world.turn()
    world.turn()

    assert [row["revision"] for row in world.rows] == [0, 1]
    assert len({one.id for one in world.observations}) == 1


def test_a_restart_looks_back_as_far_as_the_horizon_that_is_set() -> None:
    """A longer horizon than the default must not be forgotten by a restart."""
    core = Joiner(1, JoinSettings(horizon=timedelta(days=10)))

    assert [question.params["horizon_s"] for question in core.seeds(CLAIM, 1) if question.name == "unmatched_feedback"] == [864_000]
