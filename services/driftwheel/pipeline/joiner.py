"""
The feedback worker: what was said, joined to the inference it was said of (docs/architecture.md).

Feedback may come before, with or hours after its inference. It is stored as it comes (revision 0) and asked about
until its inference is there or the horizon is over. Then its observation is published, and only when that has landed is
it stored again with what it is about (revision 1), with the next batch: a kill in between says the observation again,
while the other order would lose it, since what waits has been acked long ago.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from driftwheel.bus import Claim
from driftwheel.pipeline import Answer, Batch, Insert, Outcome, Question, Row
from driftwheel.pipeline.admission import Ledgers, acks_of, admit, check_rejects, digest_of
from driftwheel.pipeline.envelope import Placed, open_envelopes, pack
from driftwheel.pipeline.ledger import LIMIT, Ledger
from driftwheel.pipeline.series import SEGMENT_BY, instant, segment_of, unit_of
from driftwheel.pipeline.signals import accepted, alias_names
from driftwheel_schemas import Feedback, Inference, Observation, derived_id
from driftwheel_schemas.topics import FEEDBACK, OBSERVATIONS

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSettings:
    """
    How long and how much unmatched feedback is kept waiting, and how often the store is asked about it.

    Feedback whose name is in `flags` is judged by its rate (`feedback.thumbs.flag`), other by its rank (`feedback.rating.score`).
    """

    horizon: timedelta = timedelta(hours=72)
    max_waiting: int = 100_000
    retry_first: timedelta = timedelta(seconds=1)
    retry_most: timedelta = timedelta(seconds=60)
    asked_at_once: int = 500
    flags: Sequence[str] = ("thumbs", "accepted", "correct", "helpful")
    segment_by: Sequence[str] = SEGMENT_BY
    ledger_limit: int = LIMIT


@dataclass(slots=True)
class _Waiting:
    """Feedback as it is stored, and when the store is asked about its inference again."""

    event: Feedback
    row: Row
    partition: int
    due: datetime
    wait: timedelta


class Joiner:
    """The core of the role `feedback`; see `driftwheel.pipeline.Worker` for how it is called."""

    group = "feedback"
    topics = (FEEDBACK,)

    def __init__(self, observations: int, settings: JoinSettings | None = None) -> None:
        """*observations* is the number of partitions of the observations topic."""
        self.settings = settings or JoinSettings()
        self._observations = observations
        self._ledgers = Ledgers(FEEDBACK, "stored_feedback", self.settings.ledger_limit)
        self._matched = Ledger(4 * self.settings.ledger_limit)
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._found: dict[str, Row] = {}
        self._settling: dict[str, Row] = {}

    @property
    def waiting(self) -> int:
        """How much feedback waits for its inference: a gauge."""
        return len(self._waiting)

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:
        horizon_s = int(self.settings.horizon.total_seconds())
        unmatched = {"partition": claim.partition, "partitions": partitions, "limit": self.settings.max_waiting, "horizon_s": horizon_s}
        return [*self._ledgers.seeds(claim, partitions), Question("unmatched_feedback", unmatched)]

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        self._ledgers.assigned(claim, answers[0])
        self._matched.seed((row["id"], 0) for row in reversed(answers[0]) if row["matched"])
        for row in reversed(answers[1]):
            event = msgspec.convert({key: value for key, value in row.items() if value is not None}, Feedback, strict=False)
            self._waiting[event.id] = _Waiting(event, row, claim.partition, event.at, self.settings.retry_first)

    def revoked(self, claim: Claim) -> None:
        self._ledgers.revoked(claim)
        for one in [one for one in self._waiting.values() if one.partition == claim.partition]:
            del self._waiting[one.event.id]
        self._settling = {id_: row for id_, row in self._settling.items() if row["partition"] != claim.partition}

    def wants(self, batch: Batch) -> Sequence[Question]:
        """Ask about the feedback in the batch and about what waits and is due."""
        events = [placed.event for placed in open_envelopes(batch.records, Feedback).events]
        events += [one.event for one in self._due(batch.now)]
        ids = sorted({event.inference_id for event in events if event.inference_id})
        names = sorted({name for event in events if not event.inference_id for name in alias_names(event)})
        return [Question("inferences_by_id", {"ids": ids}), Question("inferences_by_alias", {"names": names})]

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:
        opened = open_envelopes(batch.records, Feedback)
        check_rejects(opened, batch.records)
        admission = admit(opened.events, self._ledgers.of)
        fresh = [self._wait_for(placed, digest, batch.now) for placed, digest in admission.fresh]
        again = [self._wait_for(placed, digest_of(placed.event), batch.now) for placed in admission.repeated]
        abouts = _Abouts(answers[0], answers[1])
        matched = [(one, about) for one in [*fresh, *again, *self._due(batch.now)] if (about := abouts.of(one.event))]
        for one, _ in matched:
            self._waiting.pop(one.event.id, None)
        known = self._settling.keys()
        self._found = {
            one.event.id: _joined(one, about) for one, about in matched if one.event.id not in self._matched and one.event.id not in known
        }
        return Outcome(
            inserts=[
                Insert("feedback", [one.row for one in fresh]),
                Insert("feedback", list(self._settling.values())),
            ],
            publish=list(pack(OBSERVATIONS, self._observations, self._observe(matched))),
            letters=[*opened.letters, *admission.conflicts],
            acks=acks_of(batch.records),
            counts={
                "stored": len(fresh),
                "matched": len(matched),
                "lag_seconds": round(sum(abs((one.event.at - about.started_at).total_seconds()) for one, about in matched)),
                "unmatched": self._give_up(batch.now),
                "id_conflict": len(admission.conflicts),
                "undecodable": len(opened.letters),
            },
            doubtful=not self._ledgers.reach((one.partition, one.row["accepted_at"]) for one in fresh),
        )

    def landed(self, outcome: Outcome) -> None:
        for row in outcome.inserts[0].rows:
            self._ledgers.add(row)
        for row in outcome.inserts[1].rows:
            self._matched.add(row["id"])
            self._settling.pop(row["id"], None)
        self._settling |= self._found
        self._found = {}

    def _wait_for(self, placed: Placed[Feedback], digest: int, now: datetime) -> _Waiting:
        one = _Waiting(
            placed.event, _row(placed, digest), placed.record.partition, now + self.settings.retry_first, self.settings.retry_first
        )
        self._waiting[placed.event.id] = one
        return one

    def _due(self, now: datetime) -> list[_Waiting]:
        return list(islice((one for one in self._waiting.values() if one.due <= now), self.settings.asked_at_once))

    def _give_up(self, now: datetime) -> int:
        """Ask later about what was asked now; drop from memory what is over the horizon or the bound. Its row stays, unmatched."""
        over = [one for one in self._due(now) if now - (one.event.accepted_at or one.event.at) > self.settings.horizon]
        over += list(islice(self._waiting.values(), max(0, len(self._waiting) - self.settings.max_waiting)))
        gone = {one.event.id for one in over}
        for id_ in gone:
            del self._waiting[id_]
        for one in self._due(now):
            one.wait = min(2 * one.wait, self.settings.retry_most)
            one.due = now + one.wait
        return len(gone)

    def _observe(self, matched: Iterable[tuple[_Waiting, Inference]]) -> Iterator[tuple[str, Observation]]:
        for one, about in matched:
            event = one.event
            if event.value is None:
                continue
            flag = event.name in self.settings.flags
            signal = f"feedback.{event.name}.{'flag' if flag else 'score'}"
            seen = Observation(
                id=derived_id(event.id, signal, VERSION),
                tenant=event.tenant,
                app=about.app,
                signal=signal,
                segment=segment_of(about, self.settings.segment_by),
                kind="flag" if flag else "number",
                unit=unit_of(about),
                at=about.started_at,
                accepted_at=event.accepted_at or event.at,
                inference_id=about.id,
                value=float(event.value > 0) if flag else event.value,
            )
            yield seen.series, seen


class _Abouts:
    """The inferences that the store knows of, by id and by the other names."""

    def __init__(self, by_id: Answer, by_alias: Answer) -> None:
        self._named: dict[tuple[str, str], list[Inference]] = {}
        for row in by_id:
            self._named.setdefault((row["tenant"], row["id"]), []).append(_inference(row))
        for row in by_alias:
            self._named.setdefault((row["tenant"], row["name"]), []).append(_inference(row))

    def of(self, event: Feedback) -> Inference | None:
        """
        What *event* is about. Of the inferences of a session the last one before it, or the first if all came after.

        Feedback of one tenant never finds an inference of another.
        """
        for name in [event.inference_id] if event.inference_id else alias_names(event):
            if known := self._named.get((event.tenant, name)):
                earlier = [one for one in known if one.started_at <= event.at]
                return max(earlier, key=_when) if earlier else min(known, key=_when)
        return None


def _when(event: Inference) -> tuple[datetime, str]:
    return event.started_at, event.id


def _inference(row: Row) -> Inference:
    return msgspec.convert({key: value for key, value in row.items() if key != "name"}, Inference)


def _row(placed: Placed[Feedback], digest: int) -> Row:
    event, record = placed.event, placed.record
    row: Row = msgspec.to_builtins(event)
    return row | {
        "revision": 0,
        "matched": 0,
        "at": instant(event.at),
        "accepted_at": instant(accepted(placed)),
        "digest": digest,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }


def _joined(one: _Waiting, about: Inference) -> Row:
    return one.row | {
        "revision": 1,
        "matched": 1,
        "inference_id": about.id,
        "app": about.app,
        "model": about.model,
        "prompt_name": about.prompt_name,
        "prompt_version": about.prompt_version,
        "lag_s": (one.event.at - about.started_at).total_seconds(),
    }
