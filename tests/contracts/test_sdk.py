"""What the SDK promises its host, over the public fake: names, snapshots, silence, champions."""

import json
import logging
import random
import subprocess
import sys
import threading
import types
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import pytest

import driftwheel
from driftwheel import Client, Limits
from driftwheel.sdk._ids import Mint
from driftwheel.sdk.transport import Request, Response
from driftwheel.testing import MemoryTransport
from driftwheel_schemas import Feedback, Inference, new_id

QUICK = Limits(linger_s=0.0, backoff_s=0.0)


@pytest.fixture
def memory() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def client(memory: MemoryTransport) -> Iterator[Client]:
    client = Client(app="shop", transport=memory, limits=QUICK, strict=True)
    yield client
    client.shutdown()


def test_the_public_names_are_exactly_these() -> None:
    """What is reachable without an underscore is what `__all__` says, sorted; modules of the package aside."""
    there = {name for name, value in vars(driftwheel).items() if not name.startswith("_") and not isinstance(value, types.ModuleType)}

    assert sorted(driftwheel.__all__, key=str) == driftwheel.__all__
    assert there == set(driftwheel.__all__)


def test_importing_costs_the_standard_library_and_no_network_module() -> None:
    """A guest brings no furniture: no third party, no server part, not even an HTTP client before there is something to send."""
    script = "import sys; before = set(sys.modules); import driftwheel; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()

    tops = {name.split(".")[0] for name in loaded}
    assert tops - sys.stdlib_module_names == {"driftwheel"}
    assert not {"http", "urllib", "email", "ssl", "asyncio", "logging", "socket", "json"} & tops
    assert all(name == "driftwheel" or name.startswith("driftwheel.sdk") for name in loaded if name.startswith("driftwheel"))


def test_ids_are_uuid7_and_never_repeat_whatever_the_host_seeds() -> None:
    """Four threads, 5,000 each, the host's own generator seeded alike: all different, all of version 7, in the order of time."""
    mint, made = Mint(), list[list[str]]()

    def work() -> None:
        random.seed(42)
        made.append([mint.new() for _ in range(5000)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [uuid.UUID(text) for texts in made for text in texts]

    assert len(set(ids)) == 20_000
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert all([text[:13] for text in texts] == sorted(text[:13] for text in texts) for texts in made)
    assert abs(int(new_id().replace("-", "")[:12], 16) - (ids[-1].int >> 80)) < 60_000, "the same clock as the contract's own ids"


def test_what_is_recorded_is_what_the_contract_reads(client: Client, memory: MemoryTransport) -> None:
    """Every event decodes strictly into the contract, whole, under the id that was returned."""
    event = client.record(
        [{"role": "user", "content": "Hi"}], "Hello", "gpt-4o-2024-08-06", latency_s=1.5, usage={"prompt_tokens": 3}, cost_usd=0.01, attributes={"plan": 1}, thread_id="s-1"
    )  # fmt: skip
    said = client.feedback(True, inference_id=event, comment="good")
    assert client.flush().ok

    inference = msgspec.convert(memory.inferences[0], Inference, strict=False)
    feedback = msgspec.convert(memory.feedback[0], Feedback)
    assert (inference.id, inference.app, inference.model, inference.input_tokens, inference.session_id) == (
        event,
        "shop",
        "gpt-4o-2024-08-06",
        3,
        "s-1",
    )
    assert (str(inference.cost_usd), inference.attributes) == ("0.01", {"plan": "1"})
    assert (feedback.id, feedback.inference_id, feedback.name, feedback.value, feedback.app) == (said, event, "thumbs", 1.0, "shop")
    assert 1.4 < (feedback.at - inference.started_at).total_seconds() < 60, "recorded after the answer, so it began a latency before"


def test_a_providers_whole_answer_is_enough(client: Client, memory: MemoryTransport) -> None:
    """An answer object with `model_dump()` gives text, model, id, usage and finish reason."""

    class Completion:
        def model_dump(self) -> dict[str, object]:
            message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "find", "arguments": "{}"}}]}
            return {
                "id": "chatcmpl-1",
                "model": "m-2",
                "choices": [{"finish_reason": "tool_calls", "message": message}],
                "usage": {"completion_tokens": 7},
            }

    client.record("Hi", Completion())
    assert client.flush().ok

    told = memory.inferences[0]
    assert [told[name] for name in ("model", "response_id", "finish_reason", "output_tokens")] == ["m-2", "chatcmpl-1", "tool_calls", 7]
    assert told["response"] == [{"role": "assistant", "tool_calls": [{"id": "c", "name": "find", "arguments": "{}"}]}]


