"""The topics, read from `topics.toml`; their names are promises (docs/architecture.md)."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

INFERENCES = "driftwheel.inferences.v1"
SPANS = "driftwheel.spans.v1"
FEEDBACK = "driftwheel.feedback.v1"
OBSERVATIONS = "driftwheel.observations.v1"
VERDICTS = "driftwheel.verdicts.v1"
TRIGGERS = "driftwheel.triggers.v1"
JOBS = "driftwheel.jobs.v1"
PROMOTIONS = "driftwheel.promotions.v1"
PRIVACY = "driftwheel.privacy.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic: its name, the event in it, the field that keys it, and how it is kept."""

    name: str
    purpose: str
    event: str
    key: str
    partitions: int
    retention_hours: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]


@cache
def topics() -> dict[str, Topic]:
    """
    Every topic by name, and the dead letters of each (`dlq.<topic>`: one partition, kept for 30 days).

    >>> topics()["dlq.driftwheel.inferences.v1"].event
    'dead_letter'
    """
    table = tomllib.loads(files("driftwheel_schemas").joinpath("topics.toml").read_text("utf-8"))
    known = {
        name: Topic(name=name, **{**row, "writers": tuple(row["writers"]), "readers": tuple(row["readers"])}) for name, row in table.items()
    }
    return known | {letters.name: letters for letters in map(_dead_letters, known.values())}


def dead_letters_of(topic: str) -> str:
    """Where what could not be used of *topic* goes (the prefix of KIP-1191)."""
    return f"dlq.{topic}"


def _dead_letters(topic: Topic) -> Topic:
    return Topic(
        name=dead_letters_of(topic.name),
        purpose=f"What could not be used of {topic.name}.",
        event="dead_letter",
        key="id",
        partitions=1,
        retention_hours=720,
        writers=topic.readers,
        readers=("cli",),
    )
