"""The enrich core: whatever comes, what is published is what is stored, once and for all (docs/architecture.md)."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftwheel.bus import Claim
from driftwheel.embedders.vectors import cosine, from_bfloat16
from driftwheel.errors import TooManyRejects
from driftwheel.pipeline import Batch, Row
from driftwheel.pipeline.enrich import CORRECTIONS_EVERY, Enrich
from driftwheel.pipeline.series import instant, segment_of, unit_of
from driftwheel_schemas import Inference, Message, Observation, ToolCall, derived_id, new_id
from driftwheel_schemas.topics import INFERENCES
from enriching import NOW, OBSERVATIONS, PARTITIONS, HashEmbedder, Shelf, envelope, owner, run
from strategies import inferences

COLUMNS = {"tenant", "id", "inference_id", "app", "model", "prompt_name", "prompt_version", "started_at", "accepted_at"}


def asked(prompt: str, response: str = "Fine.", **fields: Any) -> Inference:
    """An inference with these texts and a fresh id."""
    return Inference(id=new_id(), app="shop", model="m", started_at=NOW, accepted_at=NOW, prompt=prompt, response=response, **fields)


def said(published: Iterable[Observation]) -> dict[str, Observation]:
    """Observations by id: what is said twice is said in the same words."""
    by_id: dict[str, Observation] = {}
    for one in published:
        assert by_id.setdefault(one.id, one) == one
    return by_id


def assert_told_as_stored(shelf: Shelf, published: Iterable[Observation]) -> None:
    """Every published vector is in the store, bit for bit, and every likeness is that of the stored vectors and in its row."""
    vectors = {(row["inference_id"], row["role"]): np.array(row["vec"], np.float32) for row in shelf.tables["embeddings"]}
    late = {(row["inference_id"], row["signal"]): row["value"] for row in shelf.tables["late_readings"]}
    for one in said(published).values():
        if one.vector is not None:
            role = one.signal.split(".")[1]
            assert np.array_equal(from_bfloat16(one.vector), vectors[one.inference_id, role])
        else:
            pair = (vectors[one.inference_id, role] for role in ("prompt", "response"))
            assert one.value == late[one.inference_id, one.signal] == cosine(*pair)


@settings(max_examples=60, deadline=None)
@given(st.lists(inferences(), max_size=3, unique_by=lambda one: one.id))
def test_every_text_becomes_a_vector_and_every_pair_a_likeness(events: list[Inference]) -> None:
    """For whatever the contract allows: blank texts are skipped, rows have the columns of their tables, ids derive from the event."""
    shelf = Shelf()
    outcome, published = run(owner(shelf), shelf, [envelope(events)])
    by_id = said(published)

    for event in events:
        found = {one.signal: one for one in by_id.values() if one.inference_id == event.id}
        roles = {signal.split(".")[1] for signal in found if signal.startswith("embedding")}
        assert ("similarity.prompt_response.cosine" in found) == (roles == {"prompt", "response"})
        for signal, one in found.items():
            assert one.id == derived_id(event.id, signal, 1)
            assert (one.segment, one.unit, one.at, one.tenant) == (segment_of(event), unit_of(event), event.started_at, event.tenant)
            assert one.accepted_at == event.accepted_at or event.accepted_at is None
            assert (one.kind, one.value is None) == (("number", False) if signal.startswith("similarity") else ("vector", True))
    for row in shelf.tables["embeddings"]:
        assert row.keys() == COLUMNS | {"role", "encoder", "vec"}
        assert row["id"] == derived_id(row["inference_id"], row["role"], "hash-8")
        assert np.linalg.norm(row["vec"]) == pytest.approx(1, abs=0.01)
    assert all(row.keys() == COLUMNS | {"signal", "value", "version"} for row in shelf.tables["late_readings"])
    assert json.loads(json.dumps(shelf.tables)) == shelf.tables
    assert_told_as_stored(shelf, published)
    assert outcome.acks == {Claim(INFERENCES, 0): 1}


@settings(max_examples=150, deadline=None)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, PARTITIONS - 1)), min_size=1, max_size=4), min_size=1, max_size=4
    ),
    kills=st.lists(st.integers(0, 4), max_size=3),
)
def test_a_kill_anywhere_and_a_replay_say_what_was_said(batches: list[list[tuple[int, int]]], kills: list[int]) -> None:
    """
    Owners die after any step and the next one starts over, with a model that does not give the same floats again.

    In the end each row is there once, every expected observation was published after its rows, and all that was
    ever said of an id that was stored is the same.
    """
    pool = [asked(f"question {n}", "" if n == 5 else f"answer {n % 3}") for n in range(6)]
    home: dict[int, int] = {}
    logs = [
        [envelope([pool[n]], partition=home.setdefault(n, partition), offset=offset) for offset, (n, partition) in enumerate(batch)]
        for batch in batches
    ]
    shelf = Shelf()
    published: list[Observation] = []
    for life, kill in enumerate(kills):
        core = owner(shelf, HashEmbedder(salt=str(life)))
        for records in logs[:-1]:
            published += run(core, shelf, records)[1]
        published += run(core, shelf, logs[-1], steps=kill)[1]
    core = owner(shelf, HashEmbedder(salt="last"))
    for records in logs:
        published += run(core, shelf, records)[1]

    used = {pool[n].id for batch in batches for n, _ in batch}
    rows = [(row["inference_id"], row["role"]) for row in shelf.tables["embeddings"]]
    assert Counter(rows) == Counter(
        (one.id, role) for one in pool if one.id in used for role in ("prompt", "response") if getattr(one, role)
    )
    assert len(shelf.tables["late_readings"]) == sum(1 for one in pool if one.id in used and one.response)
    assert_told_as_stored(shelf, published)
    assert len(said(published)) == len(rows) + len(shelf.tables["late_readings"])


def test_a_stored_vector_is_not_computed_again() -> None:
    """A replay asks the store and leaves the model alone; so does a request that was sent twice."""
    shelf, event = Shelf(), asked("hello", "hi")
    first = owner(shelf)
    _, before = run(first, shelf, [envelope([event])])
    repeated, again = run(first, shelf, [envelope([event], offset=1)])
    embedder = HashEmbedder(salt="another")
    replayed, after = run(owner(shelf, embedder), shelf, [envelope([event])])

    assert said(before) == said(again) == said(after)
    assert embedder.calls == []
    assert [len(insert.rows) for insert in repeated.inserts] == [0, 0, 0]
    assert [insert.rows for insert in replayed.inserts] == [[], shelf.tables["late_readings"], []]  # it may have died before these


def test_a_text_is_embedded_once_in_a_batch() -> None:
    """Many prompts are the same; so are retries of a client in one batch."""
    embedder, event = HashEmbedder(), asked("same", "same")
    _, published = run(owner(Shelf(), embedder), Shelf(), [envelope([event, event, asked("same", "other")])])

    assert embedder.calls == [["same", "other"]]
    assert len(published) == 6


def test_the_first_content_of_an_id_wins() -> None:
    """The signals worker buries the second; here it is not measured."""
    shelf, event = Shelf(), asked("first")
    run(owner(shelf), shelf, [envelope([event, replace(event, prompt="second")])])

    expected = HashEmbedder().encode(["first"])[0]
    (stored,) = [row["vec"] for row in shelf.tables["embeddings"] if row["role"] == "prompt"]
    assert np.allclose(stored, expected, atol=0.01)


def test_what_is_asked_is_the_users_last_word() -> None:
    """Instructions and history are left out; tool calls alone are no text."""
    embedder = HashEmbedder()
    prompt = (Message(role="system", content="Be kind."), Message(role="user", content="Where is it?"), Message(role="tool", content="{}"))
    call = (Message(role="assistant", tool_calls=(ToolCall(name="find"),)),)
    run(owner(Shelf(), embedder), Shelf(), [envelope([replace(asked(""), prompt=prompt, response=call)])])

    assert embedder.calls == [["Where is it?"]]


def test_the_sample_is_fair_and_a_smaller_one_lies_within_a_larger() -> None:
    """Chosen by a hash of the id: the same inferences on every machine, as many from each partition."""
    events = [asked(f"question {n}", "") for n in range(600)]

    def chosen(**params: Any) -> set[str]:
        outcome, published = run(owner(Shelf(), **params), Shelf(), [envelope(events)])
        assert outcome.counts["enriched"] + outcome.counts["sampled_out"] == len(events)
        assert outcome.counts["enriched"] == len(published)
        return {one.inference_id for one in published}

    half, fifth = chosen(sample=0.5, at_once=1_000), chosen(sample=0.2, at_once=1_000)
    assert 220 < len(half) < 380
    assert fifth < half
    assert len(chosen(at_once=100)) == 100
    assert chosen(at_once=100) < chosen(at_once=200) < chosen(at_once=1_000) == {one.id for one in events}
    assert chosen(sample=0.0) == set()


def test_what_was_enriched_is_said_again_whatever_the_load() -> None:
    """A replay under load does not fall silent on what was stored in quieter times."""
    shelf, event = Shelf(), asked("hello")
    run(owner(shelf), shelf, [envelope([event])])
    _, published = run(owner(shelf, sample=0.0), shelf, [envelope([event, asked("new")])])

    assert {one.inference_id for one in published} == {event.id}


def correction(feedback_id: str, response: str, better: str) -> Row:
    """A row of `corrections_to_compare` as the store gives it."""
    about = {
        "inference_id": new_id(),
        "tenant": "t",
        "app": "shop",
        "model": "m",
        "prompt_name": "faq",
        "prompt_version": "3",
        "session_id": "s",
    }
    return about | {"id": feedback_id, "response": response, "correction": better, "started_at": instant(NOW), "accepted_at": instant(NOW)}


def test_a_correction_is_compared_with_the_answer() -> None:
    """Once every few seconds, by the owner of partition 0; the same ids each time, so that repeating is harmless."""
    row = correction("feedback-1", "We open at nine.", "We open at ten.")
    shelf = Shelf(corrections=[row, correction("feedback-2", "Yes.", " ")])
    core = owner(shelf)
    outcome, published = run(core, shelf, [])
    _, at_once = run(core, shelf, [], now=NOW + CORRECTIONS_EVERY / 2)
    _, later = run(core, shelf, [], now=NOW + CORRECTIONS_EVERY)

    (one,) = published
    assert outcome.inserts[2].rows == [], "stored only after it was published: with its row it is asked about no more"
    assert one.id == derived_id("feedback-1", "similarity.correction.cosine", 1)
    assert (one.tenant, one.inference_id, one.segment) == ("t", row["inference_id"], "app=shop,model=m,prompt_name=faq,prompt_version=3")
    assert (one.kind, one.unit) == ("number", "session:s@2026-03-02")
    assert one.value == pytest.approx(cosine(*HashEmbedder().encode(["We open at nine.", "We open at ten."])), abs=0.01)
    assert [(late["id"], late["value"], late["inference_id"]) for late in shelf.tables["late_readings"]] == [
        (one.id, one.value, one.inference_id)
    ]
    assert shelf.tables["embeddings"] == []
    assert outcome.acks == {}
    assert at_once == []
    assert later == published


def test_only_the_owner_of_partition_0_compares() -> None:
    """Two members of the group do not do the same work twice."""
    core = Enrich(HashEmbedder(), OBSERVATIONS)
    assert core.wants(Batch([], NOW)) == []
    core.assigned(Claim(INFERENCES, 1), [[]])
    assert core.wants(Batch([], NOW)) == []
    core.assigned(Claim(INFERENCES, 0), [[]])
    assert [question.name for question in core.wants(Batch([], NOW))] == ["corrections_to_compare"]
    core.revoked(Claim(INFERENCES, 0))
    assert core.wants(Batch([], NOW + timedelta(days=1))) == []


def test_bad_neighbours_are_passed_over_and_a_bad_deploy_stops_the_worker() -> None:
    """The signals worker buries what cannot be read, so it is only counted here; mostly bad is another matter."""
    shelf, event = Shelf(), asked("hello")
    outcome, published = run(owner(shelf), shelf, [envelope([{"id": 7}, event])])
    assert {one.inference_id for one in published} == {event.id}
    assert (outcome.letters, outcome.counts["undecodable"]) == ((), 1)

    with pytest.raises(TooManyRejects):
        run(owner(shelf), shelf, [envelope([{"id": 7}] * 30 + [event])])


def test_a_text_without_a_direction_is_not_stored() -> None:
    """An embedder may give zeros for what it does not know; a zero is near everything and nothing."""

    class Zero(HashEmbedder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.zeros((len(texts), 8), np.float32)

    shelf = Shelf()
    outcome, published = run(owner(shelf, Zero()), shelf, [envelope([asked("hello")])])
    assert (published, shelf.tables["embeddings"]) == ([], [])
    assert outcome.acks == {Claim(INFERENCES, 0): 1}
