"""
On a real Apache Kafka: topic to queryable rows, single events of many sessions, two workers, memory.

Everything is real and on this machine: broker (Java 17), Faust workers, chDB behind HTTP; the jars come from Maven
Central once. `python benchmarks/kafka.py [--events 200000] [--soak 2000000] [--outage 300]`.
Targets (two cores shared with broker and store): 5,000 events/s with every default signal, 15,000 with the profile
`metadata-only`; flat memory, bounded while the store is away.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

from ingest import cpu_of, events, memory

from driftwheel.bus import Outgoing
from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel_schemas import topics
from driftwheel_schemas.topics import INFERENCES
from kafka_broker import Broker, missing
from system import System, count, running_system

PER_ENVELOPE = 100
ONE: Mapping[str, Sequence[str]] = {"store": ("store",), "collector": ("collector",), "workers": ("signals",)}
TWO: Mapping[str, Sequence[str]] = {**ONE, "workers-2": ("signals",)}


def envelopes(n: int, *, text: bool = True) -> list[Outgoing]:
    """*n* events in envelopes of 100, as the collector puts them on the bus; without *text*, as `metadata-only` leaves them."""
    now = datetime.now(UTC).isoformat()
    without = {} if text else {"prompt": "", "response": ""}
    found = []
    for number in range(n // PER_ENVELOPE):
        batch = [one | {"tenant": "default", "accepted_at": now} | without for one in events(PER_ENVELOPE)]
        found.append(Outgoing(INFERENCES, msgspec.json.encode(batch), partition=number % 4))
    return found


async def fill(broker: Broker, records: Sequence[Outgoing]) -> None:
    """*records* on their topic, which is made anew with all others."""
    bus = KafkaBus(KafkaSettings(servers=broker.servers))
    wanted = [*topics().values(), replace(topics()[INFERENCES], name=records[0].topic)]
    if records[0].topic == INFERENCES:
        wanted.pop()
        await bus.delete(wanted)
    await bus.ensure(wanted)
    for start in range(0, len(records), 1_000):
        await bus.append(records[start : start + 1_000])
    await bus.close()


@contextmanager
def system_on(broker: Broker, processes: Mapping[str, Sequence[str]]) -> Iterator[System]:
    """*processes* on *broker*, with consumer groups of their own."""
    settings = f'[collector]\nport = 0\n[bus.kafka]\nservers = "{broker.servers}"\nprefix = "bench-{uuid.uuid4().hex[:8]}-"\n'
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder), settings, processes) as system:
        yield system


def to_rows(broker: Broker, total: int, *, text: bool, processes: Mapping[str, Sequence[str]]) -> None:
    """Every worker is a member when the events come; from the first tenth of the rows, queryable, to the last."""
    asyncio.run(fill(broker, envelopes(PER_ENVELOPE)))
    records, total = envelopes(total, text=text), total + PER_ENVELOPE
    with system_on(broker, processes) as system:
        asyncio.run(members(system, len(processes) - 2))
        asyncio.run(append(broker, records))
        while (first := stored(system)) < total / 10:
            time.sleep(0.05)
        began, before = time.monotonic(), cpu_of(system) | {"kafka": cpu(broker)}
        while stored(system) < total:
            time.sleep(0.1)
        took = time.monotonic() - began
        after = cpu_of(system) | {"kafka": cpu(broker)}
        assert stored(system) == total == count(system, "inferences")
    shares = ", ".join(f"{name} {1e6 * (after[name] - before[name]) / (total - first):.0f}" for name in after if name != "collector")
    what = f"{'every default signal' if text else 'metadata-only'}, {len(processes) - 2} worker{'s' if len(processes) > 3 else ''}"
    print(f"topic → rows, {what:<33} {(total - first) / took:7,.0f} events/s (µs CPU an event: {shares})")


def from_posts(broker: Broker, total: int, sessions: int) -> None:
    """Single events: *sessions* connections post one event each, as soon as the last was answered."""
    asyncio.run(fill(broker, envelopes(PER_ENVELOPE)))
    with system_on(broker, ONE) as system:
        while stored(system) < PER_ENVELOPE:
            time.sleep(0.05)
        before, began = cpu_of(system) | {"kafka": cpu(broker)}, time.monotonic()
        waits = asyncio.run(post_singles(system, total, sessions))
        accepted = time.monotonic() - began
        while stored(system) < total + PER_ENVELOPE:
            time.sleep(0.1)
        took = time.monotonic() - began
        after = cpu_of(system) | {"kafka": cpu(broker)}
    cuts = statistics.quantiles(waits, n=100)
    shares = ", ".join(f"{name} {1e6 * (after[name] - before[name]) / total:.0f}" for name in after)
    print(
        f"single POSTs of {sessions:,} sessions → rows {total / took:7,.0f} events/s (accepted at {total / accepted:,.0f}/s, 202 after "
        f"{1e3 * cuts[49]:.0f} ms p50, {1e3 * cuts[98]:.0f} ms p99; µs CPU an event: {shares}; the rest is the load generator)"
    )


async def post_singles(system: System, total: int, sessions: int) -> list[float]:
    """Seconds until each 202."""
    bodies = [msgspec.json.encode(one) for one in events(total)]
    head = b"POST /v1/inferences HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    waits: list[float] = []

    async def session() -> None:
        reader, writer = await asyncio.open_connection(system.running.host, system.running.collector_port)
        while bodies:
            body, began = bodies.pop(), time.monotonic()
            writer.write(head % len(body) + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 202"), answer
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            waits.append(time.monotonic() - began)
        writer.close()

    await asyncio.gather(*(session() for _ in range(sessions)))
    return waits


def soak(broker: Broker, total: int) -> None:
    """Memory of worker and store at each tenth of the way."""
    part = total // 10
    asyncio.run(fill(broker, envelopes(PER_ENVELOPE)))
    with system_on(broker, ONE) as system:
        for number in range(11):
            while stored(system) < number * part + PER_ENVELOPE:
                time.sleep(0.2)
            sizes = ", ".join(f"{name} {memory(system, name):.0f} MiB" for name in ("workers", "store"))
            print(f"memory after {number * part:>9,} events: {sizes}", flush=True)
            asyncio.run(more(broker, part))


async def more(broker: Broker, n: int) -> None:
    """*n* events more, a hundred thousand at a time."""
    for start in range(0, n, 100_000):
        await append(broker, envelopes(min(100_000, n - start)))


async def append(broker: Broker, records: Sequence[Outgoing]) -> None:
    """Put *records* on their topic, a thousand envelopes at a time."""
    bus = KafkaBus(KafkaSettings(servers=broker.servers))
    for start in range(0, len(records), 1_000):
        await bus.append(records[start : start + 1_000])
    await bus.close()


async def members(system: System, count_: int) -> None:
    """Until *count_* workers share the partitions: each has some, as its metrics say."""
    ports = [port for name, port in system.running.metrics_ports.items() if name.startswith("workers")]
    while True:
        pages = await asyncio.gather(*(asyncio.to_thread(page, port) for port in ports))
        if sum("driftwheel_worker_lag_records{" in one for one in pages) == count_ and sum(map(owned, pages)) == 4:
            return
        await asyncio.sleep(0.5)


def owned(text: str) -> int:
    """How many partitions a worker has by its page of metrics."""
    return text.count("driftwheel_worker_lag_records{")


def page(port: int) -> str:
    """The metrics of a worker; nothing while it is not up."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read(), "utf-8")
    except OSError:
        return ""


