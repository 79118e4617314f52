"""The embedded store's process: what survives a kill, who else may come, hang-ups, many clients at once, the end."""

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from driftwheel.store.embedded import User, password
from stores import PASSWORD, RunningStore, running_store, spawn

SLOW = "SELECT count() FROM system.numbers WHERE NOT ignore(sipHash64(number))"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("life") / "store") as running:
        yield running


def ask(store: RunningStore, sql: str | bytes, **url: object) -> str:
    answer = httpx.post(
        store.url, params={name: str(value) for name, value in url.items()}, content=sql, auth=("default", store.password), timeout=60
    )
    assert answer.status_code == 200, answer.text
    return answer.text


def until(true: Callable[[], bool], within_s: float) -> float:
    """How long it took until *true*; fails after *within_s* seconds."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - began


def runs(store: RunningStore, query_id: str) -> bool:
    return ask(store, "SELECT count() FROM system.processes WHERE Settings['log_comment'] = {id:String}", param_id=query_id) != "0\n"


@pytest.mark.parametrize(
    "sql",
    [
        SLOW,
        "SELECT number FROM system.numbers",
        SLOW + " FORMAT JSON",
        f"INSERT INTO FUNCTION null('x UInt64') {SLOW}",
        "SELECT sleepEachRow(1) FROM numbers(100) SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 100000000",
    ],
    ids=["counting", "streaming", "whole", "insert-select", "sleeping"],
)
def test_an_aborted_query_is_gone_within_a_second(store: RunningStore, sql: str) -> None:
    """Its client hung up: nobody reads the answer, so nobody computes it."""
    query_id = str(uuid.uuid4())
    with socket.create_connection(("127.0.0.1", store.port)) as raw:
        head = (
            f"POST /?query_id={query_id}&user=default&password={httpx.QueryParams({'p': store.password})['p'].replace(' ', '%20')} HTTP/1.1"
        )
        raw.sendall(f"{head}\r\nHost: x\r\nContent-Length: {len(sql)}\r\n\r\n{sql}".encode())
        until(lambda: runs(store, query_id), 5)

    assert until(lambda: not runs(store, query_id), 3) < 1.3  # two polls of up to 0.15 s each are in it


def test_twelve_aborted_queries_leave_room_for_others(store: RunningStore) -> None:
    """More than there are readers: every thread comes back."""
    for _ in range(12):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(store.url, content=SLOW, auth=("default", store.password), timeout=httpx.Timeout(10, read=0.1))

    until(
        lambda: ask(store, "SELECT count() FROM system.processes WHERE query LIKE '%sipHash%' AND query NOT LIKE '%processes%'") == "0\n", 5
    )
    assert ask(store, "SELECT 1") == "1\n"


def test_a_slow_reader_holds_back_the_engine(store: RunningStore) -> None:
    """An endless answer that nobody reads does not fill the memory."""
    process = psutil.Process(store.process.pid)
    sql = "SELECT number, randomPrintableASCII(1000) FROM system.numbers SETTINGS max_block_size = 1000, max_threads = 1"
    ask(store, sql.replace("system.numbers", "numbers(20000)"))
    before = process.memory_info().rss
    with httpx.stream("POST", store.url, content=sql, auth=("default", store.password), timeout=60) as answer:
        next(answer.iter_raw())
        time.sleep(1.5)  # at some 500 MB/s the answer would be far over the bound by now
        grown = process.memory_info().rss - before

    assert grown < 64 * 1024**2, f"{grown / 1024**2:.0f} MiB"


def test_pings_and_inserts_pass_a_crowd_of_slow_queries(store: RunningStore) -> None:
    """Reads, writes and kills have threads of their own."""
    ask(store, "CREATE TABLE IF NOT EXISTS crowd (x UInt8) ENGINE = MergeTree ORDER BY x")
    stop = threading.Event()

    def slow() -> None:
        while not stop.is_set():
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(store.url, content=SLOW, auth=("default", store.password), timeout=httpx.Timeout(30, read=1.5))

    with ThreadPoolExecutor(12) as pool:
        for _ in range(12):
            pool.submit(slow)
        time.sleep(0.5)
        began = time.monotonic()
        assert httpx.get(store.url + "ping", timeout=10).text == "Ok.\n"
        pinged = time.monotonic() - began
        ask(store, "INSERT INTO crowd VALUES (1)")
        inserted = time.monotonic() - began
        stop.set()

    assert pinged < 2
    assert inserted < 5


def test_ten_readers_and_two_writers_get_whole_answers(store: RunningStore) -> None:
    """Every insert is seen whole or not at all, and none is lost."""
    ask(store, "CREATE TABLE busy (writer UInt8, batch UInt32, n UInt32) ENGINE = MergeTree ORDER BY (writer, batch)")
    stop = threading.Event()

    def write(writer: int) -> int:
        for batch in range(6):
            ask(store, b"".join(b"%d\t%d\t%d\n" % (writer, batch, n) for n in range(200)), query="INSERT INTO busy FORMAT TSV")
        return 6

    def read() -> int:
        seen = 0
        while not stop.is_set():
            counts = ask(store, "SELECT count() FROM busy GROUP BY writer, batch").split()
            assert set(counts) <= {"200"}
            assert len(counts) >= seen
            seen = len(counts)
        return seen

    with ThreadPoolExecutor(12) as pool:
        readers = [pool.submit(read) for _ in range(10)]
        written = [one.result() for one in [pool.submit(write, writer) for writer in (1, 2)]]
        stop.set()
        assert all(reader.result() <= 12 for reader in readers)

    assert written == [6, 6]
    assert ask(store, "SELECT count() FROM busy") == "2400\n"


def test_a_second_process_on_the_folder_is_told_so(store: RunningStore) -> None:
    """The sentence names the folder and the cure; the first process does not notice."""
    folder = Path(ask(store, "SELECT path FROM system.disks WHERE name = 'default'").strip())
    second = spawn(folder)
    said, _ = second.communicate(timeout=60)

    assert second.returncode == 1
    assert f"{folder}".rstrip("/") in said
    assert "another process" in said
    assert "--path" in said
    assert "Traceback" not in said
    assert ask(store, "SELECT 1") == "1\n"


def test_a_taken_port_is_told_so(store: RunningStore, tmp_path: Path) -> None:
    """Before the engine is opened."""
    second = spawn(tmp_path / "other", port=store.port)
    said, _ = second.communicate(timeout=60)

    assert second.returncode == 1
    assert f"port {store.port} is taken" in said
    assert "--port" in said
    assert "Traceback" not in said


def test_sigterm_ends_it_soon_and_in_order(tmp_path: Path) -> None:
    """Also with queries under way; what was stored is there at the next start."""
    with running_store(tmp_path / "store") as first:
        ask(first, "CREATE TABLE kept (x UInt8) ENGINE = MergeTree ORDER BY x")
        ask(first, "INSERT INTO kept VALUES (7)")
        with ThreadPoolExecutor(3) as pool:
            for _ in range(3):
                pool.submit(httpx.post, first.url, content=SLOW, auth=("default", PASSWORD), timeout=30)
            until(
                lambda: (
                    ask(first, "SELECT count() FROM system.processes WHERE query LIKE '%sipHash%' AND query NOT LIKE '%processes%'")
                    == "3\n"
                ),
                5,
            )
            began = time.monotonic()
            first.process.terminate()
            assert first.process.wait(20) == 0
            assert time.monotonic() - began < 4  # 1.5 s on a machine that has nothing else to do

    with running_store(tmp_path / "store") as second:
        assert ask(second, "SELECT x FROM kept") == "7\n"


def test_an_empty_store_starts_again_and_again(tmp_path: Path) -> None:
    """The engine forgets a database without tables; the store makes it again."""
    for _ in range(2):
        with running_store(tmp_path / "store") as store:
            assert ask(store, "SELECT engine FROM system.databases WHERE name = 'default'") == "Atomic\n"


def test_it_goes_with_its_parent(tmp_path: Path) -> None:
    """A supervisor that was killed leaves no orphan on the folder."""
    parent = subprocess.Popen(["sleep", "60"])
    process = subprocess.Popen(
        [sys.executable, "-m", "driftwheel.store.embedded", "--path", str(tmp_path / "s"), "--port", "0", "--parent-pid", str(parent.pid)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on ")
        parent.kill()
        parent.wait()
        assert process.wait(15) == 0


def test_a_password_is_kept_as_its_digest() -> None:
    """Nobody reads it out of a dump of the process's settings."""
    user = User(password("secret"))

    assert "secret" not in repr(user)
    assert user.password_sha256 == password("secret") != password("Secret")
    assert user.readonly == 0


@pytest.mark.slow
def test_kill_9_after_an_acknowledged_insert_loses_nothing(tmp_path: Path) -> None:
    """Twenty kills, each right behind the answer to an insert: all rows are there, once, in whole batches."""
    for number in range(20):
        with running_store(tmp_path / "store") as store:
            ask(store, "CREATE TABLE IF NOT EXISTS acked (batch UInt32, n UInt32) ENGINE = MergeTree ORDER BY batch")
            assert ask(store, "SELECT count() FROM acked") == f"{number * 500}\n"
            ask(store, b"".join(b"%d\t%d\n" % (number, n) for n in range(500)), query="INSERT INTO acked FORMAT TSV")
            store.process.kill()
            store.process.wait()
    with running_store(tmp_path / "store") as store:
        assert ask(store, "SELECT count(), uniqExact(batch, n) FROM acked") == "10000\t10000\n"
        assert ask(store, "SELECT count() FROM system.detached_parts") == "0\n"
