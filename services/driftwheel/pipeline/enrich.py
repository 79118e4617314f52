"""
The enrich worker: what needs a model to be measured (docs/architecture.md).

It embeds prompts and responses, stores the vectors, and publishes them and their likeness as observations; the answer
that people would rather have had (a correction) is compared with the one that was given. A vector is computed once:
what is stored is read back when its inference comes again, so that a replay says what was said before.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

import msgspec
import numpy as np

from driftwheel.bus import Claim
from driftwheel.embedders import Embedder
from driftwheel.embedders.vectors import bfloat16, cosine, from_bfloat16
from driftwheel.pipeline import Answer, Batch, Insert, Outcome, Question, Row
from driftwheel.pipeline.admission import Ledgers, acks_of, check_rejects
from driftwheel.pipeline.envelope import Placed, open_envelopes, pack
from driftwheel.pipeline.ledger import LIMIT
from driftwheel.pipeline.series import SEGMENT_BY, instant, segment_of, unit_of
from driftwheel.pipeline.signals import accepted
from driftwheel_schemas import Inference, Observation, derived_id, text_of
from driftwheel_schemas.topics import INFERENCES, OBSERVATIONS

VERSION = 1
"""Of what is measured here; a higher one gives every observation and late reading a new id."""

LIKENESS = "similarity.prompt_response.cosine"
CORRECTION = "similarity.correction.cosine"

FINISHED = 1
"""In the ledger: this owner saw every row land. Of what it found in the store only the vectors are sure to be there."""

CORRECTIONS_AT_ONCE = 64
CORRECTIONS_EVERY = timedelta(seconds=5)


@dataclass(slots=True)
class _Subject:
    """
    An inference, and what of it is embedded: by role, the text and its vector (bfloat16). `stored` holds the roles
    whose vectors are in the store already. `id` is what ids are derived from: the inference or the feedback.
    """

    id: str
    about: Inference
    accepted_at: datetime
    signal: str
    texts: dict[str, str]
    vectors: dict[str, bytes] = field(default_factory=dict)
    stored: frozenset[str] = frozenset()

    @property
    def likeness(self) -> float | None:
        """The cosine of its two texts; None where one of them is missing or has no direction."""
        if len(self.vectors) < 2:
            return None
        return cosine(*map(from_bfloat16, self.vectors.values()))


class Enrich:
    """
    The core of the role `enrich`; see `driftwheel.pipeline.Worker` for how it is called.

    It enriches the share `sample` of all inferences, chosen by a hash of the id, and of one batch at most `at_once`:
    what exceeds it is left out by the same hash, so under load the share sinks and the choice stays fair. 500
    inferences are 1,000 texts, some ten seconds of two cores. The counts `enriched` and `sampled_out` record the share.
    """

    group = "enrich"
    topics = (INFERENCES,)

    def __init__(
        self,
        embedder: Embedder,
        observations: int,
        *,
        sample: float = 1.0,
        at_once: int = 500,
        segment_by: Sequence[str] = SEGMENT_BY,
        ledger_limit: int = LIMIT,
    ) -> None:
        """*observations* is the number of partitions of the observations topic."""
        self._embedder, self._observations = embedder, observations
        self._sample, self._at_once, self._segment_by = sample, at_once, segment_by
        self._ledgers = Ledgers(INFERENCES, "stored_embeddings", ledger_limit)
        self._partitions: dict[str, int] = {}
        self._compared_at: datetime | None = None
        self._said: list[Row] = []
        self._settling: list[Row] = []

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:
        return self._ledgers.seeds(claim, partitions)

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        self._ledgers.assigned(claim, answers[0])

    def revoked(self, claim: Claim) -> None:
        self._ledgers.revoked(claim)

    def wants(self, batch: Batch) -> Sequence[Question]:
        """The vectors of inferences that were enriched before; every few seconds, corrections to compare."""
        known = sorted({one.event.id for one in open_envelopes(batch.records, Inference).events if self._known(one) is not None})
        questions = []
        if known:
            questions.append(Question("embeddings_of", {"ids": known, "encoder": self._embedder.name}))
        if self._compares(batch.now):
            questions.append(Question("corrections_to_compare", {"limit": CORRECTIONS_AT_ONCE}))
        return questions

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:
        found = dict(zip((question.name for question in self.wants(batch)), answers, strict=True))
        opened = open_envelopes(batch.records, Inference)
        check_rejects(opened, batch.records)
        events = list({one.event.id: one for one in reversed(opened.events)}.values())[::-1]  # the first content of an id wins
        chosen = self._choose(events)
        stored = _stored(found.get("embeddings_of", ()))
        seen = [_subject(one, stored.get(one.event.id, {})) for one in chosen]
        compared = [_correction(row) for row in found.get("corrections_to_compare", ())]
        embedded = self._embed([*seen, *compared])
        unfinished = [subject for subject, one in zip(seen, chosen, strict=True) if self._known(one) != FINISHED]
        self._partitions = {one.event.id: one.record.partition for one in chosen}
        if "corrections_to_compare" in found:
            self._compared_at = batch.now
        self._said = [row for one in compared for row in _late_rows(one)]
        return Outcome(
            inserts=[  # vectors first: a model does not repeat itself exactly, and a likeness is that of stored vectors
                Insert("embeddings", [row for one in seen for row in _vector_rows(one, self._embedder.name)]),
                Insert("late_readings", [row for one in unfinished for row in _late_rows(one)]),
                # of corrections only what was published before: the store asks no more about those that have their row
                Insert("late_readings", self._settling),
            ],
            publish=list(pack(OBSERVATIONS, self._observations, self._observe(seen, compared))),
            acks=acks_of(batch.records),
            counts={
                "enriched": len(chosen),
                "sampled_out": len(events) - len(chosen),
                "embedded": embedded,
                "compared": len(compared),
                "undecodable": len(opened.letters),  # buried by the signals worker, which reads the same topic
            },
        )

    def landed(self, outcome: Outcome) -> None:
        for row in outcome.inserts[0].rows:
            if ledger := self._ledgers.of.get(self._partitions.get(row["inference_id"], -1)):
                ledger.add(row["inference_id"], FINISHED)
        self._settling, self._said = self._said, []

    def _known(self, placed: Placed[Inference]) -> int | None:
        """What the ledger says: None if no vector is stored, 0 if one was found in the store, FINISHED if all rows landed."""
        ledger = self._ledgers.of.get(placed.record.partition)
        return None if ledger is None else ledger.get(placed.event.id)

    def _compares(self, now: datetime) -> bool:
        """Whether corrections are due. Who owns partition 0 compares them, so one member of the group does."""
        return 0 in self._ledgers.of and (self._compared_at is None or now - self._compared_at >= CORRECTIONS_EVERY)

    def _choose(self, events: Sequence[Placed[Inference]]) -> list[Placed[Inference]]:
        """What is enriched: all that was before (its vectors are there), and of the rest the smallest hashes."""
        shares = {one.event.id: _share(one.event.id) for one in events if self._known(one) is None}
        left = sorted((id_ for id_, share in shares.items() if share < self._sample), key=shares.__getitem__)
        taken = frozenset(left[: self._at_once])
        return [one for one in events if one.event.id in taken or one.event.id not in shares]

    def _embed(self, subjects: Sequence[_Subject]) -> int:
        """Give every text that lacks it its vector; the same text is embedded once. Returns how many were."""
        missing = [(one, role, text) for one in subjects for role, text in one.texts.items() if role not in one.stored]
        texts = list(dict.fromkeys(text for _, _, text in missing))
        if not texts:
            return 0
        matrix = self._embedder.encode(texts)
        vectors = {text: vector for text, row, vector in zip(texts, matrix, bfloat16(matrix), strict=True) if np.any(row)}
        for one, role, text in missing:
            if text in vectors:
                one.vectors[role] = vectors[text]
        return len(texts)

    def _observe(self, seen: Iterable[_Subject], compared: Iterable[_Subject]) -> Iterator[tuple[str, Observation]]:
        for one in seen:
            for role, vector in one.vectors.items():
                yield self._observation(one, f"embedding.{role}.vector", vector)
        for one in chain(seen, compared):
            if (likeness := one.likeness) is not None:
                yield self._observation(one, one.signal, likeness)

    def _observation(self, one: _Subject, signal: str, value: float | bytes) -> tuple[str, Observation]:
        vector = value if isinstance(value, bytes) else None
        observation = Observation(
            id=derived_id(one.id, signal, VERSION),
            tenant=one.about.tenant,
            app=one.about.app,
            signal=signal,
            segment=segment_of(one.about, self._segment_by),
            kind="number" if vector is None else "vector",
            unit=unit_of(one.about),
            at=one.about.started_at,
            accepted_at=one.accepted_at,
            inference_id=one.about.id,
            value=None if isinstance(value, bytes) else value,
            vector=vector,
        )
        return observation.series, observation


def _subject(placed: Placed[Inference], stored: dict[str, bytes]) -> _Subject:
    event = placed.event
    texts = {"prompt": text_of(event.prompt, "user") or text_of(event.prompt), "response": text_of(event.response)}
    said = {role: text for role, text in texts.items() if text.strip()}
    known = {role: stored[role] for role in said if role in stored}
    return _Subject(event.id, event, accepted(placed), LIKENESS, said, known, frozenset(known))


def _correction(row: Row) -> _Subject:
    """A row of `corrections_to_compare`: its `id` is the feedback's, the other columns are named as in Inference."""
    about = msgspec.convert(row | {"id": row["inference_id"]}, Inference)
    texts = {role: row[role] for role in ("response", "correction") if row[role].strip()}
    return _Subject(row["id"], about, about.accepted_at or about.started_at, CORRECTION, texts)


