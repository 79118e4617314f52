"""The shell's batches are bounded in records and in bytes, and nothing is left behind."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from driftwheel.bus import Claim, Outgoing
from driftwheel.pipeline import Answer, Batch, Outcome, Question
from driftwheel.pipeline.admission import acks_of
from driftwheel.pipeline.carrier import AT_ONCE, Outside, ShellSettings
from driftwheel.pipeline.local import Shell
from driftwheel.store import Row
from driftwheel.testing_bus import MemoryBus
from driftwheel_schemas.topics import INFERENCES, topics

TOPIC = topics()[INFERENCES]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Notes:
    """A worker that notes how many records and bytes it got at a time, and stops the shell when it has all."""

    group, topics = "notes", (TOPIC.name,)

    def __init__(self, total: int, stop: asyncio.Event) -> None:
        self.batches: list[tuple[int, int]] = []
        self._total, self._stop = total, stop

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:
        return []

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        pass

    def revoked(self, claim: Claim) -> None:
        """Nothing is known of it."""

    def wants(self, batch: Batch) -> Sequence[Question]:
        return []

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:
        self.batches.append((len(batch.records), sum(len(record.value) for record in batch.records)))
        return Outcome(acks=acks_of(batch.records))

    def landed(self, outcome: Outcome) -> None:
        if sum(records for records, _ in self.batches) >= self._total:
            self._stop.set()


class Nothing:
    """A store that is never asked."""

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        raise AssertionError(table, rows)

    def missing(self, table: str, rows: Sequence[Row]) -> list[Row]:
        raise AssertionError(table, rows)

    def ask(self, question: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        raise AssertionError(question, params)


@pytest.mark.parametrize(("count", "size", "least"), [(1_200, 10, 3), (120, 100_000, 2), (40, 900 * 1024, 2)])
def test_a_batch_ends_at_its_records_and_at_its_bytes(count: int, size: int, least: int) -> None:
    """Many small envelopes, some big ones, the biggest there are: never more than a read above the bytes; every record is taken."""

    async def run() -> tuple[list[tuple[int, int]], int]:
        bus, stop = MemoryBus(), asyncio.Event()
        await bus.ensure([TOPIC])
        await bus.append([Outgoing(TOPIC.name, b"x" * size, partition=n % TOPIC.partitions) for n in range(count)])
        worker = Notes(count, stop)
        await Shell(worker, Outside(bus, Nothing(), lambda: NOW), ShellSettings(linger_s=0.02, tick_s=0.02)).run(stop)
        return worker.batches, sum((await bus.lag("notes", TOPIC.name)).values())

    batches, left = asyncio.run(run())
    bounds = ShellSettings()

    assert left == 0
    assert sum(records for records, _ in batches) == count
    assert len([records for records, _ in batches if records]) >= least
    assert all(records <= bounds.max_records and held < bounds.max_bytes + AT_ONCE * size for records, held in batches)
