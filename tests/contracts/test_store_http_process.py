"""The embedded store as a process: its folder, its port, its end, and queries whose clients have gone."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from driftwheel.errors import MissingExtra
from driftwheel.store.embedded import Limits
from driftwheel.store.embedded.config import connection
from driftwheel.store.embedded.core import NoEngine
from driftwheel.store.embedded.kills import Job, Killer
from store_http import PASSWORD, Server, running, spawn, start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("store") / "data", "--memory-mib", "1024") as up:
        yield up


def until(condition: Callable[[], bool], within_s: float) -> float:
    """Seconds until *condition* holds; fails after *within_s*."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "it did not come true in time"
        time.sleep(0.02)
    return time.monotonic() - began


def at_work(http: httpx.Client, word: str) -> int:
    sql = f"SELECT count() FROM system.processes WHERE query LIKE '%{word}%' AND query NOT LIKE '%system.processes%'"
    return int(http.post("/", content=sql).text)


SLOW = {
    "streaming": "SELECT sleepEachRow(0.1), '{}' FROM numbers(1000) SETTINGS max_block_size = 1 FORMAT CSV",
    "sleeping": "SELECT sleepEachRow(1), '{}' FROM numbers(100) SETTINGS function_sleep_max_microseconds_per_block = 100000000 FORMAT CSV",
    "silent": "SELECT sum(cityHash64(number)), '{}' FROM numbers(1000000000000) FORMAT CSV",
    "at once": "SELECT sum(cityHash64(number)), '{}' FROM numbers(1000000000000) FORMAT JSON",
    "native": "SELECT sum(cityHash64(number)), '{}' FROM numbers(1000000000000) FORMAT Native",
    "unread": "SELECT number, '{}', repeat('x', 1000) FROM numbers(100000000) FORMAT CSV",
    "inserting": "INSERT INTO TABLE FUNCTION null('a UInt64, b String') SELECT cityHash64(number), '{}' FROM numbers(1000000000000)",
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_query_whose_client_hangs_up_is_gone_within_a_second(server: Server, kind: str) -> None:
    """Whether it has begun to answer or not, and also when the answer is not read; its session and threads are free again."""
    word = "gone" + kind.replace(" ", "")
    body = SLOW[kind].format(word).encode()
    path = f"/?session_id={word}&client_protocol_version=54460&query_id={word}"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: default\r\nX-ClickHouse-Key: {PASSWORD}\r\nContent-Length: {len(body)}\r\n\r\n"
    with server.client() as http:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head.encode() + body)
            until(lambda: at_work(http, word) == 1, 10)
        assert until(lambda: at_work(http, word) == 0, 3) < 1.5
        again = {"session_id": word, "query_id": word}
        assert until(lambda: http.post("/", params=again, content="SELECT 1").text == "1\n", 3) < 1.5


def test_twelve_aborted_queries_leave_nothing_behind(server: Server) -> None:
    """More than there are threads: those that wait are never begun."""

    async def scene() -> None:
        async with httpx.AsyncClient(base_url=server.url, auth=("default", PASSWORD), trust_env=False, timeout=60) as http:
            sql = "SELECT sum(cityHash64(number)), 'dozen' FROM numbers(1000000000000)"
            tasks = [asyncio.create_task(http.post("/", content=sql)) for _ in range(12)]
            await asyncio.sleep(0.5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scene())
    with server.client() as http:
        assert until(lambda: at_work(http, "dozen") == 0, 5) < 2.0
        assert http.post("/", content="SELECT 1").text == "1\n"


def test_full_lanes_do_not_starve_each_other(server: Server) -> None:
    """While every reader is busy, rows go in, /ping answers and KILL works."""
    sql = "SELECT sum(cityHash64(number)), 'full' FROM numbers(1000000000000) SETTINGS max_threads = 1"

    def ask() -> None:
        with server.client() as one:
            one.post("/", content=sql)

    threads = [threading.Thread(target=ask) for _ in range(Limits().readers + 2)]
    with server.client() as http:
        assert http.post("/", content="CREATE TABLE IF NOT EXISTS lanes (a UInt8) ENGINE = MergeTree ORDER BY a").status_code == 200
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert http.post("/", content="INSERT INTO lanes VALUES (1)").status_code == 200
        assert http.get("/ping").text == "Ok.\n"
        deadline = time.monotonic() + 30
        while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
            http.post("/", content="KILL QUERY WHERE query LIKE '%full%' AND query NOT LIKE '%system.processes%' SYNC")
            time.sleep(0.1)
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()