def _stored(rows: Iterable[Row]) -> dict[str, dict[str, bytes]]:
    vectors: dict[str, dict[str, bytes]] = {}
    for row in rows:
        vectors.setdefault(row["inference_id"], {})[row["role"]] = bfloat16([row["vec"]])[0]
    return vectors


def _share(event_id: str) -> float:
    """Where an id lies in [0, 1). Not CRC-32: that one chooses the partition, and a sample must not favour one."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=6).digest()) / 2**48


def _common(one: _Subject) -> Row:
    about = one.about
    return {
        "tenant": about.tenant,
        "inference_id": about.id,
        "app": about.app,
        "model": about.model,
        "prompt_name": about.prompt_name,
        "prompt_version": about.prompt_version,
        "started_at": instant(about.started_at),
        "accepted_at": instant(one.accepted_at),
    }


def _late_rows(one: _Subject) -> Iterator[Row]:
    if (likeness := one.likeness) is not None:
        yield _common(one) | {"id": derived_id(one.id, one.signal, VERSION), "signal": one.signal, "value": likeness, "version": VERSION}


def _vector_rows(one: _Subject, encoder: str) -> Iterator[Row]:
    for role in sorted(one.vectors.keys() - one.stored):
        yield _common(one) | {
            "id": derived_id(one.about.id, role, encoder),
            "role": role,
            "encoder": encoder,
            "vec": from_bfloat16(one.vectors[role]).tolist(),
        }
