"""The embedded store as a real process, for tests that speak HTTP to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "a-secret"


@dataclass
class Server:
    """A running store: where it listens, and its process."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def client(self, user: str = "default") -> httpx.Client:
        return httpx.Client(base_url=self.url, auth=(user, PASSWORD), timeout=60, trust_env=False)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        return code


def spawn(path: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "driftwheel.store.embedded", "--path", str(path), *arguments]
    environ = os.environ | {"PYTHONPATH": f"{ROOT / 'services'}{os.pathsep}{ROOT / 'schemas'}", "DRIFTWHEEL_STORE__PASSWORD": PASSWORD}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def start(path: Path, *arguments: str) -> Server:
    process = spawn(path, "--port", "0", *arguments)
    assert process.stdout
    line = process.stdout.readline()
    if not line.startswith("listening on "):
        _, errors = process.communicate(timeout=30)
        raise AssertionError(f"the store did not come up: {errors}")
    return Server(line.removeprefix("listening on ").strip(), process)


@contextmanager
def running(path: Path, *arguments: str) -> Iterator[Server]:
    """The store in the folder *path*, on a free port, until the end of the block."""
    server = start(path, *arguments)
    try:
        yield server
    finally:
        server.end()