def test_a_query_id_is_unique_while_it_runs(server: Server) -> None:
    """As on a server: code 216, until it has ended."""
    sql = SLOW["streaming"].format("twin")
    with server.client() as http, server.client() as other:
        with http.stream("POST", "/", params={"query_id": "twin"}, content=sql) as answer:
            next(answer.iter_bytes())
            seen = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'twin'"
            until(lambda: other.post("/", content=seen).text == "1\n", 5)  # between two of its blocks it may be missing for a moment
            refused = other.post("/", params={"query_id": "twin"}, content="SELECT 1")
            assert refused.headers["x-clickhouse-exception-code"] == "216"
        until(lambda: other.post("/", params={"query_id": "twin"}, content="SELECT 1").text == "1\n", 5)


def test_a_reader_that_does_not_read_holds_the_engine_back(server: Server) -> None:
    """Back-pressure: an endless answer that nobody reads costs no memory."""
    process = psutil.Process(server.process.pid)
    sql = "SELECT number, randomPrintableASCII(1000) FROM {} SETTINGS max_block_size = 1000, max_threads = 1"
    with server.client() as http:
        http.post("/", content=sql.format("numbers(20000)"))
        before = process.memory_info().rss
        with http.stream("POST", "/", content=sql.format("system.numbers")) as answer:
            next(answer.iter_bytes())
            time.sleep(1.0)  # at some 500 MB/s the answer would be far over the bound by now
            grown = process.memory_info().rss - before

    assert grown < 64 << 20


