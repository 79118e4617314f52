"""The SDK against a real HTTP server on loopback that is slow, hangs, is away, refuses, or breaks off."""

import gzip
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any

import pytest

from driftwheel import Client, Limits

QUICK = Limits(linger_s=0.02, backoff_s=0.02)
Answer = Callable[["Handler", list[Any]], None]


class Collector(ThreadingHTTPServer):
    """Takes everything, or for each request does what is next in `answers`."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answers: deque[Answer] = deque()
        self.taken: dict[str, dict[str, Any]] = {}
        self.sizes: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.leave = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> tuple[socket, Any]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is part of the play."""


class Handler(BaseHTTPRequestHandler):
    server: Collector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        events = json.loads(body)
        self.server.sizes.append(len(events))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        (self.server.answers.popleft() if self.server.answers else take)(self, events)

    def do_GET(self) -> None:
        self.reply(200, json.dumps({"app": self.path.rpartition("/")[2], "model": "m-2"}).encode())

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's own name
        """Silent."""


def take(handler: Handler, events: list[Any]) -> None:
    handler.server.taken |= {event["id"]: event for event in events}
    handler.reply(202, json.dumps({"accepted": len(events), "rejected": []}).encode())


def status(code: int, **headers: str) -> Answer:
    return lambda handler, _: handler.reply(code, b"", **headers)


def slow(handler: Handler, events: list[Any]) -> None:
    time.sleep(0.05)
    take(handler, events)


def hang(handler: Handler, _: list[Any]) -> None:
    handler.server.leave.wait(30)
    handler.close_connection = True


def break_off(handler: Handler, _: list[Any]) -> None:
    handler.close_connection = True


def lose_the_answer(handler: Handler, events: list[Any]) -> None:
    handler.server.taken |= {event["id"]: event for event in events}
    handler.close_connection = True


def close_after(handler: Handler, events: list[Any]) -> None:
    """Says keep-alive and closes all the same, as an idle timeout does."""
    take(handler, events)
    handler.close_connection = True


def at_most(limit: int) -> Answer:
    def answer(handler: Handler, events: list[Any]) -> None:
        handler.server.answers.append(answer)
        (take if len(events) <= limit else status(413))(handler, events)

    return answer


