"""The collector as a process would run it: a real socket, a taken port, a stop that loses nothing."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import httpx
import pytest

from collecting import an_inference
from driftwheel.bus import Outgoing
from driftwheel.collector import CollectorSettings, Key
from driftwheel.collector.app import Collector, create_app
from driftwheel.collector.serve import listen, serve
from driftwheel.errors import ConfigError, InUse
from driftwheel.testing_bus import MemoryBus
from driftwheel_schemas import topics
from driftwheel_schemas.topics import INFERENCES


class SlowBus(MemoryBus):
    """Takes a while to append, and says when it has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def append(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        self.begun.set()
        await self.go.wait()
        return await super().append(records)


@contextlib.asynccontextmanager
async def served(bus: MemoryBus) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Task[None]]]:
    settings = CollectorSettings(port=0)
    await bus.ensure(list(topics().values()))
    app = create_app(Collector(bus, settings, lambda: datetime.now(UTC)))
    stop = asyncio.Event()
    with listen(settings) as where:
        task = asyncio.create_task(serve(app, settings, stop, where))
        yield f"http://127.0.0.1:{where.getsockname()[1]}", stop, task
        stop.set()
        await task


def test_a_stop_finishes_what_is_under_way_and_refuses_the_rest() -> None:
    """The request in flight gets its 202 after the stop; a new connection is refused."""

    async def scene() -> None:
        bus = SlowBus()
        event = an_inference(started_at=datetime.now(UTC).isoformat())
        async with served(bus) as (url, stop, task), httpx.AsyncClient(base_url=url) as client:
            under_way = asyncio.create_task(client.post("/v1/inferences", json=event))
            await bus.begun.wait()
            stop.set()
            refused = False
            for _ in range(300):
                try:
                    async with httpx.AsyncClient(base_url=url) as other:
                        await other.get("/health/live")
                except httpx.TransportError:
                    refused = True
                    break
                await asyncio.sleep(0.01)
            assert refused
            assert not under_way.done()
            bus.go.set()
            assert (await under_way).status_code == 202
            await asyncio.wait_for(asyncio.shield(task), 10)
            assert len(bus.records(INFERENCES)) == 1

    asyncio.run(scene())


PROCESS = """
import sys
from datetime import UTC, datetime
from driftwheel.collector import CollectorSettings
from driftwheel.collector.app import Collector, create_app
from driftwheel.collector.serve import run
from driftwheel.testing_bus import MemoryBus
settings = CollectorSettings(port=int(sys.argv[1]))
run(create_app(Collector(MemoryBus(), settings, lambda: datetime.now(UTC))), settings)
"""


def test_a_process_ends_by_the_signal_that_stops_it() -> None:
    """SIGTERM ends `run` in good time, and the supervisor sees by what."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", PROCESS, str(port)], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        for _ in range(2_000):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/health/live").json() == {"live": True}:
                    break
            time.sleep(0.01)
        process.terminate()
        assert process.wait(15) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def test_a_client_that_hangs_up_leaves_nothing_behind() -> None:
    """Half a body is no event, and its bytes are given back."""

    async def scene() -> None:
        bus = MemoryBus()
        async with served(bus) as (url, _, _task), httpx.AsyncClient(base_url=url) as client:
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
            writer.write(b'POST /v1/inferences HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n[{"id": "')
            await writer.drain()
            writer.close()
            for _ in range(200):
                page = (await client.get("/metrics")).text
                if 'reason="disconnect"' in page:
                    break
                await asyncio.sleep(0.01)
            assert 'driftwheel_collector_rejected_total{event="inference",reason="disconnect"} 1.0' in page
            assert "driftwheel_collector_in_flight_bytes 0.0" in page
            assert not bus.records(INFERENCES)

    asyncio.run(scene())


def test_a_taken_port_says_whose_and_what_to_do() -> None:
    """`InUse` names the port and the flag; for 4318 also who else likes it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InUse, match=f"port {port} is taken; stop what listens there or take another with --port"):
            listen(CollectorSettings(port=port))


def test_a_host_that_is_none_is_a_setting_to_mend() -> None:
    """No traceback of the socket library."""
    with pytest.raises(ConfigError, match=r"collector\.host"):
        listen(CollectorSettings(host="203.0.113.1", port=0, keys={"k": Key(sha256="0" * 64)}))
