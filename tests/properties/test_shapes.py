"""Loose shapes → the contract, and the contract → JSON: laws first, then the shapes of providers, then real answers."""

import gzip
import json
import math
import os
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategies
from driftwheel_schemas import EVENTS, Attachment, Feedback, Inference, Message, ToolCall, text_of, tool_calls_of
from driftwheel_schemas.shapes import feedback_fields, inference_fields, moment, text, to_wire

DATA = Path(os.environ.get("REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
EXAMPLES = sorted(Path(str(files("driftwheel_schemas"))).glob("examples/*/*.json"))
INSTANTS = st.datetimes(datetime(2000, 1, 2), datetime(2199, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(ANY_TEXT | st.sampled_from(["role", "content", "type", "text", "parts"]), inner, max_size=4)
    ),
    max_leaves=12,
)
KNOWN = sorted({f.name for kind in (Inference, Feedback) for f in fields(kind)} | {"messages", "usage", "error", "ended_at", "thumbs"})


def encoded(wire: object) -> bytes:
    return json.dumps(wire, ensure_ascii=False, allow_nan=False).encode()


def in_range(event: Inference | Feedback) -> bool:
    """Integers of 64 bits are what msgspec reads; what is beyond is the collector's to refuse, not the wire's."""
    values = (getattr(event, f.name) for f in fields(event))
    return all(not isinstance(v, int) or -(2**63) <= v < 2**64 for v in values)


@settings(deadline=None)
@given(event=(strategies.inferences() | strategies.feedbacks()).filter(in_range))
def test_the_json_of_an_event_decodes_to_an_equal_event(event: Inference | Feedback) -> None:
    """What the SDK writes is what the collector reads; only a number that JSON has not is refused, by its field's name."""
    cost = getattr(event, "cost_usd", None)
    if cost is not None and not cost.is_finite():
        with pytest.raises(ValueError, match="cost_usd: "):
            to_wire(event)
    else:
        assert msgspec.json.decode(encoded(to_wire(event)), type=type(event)) == event


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_example_survives_the_wire(path: Path) -> None:
    """Also observations with vectors, verdicts, dead letters: every event of the contract has a wire form."""
    event: Any = msgspec.json.decode(path.read_bytes(), type=EVENTS[path.parent.name])

    assert msgspec.json.decode(encoded(to_wire(event)), type=type(event)) == event


@settings(deadline=None)
@given(when=INSTANTS)
def test_a_moment_is_the_same_in_every_unit(when: datetime) -> None:
    """Seconds, milli-, micro- and nanoseconds are told apart by their size alone."""
    micros = (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    assert moment(when) == moment(when.replace(tzinfo=None)) == moment(when.isoformat()) == when
    assert moment(micros) == moment(micros * 1000) == moment(str(micros * 1000)) == moment(Decimal(micros) / 10**6) == when
    assert when - moment(micros // 1000) < timedelta(milliseconds=1)
    assert when - moment(micros // 10**6) < timedelta(seconds=1)
    assert abs(when - moment(micros / 10**6)) <= timedelta(microseconds=2)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -1,
        0,
        12,
        10**30,
        True,
        None,
        "soon",
        "",
        "1999-12-31T23:59:59Z",
        datetime(2201, 1, 1, tzinfo=UTC),
        [1],
        "9" * 40,
    ],
)
def test_what_is_no_moment_is_refused_in_a_sentence(value: object) -> None:
    """A wrong clock or a wrong field is told at once, not stored as the year 1970."""
    with pytest.raises(ValueError, match=r"^is .*(wanted|give )"):
        moment(value)


@settings(deadline=None)
@given(value=JSON, role=st.sampled_from(["user", "assistant"]))
def test_any_json_becomes_text_that_can_be_encoded(value: object, role: str) -> None:
    """No prompt is too odd: lone surrogates and NaN inside data included."""
    said = text(value, role)

    encoded(to_wire(Inference(id="i", app="a", started_at=datetime(2026, 3, 2, tzinfo=UTC), model="m", prompt=said)))


@settings(deadline=None)
@given(contents=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text()), min_size=1, max_size=5))
def test_plain_chat_keeps_every_word(contents: list[tuple[str, str]]) -> None:
    """Messages of a role and a content are what they were."""
    messages = [{"role": role, "content": content} for role, content in contents]

    assert text(messages) == tuple(Message(role=role, content=content) for role, content in contents)


@settings(deadline=None, max_examples=300)
@given(loose=st.dictionaries(st.sampled_from(KNOWN), JSON, max_size=8))
def test_loose_fields_are_told_or_refused_by_name(loose: dict[str, object]) -> None:
    """Whatever an app gives, it is fields of the contract, or a ValueError that begins with the field's name."""
    for told, kind in ((inference_fields, Inference), (feedback_fields, Feedback)):
        known = {f.name for f in fields(kind)}
        try:
            found = set(told(loose))
        except ValueError as wrong:
            found = {str(wrong).split(":")[0]} - {"ended_at"}
        assert found <= known - {"tenant", "accepted_at"}


@pytest.mark.parametrize("name", ["latency_s", "ttft_s", "cost_usd"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_not_is_refused_by_name(name: str, number: float) -> None:
    """NaN would make the whole batch unreadable."""
    with pytest.raises(ValueError, match=f"^{name}: is "):
        inference_fields({name: number})


def test_the_contracts_own_name_wins_over_others() -> None:
    """`prompt` beats `messages` wherever it stands; `None` counts as not given."""
    assert inference_fields({"messages": "b", "prompt": "a"})["prompt"] == "a"
    assert inference_fields({"prompt": None, "messages": "b"})["prompt"] == "b"


def test_times_and_durations_by_other_names() -> None:
    """End minus start is the latency; milliseconds become seconds; an end alone dates the start."""
    ended = inference_fields({"start_time": 1_772_442_000, "end_time": 1_772_442_001.5})
    milli = inference_fields({"timestamp": "2026-03-02T09:00:00Z", "latency_ms": 250, "ttft_ms": 40})
    alone = inference_fields({"ended_at": "2026-03-02T09:00:02Z", "latency_s": 2})

    assert ended == {"started_at": datetime(2026, 3, 2, 9, tzinfo=UTC), "latency_s": 1.5}
    assert milli == {"started_at": datetime(2026, 3, 2, 9, tzinfo=UTC), "latency_s": 0.25, "ttft_s": 0.04}
    assert alone["started_at"] == datetime(2026, 3, 2, 9, tzinfo=UTC)
    with pytest.raises(ValueError, match=r"ended_at: .* is before started_at"):
        inference_fields({"started_at": 1_772_442_001, "ended_at": 1_772_442_000})


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            (9, 4, 3, 2),
        ),
        ({"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 1}, (30, 4, 20, None)),
        (
            {"input_tokens": 9, "output_tokens": 4, "input_token_details": {"cache_read": 3}, "output_token_details": {"reasoning": 2}},
            (9, 4, 3, 2),
        ),
    ],
    ids=["openai", "anthropic", "langchain"],
)
def test_usage_counts_cached_tokens_in(usage: dict[str, object], expected: tuple[int | None, ...]) -> None:
    """`input_tokens` includes cached ones in the contract, whoever counted."""
    found = inference_fields({"usage": usage})

    assert tuple(found.get(name) for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")) == expected


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("RateLimitError: too many", "RateLimitError"),
        ("openai.APITimeoutError", "APITimeoutError"),
        ("it broke down", "error"),
        (True, "error"),
        ({"type": "overloaded_error", "message": "x"}, "overloaded_error"),
    ],
)
def test_an_error_becomes_a_word_that_can_be_counted(error: object, word: str) -> None:
    """A sentence would make a segment of its own of every failure."""
    assert inference_fields({"error": error})["error_type"] == word


def test_dated_models_constant_sessions_and_numbers_as_ids_stay_as_given() -> None:
    """A dated model is another model; a session id may be absent, constant or a number."""
    found = inference_fields({"model": "gpt-4o-2024-08-06", "thread_id": 7, "user": "u", "input_tokens": "12"})

    assert found == {"model": "gpt-4o-2024-08-06", "session_id": "7", "user_id": "u", "input_tokens": "12"}


@pytest.mark.parametrize(
    ("loose", "expected"),
    [
        ({"thumbs": True}, {"name": "thumbs", "value": 1.0}),
        ({"thumbs": "down"}, {"name": "thumbs", "value": 0.0}),
        ({"value": False}, {"name": "thumbs", "value": 0.0}),
        ({"rating": 4}, {"name": "rating", "value": 4}),
        ({"name": "stars", "score": "4.5"}, {"name": "stars", "value": "4.5"}),
        ({"key": "tone", "value": "rude"}, {"name": "tone", "label": "rude"}),
        ({"correction": "Paris", "source": "HUMAN"}, {"name": "correction", "correction": "Paris", "source": "user"}),
        (
            {"score": 0, "feedback_source": {"type": "model"}, "rationale": "off"},
            {"name": "feedback", "value": 0, "source": "judge", "comment": "off"},
        ),
    ],
)
def test_feedback_in_the_usual_shapes(loose: dict[str, object], expected: dict[str, object]) -> None:
    """Thumbs, stars, labels and corrections of other tools are told in the contract's words."""
    assert feedback_fields(loose) == expected


PIXEL = "iVBORw0KGgo="
DIGEST = sha256(b"\x89PNG\r\n\x1a\n").hexdigest()
CALL = ToolCall(id="c1", name="find", arguments='{"q": 1}')


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}}]}], [Message(role="assistant", tool_calls=(CALL,))]),
        ([{"role": "assistant", "tool_calls": [{"id": "c1", "name": "find", "args": {"q": 1}}]}], [Message(role="assistant", tool_calls=(CALL,))]),
        ([{"role": "tool", "content": "50", "tool_call_id": "c1"}], [Message(role="tool", content="50", tool_call_id="c1")]),
        ({"role": "assistant", "parts": [{"type": "text", "content": "Yes"}, {"type": "tool_call", "id": "c1", "name": "find", "arguments": {"q": 1}}]}, [Message(role="assistant", content="Yes", tool_calls=(CALL,))]),
        ([{"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "50"}]}], [Message(role="tool", content="50", tool_call_id="c1")]),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}, {"type": "tool_use", "id": "c1", "name": "find", "input": {"q": 1}}], [Message(role="assistant", content="Yes", tool_calls=(CALL,))]),
        (
            [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "50"}]}, {"type": "text", "text": "go on"}]}],
            [Message(role="tool", content="50", tool_call_id="c1"), Message(role="user", content="go on")],
        ),
        ([{"role": "user", "content": "Hi"}, {"type": "function_call", "call_id": "c1", "name": "find", "arguments": '{"q": 1}'}, {"type": "function_call_output", "call_id": "c1", "output": "50"}],
         [Message(role="user", content="Hi"), Message(role="tool", content="50", tool_call_id="c1"), Message(role="assistant", tool_calls=(CALL,))]),
        ({"contents": [{"role": "model", "parts": [{"text": "Yes"}, {"functionCall": {"id": "c1", "name": "find", "args": {"q": 1}}}]}]}, [Message(role="assistant", content="Yes", tool_calls=(CALL,))]),
        ({"system": "Be kind.", "messages": [{"role": "user", "content": "Hi"}]}, [Message(role="system", content="Be kind."), Message(role="user", content="Hi")]),
        ({"output": {"message": {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "find", "input": {"q": 1}}}]}}}, [Message(role="assistant", tool_calls=(CALL,))]),
        ([{"type": "human", "content": "Hi"}, {"from": "gpt", "value": "Yes"}], [Message(role="user", content="Hi"), Message(role="assistant", content="Yes")]),
        ({"role": "assistant", "content": None, "refusal": "No."}, [Message(role="assistant", content="No.")]),
    ],
    ids=["openai calls", "flat calls", "tool", "otel parts", "otel result", "anthropic blocks", "anthropic results", "responses items", "gemini", "system apart", "converse", "langchain, sharegpt", "refusal"],
)  # fmt: skip
def test_messages_in_every_dialect(value: object, expected: list[Message]) -> None:
    """One meaning, one form: whoever wrote it down."""
    assert list(text(value, "assistant")) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            Attachment(media_type="image/png", size_bytes=8, sha256=DIGEST),
        ),
        ({"type": "image_url", "image_url": {"url": "https://x/lamp.jpg"}}, Attachment(media_type="image/*", uri="https://x/lamp.jpg")),
        (
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
            Attachment(media_type="image/png", size_bytes=8, sha256=DIGEST),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
            Attachment(media_type="audio/wav", size_bytes=8, sha256=DIGEST),
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"}},
            Attachment(media_type="application/pdf", size_bytes=8, sha256=DIGEST),
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, Attachment(media_type="application/octet-stream", uri="file-1")),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            Attachment(media_type="image/png", size_bytes=8, sha256=DIGEST),
        ),
        (
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": PIXEL},
            Attachment(media_type="image/png", size_bytes=8, sha256=DIGEST),
        ),
        ({"inlineData": {"mimeType": "image/png", "data": PIXEL}}, Attachment(media_type="image/png", size_bytes=8, sha256=DIGEST)),
    ],
)
def test_a_part_that_is_no_text_leaves_its_digest_and_never_its_bytes(part: dict[str, object], expected: Attachment) -> None:
    """Kind, size and SHA-256 of the decoded bytes; the base64 appears nowhere."""
    said = text([{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}])

    assert said == (Message(role="user", content="What is this?", attachments=(expected,)),)
    assert PIXEL not in repr(said)


