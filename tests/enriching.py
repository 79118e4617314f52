"""What the tests of the enrich core run it with: a model of hashes, a shelf for a store, and a shell that can be killed."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftwheel.bus import Claim, Record
from driftwheel.embedders.vectors import unit
from driftwheel.pipeline import Ack, Answer, Batch, Bury, Insert, Outcome, Publish, Question, Row
from driftwheel.pipeline.enrich import CORRECTIONS_AT_ONCE, Enrich
from driftwheel_schemas import Observation
from driftwheel_schemas.topics import INFERENCES

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
OBSERVATIONS = 3
PARTITIONS = 2


@dataclass
class HashEmbedder:
    """Unit vectors that depend on the text and on `salt` alone: two salts are one model that does not repeat itself exactly."""

    salt: str = ""
    name: str = "hash-8"
    dimensions: int = 8
    calls: list[list[str]] = field(default_factory=list)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        digests = [hashlib.sha256((self.salt + text).encode()).digest() for text in texts]
        return unit([[byte - 127.5 for byte in digest[:8]] for digest in digests])


@dataclass
class Shelf:
    """The store: rows by table, answers to the questions of the core."""

    tables: dict[str, list[Row]] = field(default_factory=lambda: {"late_readings": [], "embeddings": []})
    corrections: list[Row] = field(default_factory=list)

    def insert(self, insert: Insert) -> None:
        stored = {row["id"] for row in self.tables[insert.table]}
        self.tables[insert.table] += [row for row in insert.rows if row["id"] not in stored]

    def ask(self, question: Question) -> Answer:
        rows = self.tables["embeddings"]
        if question.name == "stored_embeddings":
            return [{"id": one, "digest": 0} for one in dict.fromkeys(row["inference_id"] for row in reversed(rows))]
        if question.name == "embeddings_of":
            assert question.params["encoder"] == "hash-8"
            return [
                {key: row[key] for key in ("inference_id", "role", "vec")} for row in rows if row["inference_id"] in question.params["ids"]
            ]
        assert question == Question("corrections_to_compare", {"limit": CORRECTIONS_AT_ONCE})
        return self.corrections


def owner(shelf: Shelf, embedder: HashEmbedder | None = None, **params: Any) -> Enrich:
    """A core that was just assigned every partition."""
    core = Enrich(embedder or HashEmbedder(), OBSERVATIONS, **params)
    for partition in range(PARTITIONS):
        claim = Claim(INFERENCES, partition)
        core.assigned(claim, [shelf.ask(question) for question in core.seeds(claim, PARTITIONS)])
    return core


def run(
    core: Enrich, shelf: Shelf, records: Sequence[Record], *, now: datetime = NOW, steps: int = 99
) -> tuple[Outcome, list[Observation]]:
    """What the shell does with a batch, killed after *steps* of it; returns what was wanted and what was published."""
    batch = Batch(records, now)
    outcome = core.process(batch, [shelf.ask(question) for question in core.wants(batch)])
    published: list[Observation] = []
    for step in list(outcome.steps())[:steps]:
        match step:
            case Insert():
                shelf.insert(step)
            case Publish():
                published += [one for record in step.records for one in msgspec.json.decode(record.value, type=list[Observation])]
            case Ack() | Bury():
                pass
    if steps == 99:
        core.landed(outcome)
    return outcome, published


def envelope(events: Iterable[object], *, partition: int = 0, offset: int = 0) -> Record:
    return Record(INFERENCES, partition, offset, "", msgspec.json.encode(list(events)), {}, NOW)
