"""
The embedded pipeline, without embeddings: events a second from HTTP to queryable rows, delay, and memory.

Everything is real: processes, SQLite log, chDB behind HTTP. `python benchmarks/ingest.py [--events 20000] [--soak 500000]`.
Targets (two quiet cores): 3,000 events/s, p95 from 202 to queryable under 2 s at 500 events/s, flat memory.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from driftwheel_schemas import new_id
from system import System, count, running_system

SETTINGS = "[collector]\nport = 0\n"
TEXT = "The parcel left our house on Monday and should reach you within three working days. " * 4


def events(n: int) -> list[dict[str, object]]:
    """*n* calls of about 1 KB."""
    now = datetime.now(UTC).isoformat()
    return [
        {
            "id": (id_ := new_id()),
            "app": "shop",
            "model": "gpt-4o-mini",
            "provider": "openai",
            "started_at": now,
            "prompt": [{"role": "user", "content": f"Where is order {id_[-6:]}? {TEXT[:200]}"}],
            "response": TEXT,
            "latency_s": 0.8,
            "input_tokens": 80,
            "output_tokens": 70,
            "session_id": id_[:18],
            "user_id": id_[-4:],
        }
        for _ in range(n)
    ]


def throughput(system: System, total: int) -> None:
    """From the first request to the last queryable row; 100 events a request, four connections."""
    batches = [events(100) for _ in range(total // 100)]
    base, before = count(system, "inferences"), cpu_of(system)
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda batch: system.post("/v1/inferences", batch, 60), batches))
    accepted = time.monotonic() - began
    while count(system, "inferences") < base + total:
        time.sleep(0.05)
    took = time.monotonic() - began
    by_process = {name: after - before[name] for name, after in cpu_of(system).items()}
    used = sum(by_process.values())
    print(
        f"throughput: {total / took:,.0f} events/s from HTTP to queryable rows ({total:,} in {took:.1f} s; accepted at {total / accepted:,.0f}/s)"
    )
    shares = ", ".join(f"{name} {1e6 * seconds / total:.0f}" for name, seconds in by_process.items())
    print(f"            {1e6 * used / total:.0f} µs CPU an event ({shares}): {2 * total / used:,.0f} events/s would fill two cores")


def delay(system: System, rate: int, seconds: int) -> None:
    """How long after its 202 an event can be queried, at *rate* events a second."""
    delays: list[float] = []
    waiting: dict[str, float] = {}
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set() or waiting:
            if waiting:
                found = system.store.query(
                    "SELECT toString(id) AS id FROM driftwheel.inferences WHERE id IN {ids:Array(String)}", {"ids": list(waiting)}
                )
                now = time.monotonic()
                delays.extend(now - waiting.pop(row["id"]) for row in found if row["id"] in waiting)
            time.sleep(0.03)

    looker = threading.Thread(target=look)
    looker.start()
    end = time.monotonic() + seconds
    due = time.monotonic()
    while time.monotonic() < end:
        batch = events(rate // 10)
        system.post("/v1/inferences", batch, 60)
        waiting[str(batch[0]["id"])] = time.monotonic()
        due += 0.1
        time.sleep(max(0.0, due - time.monotonic()))
    stop.set()
    looker.join(30)
    cuts = statistics.quantiles(delays, n=20)
    print(f"delay at {rate} events/s: p50 {cuts[9]:.2f} s, p95 {cuts[18]:.2f} s from 202 to queryable ({len(delays)} looked at)")


def soak(system: System, total: int) -> None:
    """Memory of every process at each fifth of the way."""
    for part in range(6):
        sizes = {name: memory(system, name) for name in ("store", "collector", "workers", "detection")}
        print(f"memory after {part * total // 5:>9,} events: " + ", ".join(f"{name} {size:.0f} MiB" for name, size in sizes.items()))
        if part < 5:
            base = count(system, "inferences")
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda _: system.post("/v1/inferences", events(200), 60), range(total // 1000)))
            while count(system, "inferences") < base + total // 5:
                time.sleep(0.2)


def cpu_of(system: System) -> dict[str, float]:
    """CPU seconds of each process so far."""
    times = {child.name: psutil.Process(pid).cpu_times() for child in system.supervisor.children if (pid := system.pid(child.name))}
    return {name: one.user + one.system for name, one in times.items()}


def memory(system: System, name: str) -> float:
    """Resident MiB."""
    return float(psutil.Process(system.pid(name)).memory_info().rss) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=20, help="of the delay's run; 0 leaves it out")
    parser.add_argument("--soak", type=int, default=0, help="events of the memory run; 500000 takes some minutes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder), SETTINGS) as system:
        print(json.dumps({"cores": psutil.cpu_count(), "load": round(psutil.getloadavg()[0], 1)}))
        throughput(system, 2_000)  # warms everything up
        throughput(system, given.events)
        if given.seconds:
            delay(system, 500, given.seconds)
        if given.soak:
            soak(system, given.soak)


if __name__ == "__main__":
    main()