def recorded(name: str) -> Iterator[dict[str, Any]]:
    if not (path := DATA / name).exists():
        pytest.skip(f"{path} is not here; set REAL_DATA to the folder of third-party data")
    with gzip.open(path, "rt") if name.endswith(".gz") else path.open() as lines:
        yield from map(json.loads, lines)


def test_recorded_answers_of_providers_are_read_whole() -> None:
    """Every recorded chat answer gives the words and tool calls that its own format holds, and its model."""
    read = 0
    for row in recorded("api/provider_http.jsonl.gz"):
        answer = row.get("response")
        if not isinstance(answer, dict) or row["status"] != 200:
            continue
        choices, blocks = answer.get("choices"), answer.get("content")
        if choices and isinstance(message := choices[0].get("message"), dict) and isinstance(message.get("content") or "", str):
            words = message.get("content") or message.get("refusal") or ""
            calls = len(message.get("tool_calls") or ()) + bool(message.get("function_call"))
        elif answer.get("type") == "message" and isinstance(blocks, list):
            words = "\n".join(block["text"] for block in blocks if block["type"] == "text" and block["text"])
            calls = sum(block["type"] in {"tool_use", "server_tool_use"} for block in blocks)
        else:
            continue
        found = inference_fields({"prompt": row["request"], "response": answer})
        said: Any = found["response"]
        assert (said[-1].content, len(tool_calls_of(said))) == (words, calls), row["fixture_id"]
        assert found["model"] == answer["model"]
        assert text_of(found["prompt"]) or tool_calls_of(found["prompt"]) or row["request"].get("prompt"), row["fixture_id"]  # type: ignore[arg-type]
        read += 1
    assert read > 200


def test_a_recorded_gateway_payload_gives_an_inference() -> None:
    """LiteLLM's own payload is read by the usual names: model, messages, answer, tokens, cost and times."""
    for row in recorded("emitters/litellm_generic.jsonl"):
        for payload in row.get("body") or ():
            found = inference_fields(payload)
            assert {"model", "prompt", "response", "started_at", "latency_s", "input_tokens", "output_tokens", "cost_usd"} <= found.keys()
