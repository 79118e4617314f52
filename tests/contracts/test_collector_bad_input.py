"""What the collector does with bad events: each is refused with its place and cause, and its good neighbours go on."""

import asyncio
import gzip
import json
import re
import time
import zlib
from typing import Any

import httpx
import pytest

from collecting import Collecting, Json, a_feedback, an_inference, collecting
from driftwheel.collector import CollectorSettings
from driftwheel_schemas import new_id


def without(event: Json, name: str) -> Json:
    return {key: value for key, value in event.items() if key != name}


BAD_INFERENCES: dict[str, tuple[Any, str, str]] = {
    "no object": (5, "", "a number"),
    "null": (None, "", "null"),
    "no id": (without(an_inference(), "id"), ".id", "mint a UUID in the client"),
    "an empty id": (an_inference(id=""), ".id", "mint a UUID in the client"),
    "an id that is no uuid": (an_inference(id="chatcmpl-123"), ".id", "no UUID"),
    "an id of another type": (an_inference(id=[]), ".id", "expected 'str'"),
    "no app": (without(an_inference(), "app"), ".app", "missing"),
    "an empty app": (an_inference(app=" "), ".app", "empty"),
    "an empty model": (an_inference(model=""), ".model", "empty"),
    "no time": (without(an_inference(), "started_at"), ".started_at", "missing"),
    "a time that is none": (an_inference(started_at="yesterday"), ".started_at", "ISO 8601"),
    "the year 1999": (an_inference(started_at="1999-12-31T23:59:59Z"), ".started_at", "2000"),
    "the year 1 far east": (an_inference(started_at="0001-01-01T00:00:00+14:00"), ".started_at", "2000"),
    "the year 9999 far west": (an_inference(started_at="9999-12-31T23:59:59-14:00"), ".started_at", "day ahead"),
    "two days ahead": (an_inference(started_at="2026-11-27T12:00:01Z"), ".started_at", "day ahead"),
    "a latency in words": (an_inference(latency_s="fast"), ".latency_s", "expected 'float | null'"),
    "a negative latency": (an_inference(latency_s=-0.1), ".latency_s", "0 to 1e9"),
    "NaN": (an_inference(latency_s=float("nan")), ".latency_s", "is nan; must be 0 to 1e9, and finite"),
    "infinity": (an_inference(ttft_s=float("inf")), ".ttft_s", "is inf; must be"),
    "a number out of range": (an_inference(latency_s=1e300), ".latency_s", "0 to 1e9"),
    "half a token": (an_inference(input_tokens=1.5), ".input_tokens", "expected 'int | null'"),
    "negative tokens": (an_inference(output_tokens=-1), ".output_tokens", "0 to 1e9"),
    "too many tokens": (an_inference(cached_tokens=10**10), ".cached_tokens", "0 to 1e9"),
    "a huge integer": (an_inference(input_tokens=10**30), ".input_tokens", ""),
    "a negative cost": (an_inference(cost_usd=-1), ".cost_usd", "0 to 1e9"),
    "a cost that is no number": (an_inference(cost_usd="NaN"), ".cost_usd", "finite"),
    "a long name": (an_inference(environment="x" * 257), ".environment", "257 characters"),
    "a long session": (an_inference(session_id="x" * 513), ".session_id", "513 characters"),
    "65 attributes": (an_inference(attributes={str(i): "" for i in range(65)}), ".attributes", "65 keys"),
    "a long attribute": (an_inference(attributes={"k": "v" * 1025}), ".attributes['k']", "1025 characters"),
    "a long attribute key": (an_inference(attributes={"k" * 65: "v"}), ".attributes", "65 characters"),
    "a role that is a book": (an_inference(prompt=[{"role": "x" * 600, "content": "y"}]), ".prompt[0]", "512"),
}
BAD_FEEDBACK: dict[str, tuple[Any, str, str]] = {
    "no id": (without(a_feedback(), "id"), ".id", "mint a UUID in the client"),
    "about nothing": (without(a_feedback(), "response_id"), "", "inference_id, response_id"),
    "about a trace without a span": (without(a_feedback(trace_id="t"), "response_id"), "", "trace_id with span_id"),
    "saying nothing": (without(a_feedback(), "value"), "", "value, label, comment or correction"),
    "a bad source": (a_feedback(source="martian"), ".source", "invalid enum value"),
    "NaN": (a_feedback(value=float("nan")), ".value", "is nan; must be a number"),
    "a huge value": (a_feedback(value=1e12), ".value", "between"),
    "an inference id that is no uuid": (a_feedback(inference_id="7"), ".inference_id", "no UUID"),
    "an empty name": (a_feedback(name=""), ".name", "empty"),
    "a long label": (a_feedback(label="x" * 257), ".label", "257"),
    "no time": (without(a_feedback(), "at"), ".at", "missing"),
}


