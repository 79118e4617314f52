"""Users of the embedded store: their passwords, what `readonly` 1 and 2 leave them, and settings that they cannot raise."""

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from stores import ask, failed

SERVE = """
import sys
from pathlib import Path
from driftwheel.store.embedded import User, password, serve
users = {
    "writer": User(password("w")),
    "strict": User(password("s"), readonly=1, settings={"max_execution_time": "9"}),
    "board": User(password("b"), readonly=2, settings={"max_execution_time": "9"}),
}
serve(Path(sys.argv[1]), port=0, users=users, ready=lambda port: print(port, flush=True))
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path_factory.mktemp("users") / "store")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        process.terminate()


def as_user(url: str, name: str) -> httpx.Client:
    return httpx.Client(base_url=url, auth=(name, name[0]), timeout=30)


def test_each_user_has_a_password_of_its_own(url: str) -> None:
    """And `default` is nobody unless it was given."""
    for name in ("writer", "strict", "board"):
        with as_user(url, name) as client:
            assert ask(client, "SELECT 1").text == "1\n"
    failed(httpx.post(url, content="SELECT 1", auth=("strict", "w")), 516)
    failed(httpx.post(url, content="SELECT 1"), 516)


@pytest.mark.parametrize("name", ["strict", "board"])
def test_a_reader_changes_nothing(url: str, name: str) -> None:
    """No table, no row, nobody's query, and not by taking `readonly` back."""
    with as_user(url, "writer") as writer:
        ask(writer, "CREATE TABLE IF NOT EXISTS kept (x UInt8) ENGINE = MergeTree ORDER BY x").raise_for_status()
        ask(writer, "TRUNCATE TABLE kept").raise_for_status()
        ask(writer, "INSERT INTO kept VALUES (1)").raise_for_status()
    with as_user(url, name) as reader:
        for sql in (
            "DROP TABLE kept",
            "INSERT INTO kept VALUES (2)",
            "INSERT INTO kept FORMAT CSV\n2",
            "INSERT INTO kept SELECT 2",
            "ALTER TABLE kept DELETE WHERE 1",
            "TRUNCATE TABLE kept",
            "CREATE TABLE more (x UInt8) ENGINE = Memory",
        ):
            failed(ask(reader, sql), 164)
            assert ask(reader, sql, readonly=0).status_code >= 400, sql
            assert ask(reader, sql, session_id=f"s-{name}").status_code >= 400, sql
        assert ask(reader, "SET readonly = 0", session_id=f"t-{name}").status_code >= 400
        assert ask(reader, "SELECT sum(x) FROM kept").text == "1\n"


def test_only_readonly_2_chooses_settings_and_nobody_raises_a_users_own(url: str) -> None:
    """Grafana sets `max_execution_time` with every query: 2 takes it, within what the user has."""
    asked = "SELECT getSetting('max_execution_time'), getSetting('max_threads')"
    with as_user(url, "board") as board:
        assert ask(board, asked, max_threads=1, max_execution_time=99).text == "9\t1\n"
    with as_user(url, "strict") as strict:
        assert ask(strict, "SELECT getSetting('max_execution_time')").text == "9\n"
        failed(ask(strict, asked, max_threads=1), 164)