def test_what_the_host_changes_afterwards_changes_nothing(memory: MemoryTransport) -> None:
    """`record` takes a copy of every container, however deep, before it returns."""
    gate = threading.Event()

    def wait(_: Request) -> Response:
        gate.wait(5)
        return Response(202, {})

    client = Client(transport=MemoryTransport(wait), limits=QUICK, strict=True)
    client.record("first", "holds the sender up")
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "before"}]}]
    labels = {"a": "before"}
    client.record(messages, attributes=labels)
    messages[0]["content"][0]["text"] = labels["a"] = "after"
    messages.append({"role": "assistant", "content": "after"})
    gate.set()

    assert client.shutdown().ok
    told = client._transport.inferences[1]  # type: ignore[attr-defined]
    assert (told["prompt"], told["attributes"]) == ([{"role": "user", "content": "before"}], {"a": "before"})


class Colour(Enum):
    RED = "red"


@dataclass
class Note:
    text: str


class Slotted:
    __slots__ = ()

    def __str__(self) -> str:
        return "slotted"


class Number:
    def __float__(self) -> float:
        return 1.5


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Colour.RED, "red"),
        ({"question": Note("hi")}, '{"question": {"text": "hi"}}'),
        (Slotted(), "slotted"),
        (b"caf\xc3\xa9", "café"),
        ({1 }, [{"role": "user", "content": "1"}]),
        (ValueError("x"), "ValueError"),
        (chr(0xD800) + "a", chr(0xFFFD) + "a"),
        ("a\x00b", "a\x00b"),
    ],
    ids=["enum", "dataclass", "str", "bytes", "set", "exception", "lone surrogate", "nul"],
)  # fmt: skip
def test_odd_objects_are_told_in_some_words(client: Client, memory: MemoryTransport, given: object, told: object) -> None:
    """No type of the host stops its event."""
    client.record(given)
    assert client.flush().ok

    assert memory.inferences[0]["prompt"] == told


def test_numbers_of_numerical_libraries_are_numbers(client: Client, memory: MemoryTransport) -> None:
    """A latency from numpy or torch arrives as a number, not as text that validation refuses."""
    client.record("a", latency_s=Number())
    assert client.flush().ok

    assert memory.inferences[0]["latency_s"] == 1.5


def test_iterators_are_never_read(client: Client) -> None:
    """A stream belongs to the host: recording it must not eat it."""
    stream = (chunk for chunk in ["a", "b"])
    client.record("Hi", stream)
    assert client.flush().ok

    assert list(stream) == ["a", "b"]


def test_endless_and_huge_data_is_cut_and_says_so(client: Client, memory: MemoryTransport) -> None:
    """A list that holds itself, a million numbers, 10 MB of text: each is bounded, marked and counted."""
    client.record(LOOP, "a")
    client.record(list(range(1_000_000)), "b")
    client.record("x" * 10_000_000, [{"role": "assistant", "content": "\x00" * 2_000_000}])
    client.record("x" * 800_000, "fits whole")
    assert client.flush(20).ok

    loop, many, long, whole = memory.inferences
    assert [event["attributes"] for event in (loop, many)] == [{"truncated": "structure"}] * 2
    assert long["attributes"] == {"truncated": "prompt from 10000000 characters, response from 2000000 characters"}
    assert 100_000 < len(json.dumps(long, ensure_ascii=False).encode()) <= 896 * 1024
    assert len(str(whole["prompt"])) == 800_000 and "attributes" not in whole  # noqa: PT018  one fact
    assert client.stats().truncated == 3


def test_of_long_messages_the_last_ones_are_kept(client: Client, memory: MemoryTransport) -> None:
    """The question stands at the end of a conversation; what is cut is the beginning."""
    client.record([{"role": "user", "content": "old " * 300_000}, {"role": "user", "content": "the question"}])
    assert client.flush().ok

    prompt: Any = memory.inferences[0]["prompt"]
    assert prompt[1] == {"role": "user", "content": "the question"}
    assert 0 < len(prompt[0]["content"]) < 1_200_000


def test_nothing_is_raised_into_the_host_and_every_fault_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """An object that raises, a time that is none, a number that JSON has not: one loss each, one log line a kind, no payload."""

    class Bad:
        def model_dump(self) -> object:
            raise RuntimeError("secret words")

    memory = MemoryTransport()
    client = Client(transport=memory, limits=QUICK)
    with caplog.at_level(logging.WARNING, "driftwheel"):
        for _ in range(3):
            client.record(Bad(), "a")
            client.record("secret prompt", latency_s=float("nan"))
            client.record("b", started_at="secret time")
        client.record("good")
        result = client.shutdown()

    assert result == driftwheel.FlushResult(delivered=1, pending=0, lost={"encode_error": 9})
    assert not result.ok
    assert len(caplog.records) == 3
    assert "secret" not in caplog.text
    assert {"encode_error ValueError: latency_s: is nan; JSON has no such number"} < set(client.stats().details)


