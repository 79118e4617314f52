"""
Policies: rules over verdicts; each verdict that a policy looks at gets one decision with its reason (docs/architecture.md).

Pure: what was decided before comes in as a history, time comes from the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Literal

from driftwheel_schemas import Trigger, Verdict, derived_id

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    When a proven change starts a job.

    `signal` and `segment` are shell patterns. `min_sample` counts units since the onset; `min_effect` is the smallest
    |current - baseline| worth acting on, in the signal's own unit. `cooldown` and `budget_per_week` bound how often
    the policy starts something for one app. `approval` is `manual` unless the operator says `auto`.
    """

    name: str
    signal: str
    segment: str = "*"
    direction: Literal["up", "down", "any"] = "any"
    min_sample: int = 30
    min_effect: float = 0.0
    cooldown: timedelta = timedelta(hours=24)
    budget_per_week: int = 2
    approval: Literal["manual", "auto"] = "manual"
    job: Literal["finetune", "evaluate"] = "finetune"

    def looks_at(self, verdict: Verdict) -> bool:
        """Whether this policy has anything to say of *verdict*."""
        drifted = verdict.drifted and verdict.resolved_at is None
        return drifted and fnmatchcase(verdict.signal, self.signal) and fnmatchcase(verdict.segment, self.segment)


@dataclass(frozen=True, slots=True)
class Fired:
    """A trigger that started something, or waits for a person to let it: what the next decision must know."""

    id: str
    revision: int
    policy: str
    tenant: str
    app: str
    accepted_at: datetime


def decide(policy: Policy, verdict: Verdict, history: Sequence[Fired], incident_id: str) -> Trigger | None:
    """
    The decision of *policy* over *verdict*, which belongs to the incident *incident_id*; None when the policy has nothing to
    say, or has let this verdict through before.

    The id comes from the policy and the verdict, so a replay starts nothing twice; and a replay of the very revision
    that fired decides the same again, since what was stored then may not have been published. Decisions have even
    revisions; a person's answer to one has the odd number behind it.
    """
    if not policy.looks_at(verdict):
        return None
    id_, revision = derived_id("trigger", policy.name, verdict.id), 2 * verdict.revision
    if any(one.id == id_ and one.revision != revision for one in history):
        return None
    again = any(one.id == id_ for one in history)
    held = "" if again else _hold(policy, verdict, [one for one in history if _same(one, policy, verdict)])
    granted: Literal["pending", "approved"] = "approved" if policy.approval == "auto" else "pending"
    return Trigger(
        id=id_,
        tenant=verdict.tenant,
        app=verdict.app,
        policy=policy.name,
        verdict_id=verdict.id,
        incident_id=incident_id,
        job=policy.job,
        state="held" if held else granted,
        revision=revision,
        reason=held
        or f"{verdict.reason}; policy {policy.name} lets it {'start' if granted == 'approved' else 'start once a person approves'}",
        signal=verdict.signal,
        segment=verdict.segment,
        evidence=verdict.evidence,
        level=verdict.level,
        onset=verdict.onset,
        at=verdict.at,
        accepted_at=verdict.accepted_at,
    )


def _same(one: Fired, policy: Policy, verdict: Verdict) -> bool:
    return (one.policy, one.tenant, one.app) == (policy.name, verdict.tenant, verdict.app)


def _hold(policy: Policy, verdict: Verdict, fired: Sequence[Fired]) -> str:
    """Why nothing starts; empty when nothing speaks against it."""
    if policy.direction not in ("any", verdict.direction):
        return f"the change is {verdict.direction}, the policy acts on {policy.direction}"
    if verdict.detector != "alert" and verdict.sample_size < policy.min_sample:  # somebody else's alert states no sample
        return f"{verdict.sample_size} units since the onset; the policy waits for {policy.min_sample}"
    if verdict.baseline is not None and verdict.current is not None:
        effect = abs(verdict.current - verdict.baseline)
        if effect < policy.min_effect:
            return f"the change is {effect:.3g}; the policy acts from {policy.min_effect:.3g} on"
    recent = [one for one in fired if verdict.accepted_at - one.accepted_at < policy.cooldown]
    if recent:
        return f"cool-down of {policy.cooldown} after trigger {recent[-1].id} at {recent[-1].accepted_at:%Y-%m-%d %H:%M}"
    week = [one for one in fired if verdict.accepted_at - one.accepted_at < WEEK]
    if len(week) >= policy.budget_per_week:
        return f"the week's budget of {policy.budget_per_week} is spent"
    return ""
