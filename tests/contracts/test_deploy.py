"""
docker-compose.yml, Dockerfile and what they mount: every name leads somewhere, and every container is held small.

No Docker is needed. What only an engine can tell is told by deploy/smoke.sh, which the workflow `compose` runs.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploying import COMPOSE, DEPLOY, ROOT, WORKFLOW, Service, Tree, compose, make_secrets, ours, secrets_of, services_of_ours, stages
from driftwheel.cli import app
from driftwheel.config import load
from driftwheel.wiring import ROLES

SERVICES: dict[str, Tree] = compose()["services"]
OURS = services_of_ours()

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
each_of_ours = pytest.mark.parametrize("one", OURS, ids=[one.name for one in OURS])


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(tmp_path_factory.mktemp("deploy") / "secrets")


def stays(service: Tree) -> bool:
    return bool(service["restart"] != "no")


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize(("file", "schema"), [(COMPOSE, "vendor.compose-spec"), (WORKFLOW, "vendor.github-workflows")])
def test_the_file_is_what_its_schema_says(file: Path, schema: str) -> None:
    """A key that nobody knows would be ignored in silence."""
    asked = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_dclint_finds_nothing() -> None:
    """A second reader of the file, where it is installed."""
    found = shutil.which("dclint")
    if not found:
        pytest.skip("dclint is not installed (npm install --global dclint)")
    done = subprocess.run([found, COMPOSE], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_name_leads_somewhere_and_everything_named_is_used() -> None:
    """Networks, volumes, secrets and services: none is misspelt, none is left over."""
    used: dict[str, set[str]] = {"networks": set(), "volumes": set(), "secrets": set()}
    for service in SERVICES.values():
        used["networks"] |= set(service["networks"])
        used["volumes"] |= {name for name, _ in mounts(service) if not name.startswith(".")}
        used["secrets"] |= {name for name, _ in secrets_of(service)}

    assert used == {kind: set(compose()[kind]) for kind in used}


def mounts(service: Tree) -> list[tuple[str, str]]:
    return [(parts[0], ":".join(parts[1:])) for parts in (text.split(":") for text in service.get("volumes", []))]


@each_service
def test_what_is_mounted_is_there_and_read_only(service: Tree) -> None:
    """Docker would make an empty folder of a path that is missing."""
    for source, target in mounts(service):
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert target.endswith(":ro"), source


@each_service
def test_services_wait_for_what_they_need_and_it_is_up_whenever_they_are(service: Tree) -> None:
    """Health for those that stay, the end of those that run once; and nothing of another profile is waited for."""
    for name, how in service.get("depends_on", {}).items():
        other = SERVICES[name]
        assert how == {"condition": "service_healthy" if stays(other) else "service_completed_successfully"}
        assert set(other.get("profiles", [])) <= set(service.get("profiles", []))


def test_nothing_starts_before_its_topics_and_tables_are_there() -> None:
    """Kafka → topics, ClickHouse → migrate, both → everyone of ours that stays."""
    assert set(SERVICES["topics"]["depends_on"]) == {"kafka"}
    assert set(SERVICES["migrate"]["depends_on"]) == {"clickhouse"}
    for service in SERVICES.values():
        if ours(service) and stays(service):
            assert set(service["depends_on"]) == {"topics", "migrate"}


def test_every_variable_of_the_file_has_a_value_without_an_env_file() -> None:
    """`docker compose up` works in a fresh checkout after deploy/secrets.sh."""
    found = re.findall(r"\$\{?(\w+)([^}]*)\}?", COMPOSE.read_text("utf-8"))

    assert {name for name, _ in found} == {"COLLECTOR_PORT", "GRAFANA_PORT"}
    assert all(re.fullmatch(r":-\d+", default) for _, default in found)


def test_the_core_is_useful_and_the_heavy_parts_are_asked_for() -> None:
    """Torch and Grafana come with a profile each."""
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}

    assert {name: of for name, of in profiles.items() if of} == {"enrich": ["enrich"], "jobs": ["train"], "grafana": ["grafana"]}


def test_every_role_is_a_service() -> None:
    """All but the store, which is ClickHouse here."""
    assert {role for one in OURS if one.command[0] == "run" for role in one.command[1:]} == set(ROLES) - {"store"}


@each_of_ours
def test_every_command_is_one_of_the_command_line(one: Service) -> None:
    """A command that was renamed would be an endless restart."""
    done = CliRunner().invoke(app, [*one.command, "--help"])

    assert done.exit_code == 0, done.output


@each_of_ours
def test_every_variable_is_a_setting(one: Service, secrets: Path) -> None:
    """The real reader takes them all, secrets from files included, and the servers are the services of this file."""
    settings = load(DEPLOY / "driftwheel.toml", one.here(secrets))

    host, port = settings.bus.kafka.servers.split(":")
    assert f"PLAINTEXT://{host}:{port}" == SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.bus.kafka.replication == 1
    assert settings.store.host in SERVICES
    assert settings.store.password == (secrets / "clickhouse_password").read_text("utf-8")
    assert set(one.environment.values()) >= set(one.secrets)


@each_service
def test_every_container_is_held_small(service: Tree) -> None:
    """No root, no capabilities, no way to more of them, bounded memory, processes and logs."""
    assert int(service["user"].split(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()


@each_service
def test_only_kafka_writes_outside_its_volumes(service: Tree) -> None:
    """Its start script writes the settings into the image's own folder; all others are read-only with a small /tmp."""
    if service is SERVICES["kafka"]:
        return
    assert service["read_only"] is True
    assert any(one.startswith("/tmp:size=") for one in service["tmpfs"])


