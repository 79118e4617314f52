"""deploy/k8s: the manifests are valid, every reference leads somewhere, and pods are as small as a restricted namespace asks."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deploying import BASE, DEPLOY, KEDA, Tree, compose, make_secrets, manifests, moved, services_of_ours
from driftwheel.bus.kafka_client import KafkaSettings, group_id
from driftwheel.cli import app
from driftwheel.config import load
from driftwheel_schemas import topics

ALL = manifests(BASE)
SCALED = manifests(KEDA)
SECRET, PLACE = "driftwheel", "/run/secrets/driftwheel"
KEYS = {"clickhouse_password", "clickhouse_ca.crt", "kafka_password", "kafka_ca.crt", "collector_keys"}


def of(kind: str, among: list[Tree] = ALL) -> dict[str, Tree]:
    """Name → spec of all of one kind."""
    return {one["metadata"]["name"]: one["spec"] for one in among if one["kind"] == kind}


PODS: dict[str, Tree] = {name: spec["template"]["spec"] for kind in ("Deployment", "StatefulSet", "Job") for name, spec in of(kind).items()}
LABELS: dict[str, Tree] = {
    name: spec["template"]["metadata"]["labels"] for kind in ("Deployment", "StatefulSet", "Job") for name, spec in of(kind).items()
}
STAYS = {*of("Deployment"), *of("StatefulSet")}
SETTINGS: dict[str, str] = next(one["data"] for one in ALL if one["metadata"]["name"] == "driftwheel-settings")

each_pod = pytest.mark.parametrize("name", PODS)


def container(name: str) -> Tree:
    (only,) = PODS[name]["containers"]
    found: Tree = only
    return found


def variables(name: str) -> dict[str, str]:
    return SETTINGS | {one["name"]: one["value"] for one in container(name).get("env", [])}


def plain(value: object) -> object:
    """In one order, and config maps without the digest in their names: to be compared."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return sorted((plain(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return re.sub(r"^(driftwheel-(?:settings|toml))-[a-z0-9]{10}$", r"\1", value) if isinstance(value, str) else value


