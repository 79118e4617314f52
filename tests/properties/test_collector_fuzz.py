"""Whatever is posted, the collector answers as it should: accepted, refused with a reason, and never an error of its own."""

import asyncio
import json
from dataclasses import fields
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collecting import a_feedback, an_inference, collecting
from driftwheel_schemas import Feedback, Inference
from driftwheel_schemas.shapes import inference_fields

NAMES = sorted(
    {one.name for kind in (Inference, Feedback) for one in fields(kind)}
    | {"messages", "latency_ms", "usage", "rating", "thumbs", "score", "role"}
)
ODD = [
    float("nan"),
    float("inf"),
    -1,
    0,
    1e308,
    10**40,
    "",
    " ",
    "\ud83d",
    "\x00",
    "é",
    "2026-11-25T11:00:00Z",
    True,
    None,
    [],
    {},
    "NaN",
    "1e5",
]
leaves = st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=20), st.booleans(), st.datetimes().map(str))
names = st.one_of(st.sampled_from(NAMES), st.text(max_size=8))
junk = st.recursive(leaves, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=5)), max_leaves=12)


@st.composite
def almost(draw: st.DrawFn) -> dict[str, Any]:
    """A good event with some fields spoilt."""
    good = draw(st.sampled_from([an_inference(), a_feedback()]))
    return {**good, **draw(st.dictionaries(names, junk, max_size=4))}


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON of junk and of almost good events, sometimes with a few bytes changed."""
    body = json.dumps(draw(st.one_of(almost(), st.lists(st.one_of(almost(), junk), max_size=5), junk))).encode()
    if draw(st.booleans()):
        return body
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.binary(max_size=4)) + body[at + draw(st.integers(0, 3)) :]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies(), st.sampled_from(["/v1/inferences", "/v1/feedback"]))
def test_no_body_breaks_the_collector(body: bytes, path: str) -> None:
    """202, 400 or 413; every item is accepted or rejected with its index, and what is accepted is on the bus."""

    async def scene() -> None:
        async with collecting() as c:
            answer = await c.post(body, path)
            assert answer.status_code in (202, 400, 413), answer.text
            told = answer.json()
            stored = sum(len(envelope) for topic in c.bus.logs for envelope in c.envelopes(topic))
            assert stored == told.get("accepted", 0)
            indexes = [one["index"] for one in told.get("rejected", [])]
            assert indexes == sorted(set(indexes))
            assert all(one["path"].startswith("$") and one["error"] for one in told.get("rejected", []))
            if answer.status_code == 202:
                assert stored or not indexes

    asyncio.run(scene())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), junk), min_size=1, max_size=6))
def test_indexes_name_the_bad_items(items: list[tuple[bool, Any]]) -> None:
    """Of good events among junk the good ones are accepted, and the rejected indexes are those of the junk."""
    body = [an_inference() if good else [other] for good, other in items]

    async def scene() -> None:
        async with collecting() as c:
            told = (await c.post(body)).json()
            assert told["accepted"] == sum(good for good, _ in items)
            assert [one["index"] for one in told["rejected"]] == [i for i, (good, _) in enumerate(items) if not good]
            assert set(c.events()) == {one["id"] for one, (good, _) in zip(body, items, strict=True) if good and isinstance(one, dict)}

    asyncio.run(scene())


def test_the_loose_shapes_are_in_use() -> None:
    """The fuzz would be blind to them otherwise."""
    assert inference_fields({"latency_ms": 20})["latency_s"] == 0.02
