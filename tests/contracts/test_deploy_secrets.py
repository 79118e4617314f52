"""The secrets of docker-compose.yml, and who may do what in ClickHouse with them: asked of the engine itself."""

import hashlib
import json
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from deploying import DEPLOY, ROOT, compose, make_secrets, secrets_of, services_of_ours
from driftwheel.config import load
from driftwheel.store.migrate import LEDGER, migrations, render, views

OURS = services_of_ours()
GRAFANA = compose()["services"]["grafana"]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(tmp_path_factory.mktemp("deploy") / "secrets")


def test_secrets_are_made_once_and_are_those_that_are_read(secrets: Path, tmp_path: Path) -> None:
    """A second run changes nothing; another folder gets others."""
    before = {one.name: one.read_bytes() for one in secrets.iterdir()}
    make_secrets(secrets)
    other = make_secrets(tmp_path / "other")

    assert before == {one.name: one.read_bytes() for one in secrets.iterdir()}
    assert not set(before.values()) & {one.read_bytes() for one in other.iterdir()}
    read = {Path(one["file"]).name for one in compose()["secrets"].values()}
    assert before.keys() == read | {"api_key"}
    assert all(Path(one["file"]).parent == Path("secrets") for one in compose()["secrets"].values())


def test_secrets_can_be_read_by_containers_and_by_nobody_else_on_the_host(secrets: Path) -> None:
    """Compose mounts the file itself with its own mode; the folder is its owner's alone."""
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in secrets.iterdir()} == {0o444}


def test_the_api_key_is_the_one_that_the_collector_knows(secrets: Path) -> None:
    """The collector has a digest of what the app has."""
    collector = next(one for one in OURS if one.name == "collector")
    settings = load(None, collector.here(secrets)).collector
    word, name, secret = (secrets / "api_key").read_text("utf-8").split("_")

    assert word == "dw"
    assert settings.keys[name].sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert settings.host == "0.0.0.0"


def test_secrets_stay_out_of_git_and_out_of_images() -> None:
    """Neither a commit nor a build may take them along."""
    done = subprocess.run(["git", "check-ignore", "secrets/api_key"], cwd=ROOT, capture_output=True, check=False, timeout=30)
    if done.returncode != 128:  # no repository, as in an unpacked sdist
        assert done.returncode == 0
    assert "secrets/" in (ROOT / ".gitignore").read_text("utf-8").split()
    assert "secrets" in (ROOT / ".dockerignore").read_text("utf-8").split()


def test_the_users_are_the_same_everywhere(secrets: Path) -> None:
    """Rights are in deploy/, digests in secrets/, names and passwords with those who connect; nobody is `default`."""
    rights = ET.parse(DEPLOY / "clickhouse" / "users.xml").getroot()
    digests = ET.parse(secrets / "clickhouse_users.xml").getroot()
    assert [one.tag for one in rights.find("users") or []] == ["default", "driftwheel", "grafana"]
    assert rights.find("users/default[@remove]") is not None
    for user, file in {"driftwheel": "clickhouse_password", "grafana": "clickhouse_grafana_password"}.items():
        password = (secrets / file).read_bytes()
        assert digests.findtext(f"users/{user}/password_sha256_hex") == hashlib.sha256(password).hexdigest()
        assert rights.findtext(f"users/{user}/profile") in {one.tag for one in rights.find("profiles") or []}

    assert {one.environment["DRIFTWHEEL_STORE__USER"] for one in OURS} == {"driftwheel"}


