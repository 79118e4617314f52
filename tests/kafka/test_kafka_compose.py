"""Every service of docker-compose.yml starts here as a process, with its own command and variables, on a real Kafka."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from deploying import DEPLOY, Service, services_of_ours
from driftwheel.supervisor import free_port
from kafka_broker import Broker
from kafka_system import until
from stores import PASSWORD, RunningStore, running_store

ONCE = ("topics", "migrate")


def environment(service: Service, secrets: Path, broker: Broker, store: RunningStore, port: int) -> dict[str, str]:
    """The variables of *service*, pointed at what runs here; the store's password is that of this run's store."""
    here = service.here(
        secrets,
        DRIFTWHEEL_BUS__KAFKA__SERVERS=broker.servers,
        DRIFTWHEEL_BUS__KAFKA__NAMESPACE="compose.",
        DRIFTWHEEL_STORE__HOST="127.0.0.1",
        DRIFTWHEEL_STORE__PORT=str(store.port),
        DRIFTWHEEL_STORE__USER="default",
        DRIFTWHEEL_METRICS_HOST="127.0.0.1",
    )
    name = "DRIFTWHEEL_COLLECTOR__PORT" if service.name == "collector" else "DRIFTWHEEL_METRICS_PORT"
    ours = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "DRIFTWHEEL_DATA": str(secrets.parent / service.name), name: str(port)}
    return {key: value for key, value in os.environ.items() if not key.startswith("DRIFTWHEEL_")} | here | ours


def start(service: Service, folder: Path, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """`driftwheel` with the service's own command and the settings file of the containers."""
    command = [sys.executable, "-m", "driftwheel", "--config", str(DEPLOY / "driftwheel.toml"), *service.command]
    with (folder / f"{service.name}.log").open("wb") as out:
        return subprocess.Popen(command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def ready(port: int) -> bool:
    """What the health check of the container asks."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=4) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_service_of_compose_starts_and_stops_in_order(broker: Broker, tmp_path: Path) -> None:
    """One-shots end with 0, the others become ready as their health check asks, and end with 0 within compose's 30 s of SIGTERM."""
    secrets = tmp_path / "secrets"
    subprocess.run(["bash", str(DEPLOY / "secrets.sh"), str(secrets)], check=True, capture_output=True)
    (secrets / "clickhouse_password").write_text(PASSWORD, "utf-8")
    services = {service.name: service for service in services_of_ours()}
    running: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    with running_store(tmp_path / "store") as store:
        try:
            for name in (*ONCE, *(name for name in services if name not in ONCE)):
                port = free_port()
                process = start(services[name], tmp_path, environment(services[name], secrets, broker, store, port))
                if name in ONCE:
                    assert process.wait(60) == 0, (tmp_path / f"{name}.log").read_text("utf-8")
                else:
                    running[name] = process, port
            for name, (process, port) in running.items():
                log = tmp_path / f"{name}.log"
                until(lambda port=port, process=process: ready(port) or process.poll() is not None, 120)  # type: ignore[misc]
                assert process.poll() is None, log.read_text("utf-8")[-3000:]
            began = time.monotonic()
            for process, _ in running.values():
                process.terminate()
            assert {name: process.wait(30) for name, (process, _) in running.items()} == dict.fromkeys(running, 0)
            assert time.monotonic() - began < 25  # 2.5 s as a rule; who stops in a rebalance waits for a dead member's session (15 s)
        finally:
            for process, _ in running.values():
                process.kill()
    assert set(running) == {"collector", "signals", "feedback", "enrich", "detection", "triggers", "jobs"}
