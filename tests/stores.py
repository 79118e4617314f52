"""A real embedded store for tests: a process of its own on a folder, at a free port."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from driftwheel.store.clickhouse import ClickHouse, StoreSettings

PASSWORD = "tests only"
STARTS_WITHIN_S = 60.0


@dataclass(slots=True)
class RunningStore:
    """A running store: where it listens, the password of `default`, and its process."""

    port: int
    password: str
    process: "subprocess.Popen[str]"

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def settings(self) -> StoreSettings:
        """For the product's own client."""
        return StoreSettings(port=self.port, password=self.password, timeout_s=30)

    def client(self) -> ClickHouse:
        """The product's own client."""
        return ClickHouse(self.settings)


@contextmanager
def running_store(folder: Path, *, password: str = PASSWORD) -> Iterator[RunningStore]:
    """The store in *folder*, ready on entry; ended by SIGTERM on exit, unless it has ended before."""
    process = spawn(folder, password)
    try:
        yield RunningStore(_port(process), password, process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def spawn(folder: Path, password: str = PASSWORD, port: int = 0) -> "subprocess.Popen[str]":
    """The store's process, perhaps not ready yet; what it says is on its stdout."""
    return subprocess.Popen(
        [sys.executable, "-m", "driftwheel.store.embedded", "--path", str(folder), "--port", str(port), "--parent-pid", str(os.getpid())],
        env=os.environ | {"DRIFTWHEEL_STORE__PASSWORD": password, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _port(process: "subprocess.Popen[str]") -> int:
    """The port that *process* says it listens on; raises AssertionError with what it said instead."""
    assert process.stdout is not None
    said: list[str] = []
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        ready, _, _ = select.select([process.stdout], [], [], 0.2)
        line = process.stdout.readline() if ready else ""
        if line.startswith("listening on "):
            return int(line.rsplit(":", 1)[1])
        said.append(line)
        if not line and process.poll() is not None:
            break
    process.kill()
    raise AssertionError(f"the store did not start: {''.join(said)}")


def ask(http: httpx.Client, sql: str | bytes, headers: Mapping[str, str] | None = None, /, **url: str | int) -> httpx.Response:
    """POST *sql*; *url* are its parameters."""
    return http.post("/", params={name: str(value) for name, value in url.items()}, content=sql, headers=headers)


def failed(answer: httpx.Response, code: int) -> None:
    """A ClickHouse error: the code in text and header, a name, no word of Python."""
    assert answer.headers["x-clickhouse-exception-code"] == str(code), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert answer.text.rstrip().endswith("(chDB))")
    for word in ("Traceback", "codec", "Expecting value", "NoneType", "Error("):
        assert word not in answer.text
