"""The embedded system as tests run it: real processes on a temporary folder, without embeddings unless asked for."""

import asyncio
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from driftwheel.config import load
from driftwheel.errors import DriftwheelError
from driftwheel.store.clickhouse import ClickHouse, StoreSettings
from driftwheel.supervisor import PROCESSES, Running, Supervisor

CHEAP: Mapping[str, Sequence[str]] = {name: PROCESSES[name] for name in ("store", "collector", "workers", "detection")}

SETTINGS = """
[collector]
port = 0

[shell]
linger_s = 0.1
tick_s = 0.3
"""


@dataclass(slots=True)
class System:
    """A running system: where it is, its store, and its processes by name."""

    folder: Path
    running: Running
    store: ClickHouse
    supervisor: Supervisor

    def pid(self, name: str) -> int | None:
        """The process called *name*, if it runs now."""
        child = next(child for child in self.supervisor.children if child.name == name)
        return child.process.pid if child.process and child.process.returncode is None else None

    def post(self, path: str, events: object, timeout_s: float = 15.0) -> dict[str, object]:
        """POST *events* as JSON. Raises `OSError` for whatever a kill does to the answer."""
        url = f"http://{self.running.host}:{self.running.collector_port}{path}"
        request = urllib.request.Request(url, json.dumps(events).encode(), {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                found: dict[str, object] = json.load(answer)
        except HTTPException as cut:  # killed between the head of the answer and its body
            raise OSError(str(cut)) from cut
        return found


@contextmanager
def running_system(folder: Path, settings: str = SETTINGS, processes: Mapping[str, Sequence[str]] = CHEAP) -> Iterator[System]:
    """The system in a thread of its own, so that a test can kill its processes meanwhile."""
    config = folder / "driftwheel.toml"
    config.write_text(settings, "utf-8")
    supervisor = Supervisor(load(config, {"DRIFTWHEEL_DATA": str(folder / "data")}), config, processes=processes)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        running = asyncio.run_coroutine_threadsafe(supervisor.start(), loop).result(120)
        store = ClickHouse(StoreSettings(port=running.store_port, password=running.store_password))
        yield System(folder / "data", running, store, supervisor)
    finally:
        asyncio.run_coroutine_threadsafe(supervisor.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def kill(pid: int | None) -> None:
    """Kill -9; None is already dead."""
    if pid is not None:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass  # it was just going


def count(system: System, table: str, where: str = "1") -> int:
    """Rows by id; -1 while the store is away."""
    try:
        return int(system.store.query(f"SELECT uniqExact(id) AS n FROM driftwheel.{table} WHERE {where}")[0]["n"])
    except DriftwheelError:
        return -1


def until(done: Callable[[], bool], within_s: float) -> None:
    """Wait for *done*."""
    end = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < end, "not done in time"
        time.sleep(0.3)
