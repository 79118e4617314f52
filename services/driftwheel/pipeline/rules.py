"""
The rules worker: on every tick it asks the store what the rules that are due must see, and says what broke and what is over.

It reads no events. It subscribes to the verdicts so that exactly one worker is on duty: the one that owns their first partition.
A verdict is stored, then published; whoever takes over says again what stands and what ended lately, under the same ids.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from driftwheel.bus import Claim
from driftwheel.pipeline import Answer, Batch, Insert, Outcome, Question, Row
from driftwheel.pipeline.admission import acks_of
from driftwheel.pipeline.detection_series import row_of
from driftwheel.pipeline.envelope import pack
from driftwheel.pipeline.series import parameter, segment_of_values
from driftwheel.policies.incidents import OVER
from driftwheel.policies.rules import FIELDS, Judgement, Rule, Seen, Window
from driftwheel_schemas import Verdict, derived_id
from driftwheel_schemas.topics import VERDICTS

PROMISE = "a rule, no promise"
GROUPS = 1_000
"""Groups that a rule is judged for at a time, the busiest first; `groups_full` counts how often there were as many."""


@dataclass(frozen=True, slots=True)
class Group:
    """Whom a rule is judged for."""

    rule: str
    tenant: str
    app: str
    segment: str


@dataclass(slots=True)
class Standing:
    """What is broken, and since when it holds again."""

    verdict: Verdict
    calm_since: datetime | None = None


class Book:
    """What rules have said and is not over: turns judgements into verdicts. Also used to preview a rule on history."""

    def __init__(self) -> None:
        self.standing: dict[Group, Standing] = {}

    def enter(self, rule: Rule, judged: Mapping[Group, Judgement | None], now: datetime) -> Iterator[Verdict]:
        """The verdicts to be said after *rule* was *judged* at *now*: what broke, what got more severe, what is over."""
        standing = {group for group in self.standing if group.rule == rule.version}
        for group in sorted({*judged, *standing}, key=lambda one: (one.tenant, one.segment)):
            found, known = judged.get(group), self.standing.get(group)
            if found and found.broken:
                yield from self._broken(rule, group, found, now)
            elif known:
                yield from self._calm(rule, group, known, now)

    def drop(self, rules: Iterable[Rule], now: datetime) -> Iterator[Verdict]:
        """End what rules have said that are not there any more."""
        versions = {rule.version for rule in rules}
        for group in [one for one in self.standing if one.rule not in versions]:
            yield self._over(group, now, "the rule was changed or removed")

    def _broken(self, rule: Rule, group: Group, found: Judgement, now: datetime) -> Iterator[Verdict]:
        known = self.standing.get(group)
        if known is None:
            self.standing[group] = known = Standing(verdict_of(rule, group, found, now))
            yield known.verdict
        elif found.severity == "page" and known.verdict.severity == "ticket":
            reason = f"rule {rule.name} for {group.segment}: {found.reason}"
            known.verdict = replace(known.verdict, revision=known.verdict.revision + 1, severity="page", reason=reason, accepted_at=now)
            yield known.verdict
        known.calm_since = None

    def _calm(self, rule: Rule, group: Group, known: Standing, now: datetime) -> Iterator[Verdict]:
        known.calm_since = known.calm_since or now
        if now - known.calm_since >= timedelta(seconds=rule.calm_s):
            yield self._over(group, now, f"it has held again since {known.calm_since:%H:%M:%S} UTC")

    def _over(self, group: Group, now: datetime, why: str) -> Verdict:
        verdict = self.standing.pop(group).verdict
        return replace(verdict, revision=verdict.revision + 1, resolved_at=now, accepted_at=now, reason=f"{verdict.reason}{OVER}{why}")


class Rules:
    """The core of the role `rules`; see `driftwheel.pipeline.Worker` for how it is called."""

    group = "rules"
    topics = (VERDICTS,)

    def __init__(self, rules: Sequence[Rule], partitions: int) -> None:
        """*partitions* is the number of partitions of the verdicts topic."""
        self._rules, self._partitions = rules, partitions
        self._book = Book()
        self._on_duty = False
        self._again: list[Verdict] = []
        self._due: dict[str, datetime] = {}
        self._asked: list[tuple[Rule, list[Window]]] = []

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:  # noqa: ARG002  one duty for all partitions
        return [Question("standing_rules")] if claim.partition == 0 else []

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        if claim.partition != 0:
            return
        self._on_duty, self._again = True, [msgspec.convert(row, Verdict) for row in answers[0]]
        standing = [one for one in self._again if one.resolved_at is None]
        self._book.standing = {Group(one.reference_version, one.tenant, one.app, one.segment): Standing(one) for one in standing}

    def revoked(self, claim: Claim) -> None:
        self._on_duty = self._on_duty and claim.partition != 0

    def wants(self, batch: Batch) -> Sequence[Question]:
        now = batch.now
        due = [rule for rule in self._rules if self._on_duty and self._due.get(rule.version, now) <= now]
        self._due |= {rule.version: now + timedelta(seconds=rule.every_s) for rule in due}
        self._asked = [(rule, rule.windows(now)) for rule in due]
        return [question_of(rule, windows) for rule, windows in self._asked]

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:
        said = list(self._book.drop(self._rules, batch.now)) if self._on_duty else []
        for (rule, windows), rows in zip(self._asked, answers, strict=True):
            said += self._book.enter(rule, judge(rule, windows, rows), batch.now)
        return Outcome(
            inserts=[Insert("verdicts", [row_of(verdict) for verdict in said])],
            publish=list(pack(VERDICTS, self._partitions, ((verdict.app, verdict) for verdict in [*self._again, *said]))),
            acks=acks_of(batch.records),
            counts={"judged": len(self._asked), "said": len(said), "groups_full": sum(len(rows) >= GROUPS for rows in answers)},
        )

    def landed(self, outcome: Outcome) -> None:  # noqa: ARG002  the book knows
        self._again = []


def question_of(rule: Rule, windows: Sequence[Window]) -> Question:
    """What to ask the store to judge *rule*."""
    return Question(
        "rule_values",
        {
            "signal": rule.signal,
            "by": list(rule.by) or ["-"],
            "apps": list(rule.apps),
            "environments": list(rule.environments),
            "quantile": rule.quantile,
            "limit": GROUPS,
            "since": [parameter(window.since) for window in windows],
            "until": [parameter(window.until) for window in windows],
        },
    )


def judge(rule: Rule, windows: Sequence[Window], rows: Iterable[Row]) -> dict[Group, Judgement | None]:
    """What *rule* says of each group in the answer of the store."""
    judged: dict[Group, Judgement | None] = {}
    for row in rows:
        values = {name: row[f"{name}_"] for name in FIELDS}
        group = Group(rule.version, row["tenant"], values["app"] or "*", segment_of_values(FIELDS, values.values()))
        seen = [Seen(count=int(count), total=float(total)) for count, total in zip(row["counts"], row["totals"], strict=True)]
        seen[0] = replace(seen[0], quantile=row["recent"])
        if rule.kind == "ratio":
            seen[1] = replace(seen[1], quantile=row["before"])
        judged[group] = rule.judge(windows, seen)
    return judged


def verdict_of(rule: Rule, group: Group, found: Judgement, now: datetime) -> Verdict:
    """What is said of *group* when *rule* breaks at *now*."""
    detector, series = f"rule.{rule.kind}", f"{group.tenant}/rule:{rule.name}{{{group.segment}}}"
    epoch = int(now.timestamp())  # the second in which it broke: no two breaches of a rule share one
    return Verdict(
        id=derived_id(series, detector, rule.version, epoch),
        tenant=group.tenant,
        app=group.app,
        signal=rule.signal or "inferences",
        segment=group.segment,
        series=series,
        detector=detector,
        reference_version=rule.version,
        epoch=epoch,
        drifted=True,
        evidence=found.value,
        level=found.level,
        promise=PROMISE,
        at=now,
        accepted_at=now,
        onset=now,
        onset_accepted_at=now,
        direction=found.direction,
        baseline=found.baseline,
        current=found.value,
        sample_size=found.count,
        reason=f"rule {rule.name} for {group.segment or 'everything'}: {found.reason}",
        severity=found.severity,
    )
