"""Scores of answers: the same is 1, nothing is 0, and a mean is of those who answered."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftwheel.jobs.evaluate import Score, similarities, summary, token_f1

texts = st.text(alphabet="ab c,é漢字", max_size=12)


class Letters:
    """An embedder that counts letters: texts of the same letters point the same way."""

    name = "letters"
    dimensions = 27

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        counts = np.array([[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] + [0.1] for text in texts], dtype=np.float32)
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), dtype=np.float32)


@given(one=texts, other=texts)
def test_f1_takes_no_side_and_stays_within_bounds(one: str, other: str) -> None:
    """F1 is the same both ways, and between 0 and 1."""
    assert token_f1(one, other) == token_f1(other, one)
    assert 0.0 <= token_f1(one, other) <= 1.0


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("Open the app!", "open THE app", 1.0),
        ("", "", 0.0),
        ("yes", "no", 0.0),
        ("the the the", "the card", 0.4),
        ("丢了卡", "卡丢了", 1.0),
    ],
)
def test_f1_counts_words_and_in_chinese_characters(answer: str, reference: str, f1: float) -> None:
    """Case and punctuation do not count, repetition does; a language without spaces is compared by characters."""
    assert token_f1(answer, reference) == pytest.approx(f1)


def test_an_empty_answer_is_like_nothing() -> None:
    """Similarity pairs each answer with its own reference; an empty answer scores 0 whatever its vector is."""
    assert similarities(["abc", "zzz", " "], ["cab", "abc", "abc"], Letters()) == [pytest.approx(1.0), pytest.approx(0.0, abs=0.01), 0.0]


def test_means_are_of_those_who_answered() -> None:
    """A side's mean is over the questions that the contender answered; sources and sides are told apart."""
    rows = [
        score("eval", "correction", {"champion.f1": 0.2, "candidate.f1": 0.8}),
        score("eval", "accepted", {"candidate.f1": 0.4}),
        score("heldout", "correction", {"candidate.f1": 0.1}),
    ]
    found = summary(rows)
    assert found["eval.candidate.f1"] == pytest.approx(0.6)
    assert found["eval.champion.f1"] == pytest.approx(0.2)
    assert (found["eval.questions"], found["eval.accepted.candidate.f1"], found["heldout.candidate.f1"]) == (2.0, 0.4, 0.1)


def score(side: str, source: str, scores: dict[str, float]) -> Score:
    return Score(id="1", side=side, group="", source=source, question="q", reference="r", answers={}, scores=scores)
