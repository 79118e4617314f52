"""docker-compose.yml and the Kubernetes manifests as tests read them, without Docker and without a cluster."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "k8s" / "base"
WORKFLOW = ROOT / ".github" / "workflows" / "compose.yml"
KEDA = DEPLOY / "k8s" / "overlays" / "keda"
SECRETS = "/run/secrets"


@dataclass(frozen=True, slots=True)
class Service:
    """A service of ours in docker-compose.yml: `driftwheel` with *command*, its variables, and its secrets by where it finds them."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, Path]

    def here(self, secrets: Path, **changes: str) -> dict[str, str]:
        """
        The variables for a process on this machine: secrets are read from the folder *secrets* (what `deploy/secrets.sh FOLDER`
        makes), and *changes* say where Kafka and the store are here.

        >>> one = Service("a", (), {"X_FILE": "/run/secrets/key", "Y": "kafka:9092"}, {"/run/secrets/key": Path("secrets/k")})
        >>> one.here(Path("/tmp/s"), Y="127.0.0.1:29092")
        {'X_FILE': '/tmp/s/k', 'Y': '127.0.0.1:29092'}
        """
        return {name: moved(value, self.secrets, secrets) for name, value in self.environment.items()} | changes


def moved(value: str, secrets: Mapping[str, Path], folder: Path) -> str:
    """*value*, or the file in *folder* if it is where a container finds one of *secrets*."""
    return str(folder / secrets[value].name) if value in secrets else value


@cache
def compose() -> Tree:
    """The file, its anchors merged. Nobody may change what comes back."""
    found: Tree = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return found


def ours(service: Mapping[str, Any]) -> bool:
    """Whether a service runs an image of this repository."""
    return str(service["image"]).startswith("driftwheel:")


def services_of_ours() -> list[Service]:
    """
    Every service of ours in every profile, one-shots first: name, command after `driftwheel`, variables.

    To run one as a process: `[sys.executable, "-m", "driftwheel", *one.command]` with `one.here(...)` as its environment.
    """
    named: Mapping[str, Tree] = compose()["secrets"]
    found = [
        Service(
            name,
            tuple(service["command"]),
            {key: str(value) for key, value in service["environment"].items()},
            {place: Path(named[secret]["file"]) for secret, place in secrets_of(service)},
        )
        for name, service in compose()["services"].items()
        if ours(service)
    ]
    return sorted(found, key=lambda one: one.command[0] != "admin")


def secrets_of(service: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The secrets of a service and where it finds each."""
    for one in service.get("secrets", []):
        source = one if isinstance(one, str) else one["source"]
        target = source if isinstance(one, str) else one.get("target", source)
        yield source, target if target.startswith("/") else f"{SECRETS}/{target}"


def make_secrets(folder: Path) -> Path:
    """What `deploy/secrets.sh` makes, in *folder*."""
    subprocess.run([DEPLOY / "secrets.sh", folder], check=True, capture_output=True, timeout=30)
    return folder


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, lines joined and comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if line and not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines())]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Stage → its instructions, those of the stages that it builds on first."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in dockerfile():
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found[name] = list(found.get(image, [("FROM", image)]))
        else:
            found[name].append((word, rest))
    return found


def copied() -> set[str]:
    """What the Dockerfile takes out of this repository."""
    return {source for word, rest in dockerfile() if word == "COPY" and "--from=" not in rest for source in rest.split()[:-1]}


MERGED_BY = {"containers": "name", "env": "name", "ports": "containerPort", "volumeMounts": "mountPath", "volumes": "name"}
"""The lists that a strategic merge joins, and what tells their items apart; every other list is replaced."""

KNOWN = {"apiVersion", "kind", "namespace", "labels", "resources", "configMapGenerator", "patches"}


def manifests(folder: Path) -> list[Tree]:
    """
    What `kustomize build` makes of *folder*, but for the digests in the names of config maps.

    Knows what our kustomizations use and no more; a test compares it with kubectl where that is installed.
    """
    top: Tree = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    assert top.keys() <= KNOWN, f"{folder}: teach manifests() about {sorted(top.keys() - KNOWN)}"
    found: list[Tree] = []
    for name in top["resources"]:
        at = folder / name
        found += manifests(at) if at.is_dir() else yaml.safe_load_all(at.read_text("utf-8"))
    found += [_config_map(folder, one) for one in top.get("configMapGenerator", [])]
    for patch in top.get("patches", []):
        change = yaml.safe_load((folder / patch["path"]).read_text("utf-8"))
        kind, name = (re.compile(patch["target"].get(key, ".*")) for key in ("kind", "name"))
        for one in found:
            if kind.fullmatch(one["kind"]) and name.fullmatch(one["metadata"]["name"]):
                one["spec"] = merged(one["spec"], change["spec"])
    return [_finished(one, top) for one in found]


def merged(base: Tree, change: Tree) -> Tree:
    """
    A strategic merge: tables join, null removes, lists of named things join by name.

    >>> merged({"a": 1, "env": [{"name": "x", "value": 1}]}, {"a": None, "env": [{"name": "x", "value": 2}, {"name": "y"}]})
    {'env': [{'name': 'x', 'value': 2}, {'name': 'y'}]}
    """
    result = dict(base)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(base.get(name) or {}, value)
        elif key := MERGED_BY.get(name):
            items = {one[key]: one for one in base.get(name, [])}
            result[name] = list((items | {one[key]: merged(items.get(one[key], {}), one) for one in value}).values())
        else:
            result[name] = value
    return result


def _config_map(folder: Path, wanted: Tree) -> Tree:
    data = {name: (folder / name).read_text("utf-8") for name in wanted.get("files", [])}
    for name in wanted.get("envs", []):
        lines = (line for line in (folder / name).read_text("utf-8").splitlines() if line and not line.startswith("#"))
        data |= dict(line.split("=", 1) for line in lines)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": wanted["name"]}, "data": data}


def _finished(one: Tree, top: Tree) -> Tree:
    """*one* with the namespace and the labels that *top* gives to all."""
    metadata = dict(one["metadata"])
    if one["kind"] != "Namespace":
        metadata["namespace"] = top["namespace"]
    for label in top.get("labels", []):
        metadata["labels"] = metadata.get("labels", {}) | label["pairs"]
        spec = one.get("spec", {})
        for inner in [spec.get("template"), *spec.get("volumeClaimTemplates", [])]:
            if inner:
                inner["metadata"]["labels"] = inner["metadata"].get("labels", {}) | label["pairs"]
    return one | {"metadata": metadata}