@each_service
def test_ports_are_published_on_loopback_only(service: Tree) -> None:
    """What others reach is a proxy's work."""
    assert all(re.match(r"127\.0\.0\.1:\$\{\w+_PORT:-\d+\}:\d+$", port) for port in service.get("ports", []))
    assert not service.get("ports") or "outside" in service["networks"], "a port of an internal network is not published"


def test_kafka_and_clickhouse_are_on_a_network_that_leads_nowhere() -> None:
    """They trust who is on it: Kafka asks for no password here."""
    assert compose()["networks"]["inside"] == {"internal": True}
    assert SERVICES["kafka"]["networks"] == SERVICES["clickhouse"]["networks"] == ["inside"]


@each_service
def test_a_service_tells_its_health_or_runs_once(service: Tree) -> None:
    """And what stays starts again after a crash, and has time to finish what is in hand."""
    if not stays(service):
        assert "healthcheck" not in service
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert seconds(service["stop_grace_period"]) >= 15
    if ours(service):
        port = 4318 if service is SERVICES["collector"] else service["environment"]["DRIFTWHEEL_METRICS_PORT"]
        assert f"http://127.0.0.1:{port}/health/ready" in service["healthcheck"]["test"][-1]
        compile(service["healthcheck"]["test"][-1], "healthcheck", "exec")


@each_service
def test_images_are_pinned_or_built_here(service: Tree) -> None:
    """A tag that moves is not what was tried."""
    name, tag = service["image"].rsplit(":", 1)
    if name == "driftwheel":
        assert service["build"] == {"context": ".", "target": tag}
        assert tag in stages()
    else:
        assert re.fullmatch(r"\d+\.\d+\.\d+(\.\d+)?", tag)


def test_torch_is_only_where_it_is_needed() -> None:
    """The full image is for embedding and training."""
    assert {name for name, one in SERVICES.items() if one["image"] == "driftwheel:full"} == {"enrich", "jobs"}


def test_a_topic_is_never_made_in_passing() -> None:
    """One broker, no automatic topics, and data where the volume is."""
    kafka = SERVICES["kafka"]

    assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert kafka["environment"]["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert mounts(kafka) == [("kafka", kafka["environment"]["KAFKA_LOG_DIRS"])]
    assert {value for name, value in kafka["environment"].items() if "REPLICATION" in name or "MIN_ISR" in name} == {"1"}