def one_bad_among_good(path: str, bad: Any, good: Any) -> httpx.Response:
    async def scene() -> httpx.Response:
        async with collecting() as c:
            answer = await c.post([good(), bad, good()], path)
            assert len(c.events() | c.feedback()) == 2
            alone = await c.post(bad, path)
            assert alone.status_code == 400
            assert alone.headers["content-type"] == "application/problem+json"
            assert alone.json()["accepted"] == 0
            assert alone.json()["rejected"][0]["path"].startswith("$")
            assert len(c.events() | c.feedback()) == 2
            return answer

    return asyncio.run(scene())


@pytest.mark.parametrize(("bad", "path", "says"), BAD_INFERENCES.values(), ids=BAD_INFERENCES)
def test_a_bad_inference_is_refused_and_its_neighbours_go_on(bad: Any, path: str, says: str) -> None:
    """202 with the index, the path and the cause of the bad one; alone it is a 400."""
    answer = one_bad_among_good("/v1/inferences", bad, an_inference)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    [rejected] = answer.json()["rejected"]
    assert (rejected["index"], rejected["path"]) == (1, f"$[1]{path}")
    assert says in rejected["error"]


@pytest.mark.parametrize(("bad", "path", "says"), BAD_FEEDBACK.values(), ids=BAD_FEEDBACK)
def test_bad_feedback_is_refused_and_its_neighbours_go_on(bad: Any, path: str, says: str) -> None:
    """202 with the index, the path and the cause of the bad one; alone it is a 400."""
    answer = one_bad_among_good("/v1/feedback", bad, a_feedback)
    [rejected] = answer.json()["rejected"]
    assert (rejected["index"], rejected["path"]) == (1, f"$[1]{path}")
    assert says in rejected["error"]


