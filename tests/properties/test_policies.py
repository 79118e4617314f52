"""Policies: every verdict they look at gets one decision with its reason, and nothing is started twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftwheel.actions import ActionUse
from driftwheel.bus import Claim, Record
from driftwheel.pipeline import Batch, Outcome
from driftwheel.pipeline.triggers import Telling, Triggers
from driftwheel.policies import Fired, Policy, decide
from driftwheel_schemas import Trigger, Verdict, derived_id
from driftwheel_schemas.topics import VERDICTS

START = datetime(2026, 1, 5, tzinfo=UTC)
POLICY = Policy(name="worse", signal="feedback.*.flag", direction="down", min_sample=30, min_effect=0.1, approval="auto")


def verdict(n: int = 1, **changes: Any) -> Verdict:
    """A thumbs-up share that fell from .9 to .5."""
    known = Verdict(
        id=derived_id("verdict", n),
        app="shop",
        signal="feedback.thumbs.flag",
        segment="app=shop,model=m",
        series="default/feedback.thumbs.flag{app=shop,model=m}",
        detector="rate",
        reference_version="v",
        epoch=0,
        drifted=True,
        evidence=0.3,
        level=0.0,
        promise="at most 0.02 false alarms a week",
        at=START,
        accepted_at=START + timedelta(hours=n),
        direction="down",
        baseline=0.9,
        current=0.5,
        sample_size=40,
        reason="thumbs fell",
    )
    return replace(known, **changes)


def fired(trigger: Trigger) -> Fired:
    return Fired(trigger.id, trigger.revision, trigger.policy, trigger.tenant, trigger.app, trigger.accepted_at)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"direction": "up"}, "acts on down"),
        ({"sample_size": 29}, "29 units since the onset; the policy waits for 30"),
        ({"current": 0.85}, "the change is 0.05; the policy acts from 0.1 on"),
    ],
)
def test_what_is_held_says_why(changes: dict[str, Any], reason: str) -> None:
    """A person who asks why nothing started finds the answer in the row."""
    decision = decide(POLICY, verdict(**changes), [], "incident")

    assert decision is not None
    assert (decision.state, reason in decision.reason) == ("held", True)


def test_other_signals_and_quiet_verdicts_get_no_decision() -> None:
    """A policy says nothing of what it does not look at."""
    assert decide(POLICY, verdict(signal="latency.seconds"), [], "incident") is None
    assert decide(POLICY, verdict(drifted=False), [], "incident") is None
    assert decide(replace(POLICY, segment="app=other*"), verdict(), [], "incident") is None
    assert decide(POLICY, verdict(resolved_at=START), [], "incident") is None


def test_approval_is_a_persons_unless_the_policy_says_otherwise() -> None:
    """The default is manual."""
    manual = Policy(name="p", signal="*")

    assert [decide(one, verdict(), [], "incident").state for one in (manual, POLICY)] == ["pending", "approved"]  # type: ignore[union-attr]


def test_a_policy_cools_down_and_keeps_its_budget() -> None:
    """The second alarm of a day is held, and so is the third of a week when two are allowed."""
    first = decide(POLICY, verdict(1), [], "incident")
    assert first is not None
    soon = decide(POLICY, verdict(2), [fired(first)], "incident")
    later = decide(POLICY, verdict(30), [fired(first)], "incident")
    assert later is not None
    third = decide(POLICY, verdict(60), [fired(first), fired(later)], "incident")
    next_week = decide(POLICY, verdict(200), [fired(first), fired(later)], "incident")

    assert soon is not None
    assert (soon.state, "cool-down" in soon.reason) == ("held", True)
    assert later.state == "approved"
    assert third is not None
    assert (third.state, "budget" in third.reason) == ("held", True)
    assert next_week is not None
    assert next_week.state == "approved"


def test_cool_downs_of_one_app_do_not_hold_another() -> None:
    """Budgets are an app's own."""
    first = decide(POLICY, verdict(1), [], "incident")
    assert first is not None
    other = decide(POLICY, verdict(2, app="bank"), [fired(first)], "incident")

    assert other is not None
    assert other.state == "approved"


