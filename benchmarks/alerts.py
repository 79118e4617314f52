"""
From an event to a person: seconds from the POST that breaks something to the notice at the receiver, on the whole system.

Everything is real and on this machine: collector, bus, workers, store, detection, rules, triggers, and a webhook that is
signed and received. `python benchmarks/alerts.py [--apps 20] [--kafka]`. Target: p95 below 5 s, embedded and on Kafka.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel_schemas import new_id, topics
from kafka_broker import Broker, missing
from system import System, count, running_system, until

PROCESSES: Mapping[str, Sequence[str]] = {
    "store": ("store",),
    "collector": ("collector",),
    "workers": ("signals", "feedback"),
    "detection": ("detection", "rules", "triggers"),
}
RANDOM = Random(3)


class Receiver:
    """Notes when the first notice of each app and kind arrived."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, str], float] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["content-length"])))
                detector = event["data"]["labels"]["detector"].split(".")[0]
                receiver.at.setdefault((event["data"]["app"], detector), time.monotonic())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_port


def settings(receiver: Receiver, servers: str) -> str:
    kafka = f'[bus.kafka]\nservers = "{servers}"\n' if servers else ""
    return f"""
[collector]
port = 0
{kafka}
[[rules]]
name = "errors"
kind = "limit"
signal = "error.flag"
above = 0.2
window = "1m"
severity = "page"

[[actions]]
name = "oncall"
use = "webhook"
params = {{ url = "http://127.0.0.1:{receiver.port}/", secret = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=" }}

[notify]
allow_private = ["127.0.0.1"]
"""


@contextmanager
def system(receiver: Receiver, broker: Broker | None) -> Iterator[System]:
    if broker:
        asyncio.run(make_topics(broker))
    with (
        tempfile.TemporaryDirectory() as folder,
        running_system(Path(folder), settings(receiver, broker.servers if broker else ""), PROCESSES) as up,
    ):
        yield up


async def make_topics(broker: Broker) -> None:
    bus = KafkaBus(KafkaSettings(servers=broker.servers))
    await bus.ensure(list(topics().values()))
    await bus.close()


def calls(app: str, n: int, *, slow: bool = False, error: str = "") -> list[dict[str, object]]:
    now = datetime.now(UTC).isoformat()
    return [
        {
            "id": new_id(),
            "app": app,
            "model": "m",
            "started_at": now,
            "session_id": new_id(),
            "latency_s": RANDOM.lognormvariate(2.5 if slow else 0.0, 0.3),
            "error_type": error,
        }
        for _ in range(n)
    ]


def measure(up: System, receiver: Receiver, apps: int) -> Iterator[tuple[str, list[float]]]:
    """Each way to a notice, one app after the other at moments that have nothing to do with the workers' clocks."""
    names = [f"app{n}" for n in range(apps)]
    for name in names:  # what is usual: a reference of 200 units
        up.post("/v1/inferences", calls(name, 260))
    until(lambda: count(up, "inferences") == 260 * apps, 120)
    time.sleep(8)  # until the detectors have it
    ways: dict[str, tuple[str, Callable[[str], object]]] = {
        "drift: 60 slow calls": ("conformal", lambda name: up.post("/v1/inferences", calls(name, 60, slow=True))),
        "rule: a limit over one minute": ("rule", lambda name: up.post("/v1/inferences", calls(name, 130, error="Timeout"))),
        "alert of the team's own": ("alert", lambda name: up.post("/v1/hooks/alertmanager", {"version": "4", "alerts": [alert(name)]})),
    }
    for what, (detector, do) in ways.items():
        began = {}
        for name in names:
            began[name] = time.monotonic()
            do(name)
            time.sleep(RANDOM.uniform(0.2, 0.9))
        until(lambda: all((name, detector) in receiver.at for name in names), 60)  # noqa: B023  waited for at once
        yield what, [receiver.at[name, detector] - began[name] for name in names]


def alert(app: str) -> dict[str, object]:
    return {"status": "firing", "labels": {"alertname": "Complaints", "app": app}, "startsAt": datetime.now(UTC).isoformat()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=20)
    parser.add_argument("--kafka", action="store_true", help="on a real broker of its own; needs java")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        broker: Broker | None = None
        if chosen.kafka:
            if why := missing():
                sys.exit(why)
            broker = Broker(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "kafka", heap="512m")
            broker.start()
            stack.callback(broker.stop)
        receiver = Receiver()
        up = stack.enter_context(system(receiver, broker))
        for what, waits in measure(up, receiver, chosen.apps):
            cuts = statistics.quantiles(waits, n=20)
            where = "Kafka" if broker else "embedded"
            print(
                f"{where:<9} {what:<32} delivered after {statistics.median(waits):4.1f} s median, {cuts[18]:4.1f} s p95 (target 5 s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
