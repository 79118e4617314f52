"""
What the SDK costs its host: import, one `record()` on the calling thread, 200 tasks, a burst, a hanging collector.

    python benchmarks/sdk.py

Ratios within one run; the references are the standard library doing what a snapshot has to do at least
(`copy.deepcopy`, `json.dumps` of the same messages), and the same program without the SDK.
"""

import asyncio
import copy
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

from driftwheel import Client, Limits

ROOMY = Limits(max_items=1_000_000, max_bytes=1 << 30)
MESSAGES = [
    {"role": "system", "content": "You help the customers of a bookshop. " * 7},
    {"role": "user", "content": "Do you have books about lighthouses? " * 7},
    {"role": "assistant", "content": "Yes, three of them. " * 10},
    {"role": "user", "content": "Which one would you give to a child of eight? " * 5},
]


def serve(delay_s: float, told: Connection) -> None:
    """A collector in a process of its own, so that it takes no interpreter time from the host."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            time.sleep(delay_s)
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's own name
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.send(server.server_address[1])
    server.serve_forever()


def collector(delay_s: float = 0.0) -> tuple[str, Callable[[], None]]:
    """The endpoint of a fresh collector that answers after *delay_s*, and what ends it."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(delay_s, there), daemon=True)
    process.start()
    return f"http://127.0.0.1:{here.recv()}", process.terminate


def imports() -> None:
    def best(code: str) -> float:
        took = []
        for _ in range(9):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            took.append(time.perf_counter() - began)
        return min(took) * 1e3

    bare = best("pass")
    for code in (
        "import json",
        "import http.client",
        "import driftwheel_schemas",
        "import driftwheel",
        "import driftwheel; driftwheel.init()",
    ):
        print(f"{code:<44} {best(code) - bare:6.1f} ms over bare Python ({bare:.1f} ms)")


def spread(work: Callable[[], object], count: int, pace_s: float) -> str:
    """Wall time and CPU time of the calling thread, p50 and p99 in µs."""
    wall, cpu = [], []
    for _ in range(count):
        began, began_cpu = time.perf_counter_ns(), time.thread_time_ns()
        work()
        cpu.append(time.thread_time_ns() - began_cpu)
        wall.append(time.perf_counter_ns() - began)
        if pace_s:
            time.sleep(pace_s)

    def at(taken: list[int], share: float) -> float:
        return sorted(taken)[int(len(taken) * share)] / 1e3

    return f"wall p50 {at(wall, 0.5):6.1f}  p99 {at(wall, 0.99):6.1f}   cpu p50 {at(cpu, 0.5):6.1f}  p99 {at(cpu, 0.99):6.1f} µs"


def calls(endpoint: str) -> None:
    client = Client(endpoint, "bench", limits=ROOMY)

    def record() -> None:
        client.record(
            prompt=MESSAGES, response="The one about the dog.", model="gpt-4o-mini", latency_s=1.2, input_tokens=220, session_id="s-1"
        )

    works: dict[str, Callable[[], object]] = {
        "record()": record,
        "deepcopy": lambda: copy.deepcopy(MESSAGES),
        "json.dumps": lambda: json.dumps(MESSAGES),
    }
    record()
    for pace_s, count in ((0.001, 2000), (0.0, 20_000)):
        for name, work in works.items():
            print(f"{name:<12} {'paced 1 ms' if pace_s else 'unpaced':<12} {spread(work, count, pace_s)}")
    began = time.process_time()
    for _ in range(10_000):
        record()
    assert client.flush(60).ok
    print(f"all work for one event, both threads: {(time.process_time() - began) / 10_000 * 1e6:.0f} µs CPU; {client.shutdown()}")


def tasks(endpoint: str) -> None:
    """200 concurrent tasks that wait 20 ms for an answer and parse it; throughput with and without the SDK."""
    answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": "word " * 200}}]})

    async def task(client: Client | None) -> None:
        for _ in range(40):
            await asyncio.sleep(0.02)
            said = json.loads(answer)["choices"][0]["message"]["content"]
            if client is not None:
                client.record(prompt=MESSAGES, response=said, model="gpt-4o-mini", latency_s=0.02)

    async def throughput(client: Client | None) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(task(client) for _ in range(200)))
        return 8000 / (time.perf_counter() - began)

    client = Client(endpoint, "bench", limits=ROOMY)
    without, with_sdk = [], []
    for _ in range(3):
        without.append(asyncio.run(throughput(None)))
        with_sdk.append(asyncio.run(throughput(client)))
    print(
        f"200 tasks: {max(without):.0f} calls/s without, {max(with_sdk):.0f} with: {max(with_sdk) / max(without):.2f}; {client.shutdown(10)}"
    )


def burst(endpoint: str) -> None:
    client = Client(endpoint, "bench")
    began = time.perf_counter()
    for _ in range(20_000):
        client.record(prompt=MESSAGES, response="The one about the dog.", model="gpt-4o-mini")
    took = time.perf_counter() - began
    most = client.stats().pending_bytes >> 20
    print(f"burst of 20,000 in {took:.2f} s, answers take 50 ms: {client.shutdown(120)}; {most} MiB pending at its end")


def hanging(endpoint: str) -> None:
    client = Client(endpoint, "bench")
    for _ in range(1000):
        client.record(prompt=MESSAGES)
    began = time.perf_counter()
    result = client.shutdown()
    print(f"hanging collector: shutdown after {time.perf_counter() - began:.2f} s; {result}")


if __name__ == "__main__":
    imports()
    for delay_s, measures in ((0.0, (calls, tasks)), (0.05, (burst,)), (60.0, (hanging,))):
        where, end = collector(delay_s)
        for measure in measures:
            measure(where)
        end()
