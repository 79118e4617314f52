"""Policies: every verdict they look at gets one decision with its reason, and nothing is started twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftwheel.bus import Claim, Record
from driftwheel.pipeline import Batch, Outcome
from driftwheel.pipeline.triggers import Triggers
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
    return Fired(trigger.id, trigger.revision, trigger.policy, trigger.tenant, trigger.app, trigger.incident_id, trigger.accepted_at)


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
    decision = decide(POLICY, verdict(**changes), [])

    assert decision is not None
    assert (decision.state, reason in decision.reason) == ("held", True)


def test_other_signals_and_quiet_verdicts_get_no_decision() -> None:
    """A policy says nothing of what it does not look at."""
    assert decide(POLICY, verdict(signal="latency.seconds"), []) is None
    assert decide(POLICY, verdict(drifted=False), []) is None
    assert decide(replace(POLICY, segment="app=other*"), verdict(), []) is None


def test_approval_is_a_persons_unless_the_policy_says_otherwise() -> None:
    """The default is manual."""
    manual = Policy(name="p", signal="*")

    assert [decide(one, verdict(), []).state for one in (manual, POLICY)] == ["pending", "approved"]  # type: ignore[union-attr]


def test_a_policy_cools_down_and_keeps_its_budget() -> None:
    """The second alarm of a day is held, and so is the third of a week when two are allowed."""
    first = decide(POLICY, verdict(1), [])
    assert first is not None
    soon = decide(POLICY, verdict(2), [fired(first)])
    later = decide(POLICY, verdict(30), [fired(first)])
    assert later is not None
    third = decide(POLICY, verdict(60), [fired(first), fired(later)])
    next_week = decide(POLICY, verdict(200), [fired(first), fired(later)])

    assert soon is not None
    assert (soon.state, "cool-down" in soon.reason) == ("held", True)
    assert soon.incident_id == first.incident_id
    assert later.state == "approved"
    assert later.incident_id != first.incident_id
    assert third is not None
    assert (third.state, "budget" in third.reason) == ("held", True)
    assert next_week is not None
    assert next_week.state == "approved"


def test_cool_downs_of_one_app_do_not_hold_another() -> None:
    """Budgets are an app's own."""
    first = decide(POLICY, verdict(1), [])
    assert first is not None
    other = decide(POLICY, verdict(2, app="bank"), [fired(first)])

    assert other is not None
    assert other.state == "approved"


@given(
    verdicts=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 3), st.integers(10, 80)), max_size=20),
    kills=st.lists(st.integers(0, 3), max_size=20),
)
def test_whatever_is_killed_each_trigger_starts_once_and_is_published(verdicts: list[tuple[int, int, int]], kills: list[int]) -> None:
    """The core is killed after the insert, before the publishing, or before the ack; the same triggers start, under the same ids."""
    records = [
        Record(VERDICTS, 0, offset, "shop", msgspec.json.encode(verdict(n, revision=revision, sample_size=sample)), {}, START)
        for offset, (n, revision, sample) in enumerate(verdicts)
    ]
    calm = _play(records, [])
    rough = _play(records, kills)

    assert calm == rough


def _play(records: list[Record], kills: list[int]) -> dict[str, tuple[str, int]]:
    """What was published as started, by id, when the core dies after step `kills[i]` of its i-th batch."""
    rows: dict[tuple[str, int], dict[str, object]] = {}
    published: dict[str, tuple[str, int]] = {}
    position, batch = 0, 0
    core = _core(rows)
    while position < len(records):
        outcome: Outcome = core.process(Batch([records[position]], START), [])
        die_after = kills[batch] if batch < len(kills) else 3
        batch += 1
        if die_after >= 1:
            rows |= {(row["id"], row["revision"]): row for row in outcome.inserts[0].rows}
        if die_after >= 2:
            for envelope in outcome.publish:
                for trigger in msgspec.json.decode(envelope.value, type=list[Trigger]):
                    if trigger.state == "approved":
                        known = published.setdefault(trigger.id, (trigger.state, trigger.revision))
                        assert known == (trigger.state, trigger.revision)
        if die_after == 3:
            core.landed(outcome)
            position += 1
        else:
            core = _core(rows)
    return published


def _core(rows: dict[tuple[str, int], dict[str, object]]) -> Triggers:
    core = Triggers([POLICY], 1)
    final: dict[object, dict[str, object]] = {}
    for row in sorted(rows.values(), key=lambda row: int(str(row["revision"]))):
        final[row["id"]] = row
    stored = [row for row in final.values() if row["state"] != "held"]
    core.assigned(Claim(VERDICTS, 0), [sorted(stored, key=lambda row: str(row["accepted_at"]), reverse=True)])
    return core
