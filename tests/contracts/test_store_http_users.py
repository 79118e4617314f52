"""Users of the embedded store: their passwords, what `readonly` 1 and 2 leave them, and caps that they cannot raise."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from driftwheel.store.embedded import User, default_users, password
from stores import ask, failed

SERVE = """
import sys
from pathlib import Path
from driftwheel.store.embedded import Limits, User, password, serve
users = {"writer": User(password("w")), "strict": User(password("s"), readonly=1), "board": User(password("b"), readonly=2)}
limits = Limits(caps={"max_execution_time": 2, "max_result_rows": 1000})
serve(Path(sys.argv[1]), port=0, users=users, limits=limits, ready=lambda port: print(port, flush=True))
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


def test_a_password_is_kept_as_its_digest() -> None:
    """Nobody reads it out of a dump of the process's settings; Grafana's user and `reader` only read."""
    users = default_users("secret")

    assert "secret" not in repr(users)
    assert users["default"].password_sha256 == password("secret") != password("Secret")
    assert {name: user.readonly for name, user in users.items()} == {"default": 0, "writer": 0, "reader": 2, "grafana": 2}
    assert User(password("x")).readonly == 0


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


CAPPED = "SELECT getSetting('max_execution_time'), getSetting('max_result_rows')"


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({}, "2\t1000\n"),
        ({"max_execution_time": "65", "max_result_rows": "1000000"}, "2\t1000\n"),
        ({"max_execution_time": "0", "max_result_rows": "0"}, "2\t1000\n"),
        ({"max_execution_time": "1", "max_result_rows": "7"}, "1\t7\n"),
        ({"max_execution_time": "1.5"}, "1.5\t1000\n"),
        ({"max_execution_time": "inf", "profile": "default"}, "2\t1000\n"),
    ],
)
def test_settings_above_a_cap_are_lowered_to_it(url: str, asked: dict[str, str], given: str) -> None:
    """With readonly 1 and 2 alike, so that a client which always sends its deadline is not locked out; a writer has no caps."""
    with as_user(url, "board") as board:
        assert ask(board, CAPPED, **asked).text == given
        assert ask(board, CAPPED, **asked, session_id="own").text == given
    with as_user(url, "strict") as strict:
        capped = {name: value for name, value in asked.items() if name != "profile"}  # all others it may not choose
        assert ask(strict, CAPPED, **capped).text == given
    with as_user(url, "writer") as writer:
        assert ask(writer, CAPPED, max_execution_time=65).text == "65\t0\n"


def test_only_readonly_2_chooses_other_settings(url: str) -> None:
    """What is no number, and what a text sets beyond a cap, the engine refuses itself, in a session too."""
    with as_user(url, "board") as board:
        assert ask(board, "SELECT getSetting('max_threads')", max_threads=1).text == "1\n"
        failed(ask(board, "SELECT 1", max_result_rows="many"), 27)
        failed(ask(board, "SELECT 1", max_result_rows="7k"), 452)
        failed(ask(board, "SELECT 1 SETTINGS max_result_rows = 0"), 452)
        failed(ask(board, "SELECT 1 SETTINGS profile = 'default', max_result_rows = 5000"), 452)
        failed(ask(board, "SET max_result_rows = 0", session_id="s"), 452)
        failed(ask(board, "SELECT number FROM numbers(1001)"), 396)
        failed(ask(board, "SELECT number FROM numbers(1001)", profile="default", max_result_rows=5000), 396)
    with as_user(url, "strict") as strict:
        failed(ask(strict, "SELECT 1", max_threads=1), 164)


def at_work(url: str, word: str) -> bool:
    with as_user(url, "writer") as writer:
        return (
            ask(writer, f"SELECT count() FROM system.processes WHERE query LIKE '%{word}%' AND query NOT LIKE '%processes%'").text != "0\n"
        )


def test_a_query_whose_time_is_up_is_ended_and_its_client_told(url: str) -> None:
    """Code 159, the status 408, and nobody computes it any more."""
    began = time.monotonic()
    with as_user(url, "board") as board:
        answer = ask(board, "SELECT sum(cityHash64(number)), 'late' FROM numbers(1000000000000)", max_execution_time=99)

    failed(answer, 159)
    assert answer.status_code == 408
    assert 1.5 < time.monotonic() - began < 5
    assert not at_work(url, "late")


def test_who_does_not_read_is_cut_off_when_time_is_up(url: str) -> None:
    """The engine waits for such a client and counts no time, so the interface does."""
    body = "SELECT randomString(1000000), 'unread' FROM numbers(999) SETTINGS max_block_size = 1"
    head = f"POST / HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: board\r\nX-ClickHouse-Key: b\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as client:
        client.sendall((head + body).encode())
        began = time.monotonic()
        while not at_work(url, "unread"):
            assert time.monotonic() - began < 1.5
        while at_work(url, "unread"):
            assert time.monotonic() - began < 8
            time.sleep(0.05)
        assert time.monotonic() - began > 1.5
        while client.recv(1 << 20):
            assert time.monotonic() - began < 15
