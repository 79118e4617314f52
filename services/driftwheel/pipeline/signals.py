"""The signals worker: inferences → rows and observations (docs/architecture.md)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

import msgspec

from driftwheel.bus import Claim
from driftwheel.pipeline import Answer, Batch, Insert, Outcome, Question, Row
from driftwheel.pipeline.admission import Ledgers, acks_of, admit, check_rejects
from driftwheel.pipeline.envelope import Placed, open_envelopes, pack
from driftwheel.pipeline.ledger import LIMIT
from driftwheel.pipeline.series import SEGMENT_BY, instant, segment_of, unit_of
from driftwheel.signals import WATCHED, Signal, kind_of
from driftwheel_schemas import Feedback, Inference, Observation, Text, derived_id, text_of
from driftwheel_schemas.topics import INFERENCES, OBSERVATIONS

VERSION = 1
"""Of the signals' meaning; a higher one gives every observation a new id, so that a re-computation is told apart."""

COPIED = (
    "tenant",
    "id",
    "app",
    "environment",
    "operation",
    "provider",
    "model",
    "response_model",
    "prompt_name",
    "prompt_version",
    "session_id",
    "user_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "response_id",
    "finish_reason",
    "error_type",
    "response_format",
    "latency_s",
    "ttft_s",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "attributes",
)
"""The columns of `inferences` that are fields of the event."""
_copied = attrgetter(*COPIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalsSettings:
    """Which readings detection watches, what makes a segment, and how many ids are remembered per partition."""

    watched: Sequence[str] = WATCHED
    segment_by: Sequence[str] = SEGMENT_BY
    ledger_limit: int = LIMIT


@dataclass(slots=True)
class _Measured:
    """An inference and what the signals say of it."""

    placed: Placed[Inference]
    readings: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


class Signals:
    """The core of the role `signals`; see `driftwheel.pipeline.Worker` for how it is called."""

    group = "signals"
    topics = (INFERENCES,)

    def __init__(self, signals: Sequence[Signal], observations: int, settings: SignalsSettings | None = None) -> None:
        """*observations* is the number of partitions of the observations topic."""
        self.settings = settings or SignalsSettings()
        self._signals = signals
        self._watched = [(name, kind_of(name)) for name in self.settings.watched]
        self._observations = observations
        self._ledgers = Ledgers(INFERENCES, "stored_inferences", self.settings.ledger_limit)

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:
        return self._ledgers.seeds(claim, partitions)

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        self._ledgers.assigned(claim, answers[0])

    def revoked(self, claim: Claim) -> None:
        self._ledgers.revoked(claim)

    def wants(self, batch: Batch) -> Sequence[Question]:  # noqa: ARG002  the ledger knows all it needs
        return []

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:  # noqa: ARG002
        opened = open_envelopes(batch.records, Inference)
        check_rejects(opened, batch.records)
        admission = admit(opened.events, self._ledgers.of)
        fresh = [(self._measure(placed), digest) for placed, digest in admission.fresh]
        measured = [one for one, _ in fresh] + [self._measure(placed) for placed in admission.repeated]
        return Outcome(
            inserts=[
                Insert("payloads", [_payload(one.placed) for one, _ in fresh if one.placed.event.prompt or one.placed.event.response]),
                Insert("aliases", [row for one, _ in fresh for row in _aliases(one.placed)]),
                Insert("inferences", [_row(one, digest) for one, digest in fresh]),
            ],
            publish=list(pack(OBSERVATIONS, self._observations, self._observe(measured))),
            letters=[*opened.letters, *admission.conflicts],
            acks=acks_of(batch.records),
            counts={
                "stored": len(fresh),
                "repeated": len(admission.repeated),
                "id_conflict": len(admission.conflicts),
                "undecodable": len(opened.letters),
            },
            doubtful=not self._ledgers.reach((one.record.partition, instant(accepted(one))) for one, _ in admission.fresh),
        )

    def landed(self, outcome: Outcome) -> None:
        for row in outcome.inserts[-1].rows:
            self._ledgers.add(row)

    def _measure(self, placed: Placed[Inference]) -> _Measured:
        measured = _Measured(placed)
        for signal in self._signals:
            for name, value in signal(placed.event):
                if isinstance(value, str):
                    measured.labels[name] = value
                else:
                    measured.readings[name] = value
        return measured

    def _observe(self, measured: Iterable[_Measured]) -> Iterator[tuple[str, Observation]]:
        for one in measured:
            event = one.placed.event
            segment, unit, accepted_at = segment_of(event, self.settings.segment_by), unit_of(event), accepted(one.placed)
            for name, kind in self._watched:
                if name in one.readings:
                    seen = Observation(
                        id=derived_id(event.id, name, VERSION),
                        tenant=event.tenant,
                        app=event.app,
                        signal=name,
                        segment=segment,
                        kind=kind,
                        unit=unit,
                        at=event.started_at,
                        accepted_at=accepted_at,
                        inference_id=event.id,
                        value=one.readings[name],
                    )
                    yield seen.series, seen


def accepted(placed: Placed[Inference] | Placed[Feedback]) -> datetime:
    """When an event was accepted; of one that another program put on the bus, when the bus took it."""
    return placed.event.accepted_at or placed.record.appended_at


def text_column(text: Text) -> str:
    """A prompt or response as it is stored: plain text as it is, messages as JSON."""
    return text if isinstance(text, str) else msgspec.json.encode(text).decode()


def alias_names(event: Inference | Feedback) -> list[str]:
    """
    The other names of an inference, best first; feedback that carries one of them finds it.

    >>> alias_names(Feedback(id="f", at=datetime.min, name="thumbs", response_id="chatcmpl-1", session_id="s"))
    ['response:chatcmpl-1', 'session:s']
    """
    names = []
    if event.response_id:
        names.append(f"response:{event.response_id}")
    if event.trace_id and event.span_id:
        names.append(f"span:{event.trace_id}/{event.span_id}")
    if event.session_id:
        names.append(f"session:{event.session_id}")
    return names


def _payload(placed: Placed[Inference]) -> Row:
    event = placed.event
    return {
        "tenant": event.tenant,
        "id": event.id,
        "app": event.app,
        "started_at": instant(event.started_at),
        "accepted_at": instant(accepted(placed)),
        "prompt": text_column(event.prompt),
        "response": text_column(event.response),
        "prompt_text": text_of(event.prompt, "user"),
        "response_text": text_of(event.response),
    }


def _aliases(placed: Placed[Inference]) -> Iterator[Row]:
    event = placed.event
    for name in alias_names(event):
        yield {
            "tenant": event.tenant,
            "name": name,
            "id": derived_id("alias", event.id, name),
            "inference_id": event.id,
            "started_at": instant(event.started_at),
            "accepted_at": instant(accepted(placed)),
        }


def _row(one: _Measured, digest: int) -> Row:
    event, record = one.placed.event, one.placed.record
    row: Row = dict(zip(COPIED, _copied(event), strict=True))
    cost = event.cost_usd if event.cost_usd is not None else one.readings.get("cost.usd")
    return row | {
        "started_at": instant(event.started_at),
        "accepted_at": instant(accepted(one.placed)),
        "cost_usd": None if cost is None else f"{cost:.9f}",
        "readings": one.readings,
        "labels": one.labels,
        "digest": digest,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }
