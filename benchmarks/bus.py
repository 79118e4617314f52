"""
The local bus: what it takes and gives, beside a bare SQLite insert loop, and what it costs while nothing happens.

    python benchmarks/bus.py [--seconds 3] [--synchronous NORMAL]

The floor is one process that inserts the same bytes into a table with the same columns, one transaction an envelope and
WAL: a log on SQLite that waits for every record cannot be faster. An envelope holds 100 events in 100 KB. All run one
after the other on the same disk, so compare within a run only.
"""

import argparse
import asyncio
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import psutil

from driftwheel.bus import Outgoing
from driftwheel.bus.local import LocalBus, LocalSettings
from driftwheel_schemas.topics import Topic

EVENTS = 100
ENVELOPE = os.urandom(100_000)
SMALL = os.urandom(500)
IDLE_S = 10.0
TOPIC = Topic(name="bench", purpose="a benchmark", event="", key="id", partitions=4, retention_hours=0, writers=(), readers=())

Synchronous = Literal["NORMAL", "FULL"]


def floor(folder: Path, value: bytes, seconds: float, synchronous: Synchronous) -> float:
    """Transactions of one record each that SQLite alone commits in a second."""
    db = sqlite3.connect(folder / "floor.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("CREATE TABLE records (partition INTEGER, offset INTEGER, key TEXT, value BLOB, headers TEXT, at REAL)")
    db.execute("CREATE UNIQUE INDEX place ON records (partition, offset)")
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        db.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", (0, count, "", value, "", 0.0))
        count += 1
    rate = count / (time.perf_counter() - began)
    db.close()
    return rate


async def append(bus: LocalBus, value: bytes, callers: int, seconds: float) -> float:
    """Records a second that *callers* append at once, one a call, each waiting for its own to be durable."""
    began, count = time.perf_counter(), 0

    async def caller(partition: int) -> None:
        nonlocal count
        while time.perf_counter() - began < seconds:
            await bus.append([Outgoing(TOPIC.name, value, partition=partition)])
            count += 1

    await asyncio.gather(*(caller(number % TOPIC.partitions) for number in range(callers)))
    return count / (time.perf_counter() - began)


async def poll(bus: LocalBus, group: str) -> float:
    """Records a second that one consumer reads and commits, from the first to the last."""
    consumer = await bus.consumer(group, [TOPIC.name])
    left = sum((await bus.ends(TOPIC.name)).values())
    began, count = time.perf_counter(), 0
    while count < left:
        records = await consumer.poll(timeout_s=1.0)
        count += len(records)
        for claim in consumer.owned():
            if offsets := [record.offset for record in records if record.partition == claim.partition]:
                await consumer.commit(claim, offsets[-1] + 1)
    rate = count / (time.perf_counter() - began)
    await consumer.close()
    return rate


async def wake(folder: Path, every_s: float, times: int) -> list[float]:
    """Milliseconds from an append in this process until another has read it."""
    bus = LocalBus(folder)
    reader = _child("--read", folder)
    assert reader.stdout
    await asyncio.to_thread(reader.stdout.readline)  # it owns its partitions
    took = []
    for _ in range(times):
        await asyncio.sleep(every_s + random.uniform(0, 0.1))  # a fixed wait would meet the looks of the other in one phase
        began = time.perf_counter()
        await bus.append([Outgoing(TOPIC.name, SMALL, partition=0)])
        await asyncio.to_thread(reader.stdout.readline)
        took.append((time.perf_counter() - began) * 1e3)
    reader.terminate()
    reader.communicate()
    await bus.close()
    return took


async def read(folder: Path) -> None:
    """The reader of `wake`: a line when it owns everything, and one for each record."""
    bus = LocalBus(folder)
    consumer = await bus.consumer(f"wake{os.getpid()}", [TOPIC.name])
    while len(consumer.owned()) < TOPIC.partitions:
        await consumer.poll(timeout_s=0.05)
    for claim, end in (await bus.ends(TOPIC.name)).items():
        await consumer.seek(next(one for one in consumer.owned() if one.partition == claim), end)
    print("ready", flush=True)
    while True:
        for record in await consumer.poll(timeout_s=1.0):
            print(record.offset, flush=True)


async def idle(folder: Path, consumers: int) -> None:
    """*consumers* of as many groups in this process that read nothing, for ever."""
    bus = LocalBus(folder)

    async def one(number: int) -> None:
        consumer = await bus.consumer(f"idle{os.getpid()}-{number}", ["idle"])
        while True:
            await consumer.poll(timeout_s=1.0)

    await asyncio.gather(*(one(number) for number in range(consumers)))


def idle_cost(folder: Path, processes: int, consumers: int) -> float:
    """Per cent of a core that idle consumers take, once their processes have settled."""
    children = [_child("--idle", folder, str(consumers)) for _ in range(processes)]
    time.sleep(8)  # five seconds without a record, and the bus looks less often
    watched = [psutil.Process(child.pid) for child in children]
    before, began = sum(_cpu(one) for one in watched), time.perf_counter()
    time.sleep(IDLE_S)
    cost = 100 * (sum(_cpu(one) for one in watched) - before) / (time.perf_counter() - began)
    for child in children:
        child.terminate()
        child.communicate()
    return cost


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _child(what: str, folder: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, what, str(folder), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


async def throughput(folder: Path, seconds: float, synchronous: Synchronous) -> None:
    """Append and poll, beside the floor."""

    async def measure(value: bytes, callers: int, events: int) -> None:
        base = await asyncio.to_thread(floor, Path(tempfile.mkdtemp(dir=folder)), value, seconds, synchronous)
        bus = LocalBus(Path(tempfile.mkdtemp(dir=folder)), LocalSettings(synchronous=synchronous))
        await bus.ensure([TOPIC])
        rate = await append(bus, value, callers, seconds)
        back = await poll(bus, "bench")
        await bus.close()
        size = f"{len(value) / 1e3:.1f} KB, {callers} callers"
        print(
            f"{size:24} {base * events:12,.0f} {rate * events:12,.0f} {rate / base:9.2f} {back * events:12,.0f} {back / base:9.2f}",
            flush=True,
        )

    print(f"{'record':24} {'floor ev/s':>12} {'append ev/s':>12} {'of floor':>9} {'poll ev/s':>12} {'of floor':>9}")
    for callers in (1, 8):
        await measure(ENVELOPE, callers, EVENTS)
    for callers in (1, 50):
        await measure(SMALL, callers, 1)


async def create(folder: Path) -> None:
    """The topics of the measurements between processes."""
    bus = LocalBus(folder)
    await bus.ensure([TOPIC, Topic(**{name: getattr(TOPIC, name) for name in TOPIC.__slots__} | {"name": "idle"})])
    await bus.close()


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--synchronous", choices=("NORMAL", "FULL"), default="NORMAL")
    options.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--idle", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.read:
        asyncio.run(read(given.read))
    elif given.idle:
        asyncio.run(idle(Path(given.idle[0]), int(given.idle[1])))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(throughput(Path(folder), given.seconds, given.synchronous))
            between = Path(folder) / "between"
            asyncio.run(create(between))
            for name, every_s, times in (("busy", 0.05, 40), ("idle for 6 s", 6.0, 5)):
                took = sorted(asyncio.run(wake(between, every_s, times)))
                print(f"another process reads after {statistics.median(took):.0f} ms (at most {took[-1]:.0f}), {name}")
            for processes, consumers in ((1, 10), (10, 1)):
                cost = idle_cost(between, processes, consumers)
                print(f"{processes} process(es) with {consumers} idle consumer(s) each: {cost:.1f} % of a core")


if __name__ == "__main__":
    main()
