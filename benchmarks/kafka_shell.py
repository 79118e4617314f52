"""
What the Faust shell costs beside a bare aiokafka loop and beside the way most tutorials show, on a real Apache Kafka.

1 KB events, 100 an envelope; CPU time of a process of its own for each variant, in turn, medians of three rounds.
`python benchmarks/kafka_shell.py [--events 60000]`. Target: at most twice the bare loop.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

from ingest import events

from driftwheel.bus import Claim, Outgoing
from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel.pipeline import Answer, Batch, Outcome, Question
from driftwheel.pipeline.admission import acks_of
from driftwheel.pipeline.carrier import Outside, ShellSettings
from driftwheel.pipeline.envelope import open_envelopes
from driftwheel.store import Row
from driftwheel_schemas import Inference
from driftwheel_schemas.topics import INFERENCES
from kafka import envelopes, fill
from kafka_broker import Broker, missing

ROUNDS = 3
SINGLE = "bench.single"


class Decode:
    """A core that decodes and acks, and wants nothing else: what is left is the shell's. *checked* is how our workers decode."""

    topics = (INFERENCES,)

    def __init__(self, *, checked: bool) -> None:
        self.group, self.seen, self.checked = uuid.uuid4().hex, 0, checked
        self._decode = msgspec.json.Decoder(list[Inference]).decode

    def seeds(self, claim: Claim, partitions: int) -> Sequence[Question]:
        return []

    def assigned(self, claim: Claim, answers: Sequence[Answer]) -> None:
        """Nothing to learn."""

    def revoked(self, claim: Claim) -> None:
        """Nothing to forget."""

    def wants(self, batch: Batch) -> Sequence[Question]:
        return []

    def process(self, batch: Batch, answers: Sequence[Answer]) -> Outcome:
        if self.checked:
            self.seen += len(open_envelopes(batch.records, Inference).events)
        else:
            self.seen += sum(len(self._decode(record.value)) for record in batch.records)
        return Outcome(acks=acks_of(batch.records))

    def landed(self, outcome: Outcome) -> None:
        """Nothing landed."""


class Nothing:
    """A store that is never asked."""

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        raise AssertionError(table)

    def missing(self, table: str, rows: Sequence[Row]) -> list[Row]:
        raise AssertionError(table)

    def ask(self, question: str, params: Mapping[str, object] | None = None) -> list[Row]:
        raise AssertionError(question)


async def our_shell(servers: str, total: int, *, checked: bool = False) -> float:
    """CPU µs an event of the Faust shell."""
    from driftwheel.pipeline.faust_shell import FaustShell

    bus = KafkaBus(KafkaSettings(servers=servers))
    core, stop = Decode(checked=checked), asyncio.Event()
    shell = FaustShell(core, Outside(bus, Nothing(), lambda: datetime.now(UTC)), bus.settings, ShellSettings(linger_s=0.05))
    running = asyncio.create_task(shell.run(stop))
    while not core.seen:
        await asyncio.sleep(0.01)
    began, seen = time.process_time(), core.seen
    while core.seen < total:
        await asyncio.sleep(0.01)
    used = time.process_time() - began
    stop.set()
    await running
    await bus.close()
    return 1e6 * used / (total - seen)


async def bare_loop(servers: str, total: int) -> float:
    """CPU µs an event of aiokafka's `getmany`, decoded by msgspec, committed batch by batch."""
    from aiokafka import AIOKafkaConsumer

    given: dict[str, Any] = {"group_id": uuid.uuid4().hex, "auto_offset_reset": "earliest", "enable_auto_commit": False}
    consumer = AIOKafkaConsumer(INFERENCES, bootstrap_servers=servers, **given)
    await consumer.start()
    decode, seen, first, began = msgspec.json.Decoder(list[Inference]).decode, 0, 0, 0.0
    while seen < total:
        found = await consumer.getmany(timeout_ms=50, max_records=500)
        seen += sum(len(decode(one.value)) for records in found.values() for one in records)
        if found:
            await consumer.commit()
        if seen and not began:
            began, first = time.process_time(), seen
    used = time.process_time() - began
    await consumer.stop()
    return 1e6 * used / (total - first)


async def faust_records(servers: str, total: int) -> float:
    """CPU µs an event where every event is a record of its own and a `faust.Record`: what most tutorials show."""
    import faust

    class Call(faust.Record, serializer="json"):  # type: ignore[misc,call-arg]
        id: str
        app: str
        model: str
        latency_s: float = 0.0

    given: dict[str, Any] = {"store": "memory://", "web_enabled": False, "topic_disable_leader": True, "topic_allow_declare": False}
    app = faust.App(uuid.uuid4().hex, broker=f"kafka://{servers}", autodiscover=False, datadir=tempfile.mkdtemp(), **given)
    seen: list[float] = []

    async def work(stream: Any) -> None:  # noqa: ANN401
        async for _ in stream:
            seen.append(0.0) if seen else seen.append(time.process_time())

    app.agent(app.topic(SINGLE, value_type=Call))(work)
    await app.start()
    while len(seen) < total:
        await asyncio.sleep(0.01)
    used = time.process_time() - seen[0]
    await app.stop()
    return 1e6 * used / (total - 1)


VARIANTS: Mapping[str, Callable[[str, int], Awaitable[float]]] = {
    "aiokafka getmany": bare_loop,
    "our shell": our_shell,
    "our shell, as workers decode": lambda servers, total: our_shell(servers, total, checked=True),
    "faust.Record one by one": lambda servers, total: faust_records(servers, total // 10),
}


async def measure(name: str, servers: str, total: int) -> float:
    """One variant, in this process."""
    return await VARIANTS[name](servers, total)


def compare(broker: Broker, total: int) -> None:
    """All variants in turn, each in a process of its own."""
    asyncio.run(fill(broker, envelopes(total)))
    singles = [Outgoing(SINGLE, json.dumps(one).encode(), partition=number % 4) for number, one in enumerate(events(total // 10))]
    asyncio.run(fill(broker, singles))
    used: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in VARIANTS:
            run = [sys.executable, __file__, "--variant", name, "--servers", broker.servers, "--events", str(total)]
            used[name].append(float(subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()[-1]))
    bare = statistics.median(used["aiokafka getmany"])
    for name, values in used.items():
        middle = statistics.median(values)
        print(
            f"{name:<29} {middle:7.1f} µs CPU an event, {middle / bare:5.1f} x the bare loop ({', '.join(f'{one:.1f}' for one in values)})"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--variant", default="", help=argparse.SUPPRESS)
    parser.add_argument("--servers", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.variant:
        print(asyncio.run(measure(given.variant, given.servers, given.events)))
    elif lacks := missing():
        print(lacks)
    else:
        with tempfile.TemporaryDirectory() as folder:
            broker = Broker(Path(folder) / "kafka")
            broker.start()
            try:
                compare(broker, given.events)
            finally:
                broker.stop()


if __name__ == "__main__":
    main()