async def refused(c: Collecting, body: bytes | str, status: int, says: str, **headers: str) -> None:
    answer = await c.post(body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status_code == status, answer.text
    assert re.search(says, answer.json()["detail"]), answer.text


def test_what_is_no_json_is_refused_with_its_place() -> None:
    """Line and column for malformed JSON, the byte for what is no UTF-8."""
    good = json.dumps(an_inference())

    async def scene() -> None:
        async with collecting() as c:
            await refused(c, "", 400, "line 1 column 1")
            await refused(c, "{", 400, "line 1 column 2")
            await refused(c, f"[{good},\n{{'id'}}]", 400, "line 2 column 2")
            await refused(c, f"[{good}", 400, "line 1 column")
            await refused(c, f"[{good},]", 400, "line 1 column")
            await refused(c, f"[{good} {good}]", 400, "Expecting ','")
            await refused(c, f"{good},{good}", 400, "Extra data")
            await refused(c, f"[{good}] x", 400, "Extra data")
            await refused(c, good.encode().replace(b"Hello", b"H\xffllo"), 400, r"byte \d+ is no UTF-8")
            await refused(c, "not json at all", 400, "line 1 column 1")
            assert not c.events()

    asyncio.run(scene())


def test_odd_but_honest_events_are_accepted() -> None:
    """Unknown fields, another id form, times of other zones or none, half characters, other names for fields, a wrong content type."""
    ids = [new_id() for _ in range(8)]
    events = [
        an_inference(id=ids[0].upper(), shoe_size=44, nested={"a": [1, {"b": None}]}),
        an_inference(id=ids[1].replace("-", ""), started_at="2026-11-25T13:00:00+02:00"),
        an_inference(id=ids[2], started_at="2026-11-25T11:00:00"),
        an_inference(id=ids[3], prompt="a \ud83d b"),
        without(
            an_inference(id=ids[4], latency_ms=250, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]), "prompt"
        ),
        an_inference(id=ids[5], started_at=1_795_604_400, cost_usd=0.1),
        an_inference(id=ids[6], attributes={}, response="", latency_s=None),
        an_inference(id=ids[7], prompt="\x00\u2028", user_id="\u202e"),
    ]

    async def scene() -> None:
        async with collecting() as c:
            answer = await c.post(events, headers={"content-type": "application/x-www-form-urlencoded"})
            assert answer.json() == {"accepted": 8, "rejected": []}
            stored = [c.events()[one] for one in ids]
            assert {one["started_at"] for one in stored} == {"2026-11-25T11:00:00Z"}
            assert stored[3]["prompt"] == "a \ufffd b"
            assert (stored[4]["latency_s"], stored[4]["prompt"][0]["content"]) == (0.25, "Hi")
            assert stored[5]["cost_usd"] == "0.1"

    asyncio.run(scene())


def test_another_name_for_a_field_counts_beside_a_complete_event() -> None:
    """An event means the same whatever its neighbours are: `latency_ms` is read although nothing is missing without it."""
    event = an_inference(latency_ms=250)

    async def scene() -> None:
        async with collecting() as c:
            for body in (event, [event], [5, event]):
                await c.post(body)
            latencies = [one["latency_s"] for envelope in c.envelopes() for one in envelope]
            assert latencies == [0.25] * 3

    asyncio.run(scene())


def test_a_thumb_is_a_number() -> None:
    """True is 1 and false is 0."""

    async def scene() -> None:
        async with collecting() as c:
            up, down = a_feedback(value=True), a_feedback(value=False)
            assert (await c.post([up, down], "/v1/feedback")).status_code == 202
            assert (c.feedback()[up["id"]]["value"], c.feedback()[down["id"]]["value"]) == (1, 0)

    asyncio.run(scene())


def test_an_id_that_comes_twice_goes_on_twice() -> None:
    """The worker decides between two contents of one id; the collector counts them."""
    event = an_inference()

    async def scene() -> None:
        async with collecting() as c:
            answer = await c.post([event, event, an_inference(id=event["id"].upper(), prompt="other")])
            assert answer.json()["accepted"] == 3
            assert sum(len(one) for one in c.envelopes()) == 3
            assert await c.metric('driftwheel_collector_duplicates_total{event="inference"}') == 2

    asyncio.run(scene())


def test_a_long_text_is_cut_and_says_so() -> None:
    """10 MB are cut to what fits an envelope; the event names the texts that were cut, and the cut is counted once."""
    huge, messages = an_inference(prompt="word " * 2_000_000), an_inference(response=[{"role": "assistant", "content": "é" * 2_000_000}])
    many = an_inference(prompt=[{"role": "user", "content": "x" * 400_000} for _ in range(8)])

    async def scene() -> None:
        async with collecting() as c:
            for event in (huge, messages, many):
                assert (await c.post(event)).status_code == 202
            stored = [c.events()[event["id"]] for event in (huge, messages, many)]
            assert [one["attributes"]["driftwheel.truncated"].split(", ")[0] for one in stored] == [
                "prompt",
                "response[0].content",
                "prompt[0].content",
            ]
            assert all(100_000 < len(json.dumps(one, ensure_ascii=False).encode()) < 950_000 for one in stored)
            assert stored[0]["prompt"].endswith("word")
            assert await c.metric('driftwheel_collector_truncated_total{event="inference"}') == 3
            comment = a_feedback(comment="x" * 3_000_000)
            assert (await c.post(comment, "/v1/feedback")).status_code == 202
            assert await c.metric('driftwheel_collector_truncated_total{event="feedback"}') == 1

    asyncio.run(scene())


