"""
The embedded system: one supervisor over the store, the collector, the workers and the jobs (docs/architecture.md).

Every role is a process of its own and may be killed at any time: it is started again, with growing pauses. When the
supervisor goes, all go: each child watches its parent.
"""

import asyncio
import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from driftwheel.config import Settings
from driftwheel.errors import DriftwheelError, InUse

log = logging.getLogger(__name__)

PROCESSES: Mapping[str, tuple[str, ...]] = {
    "store": ("store",),
    "collector": ("collector",),
    "workers": ("signals", "feedback"),
    "detection": ("detection", "rules", "triggers"),
    "enrich": ("enrich",),
    "jobs": ("jobs",),
}
"""
Process → roles. The store and torch each have their own, since they may take a process down; detection has one so that
it does not take the interpreter from the signals, which need some 160 µs an event for themselves.
"""

RESTART_FIRST_S, RESTART_MOST_S, HEALTHY_AFTER_S = 0.2, 10.0, 30.0
LOG_BYTES = 10 * 1024**2
STOP_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where a running embedded system is found; kept in `run.json` in its data folder, readable by its owner only."""

    pid: int
    host: str
    collector_port: int
    store_port: int
    store_password: str
    metrics_ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Child:
    """One supervised process."""

    name: str
    roles: Sequence[str]
    process: asyncio.subprocess.Process | None = None
    starts: int = 0


@dataclass(slots=True)
class Supervisor:
    """Starts the processes, keeps them running, stops them. Holds the lock of the data folder meanwhile."""

    settings: Settings
    config: Path | None = None
    processes: Mapping[str, Sequence[str]] = field(default_factory=lambda: PROCESSES)
    children: list[Child] = field(default_factory=list)
    _running: Running | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    _lock: int = -1

    async def start(self) -> Running:
        """
        Start everything; returns when the collector takes events.

        Raises `InUse` when the data folder or the port belongs to another process.
        """
        data = self.settings.data
        (data / "logs").mkdir(parents=True, exist_ok=True)
        self._lock = lock(data)
        at = self.settings.collector
        check_port(at.host, at.port)
        store_port = self.settings.store.port or free_port()
        collector_port = at.port or free_port()
        self._running = Running(
            pid=os.getpid(),
            host=at.host,
            collector_port=collector_port,
            store_port=store_port,
            store_password=self.settings.store.password or _password(data),
            metrics_ports={name: free_port() for name in self.processes if name not in ("store", "collector")},
        )
        write_running(data, self.running)
        self.children = [Child(name, roles) for name, roles in self.processes.items()]
        await self._up([child for child in self.children if child.name == "store"], store_port)
        await self._once("admin", "migrate")
        await self._once("admin", "topics", "apply")
        await self._up([child for child in self.children if child.name != "store"], collector_port)
        return self.running

    @property
    def running(self) -> Running:
        """Where the system is found. Raises `DriftwheelError` before `start`."""
        if self._running is None:
            raise DriftwheelError("the supervisor has not been started")
        return self._running

    async def stop(self) -> None:
        """Stop the processes, the store last, and let the data folder go."""
        self._stop.set()
        for names in ({child.name for child in self.children} - {"store"}, {"store"}):
            await asyncio.gather(*(self._end(child) for child in self.children if child.name in names))
        await asyncio.gather(*self._tasks)
        if self._lock >= 0:
            (self.settings.data / "run.json").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    async def _up(self, children: Sequence[Child], port: int) -> None:
        self._tasks += [asyncio.create_task(self._keep(child), name=child.name) for child in children]
        await wait_for_port(self.running.host, port, children, self.settings.data)

    async def _keep(self, child: Child) -> None:
        """Run *child* until told to stop, again and again."""
        pause = RESTART_FIRST_S
        while not self._stop.is_set():
            started = time.monotonic()
            code = await (await self._spawn(child)).wait()
            if self._stop.is_set():
                return
            pause = RESTART_FIRST_S if time.monotonic() - started > HEALTHY_AFTER_S else min(2 * pause, RESTART_MOST_S)
            log.warning("%s ended with %s; starts again in %.1f s (its log: %s)", child.name, code, pause, self._log(child.name))
            try:
                await asyncio.wait_for(self._stop.wait(), pause)
            except TimeoutError:
                continue

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        with _append(self._log(child.name)) as out:
            child.process = await asyncio.create_subprocess_exec(
                *self._argv("run", *child.roles, "--parent-pid", str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environ() | self._metrics(child.name),
                start_new_session=True,  # a Ctrl-C goes to the supervisor alone, which stops the rest in order
            )
        child.starts += 1
        return child.process

    async def _once(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._argv(*arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=self._environ()
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise DriftwheelError(f"{' '.join(arguments)} failed: {out.decode(errors='replace')[-2000:].strip()}")

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            log.warning("%s did not stop within %.0f s; it is killed (what it had in hand is done again)", child.name, STOP_WITHIN_S)
            process.kill()
            await process.wait()

    def _argv(self, *arguments: str) -> list[str]:
        config = ["--config", str(self.config)] if self.config else []
        return [sys.executable, "-m", "driftwheel", *config, *arguments]

    def _environ(self) -> dict[str, str]:
        return os.environ | {
            "DRIFTWHEEL_DATA": str(self.settings.data.absolute()),
            "DRIFTWHEEL_COLLECTOR__HOST": self.running.host,
            "DRIFTWHEEL_COLLECTOR__PORT": str(self.running.collector_port),
            "DRIFTWHEEL_STORE__PORT": str(self.running.store_port),
            "DRIFTWHEEL_STORE__PASSWORD": self.running.store_password,
        }

    def _metrics(self, name: str) -> dict[str, str]:
        port = self.running.metrics_ports.get(name)
        return {"DRIFTWHEEL_METRICS_PORT": str(port)} if port else {}

    def _log(self, name: str) -> Path:
        return self.settings.data / "logs" / f"{name}.log"


def lock(data: Path) -> int:
    """Take the data folder; the descriptor holds the lock until it is closed or the process ends."""
    held = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        os.close(held)
        owner = find_running(data)
        who = f" (process {owner.pid}, http://{owner.host}:{owner.collector_port})" if owner else ""
        raise InUse(f"{data}: another driftwheel runs on this folder{who}; stop it, or give another folder with --data") from taken
    return held


def check_port(host: str, port: int) -> None:
    """Raise `InUse` when *port* is taken; 0 means any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as taken:
            hint = "; an OpenTelemetry collector uses 4318 too" if port == 4318 else ""
            raise InUse(f"{host}:{port} is taken{hint}. Take another with --port, or stop the other program") from taken


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_for_port(host: str, port: int, children: Sequence[Child], data: Path, within_s: float = 90.0) -> None:
    """Until something listens on *port*. Raises `DriftwheelError` with the end of the log when a child keeps failing."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            failing = next((child for child in children if child.starts > 3), None)
            if failing:
                break
            await asyncio.sleep(0.1)
        else:
            writer.close()
            await writer.wait_closed()
            return
    name = next((child.name for child in children if child.starts > 1), children[0].name)
    text = (data / "logs" / f"{name}.log").read_text("utf-8", "replace")
    raise DriftwheelError(f"{name} does not come up on port {port}; the end of {data / 'logs' / name}.log:\n{text[-1500:]}")


def write_running(data: Path, running: Running) -> None:
    """Say where the system is found."""
    file = data / "run.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(asdict(running)), "utf-8")


def find_running(data: Path) -> Running | None:
    """Where the system on *data* is found, if one is up."""
    try:
        return Running(**json.loads((data / "run.json").read_text("utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None  # none is up, or it is just starting


def _password(data: Path) -> str:
    """The embedded store's password: made once, readable by the owner of the folder only."""
    file = data / "store.key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24), "utf-8")
    return file.read_text("utf-8")


def _append(file: Path) -> IO[bytes]:
    """The log of a process, begun anew when the old one has grown over 10 MiB; one old one is kept."""
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".log.1"))
    return file.open("ab")
