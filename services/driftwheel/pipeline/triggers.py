"""The triggers worker: verdicts → decisions of policies, one row each, also for what is held (docs/architecture.md)."""

from collections.abc import Iterable, Sequence

import msgspec

from driftwheel.bus import Claim
from driftwheel.pipeline import Answer, Batch, Insert, Outcome, Question
from driftwheel.pipeline.admission import acks_of
from driftwheel.pipeline.envelope import open_envelopes, pack
from driftwheel.policies import Fired, Policy, decide
from driftwheel_schemas import Trigger, Verdict
from driftwheel_schemas.topics import TRIGGERS, VERDICTS

HISTORY = 1_000
"""Triggers remembered; cool-downs and budgets look back a week."""


class Triggers:
    """The core of the role `triggers`; see `driftwheel.pipeline.Worker` for how it is called."""

    group = "triggers"
    topics = (VERDICTS,)

    def __init__(self, policies: Sequence[Policy], partitions: int) -> None:
        """*partitions* is the number of partitions of the triggers topic."""
        self._policies = policies
        self._partitions = partitions
        self._history: dict[str, Fired] = {}

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:  # noqa: ARG002  one history for all partitions
        return [Question("fired_triggers", {"limit": HISTORY})]

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:  # noqa: ARG002
        self._remember(msgspec.convert(row, Fired) for row in reversed(answers[0]))

    def revoked(self, claim: Claim) -> None:
        """The history holds for every partition; nothing to forget."""

    def wants(self, batch: Batch) -> Sequence[Question]:  # noqa: ARG002  the history is all it needs
        return []

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:  # noqa: ARG002
        opened = open_envelopes(batch.records, Verdict)
        decisions: list[Trigger] = []
        history = list(self._history.values())
        for placed in opened.events:
            for policy in self._policies:
                if decision := decide(policy, placed.event, history):
                    decisions.append(decision)
                    if decision.state != "held":
                        history.append(_fired(decision))
        states = [decision.state for decision in decisions]
        return Outcome(
            inserts=[Insert("triggers", [msgspec.to_builtins(decision) for decision in decisions])],
            publish=list(pack(TRIGGERS, self._partitions, ((decision.app, decision) for decision in decisions))),
            letters=opened.letters,
            acks=acks_of(batch.records),
            counts={state: states.count(state) for state in sorted(set(states))},
        )

    def landed(self, outcome: Outcome) -> None:
        decisions = (msgspec.convert(row, Trigger) for row in outcome.inserts[0].rows)
        self._remember(_fired(decision) for decision in decisions if decision.state != "held")

    def _remember(self, fired: Iterable[Fired]) -> None:
        self._history |= {one.id: one for one in fired}
        for oldest in list(self._history)[:-HISTORY]:
            del self._history[oldest]


def _fired(trigger: Trigger) -> Fired:
    return Fired(trigger.id, trigger.revision, trigger.policy, trigger.tenant, trigger.app, trigger.incident_id, trigger.accepted_at)
