"""Workers as processes on a real Kafka and an embedded store, and what tests do to them: produce, look, kill, cut off."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Self, TypeVar
from uuid import uuid4

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from driftwheel.bus import Outgoing, Record
from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings, group_id
from driftwheel.bus.kafka_topics import partitions_of
from driftwheel.errors import Busy, DriftwheelError
from driftwheel.pipeline.envelope import pack
from driftwheel.pipeline.patience import Patience
from driftwheel.store.clickhouse import ClickHouse
from driftwheel.store.migrate import migrate
from driftwheel.supervisor import free_port
from driftwheel_schemas import Inference, new_id, topics
from driftwheel_schemas.topics import INFERENCES, OBSERVATIONS
from kafka_broker import Broker
from stores import PASSWORD, RunningStore, running_store, spawn

T = TypeVar("T")

SESSION_S = 6.0
"""The session timeout of the workers: the shortest that brokers allow."""

TOPICS = topics()


@dataclass(slots=True)
class Worker:
    """A process of `driftwheel run`: its output is in `log`, how it does at `metrics`."""

    process: "subprocess.Popen[bytes]"
    log: Path
    metrics: int

    @property
    def text(self) -> str:
        """What it said so far."""
        return self.log.read_text("utf-8", "replace")

    def health(self, what: str = "ready") -> tuple[int, str]:
        """The status and the body of `/health/<what>`; 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/health/{what}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as no:
            return no.code, no.read().decode()
        except OSError:
            return 0, ""

    def counts(self, what: str) -> int:
        """One of its counters of events; 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if "_events_total{" in line and f'what="{what}"' in line)

    def ready(self, within_s: float = 90.0) -> "Worker":
        """Wait until it owns its partitions."""
        until(lambda: self.health()[0] == 200 or self._ended(), within_s, lambda: self.text[-3000:])
        return self

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait(30)

    def stop(self, within_s: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(within_s)

    def send(self, signum: signal.Signals) -> None:
        """Any other signal."""
        self.process.send_signal(signum)

    def _ended(self) -> bool:
        assert self.process.poll() is None, self.text[-3000:]
        return False


@dataclass(slots=True)
class Place:
    """One test's own: its consumer groups, its store, its processes. `store_port` is where workers look for the store."""

    broker: Broker
    folder: Path
    store: RunningStore
    store_port: int
    settings: KafkaSettings
    workers: list[Worker] = field(default_factory=list)

    def worker(self, *roles: str, **more: str) -> Worker:
        """Start a process with *roles*; *more* are settings as variables name them, without their prefix."""
        port, log = free_port(), self.folder / f"worker{len(self.workers)}.log"
        kafka = self.settings
        environ = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTWHEEL_")} | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "DRIFTWHEEL_METRICS_PORT": str(port),
            "DRIFTWHEEL_BUS__KAFKA__SERVERS": kafka.servers,
            "DRIFTWHEEL_BUS__KAFKA__PREFIX": kafka.prefix,
            "DRIFTWHEEL_BUS__KAFKA__SESSION_TIMEOUT_S": str(kafka.session_timeout_s),
            "DRIFTWHEEL_STORE__PORT": str(self.store_port),
            "DRIFTWHEEL_STORE__PASSWORD": PASSWORD,
            "DRIFTWHEEL_SHELL__LINGER_S": "0.1",
            "DRIFTWHEEL_SHELL__TICK_S": "0.3",
        }
        environ |= {f"DRIFTWHEEL_{name}": value for name, value in more.items()}
        command = [sys.executable, "-m", "driftwheel", "run", *roles, "--parent-pid", str(os.getpid())]
        with log.open("ab") as out:
            process = subprocess.Popen(command, cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.workers.append(Worker(process, log, port))
        return self.workers[-1]

    def ask(self, sql: str) -> list[dict[str, object]]:
        """Rows of the store itself, whatever is between it and the workers."""
        return self.store.client().query(sql)

    def run(self, act: Callable[[KafkaBus], Awaitable[T]]) -> T:
        """What *act* gives with an open bus of this test's groups."""
        return asyncio.run(with_bus(self.settings, act))

    def append(self, topic: str, values: Sequence[bytes], partition: int | None = None) -> list[tuple[int, int]]:
        """Put *values* on *topic* as another producer would; their places."""
        return self.run(lambda bus: bus.append([Outgoing(topic, value, partition=partition) for value in values]))

    def put(self, records: Sequence[Outgoing]) -> None:
        """Append *records*, all of one topic."""
        self.run(lambda bus: bus.append(records))

    def lag(self, group: str, topic: str) -> int:
        """How many records *group* has not acked."""
        lags = self.run(lambda bus: bus.lag(group, topic))
        return sum(lags.values())

    def done(self, group: str = "signals", topic: str = INFERENCES, within_s: float = 120.0) -> None:
        """Wait until *group* has acked everything on *topic*."""
        until(lambda: self.lag(group, topic) == 0, within_s, lambda: self.workers[-1].text[-3000:])

    def kill_store(self) -> None:
        """Kill -9 of the store."""
        self.store.process.kill()
        self.store.process.wait(30)
        if self.store.process.stdout:
            self.store.process.stdout.close()

    def start_store(self) -> None:
        """The store again, on its folder and its port."""
        self.store.process = spawn(self.folder / "store", PASSWORD, self.store.port)
        until(lambda: bool(self.ask("SELECT 1 AS one")), 60)

    def records(self, topic: str) -> list[Record]:
        """Everything on *topic*."""
        return self.run(lambda bus: everything(bus, topic))


@contextmanager
def a_place(broker: Broker, folder: Path) -> Iterator[Place]:
    """Empty topics, a store with empty tables, groups of its own; all its workers are dead at the end."""
    settings = KafkaSettings(servers=broker.servers, prefix=f"test-{uuid4().hex[:12]}-", session_timeout_s=SESSION_S)
    asyncio.run(with_bus(settings, empty))
    with running_store(folder / "store") as store:
        migrate(store.client())
        never_merge(store.client())
        place = Place(broker, folder, store, store.port, settings)
        try:
            yield place
        finally:
            for worker in place.workers:
                if worker.process.poll() is None:
                    worker.kill()
            place.kill_store()


def never_merge(store: ClickHouse) -> None:
    """Keep every part as it was inserted: a merge would hide within seconds what was stored twice. It holds after a restart, too."""
    for table in ("inferences", "payloads", "feedback"):
        never = "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1"
        store.command(f"ALTER TABLE driftwheel.{table} MODIFY SETTING {never}")


async def with_bus(settings: KafkaSettings, act: Callable[[KafkaBus], Awaitable[T]]) -> T:
    """What *act* gives with an open bus."""
    bus = KafkaBus(settings)
    try:
        return await act(bus)
    finally:
        await bus.close()


async def empty(bus: KafkaBus) -> None:
    """Every topic is there and holds nothing."""
    await bus.ensure(list(TOPICS.values()))
    async with bus.admin() as admin:
        there = await partitions_of(admin)
        ends = {name: await bus.ends(name) for name in TOPICS if name in there}
        full = {TopicPartition(name, p): RecordsToDelete(end) for name, of in ends.items() for p, end in of.items() if end}
        if full:
            await admin.delete_records(full)
    await Patience("a test")(lambda: bus.lag("nobody", INFERENCES))  # a new broker makes its topic of offsets when first asked


async def everything(bus: KafkaBus, topic: str) -> list[Record]:
    """All records of *topic*, read by a group that nobody else is in."""
    left = sum((await bus.lag("nobody", topic)).values())
    consumer = await bus.consumer(f"look-{uuid4().hex}", [topic])
    found: list[Record] = []
    end = time.monotonic() + 60
    while len(found) < left:
        assert time.monotonic() < end, f"{len(found)} of {left} records of {topic}"
        found += await consumer.poll(timeout_s=0.3)
    return found


def inference(app: str = "shop", **more: object) -> Inference:
    """A call of a model, made up."""
    return Inference(
        **{
            "id": new_id(),
            "app": app,
            "model": "m",
            "started_at": datetime.now(UTC),
            "prompt": "Where is it?",
            "response": "There. " * 20,
            "latency_s": 1.0,
            **more,
        }  # type: ignore[arg-type]
    )


def envelopes(events: Sequence[Inference]) -> list[Outgoing]:
    """*events* as the collector packs them."""
    return list(pack(INFERENCES, TOPICS[INFERENCES].partitions, ((event.id, event) for event in events)))


class Stalls(Thread):
    """Watches how far a group has come; `longest` is the longest time in which a partition that had work left did not move."""

    def __init__(self, place: Place, group: str = "signals", topic: str = INFERENCES) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self._settings, self._group, self._topic = place.settings, group, topic
        self._looking, self._over = Event(), Event()

    def run(self) -> None:
        asyncio.run(with_bus(self._settings, self._watch))

    async def _watch(self, bus: KafkaBus) -> None:
        done: dict[int, int] = {}
        moved: dict[int, float] = {}
        while not self._over.is_set():
            async with bus.admin() as admin:
                committed = await admin.list_consumer_group_offsets(group_id(self._settings, self._group))
            ends, now = await bus.ends(self._topic), time.monotonic()
            for where, one in committed.items():
                at = where.partition
                if one.offset != done.get(at) or one.offset == ends[at]:
                    done[at], moved[at] = one.offset, now
                self.longest = max(self.longest, now - moved[at])
            self._looking.set()
            await asyncio.sleep(0.1)

    def __enter__(self) -> Self:
        self.start()
        assert self._looking.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(30)
        assert not self.is_alive()


class Producer(Thread):
    """Appends envelopes until stopped, each again until it is accepted; `accepted` are the ids that the bus has said yes to."""

    def __init__(self, place: Place, *, events: int = 50, pause_s: float = 0.05, chars: int = 120) -> None:
        super().__init__(daemon=True)
        self.accepted: list[str] = []
        self._text = "There. " * (chars // 7)
        self._settings, self._events, self._pause_s = place.settings, events, pause_s
        self._stop_it = Event()

    def run(self) -> None:
        asyncio.run(with_bus(self._settings, self._produce))

    async def _produce(self, bus: KafkaBus) -> None:
        while not self._stop_it.is_set():
            events = [inference(response=self._text) for _ in range(self._events)]
            records = envelopes(events)
            while True:
                try:
                    await bus.append(records)
                    break
                except Busy:
                    await asyncio.sleep(0.2)
            self.accepted += [event.id for event in events]
            await asyncio.sleep(self._pause_s)

    def until(self, count: int, within_s: float = 60.0) -> None:
        """Wait for *count* accepted events."""
        until(lambda: len(self.accepted) >= count or not self.is_alive(), within_s)
        assert self.is_alive(), "the producer has died"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_it.set()
        self.join(90)
        assert not self.is_alive()


def exactly(place: Place, ids: Sequence[str], *, also_without_final: bool = True) -> dict[str, int]:
    """
    Inferences, payloads and observations are those of *ids*, each once; raises AssertionError for a lost, invented or doubled one.

    Gives how many rows there are too many without FINAL, by table.
    """
    assert len(set(ids)) == len(ids)
    extra = {}
    for table in ("inferences", "payloads"):
        final = place.ask(f"SELECT toString(id) AS id FROM driftwheel.{table} FINAL")
        found = [str(row["id"]) for row in final]
        assert (len(set(ids) - set(found)), len(set(found) - set(ids))) == (0, 0), f"{table}: lost, invented"
        assert len(found) == len(ids), f"{table}: doubled in FINAL"
        extra[table] = int(str(place.ask(f"SELECT count() AS n FROM driftwheel.{table}")[0]["n"])) - len(ids)
    observed = {seen["inference_id"] for record in place.records(OBSERVATIONS) for seen in json.loads(record.value)}
    assert observed == set(ids), "observations: lost or invented"
    if also_without_final:
        assert extra == {"inferences": 0, "payloads": 0}, "doubled without FINAL"
    return extra


def until(done: Callable[[], bool], within_s: float = 60.0, why: Callable[[], str] = lambda: "") -> None:
    """Wait for *done*; a store or a bus that is away is not done."""
    end = time.monotonic() + within_s
    while True:
        try:
            if done():
                return
        except DriftwheelError as away:
            said = str(away)
        else:
            said = ""
        assert time.monotonic() < end, f"not done in {within_s} s {said} {why()}"
        time.sleep(0.1)
