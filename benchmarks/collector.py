"""
The collector's price: events per CPU second of its process at 1, 10 and 100 events a request, beside a bare floor.

    python benchmarks/collector.py [--seconds 3] [--connections 16]

The floor is FastAPI with a route that reads the body and answers 202: nothing that takes events over HTTP with FastAPI
can be cheaper. Both run in the same call, each in a process of its own (uvicorn, loopback), so compare within a run only.
An event has 1.1 KB. The bus is the local log where it is installed, and a list in memory beside it.
"""

import argparse
import asyncio
import json
import os
import pkgutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import psutil
import uvloop
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from driftwheel.bus import Bus
from driftwheel.collector import CollectorSettings
from driftwheel.collector.app import Collector, create_app
from driftwheel.collector.serve import serving
from driftwheel.memory import calm_memory
from driftwheel.testing_bus import MemoryBus
from driftwheel_schemas import new_id, topics

SIZES = (1, 10, 100)


@dataclass
class Measured:
    """What one server did: CPU is that of its process."""

    events: int
    cpu_s: float
    wall_s: float
    latencies: list[float]


def floor() -> FastAPI:
    """Reads the body and answers."""
    app = FastAPI()

    @app.post("/v1/inferences")
    async def inferences(request: Request) -> Response:
        await request.body()
        return Response(b'{"accepted":1,"rejected":[]}', 202, media_type="application/json")

    return app


async def serve(mode: str, folder: str, handed: int) -> None:
    """The server process: *mode* behind the listening socket *handed*."""
    calm_memory()
    app = (
        floor()
        if mode == "floor"
        else create_app(Collector(await bus_of(mode, Path(folder)), CollectorSettings(), lambda: datetime.now(UTC)))
    )
    await serving(app, CollectorSettings()).serve(sockets=[socket.socket(fileno=handed)])


async def bus_of(mode: str, folder: Path) -> Bus:
    """A fresh bus with every topic."""
    if mode == "memory":
        bus: Bus = MemoryBus()
    else:
        bus = pkgutil.resolve_name("driftwheel.bus.local:LocalBus")(folder)
    await bus.ensure(list(topics().values()))
    return bus


def requests(size: int) -> list[bytes]:
    """A hundred requests of *size* events each, ready to be written."""
    return [_request(json.dumps([_event(i) for i in range(size)]).encode()) for _ in range(100)]


def _event(i: int) -> dict[str, object]:
    return {
        "id": new_id(),
        "app": "shop",
        "started_at": datetime.now(UTC).isoformat(),
        "model": "gpt-4o",
        "prompt": [
            {"role": "system", "content": "You help the customers of a shop."},
            {"role": "user", "content": "Where is my parcel? " * 12},
        ],
        "response": "It will arrive on Monday, between nine and noon. " * 8,
        "latency_s": 1.2,
        "input_tokens": 100,
        "output_tokens": 80,
        "cost_usd": "0.0012",
        "session_id": new_id(),
        "user_id": f"u{i}",
        "environment": "prod",
        "attributes": {"tier": "gold"},
    }


def _request(body: bytes) -> bytes:
    head = f"POST /v1/inferences HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def load(port: int, ready: Sequence[bytes], connections: int, until: float) -> list[float]:
    """Post round and round on *connections* until the clock says *until*; the seconds each request took."""
    took: list[float] = []

    async def one(start: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = start
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(ready[turn % len(ready)])
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 202 " not in head[:20]:
                raise RuntimeError(head.decode())
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            took.append(time.perf_counter() - began)
            turn += 1
        writer.close()

    await asyncio.gather(*(one(i * 7) for i in range(connections)))
    return took


def measure(mode: str, size: int, seconds: float, connections: int) -> Measured:
    """Start a server, warm it up, load it for *seconds*."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=512) as where:
        where.set_inheritable(True)
        command = [sys.executable, __file__, "--serve", mode, folder, str(where.fileno())]
        server = subprocess.Popen(command, pass_fds=[where.fileno()], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
        try:
            port = where.getsockname()[1]
            ready = requests(size)
            asyncio.run(load(port, ready, connections, time.perf_counter() + 0.7))
            process = psutil.Process(server.pid)
            before, began = process.cpu_times(), time.perf_counter()
            took = asyncio.run(load(port, ready, connections, began + seconds))
            after, ended = process.cpu_times(), time.perf_counter()
        finally:
            server.terminate()
            server.wait(20)
    cpu = after.user + after.system - before.user - before.system
    return Measured(len(took) * size, cpu, ended - began, sorted(took))


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        mode, folder, handed = given.serve
        uvloop.run(serve(mode, folder, int(handed)))
        return
    modes = ["floor", "memory", *(["local"] if find_spec("driftwheel.bus.local") else [])]
    print(
        f"{'server':8} {'events a request':>16} {'events/CPU-s':>13} {'µs CPU/event':>13} {'events/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'of floor':>9}"
    )
    for size in SIZES:
        base = 0.0
        for mode in modes:
            m = measure(mode, size, given.seconds, given.connections)
            rate = m.events / m.cpu_s
            base = base or rate
            p50, p99 = (m.latencies[int(len(m.latencies) * q)] * 1e3 for q in (0.5, 0.99))
            row = (
                f"{mode:8} {size:16} {rate:13,.0f} {1e6 / rate:13.1f} {m.events / m.wall_s:9,.0f} {p50:7.1f} {p99:7.1f} {rate / base:9.2f}"
            )
            print(row, flush=True)


if __name__ == "__main__":
    main()