def test_a_second_process_on_the_folder_gets_a_sentence(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It names the folder and what to do; the first goes on."""
    with server.client() as http:
        disk = Path(http.post("/", content="SELECT path FROM system.disks WHERE name = 'default'").text.strip())
    second = spawn(disk, "--port", "0")
    out, errors = second.communicate(timeout=60)

    assert (second.returncode, out) == (1, "")
    assert errors.strip() == (
        f"{disk}: another process has this store open; ask that one over HTTP, stop it, or give another folder with --path"
    )
    with server.client() as http:
        assert http.post("/", content="SELECT 1").text == "1\n"


def test_a_taken_port_gets_a_sentence_at_once(server: Server, tmp_path: Path) -> None:
    """Before the engine is opened: it names the port and how to take another."""
    second = spawn(tmp_path / "other", "--port", str(server.port))
    out, errors = second.communicate(timeout=60)

    assert (second.returncode, out) == (1, "")
    assert errors.startswith(f"port {server.port} is taken; ")
    assert "--port" in errors
    assert not (tmp_path / "other").exists()


def test_sigterm_ends_it_in_order_and_soon(tmp_path: Path) -> None:
    """With queries under way, exit code 0, the folder is free at once, and what was stored is there."""
    with running(tmp_path / "data") as first:
        with first.client() as http:
            assert http.post("/", content="CREATE TABLE kept ENGINE = MergeTree ORDER BY x AS SELECT 7 AS x").status_code == 200
        with server_client_at_work(first):
            began = time.monotonic()
            assert first.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 4.0
    with running(tmp_path / "data") as second, second.client() as http:
        assert http.post("/", content="SELECT x FROM kept").text == "7\n"


class server_client_at_work:  # noqa: N801
    """A client that waits for a query that never ends."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __enter__(self) -> None:
        def ask() -> None:
            with self.server.client() as http:
                try:
                    http.post("/", content=SLOW["silent"].format("ending"))
                except httpx.TransportError:
                    pass

        self.thread = threading.Thread(target=ask)
        self.thread.start()
        with self.server.client() as http:
            until(lambda: at_work(http, "ending") == 1, 10)

    def __exit__(self, *_: object) -> None:
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """A kill -9 of who started it leaves no orphan that holds the folder."""
    code = (
        "import subprocess, sys, os\n"
        "p = subprocess.Popen([sys.executable, '-m', 'driftwheel.store.embedded', '--path', sys.argv[1], '--port', '0',"
        " '--parent-pid', str(os.getpid())], stdout=subprocess.PIPE, text=True)\n"
        "print(p.pid, p.stdout.readline(), flush=True)\np.wait()"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True, env=environ)
    assert parent.stdout
    pid, _, said = parent.stdout.readline().partition(" ")
    assert said.startswith("listening on ")
    store = psutil.Process(int(pid))
    parent.kill()
    parent.wait()
    parent.stdout.close()

    until(lambda: not store.is_running() or store.status() == psutil.STATUS_ZOMBIE, 6)


def test_tables_in_default_survive_every_order_of_starts(tmp_path: Path) -> None:
    """Unused, used, emptied, used again: the engine finds what is there, and nothing is made anew over it."""
    for expected, sql in (
        ("", "SELECT 1"),
        ("", "SELECT 1"),
        ("", "CREATE TABLE one (a UInt8) ENGINE = MergeTree ORDER BY a"),
        ("one\n", "DROP TABLE one SYNC"),
        ("", "CREATE TABLE two (a UInt8) ENGINE = MergeTree ORDER BY a"),
        ("two\n", "INSERT INTO two VALUES (7)"),
        ("two\n", "SELECT 1"),
    ):
        server = start(tmp_path / "data")
        with server.client() as http:
            assert http.post("/", content="SHOW TABLES").text == expected
            assert http.post("/", content=sql).status_code == 200
            assert http.post("/", content="SELECT engine FROM system.databases WHERE name = 'default'").text == "Atomic\n"
        server.end(signal.SIGKILL if expected else signal.SIGTERM)
    with running(tmp_path / "data") as up, up.client() as http:
        assert http.post("/", content="SELECT a FROM two").text == "7\n"


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Ten kills at random moments of inserting, every other right behind an answer: nothing is lost, torn or there twice."""
    chance = random.Random(7)
    acknowledged: set[int] = set()
    number = 0
    for kill in range(10):
        server = start(tmp_path / "data")
        with server.client() as http:
            sql = "CREATE TABLE IF NOT EXISTS kept (n UInt64, text String) ENGINE = MergeTree ORDER BY n"
            assert http.post("/", content=sql).status_code == 200
            stored = {int(n) for n in http.post("/", content="SELECT DISTINCT n FROM kept").text.split()}
            assert acknowledged <= stored
            torn = http.post("/", content="SELECT n FROM kept GROUP BY n HAVING count() != 50").text
            assert torn == ""
            assert http.post("/", content="SELECT count() FROM system.detached_parts").text == "0\n"
            killer = threading.Timer(chance.uniform(0.02, 0.4), server.process.kill)
            if kill % 2:
                killer.start()
            try:
                while True:
                    number += 1
                    rows = "\n".join(f"{number},{'x' * 100}" for _ in range(50))
                    answer = http.post("/", params={"query": "INSERT INTO kept FORMAT CSV"}, content=rows)
                    assert answer.status_code == 200
                    acknowledged.add(number)
                    if not kill % 2 and len(acknowledged) % 5 == 0:
                        server.process.kill()
            except httpx.TransportError:
                pass
            if kill % 2:
                killer.join()
        server.end(signal.SIGKILL)
    assert len(acknowledged) >= 20


@pytest.mark.parametrize(
    ("system", "libc", "words"),
    [("win32", "", "no wheel for Windows or musl"), ("linux", "", "no wheel for Windows or musl"), ("linux", "glibc", "pip install")],
)
def test_a_machine_without_the_engine_gets_a_sentence(system: str, libc: str, words: str) -> None:
    """Where chDB cannot be installed, the cure is a ClickHouse server; elsewhere it is the extra."""
    error = NoEngine(system, libc)

    assert isinstance(error, MissingExtra)
    assert words in str(error)


def test_the_memory_of_the_engine_is_bounded_by_its_configuration(server: Server, tmp_path: Path) -> None:
    """A query beyond it is refused, not the process killed."""
    where = connection(tmp_path / "with <signs>", Limits(memory_bytes=123456789))
    assert where.endswith("?config-file=" + str(tmp_path / "with <signs>" / "engine.xml"))
    text = (tmp_path / "with <signs>" / "engine.xml").read_text("utf-8")
    assert "<max_server_memory_usage>123456789<" in text
    assert "with &lt;signs&gt;" in text
    with server.client() as http:
        sql = (
            "SELECT name, value FROM system.server_settings WHERE name IN ('max_server_memory_usage', 'background_pool_size') ORDER BY name"
        )
        assert http.post("/", content=sql).text == f"background_pool_size\t2\nmax_server_memory_usage\t{1 << 30}\n"
        big = http.post("/", content="SELECT length(groupArray(repeat(toString(number), 100))) FROM numbers(100000000)")
        assert big.headers["x-clickhouse-exception-code"] == "241"
        assert http.post("/", content="SELECT 1").text == "1\n"


def test_a_job_between_two_queries_is_killed_by_the_next_try() -> None:
    """The killer asks until the job is done, whatever the engine says meanwhile."""
    job, tries = Job(mark=7), []

    def kill(marks: list[int]) -> None:
        tries.append(marks)
        if len(tries) == 3:
            job.done.set()

    killer = Killer(kill)
    killer.end(job)
    until(lambda: len(tries) >= 3, 5)
    killer.close()

    assert job.gone.is_set()
    assert tries[:3] == [[7]] * 3