def outage(broker: Broker, seconds: int, rate: int = 1_000) -> None:
    """Memory of the worker while the store stands still and events keep coming; then everything lands."""
    asyncio.run(fill(broker, envelopes(PER_ENVELOPE)))
    with system_on(broker, ONE) as system:
        while stored(system) < PER_ENVELOPE:
            time.sleep(0.05)
        store, sent, most = system.pid("store") or 0, PER_ENVELOPE, memory(system, "workers")
        before = most
        os.kill(store, signal.SIGSTOP)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            due = time.monotonic() + 5
            asyncio.run(more(broker, 5 * rate))
            sent += 5 * rate
            most = max(most, memory(system, "workers"))
            time.sleep(max(0.0, due - time.monotonic()))
        os.kill(store, signal.SIGCONT)
        began = time.monotonic()
        while stored(system) < sent:
            time.sleep(0.2)
        print(
            f"store away for {seconds} s at {rate:,} events/s: the worker grew from {before:.0f} to {most:.0f} MiB, "
            f"{count(system, 'inferences'):,} of {sent:,} events stored {time.monotonic() - began:.0f} s after its return"
        )


def stored(system: System) -> int:
    """Rows so far; exact at the end, when nothing is doubled."""
    return int(system.store.query("SELECT count() AS n FROM driftwheel.inferences")[0]["n"])


def cpu(broker: Broker) -> float:
    """CPU seconds of the broker so far."""
    times = psutil.Process(broker.process.pid).cpu_times() if broker.process else None
    return times.user + times.system if times else 0.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--sessions", type=int, default=1_000, help="that post single events; 0 leaves it out")
    parser.add_argument("--soak", type=int, default=0, help="events of the memory run; 2000000 takes ten minutes")
    parser.add_argument("--outage", type=int, default=0, help="seconds without a store")
    given = parser.parse_args()
    if lacks := missing():
        print(lacks)
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "kafka", heap="512m")
        broker.start()
        print(json.dumps({"cores": psutil.cpu_count(), "load": round(psutil.getloadavg()[0], 1)}))
        try:
            for text, processes in ((True, ONE), (True, TWO), (False, ONE), (False, TWO)) if given.events else ():
                to_rows(broker, given.events, text=text, processes=processes)
            if given.sessions:
                from_posts(broker, 20_000, given.sessions)
            if given.soak:
                soak(broker, given.soak)
            if given.outage:
                outage(broker, given.outage)
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
