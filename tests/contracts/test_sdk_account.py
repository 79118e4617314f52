"""Nothing is lost in silence: whatever the collector answers and the host does, every event has exactly one fate."""

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftwheel import Client, Limits
from driftwheel.sdk.transport import Request, Response
from driftwheel.testing import MemoryTransport, events_in

if TYPE_CHECKING:
    from collections.abc import Callable

REASONS = {"queue_full", "queue_bytes", "encode_error", "refused", "rejected", "gave_up", "shutdown"}

ANSWERS = st.one_of(
    st.just(202),
    st.sampled_from([400, 401, 404, 413, 429, 500, 503, 200, "no answer", "not json", "all bad", "fault"]),
    st.lists(st.integers(-1, 9), max_size=4).map(tuple),
)
STEPS = st.lists(st.sampled_from(["record", "record", "record", "bad", "big", "feedback", "flush"]), max_size=30)


class Scripted:
    """A collector that answers from a list, then takes everything; it knows which events it took."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers, self.taken = answers, set[object]()

    def __call__(self, request: Request) -> Response:
        events = events_in(request)
        answer = self.answers.pop(0) if self.answers else 202
        if answer == "no answer":
            raise TimeoutError("scripted")
        if answer == "fault":
            raise KeyError("a transport's own fault")
        if answer == "not json":
            answer, body = 202, b"<html>"
        elif answer == "all bad":
            answer, body = 400, json.dumps({"rejected": [{"index": i, "path": "app", "error": "bad"} for i in range(len(events))]}).encode()
        elif isinstance(answer, tuple):
            body = json.dumps({"accepted": 0, "rejected": [{"index": i, "path": "$.x", "error": "bad"} for i in answer]}).encode()
            self.taken |= {event["id"] for index, event in enumerate(events) if index not in answer}
            return Response(202, {}, body)
        else:
            body = b""
        if answer in {200, 202}:
            self.taken |= {event["id"] for event in events}
        return Response(answer, {"retry-after": "0"}, body)


def play(client: Client, steps: list[str]) -> set[str]:
    """Carry out *steps*; returns the ids of all events."""
    deeds: dict[str, Callable[[], object]] = {
        "record": lambda: client.record("Hi", "Hello", "m"),
        "bad": lambda: client.record("Hi", latency_s=float("nan")),
        "big": lambda: client.record("x" * 5000, "y", "m"),
        "feedback": lambda: client.feedback(True),
    }
    ids = set()
    for step in steps:
        if step == "flush":
            client.flush(0.01)
        else:
            ids.add(str(deeds[step]()))
    return ids


@settings(deadline=None, max_examples=150)
@given(
    steps=STEPS,
    answers=st.lists(ANSWERS, max_size=12),
    items=st.integers(1, 40),
    size=st.sampled_from([8_000, 1 << 20]),
    batch=st.integers(1, 8),
)
def test_sent_and_lost_and_pending_are_all_that_was_recorded(
    steps: list[str], answers: list[Any], items: int, size: int, batch: int
) -> None:
    """At any moment, and in the end without pending ones; what counts as sent is what the collector took."""
    collector = Scripted(answers)
    client = Client(
        transport=MemoryTransport(collector),
        limits=Limits(max_items=items, max_bytes=size, batch_items=batch, batch_bytes=6_000, linger_s=0.0, backoff_s=0.0),
    )
    ids = play(client, steps)
    during = client.stats()
    result = client.shutdown(5)
    after = client.stats()

    assert during.recorded == len(ids) == during.sent + during.pending + sum(during.lost.values())
    assert after.recorded == len(ids) == after.sent + sum(after.lost.values())
    assert (after.pending, after.pending_bytes) == (0, 0)
    assert (result.delivered, result.pending, result.lost) == (after.sent, 0, after.lost)
    assert after.lost.keys() <= REASONS
    assert after.sent == len(collector.taken)
    assert result.ok == (after.sent == len(ids))


@settings(deadline=None, max_examples=30)
@given(answers=st.lists(ANSWERS, max_size=6))
def test_threads_lose_no_count(answers: list[Any]) -> None:
    """Four threads record at once; the account is exact all the same."""
    client = Client(transport=MemoryTransport(Scripted(answers)), limits=Limits(max_items=60, batch_items=7, linger_s=0.0, backoff_s=0.0))
    threads = [threading.Thread(target=play, args=(client, ["record", "feedback"] * 15)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.shutdown(5)
    stats = client.stats()

    assert stats.recorded == 120 == stats.sent + sum(stats.lost.values())


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


def hanging(gate: threading.Event) -> MemoryTransport:
    def hang(_: Request) -> Response:
        gate.wait(10)
        return Response(202, {})

    return MemoryTransport(hang)


def test_at_the_bound_the_newest_are_lost_by_reason(gate: threading.Event) -> None:
    """Items and bytes each have a bound; what came first is kept."""
    by_items = Client(transport=hanging(gate), limits=Limits(max_items=5, linger_s=0.0))
    by_bytes = Client(transport=hanging(gate), limits=Limits(max_bytes=10_000, linger_s=0.0))
    for number in range(9):
        by_items.record(str(number))
        by_bytes.record("x" * 3000)
    lost = by_items.stats().lost, by_bytes.stats().lost
    gate.set()
    kept = [client.shutdown(5).delivered for client in (by_items, by_bytes)]

    assert lost == ({"queue_full": 4}, {"queue_bytes": 7})
    assert kept == [5, 2]
    assert [event["prompt"] for event in by_items._transport.inferences] == list("01234")  # type: ignore[attr-defined]


def test_shutdown_and_flush_return_in_time_from_a_hanging_collector(gate: threading.Event) -> None:
    """A guest leaves when asked; what was in hand is lost to `shutdown`, even if an answer comes after all."""
    from time import monotonic

    client = Client(transport=hanging(gate), limits=Limits(linger_s=0.0))
    for _ in range(3):
        client.record("a")
    began = monotonic()
    waiting = client.flush(0.1)
    left = client.shutdown(0.2)
    took = monotonic() - began
    gate.set()
    assert client._thread is not None
    client._thread.join(5)

    assert took < 1.0
    assert (waiting.pending, waiting.ok) == (3, False)
    assert (left.delivered, left.lost) == (0, {"shutdown": 3})
    assert client.stats().lost == {"shutdown": 3}, "a late answer changes no account"


def test_what_is_settled_makes_room_again() -> None:
    """The bound in bytes is of what is on its way, not of what ever was."""
    client = Client(transport=MemoryTransport(), limits=Limits(max_bytes=10_000, linger_s=0.0))
    for _ in range(20):
        client.record("x" * 3000)
        client.flush()

    assert (client.stats().sent, client.stats().pending_bytes) == (20, 0)
    client.shutdown()


def test_rejects_in_both_halves_of_a_split_batch_all_count(gate: threading.Event) -> None:
    """413 for more than two, and the first of every two is bad: four of eight are lost, each counted."""

    def answer(request: Request) -> Response:
        gate.wait(5)
        if len(events_in(request)) > 2:
            return Response(413, {})
        return Response(202, {}, b'{"accepted": 1, "rejected": [{"index": 0, "path": "app", "error": "bad"}]}')

    client = Client(transport=MemoryTransport(answer), limits=Limits(linger_s=0.5))
    for number in range(8):
        client.record(str(number))
    gate.set()

    assert client.shutdown(5).lost == {"rejected": 4}
    assert [event["prompt"] for event in client._transport.inferences] == ["1", "3", "5", "7"]  # type: ignore[attr-defined]


def test_a_batch_that_breaks_the_server_is_given_up_and_the_next_goes_on() -> None:
    """Eight times 500 may be this batch's own doing; its neighbours must not wait for ever."""
    collector = Scripted([500] * 8)
    client = Client(transport=MemoryTransport(collector), limits=Limits(batch_items=1, linger_s=0.0, backoff_s=0.0))
    poison, good = client.record("a"), client.record("b")

    assert client.shutdown(5).lost == {"gave_up": 1}
    assert poison not in collector.taken
    assert good in collector.taken