@contextmanager
def serving(collector: Collector) -> Iterator[Collector]:
    thread = threading.Thread(target=collector.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.leave.set()
        collector.shutdown()
        collector.server_close()
        thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with serving(Collector()) as running:
        yield running


@pytest.fixture
def client(collector: Collector) -> Iterator[Client]:
    client = Client(collector.endpoint + "/", "shop", "dw_k_s", limits=QUICK)
    yield client
    collector.leave.set()
    client.shutdown(0.5)


def until_asked(collector: Collector) -> None:
    deadline = time.monotonic() + 10
    while not collector.sizes:
        assert time.monotonic() < deadline, "no request came"
        time.sleep(0.002)


def test_one_connection_carries_many_batches(client: Client, collector: Collector) -> None:
    """Batches of 500 at most, gzip, one kept connection, the key in its header."""
    ids = {client.record("Hi", "Hello", "m") for _ in range(1300)}
    assert client.flush(20).ok
    ids.add(client.record("later"))
    assert client.flush().ok

    assert collector.taken.keys() == ids
    assert collector.connections == 1
    assert max(collector.sizes) <= 500
    assert {(h["x-api-key"], h["content-encoding"], h["content-type"]) for h in collector.headers} == {
        ("dw_k_s", "gzip", "application/json")
    }


@pytest.mark.slow
def test_a_burst_of_20_000_is_kept_while_answers_take_50_ms(collector: Collector) -> None:
    """The default bounds hold a burst of small events: not one is lost."""
    collector.answers.extend([slow] * 1000)
    client = Client(collector.endpoint)
    prompt = [{"role": "system", "content": "s" * 500}, {"role": "user", "content": "u" * 500}]
    for _ in range(20_000):
        client.record(prompt, "Hello", "m", session_id="s-1")

    assert client.shutdown(60).ok
    assert len(collector.taken) == 20_000


@pytest.mark.parametrize("answer", [status(429), status(500), status(502), status(503), break_off, lose_the_answer, close_after], ids=str)
def test_what_may_pass_is_sent_again_until_it_is_taken(client: Client, collector: Collector, answer: Answer) -> None:
    """Overload, faults, connections that break off before or after the work: the same events again, each taken in the end."""
    collector.answers.extend([answer, answer])
    ids = [client.record(str(number)) for number in range(3)]
    assert client.flush(10).ok
    ids.append(client.record("later"))

    assert client.flush(10).ok
    assert list(collector.taken) == ids


def test_events_leave_unasked(client: Client, collector: Collector) -> None:
    """Nobody needs to flush: an event leaves after the linger, also after a time of silence."""
    for expected in (1, 2):
        client.record("a")
        deadline = time.monotonic() + 10
        while len(collector.taken) < expected:
            assert time.monotonic() < deadline, "it did not leave"
            time.sleep(0.002)


def test_a_kept_connection_that_was_closed_meanwhile_is_no_outage(
    client: Client, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers close idle connections: the next batch takes a new one at once, without a word."""
    collector.answers.append(close_after)
    client.record("a")
    client.flush()
    client.record("b")

    assert client.flush().delivered == 2
    assert collector.connections == 2
    assert not caplog.records


def test_retry_after_is_kept_to(client: Client, collector: Collector) -> None:
    """Nobody is asked again before the time that it named, even when someone waits for the flush."""
    collector.answers.append(status(503, Retry_After="1"))
    client.record("a")
    began = time.monotonic()
    until_asked(collector)
    assert client.flush(0.1).pending == 1

    assert client.flush(10).ok
    assert 1.0 <= time.monotonic() - began < 3.0


def test_a_batch_that_is_too_large_is_split_until_it_fits(client: Client, collector: Collector) -> None:
    """413 for anything over 3 events: all of 20 arrive, none is lost."""
    collector.answers.append(at_most(3))
    ids = {client.record(str(number)) for number in range(20)}

    assert client.flush(10).ok
    assert collector.taken.keys() == ids


def test_an_event_that_is_too_large_alone_is_refused(client: Client, collector: Collector) -> None:
    """413 for one event: lost, counted, its neighbours arrive."""
    collector.answers.append(at_most(0))
    client.record("a")

    assert client.flush(10).lost == {"refused": 1}


def test_rejected_items_are_lost_one_by_one_and_told(client: Client, collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    """A 202 may still refuse items; each counts, the reason is logged with its path and without what the event says."""

    def reject_second(handler: Handler, events: list[Any]) -> None:
        handler.reply(
            202,
            json.dumps({"accepted": len(events) - 1, "rejected": [{"index": 1, "path": "$.latency_s", "error": "is no number"}]}).encode(),
        )

    collector.answers.append(reject_second)
    with caplog.at_level(logging.WARNING, "driftwheel"):
        for _ in range(3):
            client.record("secret", latency_s="soon")
        result = client.flush()

    assert (result.delivered, result.lost) == (2, {"rejected": 1})
    assert client.stats().details == {"rejected $.latency_s: is no number": 1}
    assert "$.latency_s: is no number" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 301])
def test_a_refusal_is_never_called_sent(client: Client, collector: Collector, code: int) -> None:
    """4xx other than 429 is final: lost, counted, and the next batch is tried."""
    collector.answers.append(status(code))
    client.record("a")
    assert client.flush().lost == {"refused": 1}
    client.record("b")

    assert client.flush().delivered == 1


def test_an_outage_costs_nothing_that_fits_the_queue() -> None:
    """The collector starts after 10,000 events were recorded: all arrive. `init` and `record` do not mind its absence."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", limits=QUICK)
    began = time.monotonic()
    for number in range(10_000):
        client.record(str(number))
    took = time.monotonic() - began
    assert client.flush(0.1).pending == 10_000

    with serving(Collector(port)) as late:
        assert client.shutdown(60).ok
    assert took < 5
    assert len(late.taken) == 10_000


def test_a_hanging_collector_holds_nobody_up(client: Client, collector: Collector) -> None:
    """Recording goes on, the flush and the shutdown end in their time and say what is pending, then lost."""
    collector.answers.extend([hang] * 10)
    began = time.monotonic()
    for _ in range(1000):
        client.record("a")
    waiting = client.flush(0.1)
    left = client.shutdown(0.3)

    assert time.monotonic() - began < 2.0
    assert (waiting.pending, waiting.ok) == (1000, False)
    assert left.lost == {"shutdown": 1000}


def test_a_timeout_is_sent_again(collector: Collector) -> None:
    """A try ends after its time; the next connection is served."""
    collector.answers.append(hang)
    client = Client(collector.endpoint, limits=Limits(linger_s=0.0, backoff_s=0.0, timeout_s=0.2))
    event = client.record("a")

    assert client.shutdown(10).ok
    assert list(collector.taken) == [event]


def test_the_champion_is_asked_over_its_own_connection(client: Client, collector: Collector) -> None:
    """A sender that hangs does not keep the host from its champion."""
    collector.answers.append(hang)
    client.record("a")
    until_asked(collector)

    assert client.champion() == "m-2"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_sends_its_own_and_only_its_own(client: Client, collector: Collector) -> None:
    """The child starts with an empty queue, a thread and a connection of its own; the parent goes on undisturbed."""
    collector.answers.append(hang)
    before = client.record("the parent's, in hand while it forks")
    until_asked(collector)
    assert client.champion() == "m-2"
    if (child := os.fork()) == 0:
        fresh = client.stats().recorded == 0 and client.champion() == "m-2"
        client.record("the child's")
        os._exit(0 if fresh and client.flush(10).ok and client.stats().sent == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert collector.connections == 4, "sender and champion, parent and child: none shares"
    collector.leave.set()

    assert client.flush(10).delivered == 1
    assert [event["prompt"] for event in collector.taken.values()] == ["the child's", "the parent's, in hand while it forks"]
    assert before in collector.taken


def run(script: str, collector: Collector) -> float:
    """Run *script* in a process of its own; returns how long it took."""
    began = time.monotonic()
    environment = {**os.environ, "DRIFTWHEEL_ENDPOINT": collector.endpoint, "DRIFTWHEEL_APP": "script"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)
    return time.monotonic() - began


def test_the_end_of_a_process_sends_what_it_recorded(collector: Collector) -> None:
    """A script that records and ends loses nothing, without `init` or `flush`; the environment says where to and as what."""
    run("import driftwheel\nfor _ in range(700): driftwheel.record('Hi')", collector)

    assert len(collector.taken) == 700
    assert {event["app"] for event in collector.taken.values()} == {"script"}


def test_the_end_of_a_process_waits_two_seconds_at_most(collector: Collector) -> None:
    """A hanging collector delays the exit by 2 s, not longer."""
    collector.answers.extend([hang] * 5)

    assert 1.5 < run("import driftwheel\ndriftwheel.record('Hi')", collector) < 5.0


@pytest.mark.parametrize("method", [name for name in ("fork", "spawn") if name in multiprocessing.get_all_start_methods()])
def test_a_worker_process_sends_what_it_recorded(collector: Collector, method: str) -> None:
    """Children of multiprocessing leave without `atexit`; their events arrive all the same."""
    script = (
        "import driftwheel, multiprocessing\n"
        "def work(n):\n    driftwheel.record(str(n))\n"
        "if __name__ == '__main__':\n"
        "    driftwheel.record('parent')\n"
        f"    context = multiprocessing.get_context('{method}')\n"
        "    children = [context.Process(target=driftwheel.record, args=(str(n),)) for n in range(2)]\n"
        "    [child.start() for child in children]\n    [child.join() for child in children]\n"
    )
    run(script, collector)

    assert sorted(event["prompt"] for event in collector.taken.values()) == ["0", "1", "parent"]


def test_asyncio_tasks_record_without_being_held_up(client: Client, collector: Collector) -> None:
    """200 tasks at once: every event arrives, and the loop is never blocked by the network."""
    import asyncio

    collector.answers.extend([slow] * 50)

    async def task(number: int) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            client.record(str(number))

    async def main() -> bool:
        await asyncio.gather(*(task(number) for number in range(200)))
        return (await asyncio.to_thread(client.flush, 20)).ok

    assert asyncio.run(main())
    assert len(collector.taken) == 1000
