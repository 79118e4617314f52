"""
Hypothesis strategies for the contract: whatever it allows, with the odd cases often. For every consumer's tests.

    @given(inferences())
    def test_...(event: Inference) -> None: ...
"""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from driftwheel_schemas import Attachment, Feedback, Inference, Message, Text, ToolCall

WORDS = (
    "hello",
    "I'm sorry, but I can't help with that.",
    "Desculpe, não posso ajudar com isso.",
    "Where is my order 4711, please?",
    "Wo bleibt denn meine Bestellung, bitte?",
    "```python\nprint(1)\n```",
    '{"a": [1, 2]}',
    "the same again and again. " * 10,
    "   \n\t",
    "你好请问您的订单号是多少",
)
"""Texts that signals have something to say about; Hypothesis alone would hardly find a refusal."""

MODELS = ("gpt-4o-mini", "gpt-4o-2024-08-06", "openai/gpt-4o", "claude-sonnet-4-5", "own-model", "a/b/c", "")
PROVIDERS = ("", "openai", "anthropic", "aws.bedrock", "litellm", "vllm")

words: SearchStrategy[str] = st.one_of(st.sampled_from(WORDS), st.text(max_size=30))
name: SearchStrategy[str] = st.text(min_size=1, max_size=8)
short: SearchStrategy[str] = st.just("") | name
instants: SearchStrategy[datetime] = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
seconds: SearchStrategy[float | None] = st.none() | st.floats(0, 600) | st.floats(allow_nan=False, allow_infinity=False)
counts: SearchStrategy[int | None] = st.none() | st.integers(0, 200_000) | st.integers(-(2**70), 2**70)
costs: SearchStrategy[Decimal | None] = st.none() | st.decimals(0, 10, places=6) | st.decimals()
ids: SearchStrategy[str] = st.uuids().map(str)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """One chat message, perhaps with tool calls and attachments, perhaps without a word."""
    return Message(
        role=draw(st.sampled_from(["system", "user", "assistant", "tool", "developer"])),
        content=draw(st.just("") | words),
        tool_calls=tuple(draw(st.lists(st.builds(ToolCall, id=short, name=short, arguments=short), max_size=2))),
        tool_call_id=draw(short),
        attachments=tuple(draw(st.lists(st.builds(Attachment, media_type=short, size_bytes=st.integers(0, 2**40)), max_size=1))),
    )


texts: SearchStrategy[Text] = st.one_of(words, st.lists(messages(), max_size=3).map(tuple))


def inferences() -> SearchStrategy[Inference]:
    """Any inference that the contract allows, whether or not its numbers make sense."""
    return st.builds(
        Inference,
        id=ids,
        app=name,
        started_at=instants,
        model=st.sampled_from(MODELS) | short,
        provider=st.sampled_from(PROVIDERS) | short,
        operation=st.sampled_from(["chat", "embeddings", "text_completion"]),
        prompt=texts,
        response=texts,
        latency_s=seconds,
        ttft_s=seconds,
        input_tokens=counts,
        output_tokens=counts,
        cached_tokens=counts,
        reasoning_tokens=counts,
        cost_usd=costs,
        error_type=st.sampled_from(["", "", "", "timeout", "rate_limit"]),
        response_format=st.sampled_from(["", "json", "text"]),
        response_id=short,
        response_model=st.sampled_from(MODELS),
        session_id=short,
        user_id=short,
        trace_id=short,
        span_id=short,
        prompt_name=short,
        prompt_version=short,
        attributes=st.dictionaries(short, short, max_size=3),
        accepted_at=st.none() | instants,
    )


def feedbacks() -> SearchStrategy[Feedback]:
    """Any feedback that the contract allows, with every kind of reference, and with none."""
    return st.builds(
        Feedback,
        id=ids,
        at=instants,
        name=st.sampled_from(["thumbs", "rating", "correction", "accepted"]) | name,
        app=short,
        value=st.none() | st.floats(-1, 5) | st.floats(allow_nan=False, allow_infinity=False),
        label=short,
        comment=words,
        correction=st.just("") | words,
        source=st.sampled_from(["user", "judge", "code"]),
        author=short,
        inference_id=st.just("") | ids,
        response_id=short,
        trace_id=short,
        span_id=short,
        session_id=short,
        accepted_at=st.none() | instants,
    )
