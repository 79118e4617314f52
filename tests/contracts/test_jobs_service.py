"""The jobs role: a trigger that cannot be read is buried once, with its place and its reason; it never stops the others."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driftwheel.bus import Claim, Record
from driftwheel.jobs.launchers import load
from driftwheel.jobs.service import Jobs, Place
from driftwheel.jobs.settings import JobSettings
from driftwheel.pipeline.letters import letter_of
from driftwheel.store import Row
from driftwheel.testing_bus import MemoryBus
from driftwheel_schemas import dead_letters_of, topics
from driftwheel_schemas.topics import TRIGGERS

NOW = datetime(2026, 1, 5, tzinfo=UTC)


class Shelf:
    """A store that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        self.rows += [row | {"table": table} for row in rows]

    def missing(self, table: str, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if row["id"] not in {known["id"] for known in self.rows}]

    def ask(self, question: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        return []


def test_a_trigger_that_cannot_be_read_is_buried_once_and_acked(tmp_path: Path) -> None:
    """Nothing is lost in silence, and nothing is read for ever; read again after a kill its row is not stored again."""
    shelf, bus = Shelf(), MemoryBus()
    asyncio.run(bus.ensure(list(topics().values())))
    jobs = Jobs(bus, shelf, load("local"), Place(data=tmp_path, settings=JobSettings(), clock=lambda: NOW))
    records = [Record(TRIGGERS, 0, offset, "", value, {}, NOW) for offset, value in enumerate([b'[{"id": 3}]', b"no json"])]

    async def act() -> list[tuple[Claim, int, bool]]:
        todos = [todo for record in [*records, *records] for todo in await jobs._open(record)]
        return [(todo.claim, todo.offset, todo.trigger is None) for todo in todos]

    assert asyncio.run(act()) == [(Claim(TRIGGERS, 0), offset, True) for offset in (0, 1, 0, 1)]
    assert [(row["table"], row["offset"], row["reason"]) for row in shelf.rows] == [
        ("dead_letters", 0, "undecodable"),
        ("dead_letters", 1, "undecodable"),
    ]
    assert "$.id" in shelf.rows[0]["detail"]
    on_bus = [letter_of(record) for record in bus.records(dead_letters_of(TRIGGERS))]
    assert [(letter.offset, letter.payload) for letter in on_bus] == [(0, b'{"id": 3}'), (1, b"no json")] * 2
    assert {letter.id for letter in on_bus} == {row["id"] for row in shelf.rows}