def test_strict_lets_faults_through() -> None:
    """In tests a fault must not go unseen: on the calling thread at once, from the sender at the next flush."""

    class Bad:
        def model_dump(self) -> object:
            raise RuntimeError("seen")

    client = Client(transport=MemoryTransport(), limits=QUICK, strict=True)
    with pytest.raises(RuntimeError, match="seen"):
        client.record(Bad())
    client.record("a", latency_s=float("nan"))
    with pytest.raises(ValueError, match="latency_s"):
        client.flush()


def test_init_reads_the_environment_once_and_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """DRIFTWHEEL_APP and DRIFTWHEEL_API_KEY count unless they are given; what changes later does not."""
    memory = MemoryTransport()
    monkeypatch.setenv("DRIFTWHEEL_APP", "from-env")
    monkeypatch.setenv("DRIFTWHEEL_API_KEY", "dw_k_s")
    driftwheel.init(transport=memory, limits=QUICK, strict=True)
    monkeypatch.setenv("DRIFTWHEEL_APP", "too-late")
    driftwheel.record("a")
    driftwheel.flush()
    driftwheel.init(app="given", transport=memory, limits=QUICK, strict=True)
    driftwheel.record("b")
    driftwheel.feedback(False)

    assert driftwheel.shutdown().delivered == 2
    assert [event["app"] for event in memory.inferences] == ["from-env", "given"]
    assert {request.headers["x-api-key"] for request in memory.requests} == {"dw_k_s"}


def test_a_wrong_endpoint_costs_events_and_never_the_host(caplog: pytest.LogCaptureFixture) -> None:
    """A typing error in an environment variable must not take an app down; the log names the cure."""
    client = Client("localhost:4318", limits=QUICK)
    client.record("a")

    assert client.shutdown().lost == {"refused": 1}
    assert "give a URL such as http://127.0.0.1:4318" in caplog.text


def test_after_shutdown_events_are_lost_and_counted() -> None:
    """Nothing is taken in that nobody will send."""
    client = Client(transport=MemoryTransport(), limits=QUICK)
    client.record("a")
    client.shutdown()
    client.record("b")

    assert client.shutdown() == driftwheel.FlushResult(delivered=1, pending=0, lost={"shutdown": 1})


def test_the_collector_hears_of_losses() -> None:
    """Reasons and counts go along with every request from then on, under one name for this process: they add up anywhere."""
    memory = MemoryTransport()
    client = Client(transport=memory, limits=QUICK)
    client.record("a", latency_s=float("inf"))
    client.flush()
    client.record("b")
    client.shutdown()

    assert memory.requests[0].headers["x-driftwheel-lost"] == "encode_error=1"
    assert memory.requests[0].headers["x-driftwheel-instance"]


def test_the_champion_is_asked_for_once_in_a_while_and_never_raises() -> None:
    """The last answer stays true while the collector is away; without one it is the default."""
    answers: list[Response | OSError] = [
        Response(200, {}, b'{"app": "shop", "model": "m-2"}'),
        OSError("away"),
        Response(404, {}),
        Response(500, {}),
        Response(200, {}, b"?"),
    ]

    def answer(request: Request) -> Response:
        assert (request.method, request.path) == ("GET", "/v1/champion/shop%20a")
        if isinstance(said := answers.pop(0), OSError):
            raise said
        return said

    now = Client(app="shop a", transport=MemoryTransport(answer), limits=Limits(champion_ttl_s=0.0), strict=True)
    assert [now.champion(default="d") for _ in range(5)] == ["m-2", "m-2", "d", "d", "d"]

    answers[:] = [Response(200, {}, b'{"model": "m-3"}')]
    kept = Client(app="shop a", transport=MemoryTransport(answer))
    assert [kept.champion() for _ in range(3)] == ["m-3"] * 3


def test_the_estimate_of_memory_is_near_the_truth() -> None:
    """The bound in bytes must bound: what is held by a queue of small events is at most a third over its estimate."""
    import tracemalloc

    gate = threading.Event()

    def wait(_: Request) -> Response:
        gate.wait(20)
        return Response(202, {})

    client = Client(transport=MemoryTransport(wait), limits=QUICK)
    client.record("first")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(2000):
        client.record(
            [{"role": "user", "content": f"{number}" * 100}, {"role": "user", "content": f"{number}" * 50}],
            f"{number}" * 30,
            "m",
            session_id=f"s{number}",
        )
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    estimate = client.stats().pending_bytes
    gate.set()
    client.shutdown()

    assert 0.5 < held / estimate < 1.33


def test_the_hosts_random_numbers_stay_its_own() -> None:
    """A host that seeded the global generator gets the same numbers, though the SDK's thread waits and tries again."""
    random.seed(7)
    wanted = [random.random() for _ in range(3)]
    client = Client(transport=MemoryTransport(lambda _: Response(503, {})), limits=Limits(linger_s=0.0, backoff_s=0.02))
    random.seed(7)
    client.record("Hi", "Hello", "m")
    client.flush(0.5)
    found = [random.random() for _ in range(3)]
    client.shutdown(0.1)

    assert found == wanted
