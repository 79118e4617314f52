"""The whole system on Kafka, its processes killed at random moments: nothing accepted is lost, and the same is decided."""

import asyncio
import random
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from driftwheel.bus import Bus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel.bus.local import LocalBus
from driftwheel_schemas import derived_id, new_id
from driftwheel_schemas.topics import FEEDBACK, INFERENCES, OBSERVATIONS, VERDICTS
from kafka_broker import Broker
from kafka_system import SESSION_S, empty, never_merge, until, with_bus
from system import SETTINGS, System, kill, running_system

VICTIMS = ("collector", "workers", "store", "detection")
READERS = (("signals", INFERENCES), ("feedback", FEEDBACK), ("detection", OBSERVATIONS), ("triggers", VERDICTS))

SLOT = 'slot = "one"\n'
"""Workers that are killed are back before their session is over."""

POLICY = """
[detection]
snapshot_every_s = 1.0

[detection.references]
number = 100
flag = 100

[[policies]]
name = "worse"
signal = "feedback.thumbs.flag"
direction = "down"
min_sample = 20
min_effect = 0.2
approval = "auto"

[[policies]]
name = "slower"
signal = "latency.seconds"
direction = "up"
min_sample = 20
min_effect = 0.2
"""

START = datetime(2026, 1, 1, tzinfo=UTC)
HEALTHY, WORSE = range(300), range(300, 500)
ONSET_TOLERANCE = timedelta(hours=64)
"""64 sessions, one an hour: a kill shuffles the batch of 50 that was on its way, and the estimate itself moves by a dozen."""


@contextmanager
def on_kafka(broker: Broker, folder: Path, settings: str = "") -> Iterator[tuple[System, KafkaSettings]]:
    """Collector, workers, detection and store as processes, on empty topics of *broker*."""
    kafka = KafkaSettings(servers=broker.servers, prefix=f"test-{uuid4().hex[:12]}-", session_timeout_s=SESSION_S)
    asyncio.run(with_bus(kafka, empty))
    folder.mkdir(exist_ok=True)
    bus = f'[bus.kafka]\nservers = "{kafka.servers}"\nprefix = "{kafka.prefix}"\nsession_timeout_s = {SESSION_S}\n'
    with running_system(folder, SETTINGS + bus + settings) as system:
        never_merge(system.store)
        yield system, kafka


def settled(system: System, kafka: KafkaSettings | None) -> bool:
    """Every role has acked everything, on Kafka or on the local log."""

    async def lags(bus: Bus) -> list[int]:
        return [sum((await bus.lag(group, topic)).values()) for group, topic in READERS]

    async def local() -> list[int]:
        bus = LocalBus(system.folder / "bus")
        try:
            return await lags(bus)
        finally:
            await bus.close()

    return not any(asyncio.run(with_bus(kafka, lags) if kafka else local()))


def matched(system: System, kafka: KafkaSettings | None, count: int) -> bool:
    """And *count* feedback is joined."""
    rows = system.store.query("SELECT uniqExact(id) AS n FROM driftwheel.feedback WHERE matched")
    return rows[0]["n"] >= count and settled(system, kafka)


def call(n: int, id_: str, at: datetime) -> dict[str, object]:
    """A call of a model as an app sends it."""
    return {
        "id": id_,
        "app": "shop",
        "model": "m",
        "started_at": at.isoformat(),
        "prompt": f"Where is order {n:04d}?",
        "response": f"Order {n:04d} is on its way.",
        "latency_s": random.Random(n).lognormvariate(1 if n in WORSE else 0, 0.3),
        "session_id": f"s{n}",
    }


def thumb(id_: str, about: str, at: datetime, *, up: bool) -> dict[str, object]:
    """What a person says of it."""
    return {"id": id_, "at": at.isoformat(), "name": "thumbs", "value": up, "inference_id": about}


def insist(system: System, path: str, events: object) -> None:
    """Send until it is accepted: an answer that was lost means that the same comes again."""
    while True:
        try:
            if system.post(path, events)["accepted"]:
                return
        except (urllib.error.URLError, OSError, ValueError):
            time.sleep(0.1)