ACTIONS = [
    ActionUse(name="all", use="webhook", on=("incident", "trigger")),
    ActionUse(name="oncall", use="webhook", severity="page"),
]


@given(
    said=st.lists(
        st.tuples(st.integers(1, 400), st.integers(0, 3), st.integers(10, 80), st.sampled_from(["page", "ticket", "over"])), max_size=20
    ),
    kills=st.lists(st.integers(0, 6), max_size=20),
    batch=st.integers(1, 4),
)
def test_whatever_is_killed_the_same_is_decided_and_told(said: list[tuple[int, int, int, str]], kills: list[int], batch: int) -> None:
    """
    The core is killed after any of its inserts, before the publishing, or before the ack: the same triggers start, the same
    incidents stand, the same notices wait, under the same ids.
    """
    said = [one for place, one in enumerate(said) if one[3] != "over" or any(one[0] == before[0] for before in said[:place])]
    records = [Record(VERDICTS, 0, offset, "shop", msgspec.json.encode(_said(*one)), {}, START) for offset, one in enumerate(said)]
    calm = _play(records, [], batch)
    rough = _play(records, kills, batch)

    assert calm == rough


def _said(n: int, revision: int, sample: int, how: str) -> Verdict:
    if how == "over":
        return verdict(n, revision=revision + 9, resolved_at=START + timedelta(hours=n + 1))
    return verdict(n, revision=revision, sample_size=sample, severity=how, onset=START + timedelta(hours=n))


Tables = dict[str, dict[tuple[str, int], dict[str, Any]]]


def _play(records: list[Record], kills: list[int], size: int) -> dict[str, object]:
    """What there is in the end, when the core dies after step `kills[i]` of its i-th batch."""
    tables: Tables = {}
    published: dict[str, tuple[str, int]] = {}
    position, batch = 0, 0
    core = _core(tables)
    while position < len(records):
        outcome: Outcome = core.process(Batch(records[position : position + size], START), [])
        die_after = kills[batch] if batch < len(kills) else 6
        batch += 1
        for insert in outcome.inserts[:die_after]:
            stored = tables.setdefault(insert.table, {})
            for row in insert.rows:
                stored.setdefault((row["id"], row["revision"]), row)
        if die_after >= 5:
            for envelope in outcome.publish:
                for trigger in msgspec.json.decode(envelope.value, type=list[Trigger]):
                    if trigger.state == "approved":
                        known = published.setdefault(trigger.id, (trigger.state, trigger.revision))
                        assert known == (trigger.state, trigger.revision)
        if die_after == 6:
            core.landed(outcome)
            position += size
        else:
            core = _core(tables)
    incidents = {row["id"]: (row["state"], row["severity"], frozenset(row["verdicts"])) for row in _newest(tables, "incidents")}
    return {"published": published, "incidents": incidents, "told": {row["id"] for row in _newest(tables, "outbox")}}


def _newest(tables: Tables, table: str) -> list[dict[str, Any]]:
    rows = sorted(tables.get(table, {}).values(), key=lambda row: int(row["revision"]))
    return list({row["id"]: row for row in rows}.values())


def _core(tables: Tables) -> Triggers:
    core = Triggers([POLICY], 1, Telling(actions=ACTIONS))
    claim = Claim(VERDICTS, 0)
    assert [question.name for question in core.seeds(claim, 1)] == ["fired_triggers", "known_incidents"]
    fired_ = [row for row in _newest(tables, "triggers") if row["state"] != "held"]
    incidents = sorted(_newest(tables, "incidents"), key=lambda row: str(row["changed_at"]), reverse=True)
    core.assigned(claim, [sorted(fired_, key=lambda row: str(row["accepted_at"]), reverse=True), incidents])
    return core
