"""
Recorded traffic with and without a known change, through the signals and feedback workers into the detection worker.

Common to all: one call a minute, each in a session of its own; a budget of 0.02 false alarms a week and series; references
of 200 units for numbers and flags. The data is other people's and stays where it is.
"""

import gzip
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from driftwheel.bus import Claim, Outgoing, Record
from driftwheel.pipeline import Batch
from driftwheel.pipeline.detection import Detection
from driftwheel.pipeline.joiner import Joiner, JoinSettings
from driftwheel.pipeline.signals import Signals, SignalsSettings
from driftwheel.signals import SIGNALS, load
from driftwheel_schemas import Feedback, Inference, Observation, Verdict, derived_id
from driftwheel_schemas.topics import FEEDBACK, INFERENCES, OBSERVATIONS

DATA = Path(os.environ.get("REAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
START = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WATCHED = (
    "cost.usd",
    "empty.flag",
    "error.flag",
    "language.foreign.flag",
    "latency.seconds",
    "length.prompt.chars",
    "length.response.chars",
    "length.response.words",
    "refusal.flag",
    "tokens.output.count",
    "ttft.seconds",
)

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded traffic is not at {DATA}; set REAL_DATA to where it is")

Line = dict[str, Any]


def lines(name: str) -> list[Line]:
    with gzip.open(DATA / f"{name}.jsonl.gz") as file:
        return msgspec.json.Decoder(Line).decode_lines(file.read())


def answers(model: str) -> list[tuple[str, str]]:
    """(prompt, response) of *model* to the AlpacaEval prompts, ordered by the SHA-1 of the prompt's id."""
    prompts = {row["prompt_id"]: row["text"] for row in lines("prompts") if row["source"] == "alpaca_eval"}
    said = {row["prompt_id"]: row["text"] for row in lines("responses") if row["model"] == model and row["prompt_id"] in prompts}
    order = sorted(said, key=lambda prompt_id: hashlib.sha1(prompt_id.encode()).hexdigest())
    return [(prompts[prompt_id], said[prompt_id]) for prompt_id in order]


def call(i: int, **known: Any) -> Inference:
    """The *i*-th call."""
    at = START + i * MINUTE
    return Inference(id=derived_id("call", i), app="demo", model="gpt-4", session_id=f"s{i}", started_at=at, accepted_at=at, **known)


def record(topic: str, events: Sequence[object], offset: int) -> Record:
    return Record(topic, 0, offset, "", msgspec.json.encode(events), {}, START)


def observed(publish: Iterable[Outgoing]) -> Iterator[Observation]:
    for one in publish:
        yield from msgspec.json.decode(one.value, type=list[Observation])


def measured(calls: Sequence[Inference]) -> list[Observation]:
    """What the signals worker says of *calls*."""
    core = Signals([load(name) for name in SIGNALS], 1, SignalsSettings(watched=WATCHED))
    core.assigned(Claim(INFERENCES, 0), [[]])
    return list(observed(core.process(Batch([record(INFERENCES, calls, 0)], START), []).publish))


def judged(calls: Sequence[Inference], said: Sequence[tuple[str, float]], flags: Sequence[str] = ()) -> list[Observation]:
    """What the feedback worker says when the *i*-th call is judged by the *i*-th (name, value), a minute later."""
    core = Joiner(1, JoinSettings(flags=flags))
    core.assigned(Claim(FEEDBACK, 0), [[], []])
    feedback = [
        Feedback(
            id=derived_id(name, one.id),
            at=one.started_at + MINUTE,
            accepted_at=one.started_at + MINUTE,
            name=name,
            value=value,
            inference_id=one.id,
        )
        for one, (name, value) in zip(calls, said, strict=True)
    ]
    stored = [msgspec.to_builtins(one) for one in calls]
    return list(observed(core.process(Batch([record(FEEDBACK, feedback, 0)], START), [stored, []]).publish))


def detected(seen: Iterable[Observation]) -> dict[str, Verdict]:
    """The first verdict of each signal."""
    return {verdict.signal: verdict for verdict in reversed(all_said(seen))}


def all_said(seen: Iterable[Observation]) -> list[Verdict]:
    """Every verdict, in order."""
    core = Detection(1)
    core.assigned(Claim(OBSERVATIONS, 0), [[]])
    records = [record(OBSERVATIONS, [one], offset) for offset, one in enumerate(sorted(seen, key=lambda one: one.accepted_at))]
    outcome = core.process(Batch(records, START), [])
    said = [verdict for one in outcome.publish for verdict in msgspec.json.decode(one.value, type=list[Verdict])]
    assert outcome.counts["observed"] == len(records)
    return said


def unit_of(moment: datetime | None) -> int:
    """The number of the call at *moment*."""
    assert moment is not None
    return (moment - START) // MINUTE


def test_d00_nothing_is_found_where_nothing_changed() -> None:
    """D00: one model over all 365 prompts, three cycles (1,095 calls): no signal alarms."""
    said = answers("gpt4_0314")
    calls = [call(i, prompt=prompt, response=response) for i, (prompt, response) in enumerate(said * 3)]
    seen = measured(calls)

    assert len(said) == 365
    assert len({one.signal for one in seen}) >= 6
    assert detected(seen) == {}


@pytest.mark.slow
def test_d00_the_prompts_of_one_app_are_no_news_to_it() -> None:
    """
    D00 in embeddings: the 365 prompts by MiniLM, four cycles (1,460 calls), reference 400 (250 train, 150 calibration): no alarm.

    A cycle repeats every prompt exactly, train points too, which real traffic does less: a strict test.
    """
    embedders = pytest.importorskip("driftwheel.embedders")
    pytest.importorskip("sentence_transformers", reason="MiniLM needs the extra [embed]")
    vectors = embedders.load("sentence_transformers").encode([prompt for prompt, _ in answers("gpt4_0314")])
    packed = [row.tobytes() for row in (vectors.astype(np.float32).view(np.uint32) >> 16).astype("<u2")]

    assert detected(embedded(packed * 4)) == {}


def embedded(packed: Sequence[bytes]) -> Iterator[Observation]:
    for i, vector in enumerate(packed):
        at = START + i * MINUTE
        yield Observation(
            id=f"vector-{i}",
            app="demo",
            signal="embedding.prompt",
            segment="app=demo",
            kind="vector",
            unit=f"session:{i}",
            at=at,
            accepted_at=at,
            inference_id=derived_id("call", i),
            vector=vector,
        )


def test_d02_a_model_swap_shows_in_the_length_of_answers() -> None:
    """D02: gpt4_0314 (365 calls), then text_davinci_003: the length alarms within 40 calls, its onset within 10 of the swap."""
    before, after = answers("gpt4_0314"), answers("text_davinci_003")
    calls = [call(i, prompt=prompt, response=response) for i, (prompt, response) in enumerate([*before, *after])]
    said = detected(measured(calls))

    found = said["length.response.chars"]
    assert 365 <= unit_of(found.at) <= 405
    assert abs(unit_of(found.onset) - 365) <= 10
    assert found.direction == "down"
    assert "length.prompt.chars" not in said


def test_d05_a_silent_update_shows_in_score_length_latency_and_cost() -> None:
    """D05: 500 answers of gpt-4-0314, then of gpt-4-0613 under the same name: all four fall and alarm within 60 calls, nothing before."""
    rows = [row for row in lines("version_drift") if (row["task"], row["subset"]) == ("prime_full", "prime")]
    rows = [row for model in ("gpt-4-0314", "gpt-4-0613") for row in rows if row["model"] == model]
    calls = [
        call(
            i,
            prompt=row["prompt"],
            response=row["response"],
            latency_s=row["latency_s"],
            output_tokens=row["output_tokens"],
            cost_usd=Decimal(str(row["cost_usd"])),
        )
        for i, row in enumerate(rows)
    ]
    said = detected([*measured(calls), *judged(calls, [("correct", row["score"]) for row in rows], flags=["correct"])])

    for signal in ("feedback.correct.flag", "length.response.chars", "latency.seconds", "cost.usd"):
        assert 500 <= unit_of(said[signal].accepted_at) <= 560, signal
        assert said[signal].direction == "down"
    assert all(unit_of(verdict.accepted_at) >= 500 for verdict in said.values())


@pytest.mark.parametrize("as_flag", [False, True], ids=["rating", "wrong"])
def test_d09_feedback_that_collapses_is_found(as_flag: bool) -> None:  # noqa: FBT001
    """D09: ratings of rounds 5 and 6 (393), then of round 1 (217), as a score in [0, 1] and as a flag of wrong answers: found within 200."""
    rows = [row for part in (5, 6, 1) for row in lines("feedback_stream") if row["round"] == part]
    calls = [call(i, prompt=row["question"], response=row["answer"]) for i, row in enumerate(rows)]
    said = [("wrong", float(row["feedback"] == "Wrong")) if as_flag else ("rating", row["rating"]) for row in rows]
    found = detected(judged(calls, said, flags=["wrong"]))["feedback.wrong.flag" if as_flag else "feedback.rating.score"]

    assert 393 <= unit_of(found.accepted_at) <= 593
    assert abs(unit_of(found.onset) - 393) <= 40
    assert found.direction == ("up" if as_flag else "down")


def loads(*, shuffled: bool) -> list[Observation]:
    """D12 without empty generations: 438 calls at load 100, shuffled, then 474 at load 500 as they started, or shuffled too."""
    rows = [row for row in lines("traces/vllm_load_requests") if not row["empty_generation"]]
    random = np.random.default_rng(12)
    phases: list[Line] = []
    for load_scale in (100, 500):
        phase = sorted((row for row in rows if row["load_scale"] == load_scale), key=lambda row: row["start_s"])
        phases += [phase[i] for i in random.permutation(len(phase))] if shuffled or load_scale == 100 else phase
    return measured([call(i, response="x", latency_s=row["latency_s"], ttft_s=row["ttft_s"]) for i, row in enumerate(phases)])


def test_d12_a_regression_of_the_time_to_the_first_token_is_found() -> None:
    """D12, both phases shuffled, since each drifts by itself as its queue builds up: a rise, found within 40 calls."""
    found = detected(loads(shuffled=True))["ttft.seconds"]

    assert 438 <= unit_of(found.at) <= 478
    assert abs(unit_of(found.onset) - 438) <= 10
    assert found.direction == "up"


def test_d12_a_change_that_turns_is_told_as_it_turns() -> None:
    """
    D12 with the second phase as it was recorded: its queue is empty at first, so that the first 140 calls are faster than
    before. That is what is found, within 60 calls; as the sample doubles the same alarm tells of a mean that is ten times higher.
    """
    said = [verdict for verdict in all_said(loads(shuffled=False)) if verdict.signal == "ttft.seconds"]

    assert 438 <= unit_of(said[0].at) <= 498
    assert said[0].direction == "down"
    assert len({verdict.id for verdict in said}) == 1
    assert [verdict.revision for verdict in said] == list(range(len(said)))
    assert said[-1].current is not None
    assert said[-1].baseline is not None
    assert said[-1].current > 10 * said[-1].baseline
    assert "The values are spread in another way" in said[-1].reason
