"""A batch that outlives its hand-over: its worker has lost the partitions, and works on with those that it is given then."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from driftwheel.bus import Claim, Outgoing
from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel.pipeline import Answer, Batch, Outcome, Question, faust_shell
from driftwheel.pipeline.admission import acks_of
from driftwheel.pipeline.carrier import Outside, ShellSettings
from driftwheel.store import Row
from driftwheel_schemas.topics import INFERENCES
from kafka_broker import Broker
from kafka_system import SESSION_S, TOPICS, empty


class Slow:
    """A core that reads, notes what, and takes as long for its first batch as the test wants."""

    topics = (INFERENCES,)

    def __init__(self, group: str) -> None:
        self.group = group
        self.seen: list[bytes] = []
        self.owned: set[Claim] = set()
        self.busy, self.go_on = threading.Event(), threading.Event()

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:
        return []

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        self.owned.add(claim)

    def revoked(self, claim: Claim) -> None:
        self.owned.discard(claim)

    def wants(self, batch: Batch) -> Sequence[Question]:
        return []

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:
        if batch.records:
            self.busy.set()
            assert self.go_on.wait(60)
        self.seen += [record.value for record in batch.records]
        return Outcome(acks=acks_of(batch.records))

    def landed(self, outcome: Outcome) -> None:
        """Nothing to remember."""


class Nothing:
    """A store that is never asked."""

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        raise AssertionError(table)

    def missing(self, table: str, rows: Sequence[Row]) -> list[Row]:
        raise AssertionError(table)

    def ask(self, question: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        raise AssertionError(question)


@pytest.mark.slow
def test_a_batch_that_outlives_its_hand_over_does_not_end_its_worker(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ack is refused and another does the batch again; both go on. (A crash here would be a rebalance more, in the middle of an outage.)"""
    monkeypatch.setattr(faust_shell, "HAND_OVER_S", 0.2)
    values = [str(n).encode() for n in range(40)]

    async def run() -> None:
        settings = KafkaSettings(servers=broker.servers, prefix=f"test-{uuid4().hex[:12]}-", session_timeout_s=SESSION_S)
        bus, stop, slow, other = KafkaBus(settings), asyncio.Event(), Slow("slow"), Slow("slow")
        other.go_on.set()
        outside, quick = Outside(bus, Nothing(), lambda: datetime.now(UTC)), ShellSettings(linger_s=0.1, tick_s=0.2)
        await empty(bus)
        await bus.append([Outgoing(INFERENCES, value, partition=n % TOPICS[INFERENCES].partitions) for n, value in enumerate(values)])
        shells = [faust_shell.FaustShell(core, outside, settings, quick) for core in (slow, other)]
        running = [asyncio.create_task(shells[0].run(stop))]
        try:
            assert await asyncio.to_thread(slow.busy.wait, 60)
            running.append(asyncio.create_task(shells[1].run(stop)))
            await soon(lambda: len(other.owned) == 2)
            slow.go_on.set()
            await soon(lambda: slow.owned | other.owned == {Claim(INFERENCES, p) for p in range(4)} and len(slow.owned) == 2)
            await soon(lambda: set(other.seen) == {value for n, value in enumerate(values) if Claim(INFERENCES, n % 4) in other.owned})
            assert not any(one.done() for one in running)
            again = [b"again"] * 4
            await bus.append([Outgoing(INFERENCES, value, partition=n) for n, value in enumerate(again)])
            await soon(lambda: slow.seen.count(b"again") == other.seen.count(b"again") == 2)
            await acked(bus)
        finally:
            slow.go_on.set()
            stop.set()
            await asyncio.gather(*running)
            await bus.close()

    async def acked(bus: KafkaBus) -> None:
        for _ in range(600):
            if not any((await bus.lag("slow", INFERENCES)).values()):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(await bus.lag("slow", INFERENCES))

    async def soon(done: Callable[[], bool]) -> None:
        end = asyncio.get_running_loop().time() + 60
        while not done():
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.05)

    asyncio.run(run())
