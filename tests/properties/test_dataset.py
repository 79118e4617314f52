"""Datasets: the same rows give the same bytes, a question has one side, and everything left out is counted."""

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from driftwheel.jobs.dataset import SIDES, Dataset, Example, Line, Manifest, build, general, normalised, side_of
from driftwheel.jobs.folder import read_lines
from driftwheel.jobs.settings import DatasetSettings

START = datetime(2026, 11, 1, tzinfo=UTC)
SETTINGS = DatasetSettings(heldout=("loans",), valid_share=0.1)

# few letters and much punctuation, so that the same question is met in several forms
texts = st.text(alphabet="abAB ?!,.é\tß", max_size=6)
examples = st.lists(
    st.builds(
        Example,
        inference_id=st.integers(0, 10**6).map(str),
        prompt=texts,
        response=texts,
        correction=st.one_of(st.just(""), texts),
        value=st.sampled_from([None, 0.0, 1.0]),
        group=st.sampled_from(["", "cards", "loans"]),
        at=st.integers(0, 50).map(lambda hours: START + timedelta(hours=hours)),
        refused=st.booleans(),
    ),
    max_size=40,
)


def lines(dataset: Dataset) -> dict[str, list[Line]]:
    decode = msgspec.json.Decoder(Line).decode_lines
    return {side: decode(dataset.files[f"{side}.jsonl"]) for side in SIDES}


def row(number: int, question: str, **more: Any) -> Example:
    return replace(
        Example(inference_id=f"i{number}", prompt=question, response="an answer", at=START + timedelta(hours=number), value=1.0), **more
    )


@given(rows=examples, seed=st.randoms(use_true_random=False))
def test_the_same_rows_give_the_same_bytes_in_any_order(rows: list[Example], seed: object) -> None:
    """A dataset is its rows: their order changes neither its id nor a byte."""
    shuffled = list(rows)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = build(rows, SETTINGS, general("replay")), build(shuffled, SETTINGS, general("replay"))
    assert (one.id, one.files) == (other.id, other.files)


@given(rows=examples)
def test_a_question_has_one_side_however_it_is_written(rows: list[Example]) -> None:
    """No question, in any spelling, is trained on and tested with; the manifest's check says so too."""
    made = build(rows, SETTINGS, general("replay"))
    questions = {side: {normalised(line.question) for line in found} for side, found in lines(made).items()}
    assert sum(map(len, questions.values())) == len(set().union(*questions.values()))
    assert made.manifest.shared_questions == 0


@given(rows=examples)
def test_every_row_is_kept_or_counted_with_its_reason(rows: list[Example]) -> None:
    """Nothing is lost in silence: kept and excluded rows add up to what was read."""
    made = build(rows, SETTINGS)
    assert (
        sum(made.manifest.sources.values()) + sum(part.rows for part in made.manifest.excluded.values()) == made.manifest.read == len(rows)
    )
    assert sum(made.rows(side) for side in SIDES) == sum(made.manifest.sources.values())


@given(rows=examples)
def test_only_accepted_answers_and_corrections_are_learned(rows: list[Example]) -> None:
    """What is learned of an inference is its correction, or its answer when that was accepted and is no refusal."""
    by_id = {(r.inference_id, r.correction.strip() or r.response.strip()): r for r in rows}
    for line in (line for found in lines(build(rows, SETTINGS)).values() for line in found):
        origin = by_id[line.id, line.reference]
        assert origin.correction.strip() or (origin.value == 1.0 and not origin.refused)
        assert line.reference


@given(rows=examples, more=examples)
def test_a_question_keeps_its_side_in_later_datasets(rows: list[Example], more: list[Example]) -> None:
    """A later dataset tests with nothing that an earlier one trained on, so a champion is never tested with what it saw."""
    settings = replace(SETTINGS, heldout=())
    earlier, later = lines(build(rows, settings)), lines(build([*rows, *more], settings))
    assert not {normalised(line.question) for line in earlier["train"]} & {normalised(line.question) for line in later["eval"]}


def test_the_newest_correction_wins() -> None:
    """Of conflicting answers to one question the newest correction is taken, whatever was accepted after it."""
    rows = [
        row(1, "Where is my card?", correction="old correction"),
        row(2, "where is my card", correction="new correction"),
        row(3, "Where is my card??", response="accepted later"),
    ]
    made = build(rows, DatasetSettings())
    assert [line.reference for found in lines(made).values() for line in found] == ["new correction"]
    assert made.manifest.excluded["superseded"].ids == ("i1", "i3")