@pytest.mark.parametrize("folder", [BASE, KEDA], ids=lambda one: one.name)
def test_kustomize_builds_what_these_tests_read(folder: Path) -> None:
    """The real one, where it is installed, agrees with the few lines that stand in for it here."""
    kustomize, kubectl = shutil.which("kustomize"), shutil.which("kubectl")
    if not kustomize and not kubectl:
        pytest.skip("neither kustomize nor kubectl is installed")
    command = [kustomize, "build"] if kustomize else [kubectl, "kustomize"]
    done = subprocess.run([*map(str, command), str(folder)], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert plain(list(yaml.safe_load_all(done.stdout))) == plain(manifests(folder))


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_knows_every_field(version: str, tmp_path: Path) -> None:
    """Of the oldest version that can do all of this and of a new one; KEDA's own kinds are not Kubernetes'."""
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(one for one in SCALED if not one["apiVersion"].startswith("keda.sh/")), "utf-8")
    asked = [sys.executable, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", version, str(file)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" passed ") + done.stderr.count(" passed ") == len(of_kubernetes())


def of_kubernetes() -> list[Tree]:
    return [one for one in SCALED if not one["apiVersion"].startswith("keda.sh/")]


def test_every_role_of_compose_runs_here_too_from_the_same_image() -> None:
    """Two ways to deploy, one set of roles and commands."""
    here = {name: (container(name)["image"], tuple(container(name)["args"])) for name in PODS}
    there = {one.name: (compose()["services"][one.name]["image"], one.command) for one in services_of_ours()}

    assert here == there


@each_pod
def test_every_command_is_one_of_the_command_line(name: str) -> None:
    """A command that was renamed would be an endless restart."""
    done = CliRunner().invoke(app, [*container(name)["args"], "--help"])

    assert done.exit_code == 0, done.output


@each_pod
def test_every_variable_is_a_setting(name: str, tmp_path: Path) -> None:
    """The real reader takes them all; a file that they name is a key of the Secret."""
    keys = {f"{PLACE}/{key}": Path(key) for key in KEYS}
    folder = make_secrets(tmp_path / "secrets")
    for key in KEYS - {one.name for one in folder.iterdir()}:
        (folder / key).write_text("x", "utf-8")
    settings = load(BASE / "driftwheel.toml", {key: moved(value, keys, folder) for key, value in variables(name).items()})

    assert settings.bus.kafka.security == "SASL_SSL"
    assert settings.bus.survives_power_loss
    assert settings.store.secure
    assert {value for value in variables(name).values() if value.startswith("/run/")} <= keys.keys()


def test_the_settings_file_is_the_one_of_compose() -> None:
    """Kustomize reads only below its own folder, so there are two; they say the same."""
    assert (BASE / "driftwheel.toml").read_text("utf-8") == (DEPLOY / "driftwheel.toml").read_text("utf-8")


@each_pod
def test_every_pod_is_restricted(name: str) -> None:
    """What the namespace enforces, and a root that cannot be written to."""
    pod, one = PODS[name], container(name)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(compose()["services"]["collector"]["user"].split(":")[0])
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in one["resources"]["limits"]
    assert {"cpu", "memory"} <= one["resources"]["requests"].keys()
    namespace = next(each for each in ALL if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@each_pod
def test_every_reference_leads_somewhere(name: str) -> None:
    """Config maps, volumes and the Secret, which is named and never contained."""
    pod, one = PODS[name], container(name)
    maps = {each["metadata"]["name"] for each in ALL if each["kind"] == "ConfigMap"}
    claims = {claim["metadata"]["name"] for claim in of("StatefulSet").get(name, {}).get("volumeClaimTemplates", [])}

    assert {each["configMapRef"]["name"] for each in one["envFrom"]} <= maps
    assert {each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each} <= maps
    assert [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each] == [SECRET]
    assert {each["name"] for each in one["volumeMounts"]} == {each["name"] for each in pod["volumes"]} | claims
    assert not of_secret()


def of_secret() -> list[Tree]:
    return [one for one in [*ALL, *SCALED] if one["kind"] == "Secret"]


@pytest.mark.parametrize("name", sorted(STAYS))
def test_what_stays_is_asked_how_it_does(name: str) -> None:
    """By the port that the process serves it on."""
    one = container(name)
    (port,) = one["ports"]

    assert port["name"] == "http"
    assert port["containerPort"] == (4318 if name == "collector" else int(SETTINGS["DRIFTWHEEL_METRICS_PORT"]))
    for probe, path in {"startupProbe": "live", "livenessProbe": "live", "readinessProbe": "ready"}.items():
        assert one[probe]["httpGet"] == {"path": f"/health/{path}", "port": "http"}
    assert SETTINGS["DRIFTWHEEL_METRICS_HOST"] == "0.0.0.0", "the kubelet asks from outside of the pod"


def selectors() -> Iterator[tuple[str, Tree]]:
    for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        yield from ((f"{kind} {name}", spec["selector"]["matchLabels"]) for name, spec in of(kind).items())
    yield from ((f"Service {name}", spec["selector"]) for name, spec in of("Service").items())
    for name, spec in of("NetworkPolicy").items():
        yield f"NetworkPolicy {name}", spec["podSelector"].get("matchLabels", {})


@pytest.mark.parametrize(("who", "selector"), selectors(), ids=lambda one: one if isinstance(one, str) else "")
def test_every_selector_finds_pods(who: str, selector: Tree) -> None:
    """A selector that finds none protects and serves nothing; those of one role find that role alone."""
    found = {name for name, labels in LABELS.items() if selector.items() <= labels.items()}

    assert found
    if "app.kubernetes.io/name" in selector:
        assert found == {selector["app.kubernetes.io/name"]}


def test_nothing_goes_in_or_out_but_what_is_named() -> None:
    """All is denied first; ports are those of the servers in the settings."""
    policies = of("NetworkPolicy")
    opened = {port["port"] for port in policies["names-bus-and-store"]["egress"][1]["ports"]}
    kafka = SETTINGS["DRIFTWHEEL_BUS__KAFKA__SERVERS"].rsplit(":", 1)[1]

    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert opened == {int(kafka), int(SETTINGS["DRIFTWHEEL_STORE__PORT"])}
    (wide,) = policies["outside"]["podSelector"]["matchExpressions"]
    inside = {name for name, one in compose()["services"].items() if name in PODS and "outside" in one["networks"]}
    assert set(wide["values"]) == inside - {"collector"}


def test_what_is_evicted_leaves_one_of_its_kind() -> None:
    """Every Deployment has a budget of disruptions."""
    assert of("PodDisruptionBudget").keys() == of("Deployment").keys()


SCALERS = of("ScaledObject", SCALED)


@pytest.mark.parametrize("role", SCALERS)
def test_a_worker_scales_with_the_lag_of_its_own_group_up_to_its_partitions(role: str) -> None:
    """More members than partitions would stand idle, and another group's lag says nothing."""
    spec = SCALERS[role]
    (trigger,) = spec["triggers"]
    topic = topics()[trigger["metadata"]["topic"]]

    assert spec["scaleTargetRef"] == {"name": role}
    assert role in topic.readers
    assert spec["maxReplicaCount"] == topic.partitions
    assert trigger["metadata"]["consumerGroup"] == group_id(KafkaSettings(), role) == f"driftwheel-{role}"
    assert trigger["metadata"]["bootstrapServers"] == SETTINGS["DRIFTWHEEL_BUS__KAFKA__SERVERS"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes text only"
    assert "replicas" not in of("Deployment", SCALED)[role], "an apply would undo what KEDA did"


def test_every_worker_that_can_scale_does() -> None:
    """Those that read a topic of more than one partition and stay."""
    wide = {reader for topic in topics().values() if topic.partitions > 1 for reader in topic.readers}

    assert SCALERS.keys() == wide & STAYS


def test_keda_asks_kafka_as_we_do() -> None:
    """With the same Secret, whose keys for it are told in the file."""
    spec = of("TriggerAuthentication", SCALED)["kafka"]
    told = (KEDA / "authentication.yaml").read_text("utf-8")

    assert {one["authenticationRef"]["name"] for spec in SCALERS.values() for one in spec["triggers"]} == {"kafka"}
    assert {one["name"] for one in spec["secretTargetRef"]} == {SECRET}
    assert all(one["key"] in KEYS or f"{one['key']}" in told.split("apiVersion")[0] for one in spec["secretTargetRef"])


def test_the_keys_of_the_secret_are_told() -> None:
    """Nobody has to search for what the pods will miss."""
    told = (BASE / "pod.yaml").read_text("utf-8").split("apiVersion")[0]

    assert all(key in told for key in KEYS)
