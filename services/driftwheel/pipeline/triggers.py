"""
The triggers worker: verdicts → incidents → decisions of policies → what is to be told to whom (docs/architecture.md).

It decides; the delivery beside it (`actions/delivery.py`) tells. What is to be told is stored before the incident that
says so: a kill in between decides the same again under the same ids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from driftwheel.actions import ActionUse, Notice
from driftwheel.actions.notices import of_incident, of_promotion, of_trigger, outbox
from driftwheel.bus import Claim
from driftwheel.pipeline import Answer, Batch, Insert, Outcome, Question
from driftwheel.pipeline.admission import acks_of
from driftwheel.pipeline.detection_series import row_of
from driftwheel.pipeline.envelope import open_envelopes, pack
from driftwheel.policies import Fired, Policy, decide
from driftwheel.policies.incidents import follow
from driftwheel_schemas import DeadLetter, Incident, Promotion, Trigger, Verdict, derived_id
from driftwheel_schemas.topics import PROMOTIONS, TRIGGERS, VERDICTS

HISTORY = 1_000
"""Triggers and incidents remembered; cool-downs and budgets look back a week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Who is told, and the link that a notice carries: a board or a page, with `{id}` for what it is about."""

    actions: Sequence[ActionUse] = ()
    link: str = ""


@dataclass(slots=True)
class _Step:
    """What a batch comes to, as it is gathered."""

    verdicts: list[Verdict] = field(default_factory=list)
    incidents: dict[str, Incident] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    decisions: list[Trigger] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


class Triggers:
    """The core of the role `triggers`; see `driftwheel.pipeline.Worker` for how it is called."""

    group = "triggers"
    topics = (VERDICTS, TRIGGERS, PROMOTIONS)

    def __init__(self, policies: Sequence[Policy], partitions: int, telling: Telling | None = None) -> None:
        """*partitions* is the number of partitions of the triggers topic."""
        self._policies = policies
        self._partitions = partitions
        self._telling = telling or Telling()
        self._history: dict[str, Fired] = {}
        self._incidents: dict[str, Incident] = {}
        self._forgotten = 0

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:  # noqa: ARG002  one history for all partitions
        if claim.topic != VERDICTS:
            return []
        return [Question("fired_triggers", {"limit": HISTORY}), Question("known_incidents", {"limit": HISTORY})]

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        if claim.topic == VERDICTS:
            self._remember(msgspec.convert(row, Fired) for row in reversed(answers[0]))
            self._keep(msgspec.convert(row, Incident) for row in reversed(answers[1]))

    def revoked(self, claim: Claim) -> None:
        """The history holds for every partition; nothing to forget."""

    def wants(self, batch: Batch) -> Sequence[Question]:  # noqa: ARG002  the history is all it needs
        return []

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:  # noqa: ARG002
        step, history = _Step(), list(self._history.values())
        for topic, kind in ((VERDICTS, Verdict), (TRIGGERS, Trigger), (PROMOTIONS, Promotion)):
            opened = open_envelopes([one for one in batch.records if one.topic == topic], kind)
            step.letters += opened.letters
            for placed in opened.events:
                self._take(placed.event, step, history)
        states = [decision.state for decision in step.decisions]
        told = {row["id"]: row for notice in step.notices for row in outbox(notice, self._telling.actions)}
        return Outcome(
            inserts=[
                Insert("verdicts", [row_of(verdict) for verdict in step.verdicts]),
                Insert("outbox", list(told.values())),
                Insert("incidents", [msgspec.to_builtins(incident) for incident in step.incidents.values()]),
                Insert("triggers", [msgspec.to_builtins(decision) for decision in step.decisions]),
            ],
            publish=list(pack(TRIGGERS, self._partitions, ((decision.app, decision) for decision in step.decisions))),
            letters=step.letters,
            acks=acks_of(batch.records),
            counts={state: states.count(state) for state in sorted(set(states))}
            | {"incidents": len(step.incidents), "told": len(told), "incidents_forgotten": self._forgotten},
        )

    def landed(self, outcome: Outcome) -> None:
        self._forgotten = 0
        _, _, incidents, decisions = outcome.inserts
        self._keep(msgspec.convert(row, Incident) for row in incidents.rows)
        triggers = (msgspec.convert(row, Trigger) for row in decisions.rows)
        self._remember(_fired(decision) for decision in triggers if decision.state != "held")

    def _take(self, event: object, step: _Step, history: list[Fired]) -> None:
        match event:
            case Verdict():
                self._judge(event, step, history)
            case Trigger():
                step.notices += [notice] if (notice := of_trigger(event, self._telling.link)) else []
            case Promotion():
                step.notices.append(of_promotion(event, self._telling.link))

    def _judge(self, verdict: Verdict, step: _Step, history: list[Fired]) -> None:
        """*verdict* opens, changes or ends an incident; policies decide over it, whatever became of the incident: a replay knows its end."""
        if verdict.detector == "alert":  # the collector, which took it in, knows no store
            step.verdicts.append(verdict)
        known = self._incidents | step.incidents
        if changed := follow(verdict, known.values()):
            before = known.get(changed.id)
            step.incidents[changed.id] = known[changed.id] = changed
            if before is None or (before.state, before.severity) != (changed.state, changed.severity):
                step.notices.append(of_incident(changed, self._telling.link))
        incident = next((one for one in known.values() if verdict.id in one.verdicts), None)
        incident_id = incident.id if incident else derived_id("incident", verdict.id)
        for policy in self._policies:
            if decision := decide(policy, verdict, history, incident_id):
                step.decisions.append(decision)
                if decision.state != "held":
                    history.append(_fired(decision))

    def _remember(self, fired: Iterable[Fired]) -> None:
        self._history |= {one.id: one for one in fired}
        for oldest in list(self._history)[:-HISTORY]:
            del self._history[oldest]

    def _keep(self, incidents: Iterable[Incident]) -> None:
        """Remember *incidents*; of too many the oldest that are over go first."""
        for one in incidents:
            self._incidents.pop(one.id, None)
            self._incidents[one.id] = one
        if len(self._incidents) > HISTORY:
            for oldest in sorted(self._incidents.values(), key=lambda one: one.state == "open")[: len(self._incidents) - HISTORY]:
                del self._incidents[oldest.id]
                self._forgotten += oldest.state == "open"


def _fired(trigger: Trigger) -> Fired:
    return Fired(trigger.id, trigger.revision, trigger.policy, trigger.tenant, trigger.app, trigger.accepted_at)