def test_what_production_says_now_is_what_it_said_last() -> None:
    """A good old answer stays the reference; what is compared is the newest answer to the question, though nobody liked it."""
    questions = [f"question {number}" for number in range(40)]
    good = [row(number, question, response="good", model="then") for number, question in enumerate(questions)]
    bad = [row(100 + number, f"{question}?", response="bad", model="now", value=0.0) for number, question in enumerate(questions)]
    tested = lines(build([*bad, *good], DatasetSettings()))["eval"]
    assert tested
    assert {(line.reference, line.observed, line.observed_model) for line in tested} == {("good", "bad", "now")}


def test_the_split_is_as_large_as_asked() -> None:
    """Of 4,000 questions a fifth is tested with, give or take three standard errors (0.019)."""
    sides = Counter(side_of(f"question {number}", "", DatasetSettings(eval_share=0.2, valid_share=0.05)) for number in range(4000))
    assert abs(sides["eval"] / 4000 - 0.2) < 0.019
    assert abs(sides["valid"] / 4000 - 0.05) < 0.011


def test_another_seed_splits_otherwise() -> None:
    """The split hangs on the seed."""
    sides = [[side_of(f"question {number}", "", DatasetSettings(seed=seed)) for number in range(200)] for seed in (1, 2)]
    assert sides[0] != sides[1]


def test_a_held_out_group_is_not_trained_on() -> None:
    """Every question of a held-out group lies apart, and no other does."""
    rows = [row(number, f"question {number}", group="loans" if number % 3 == 0 else "cards") for number in range(60)]
    found = lines(build(rows, SETTINGS))
    assert {line.group for line in found["heldout"]} == {"loans"}
    assert len(found["heldout"]) == 20
    assert {line.group for side in ("train", "valid", "eval") for line in found[side]} == {"cards"}


def test_the_reasons_name_what_was_left_out() -> None:
    """Each way to be unfit has its own reason in the manifest."""
    rows = [
        row(1, "a", value=None),
        row(2, "b", value=0.0),
        row(3, "c", refused=True),
        row(4, "?!", correction="fine"),
        row(5, "e", response="  "),
        row(6, "f", response="long " * 100),
        row(7, "g"),
        row(8, "G!"),
        row(9, "h", refused=True, correction="so it should have been"),
    ]
    made = build(rows, DatasetSettings())
    assert {reason: part.rows for reason, part in made.manifest.excluded.items()} == {
        "no feedback": 1,
        "not accepted": 1,
        "refusal": 1,
        "empty": 2,
        "too long": 1,
        "duplicate": 1,
    }
    assert made.manifest.sources == {"accepted": 1, "correction": 1}


def test_general_examples_are_the_share_that_was_asked_for() -> None:
    """Replay is 15 % of what is trained on and lies nowhere else; the questions that measure forgetting are not in it."""
    made = build([row(number, f"question {number}") for number in range(300)], DatasetSettings(replay=0.15), general("replay"))
    found = lines(made)
    replayed = [line for line in found["train"] if line.source == "replay"]
    assert abs(len(replayed) / len(found["train"]) - 0.15) < 0.005
    assert not [line for side in ("valid", "eval", "heldout") for line in found[side] if line.source == "replay"]
    assert not {normalised(line.question) for line in general("replay")} & {normalised(line.question) for line in general("probe")}


def test_a_general_example_that_is_tested_with_is_not_replayed() -> None:
    """A general question that people asked too, and that is on the tested side, is not mixed into training."""
    replay = general("replay")
    tested = [line for line in replay if side_of(normalised(line.question), "", DatasetSettings()) == "eval"]
    made = build([row(number, line.question) for number, line in enumerate(tested)], DatasetSettings(), replay)
    assert tested
    assert made.manifest.shared_questions == 0


def test_what_is_written_is_what_the_manifest_says(tmp_path: Path) -> None:
    """The digests, sizes and counts in the manifest are those of the files, and lines have TRL's form."""
    made = build([row(number, f"question {number}", model="gpt") for number in range(80)], DatasetSettings(), general("replay"))
    made.write(tmp_path)
    manifest = msgspec.json.decode((tmp_path / "manifest.json").read_bytes(), type=Manifest)
    assert manifest == made.manifest
    for name, written in manifest.files.items():
        content = (tmp_path / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (written.size_bytes, written.sha256)
    first = msgspec.json.decode((tmp_path / "train.jsonl").read_bytes().splitlines()[0])
    assert [turn["role"] for turn in first["prompt"] + first["completion"]] == ["user", "assistant"]
    assert {line.observed_model for line in read_lines(tmp_path / "eval.jsonl", Line)} == {"gpt"}
    assert {line.observed for line in read_lines(tmp_path / "train.jsonl", Line)} == {""}