def test_grafana_finds_the_store_and_may_only_read() -> None:
    """It speaks HTTP to ClickHouse as a user of its own, and its password is a secret that it is given."""
    (source,) = yaml.safe_load((DEPLOY / "grafana" / "datasources" / "clickhouse.yaml").read_text("utf-8"))["datasources"]
    where = source["jsonData"]

    assert (where["host"], where["port"], where["username"]) == ("clickhouse", 8123, "grafana")
    assert GRAFANA["environment"]["GF_PLUGINS_PREINSTALL_SYNC"].startswith(f"{source['type']}@")
    named = {place for _, place in secrets_of(GRAFANA)}
    assert source["secureJsonData"]["password"].removeprefix("$__file{").removesuffix("}") in named
    assert GRAFANA["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] in named
    rights = ET.parse(DEPLOY / "clickhouse" / "users.xml").getroot()
    assert rights.findtext("profiles/grafana/readonly") == "2"
    assert all("SELECT" in str(one.text) for one in rights.findall("users/grafana/grants/query"))


ENGINE = """
import json, sys
import chdb
folder, file, statements = json.load(sys.stdin)
engine = chdb.connect(f"{folder}?config-file={file}")
def said(statement):
    try:
        return str(engine.query(statement, "TSVRaw")).strip()
    except Exception as wrong:
        return "refused: " + str(wrong).rsplit("(", 1)[-1].split(")")[0]
print(json.dumps([said(statement) for statement in statements]))
"""
"""Asks the engine itself, in a process of its own, as the one user that it has."""


def as_user(user: str, folder: Path, statements: Sequence[str]) -> list[str]:
    """What the engine answers to *statements* under the rights and the profile of *user* in deploy/clickhouse/users.xml."""
    rights = ET.parse(DEPLOY / "clickhouse" / "users.xml").getroot()
    inside = {
        path: "".join(ET.tostring(one, "unicode") for one in rights.find(path) or [])
        for path in (f"profiles/{user}", f"users/{user}/grants")
    }
    file = folder / f"{user}.xml"
    file.write_text(
        f"<clickhouse><profiles><default>{inside[f'profiles/{user}']}</default></profiles><quotas><default/></quotas><users><default>"
        "<password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>"
        f"<grants>{inside[f'users/{user}/grants']}</grants></default></users>"
        f"<user_directories><users_xml><path>{file}</path></users_xml></user_directories></clickhouse>",
        "utf-8",
    )
    asked = json.dumps([str(folder / "store"), str(file), list(statements)])
    done = subprocess.run([sys.executable, "-c", ENGINE], input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that was migrated with the rights of our services, and has one row of text."""
    folder = tmp_path_factory.mktemp("rights")
    ddl = [statement for sql in (*(one.sql for one in migrations()), LEDGER, *views()) for statement in render(sql)]
    fill = "INSERT INTO driftwheel.payloads (id, accepted_at, prompt) VALUES (generateUUIDv4(), now(), 'a secret')"
    assert as_user("driftwheel", folder, [*ddl, fill]) == [""] * (len(ddl) + 1)
    return folder


def test_our_services_may_do_what_they_do_and_no_more(store: Path) -> None:
    """The schema, rows and system tables are theirs; other databases, users and ways out of the server are not."""
    allowed = ["SELECT prompt FROM driftwheel.payloads", "SELECT count() > 0 FROM system.parts WHERE database = 'driftwheel'"]
    refused = [
        "CREATE DATABASE other",
        "CREATE USER other",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    ]
    answers = as_user("driftwheel", store, allowed + refused)

    assert answers[:2] == ["a secret", "1"]
    assert answers[2:] == ["refused: ACCESS_DENIED"] * len(refused)


def test_boards_read_numbers_but_no_text_and_write_nothing(store: Path) -> None:
    """Whatever the plugin sends; it may set its own settings, but not above the limits."""
    statements = {
        "SELECT count() FROM driftwheel.inferences": "0",
        "SELECT 1 FROM driftwheel.readings LIMIT 0": "",
        "SELECT prompt FROM driftwheel.payloads": "refused: ACCESS_DENIED",
        "INSERT INTO driftwheel.jobs (id) VALUES ('x')": "refused: ACCESS_DENIED",
        "SELECT 1 SETTINGS max_execution_time = 20": "1",
        "SELECT 1 SETTINGS max_memory_usage = 9000000000": "refused: SETTING_CONSTRAINT_VIOLATION",
    }

    assert as_user("grafana", store, list(statements)) == list(statements.values())


def test_clickhouse_knows_every_setting_of_the_server(store: Path) -> None:
    """A misspelt one would be ignored in silence."""
    server = ET.parse(DEPLOY / "clickhouse" / "server.xml").getroot()
    names = {one.tag for one in server if not len(one) and "remove" not in one.attrib}
    known, profile = as_user("driftwheel", store, ["SELECT name FROM system.server_settings", "SELECT name FROM system.settings"])
    rights = ET.parse(DEPLOY / "clickhouse" / "users.xml").getroot()
    of_profiles = {one.tag for one in rights.findall("profiles/*/*")} - {"constraints"}

    assert not names - set(known.split()) - {"timezone"}  # read at the start alone, so the table of settings does not list it
    assert not of_profiles - set(profile.split())