class Client(threading.Thread):
    """An app that logs in batches."""

    def __init__(self, system: System, number: int) -> None:
        super().__init__(daemon=True)
        self.system, self.number = system, number
        self.inferences: list[str] = []
        self.feedback: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.05):
            now = datetime.now(UTC)
            pairs = [(new_id(), new_id()) for _ in range(20)]
            insist(self.system, "/v1/inferences", [call(len(self.inferences) + self.number, id_, now) for id_, _ in pairs])
            insist(self.system, "/v1/feedback", [thumb(said, id_, now, up=True) for id_, said in pairs])
            self.inferences += [id_ for id_, _ in pairs]
            self.feedback += [said for _, said in pairs]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twelve_kills_on_kafka_lose_nothing_and_double_nothing(broker: Broker, tmp_path: Path) -> None:
    """Kills of collector, workers, detection and store; every id is stored exactly once, without FINAL, and all feedback is matched."""
    draw = random.Random(4)
    with on_kafka(broker, tmp_path) as (system, kafka):
        clients = [Client(system, number) for number in range(2)]
        for client in clients:
            client.start()
        for number in range(12):
            time.sleep(draw.uniform(0.3, 2.5))
            kill(system.pid(VICTIMS[number % 4]))
        for client in clients:
            client.stop.set()
            client.join(60)
            assert not client.is_alive()
        inferences = {id_ for client in clients for id_ in client.inferences}
        said = {id_ for client in clients for id_ in client.feedback}
        until(lambda: matched(system, kafka, len(said)), 150)

        for table, ids in (("inferences", inferences), ("payloads", inferences), ("feedback", said)):
            revision = ", revision" if table == "feedback" else ""
            rows = system.store.query(f"SELECT toString(id) AS id, count() AS n FROM driftwheel.{table} GROUP BY id{revision}")
            assert {row["id"] for row in rows} == ids, f"{table}: lost or invented"
            assert [row for row in rows if row["n"] > 1] == [], f"{table}: doubled"
        assert system.store.query("SELECT count() AS n FROM driftwheel.dead_letters")[0]["n"] == 0


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of some traffic: the drifted series, each trigger with its incident's size, and when each drift began."""

    drifted: frozenset[str]
    triggers: frozenset[tuple[str, str, str, str]]
    incidents: frozenset[frozenset[str]]
    onsets: dict[str, datetime]


def play(system: System, kafka: KafkaSettings | None, victims: Iterator[str]) -> Decided:
    """Thumbs fall from .95 to .3 and latency grows by e; with each batch on its way, the next of *victims* is killed."""
    draw = random.Random(2)
    for numbers, liked in ((HEALTHY, 0.95), (WORSE, 0.3)):
        for first in range(numbers.start, numbers.stop, 50):
            batch = range(first, first + 50)
            at = {n: START + timedelta(hours=n) for n in batch}
            insist(system, "/v1/inferences", [call(n, derived_id("loop", n), at[n]) for n in batch])
            said = [thumb(derived_id("thumb", n), derived_id("loop", n), at[n], up=draw.random() < liked) for n in batch]
            insist(system, "/v1/feedback", said)
            if victim := next(victims, ""):
                kill(system.pid(victim))
            until(partial(matched, system, kafka, batch.stop), 120)  # or all that is on its way would be shuffled, not one batch
    ask = system.store.query
    until(lambda: len(ask("SELECT id FROM driftwheel.triggers FINAL WHERE state != 'held'")) == 2 and settled(system, kafka), 60)
    verdicts = ask("SELECT series, min(onset) AS began FROM driftwheel.verdicts FINAL WHERE drifted GROUP BY series")
    triggers = ask("SELECT policy, signal, segment, state, incident_id FROM driftwheel.triggers FINAL")
    incidents: dict[str, set[str]] = {}
    for row in triggers:
        incidents.setdefault(row["incident_id"], set()).add(row["signal"])
    return Decided(
        frozenset(row["series"] for row in verdicts),
        frozenset((row["policy"], row["signal"], row["segment"], row["state"]) for row in triggers),
        frozenset(map(frozenset, incidents.values())),
        {row["series"]: datetime.fromisoformat(row["began"]) for row in verdicts},
    )


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_on_either_bus_and_with_kills_in_the_middle_the_same_is_decided(broker: Broker, tmp_path: Path) -> None:
    """The same drifted series, incidents and decisions of policies on the local log, on Kafka, and with kills; onsets within 64 sessions."""
    (tmp_path / "local").mkdir()
    with running_system(tmp_path / "local", SETTINGS + POLICY) as system:
        local = play(system, None, iter(()))
    with on_kafka(broker, tmp_path / "quiet", SLOT + POLICY) as (system, kafka):
        quiet = play(system, kafka, iter(()))
    with on_kafka(broker, tmp_path / "killed", SLOT + POLICY) as (system, kafka):
        killed = play(system, kafka, iter(("workers", "", "detection", "store", "collector", "workers", "", "detection", "workers")))
        assert system.store.query("SELECT count() AS n FROM driftwheel.dead_letters")[0]["n"] == 0

    assert {series.split("{")[0] for series in local.drifted} >= {"default/feedback.thumbs.flag", "default/latency.seconds"}
    assert local.incidents == {frozenset({"feedback.thumbs.flag", "latency.seconds"})}
    for other in (quiet, killed):
        assert (other.drifted, other.triggers, other.incidents) == (local.drifted, local.triggers, local.incidents)
        assert all(abs(other.onsets[series] - began) <= ONSET_TOLERANCE for series, began in local.onsets.items())