def test_what_cannot_be_cut_is_refused() -> None:
    """A hundred thousand small messages fit no envelope; the neighbours do."""
    swarm = an_inference(prompt=[{"role": "user", "content": "x"}] * 50_000)

    async def scene() -> None:
        async with collecting() as c:
            answer = await c.post([swarm, an_inference()])
            assert answer.json()["accepted"] == 1
            assert answer.json()["rejected"][0]["index"] == 0
            assert "bytes" in answer.json()["rejected"][0]["error"]

    asyncio.run(scene())


def test_too_large_is_413_and_bombs_cost_little() -> None:
    """Bodies, inflated bodies and numbers of events have bounds; a bomb is left at its bound."""
    settings = CollectorSettings(max_body_bytes=100_000, max_inflated_bytes=1_000_000, max_events=50)
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(60)) + packer.flush()  # 60 MB in 60 KB

    async def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 10_000

    async def scene() -> None:
        async with collecting(settings) as c:
            await refused(c, b"[" + b" " * 100_001 + b"]", 413, "100000 bytes")
            assert (await c.client.post("/v1/inferences", content=chunks())).status_code == 413
            began = time.process_time()
            await refused(c, bomb, 413, "inflates to more than 1000000", content_encoding="gzip")
            assert time.process_time() - began < 0.5
            await refused(c, json.dumps([an_inference() for _ in range(51)]), 413, "50 events")
            await refused(c, "[" + "0," * 40_000 + "0]", 413, "50 events")
            await refused(c, gzip.compress(b"[" + b"{}," * 300_000 + b"{}]"), 413, "50 events", content_encoding="gzip")
            assert not c.events()

    asyncio.run(scene())


def test_broken_encodings_are_refused() -> None:
    """An unknown encoding is 415 and names the known; a body that is not what it says, or is cut, is 400."""
    packed = gzip.compress(json.dumps(an_inference()).encode())

    async def scene() -> None:
        async with collecting() as c:
            await refused(c, packed, 415, "gzip, deflate", content_encoding="br")
            await refused(c, b"plain", 400, "not what its content-encoding says", content_encoding="gzip")
            await refused(c, b"plain", 400, "not what its content-encoding says", content_encoding="deflate")
            await refused(c, packed[:-20], 400, "ends too early", content_encoding="gzip")
            await refused(c, packed + b"junk", 400, "not what its content-encoding says", content_encoding="gzip")
            await refused(c, packed, 400, "UTF-8|no JSON")

    asyncio.run(scene())


def test_deep_nesting_costs_only_itself() -> None:
    """A hundred thousand brackets are one rejected item among good ones."""
    good = json.dumps(an_inference())
    deep = '{"id":' + "[" * 100_000 + '"]}"' + "]" * 100_000 + "}"

    async def scene() -> None:
        async with collecting() as c:
            answer = await c.post(f"[{good}, {deep}, {json.dumps(an_inference())}]")
            assert answer.json()["accepted"] == 2
            assert [(one["index"], one["error"]) for one in answer.json()["rejected"]] == [(1, "is nested too deeply")]
            await refused(c, "[" * 100_000, 400, "no JSON")
            await refused(c, deep, 400, "nested too deeply")

    asyncio.run(scene())


def test_a_number_of_thousands_of_digits_costs_only_itself() -> None:
    """Python refuses to read such integers; the collector says so for that item."""
    good = json.dumps(an_inference())

    async def scene() -> None:
        async with collecting() as c:
            answer = await c.post(f'[{good},{{"input_tokens":{"9" * 6_000}}},{json.dumps(an_inference())}]')
            assert answer.json()["accepted"] == 2
            assert "number that cannot be one" in answer.json()["rejected"][0]["error"]

    asyncio.run(scene())
