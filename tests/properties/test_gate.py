"""The gate: it promotes what is proven, rejects what is proven worse, and is wrong no more often than it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftwheel.jobs.gate import decide, paired
from driftwheel.jobs.settings import GateSettings

SETTINGS = GateSettings(resamples=999)  # ten times faster than 9,999, the interval is nearly as good
scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(pairs=scores)
def test_a_promotion_is_what_its_numbers_say(pairs: list[tuple[float, float]]) -> None:
    """It promotes if and only if the interval and the test both say so, on enough questions; all numbers are finite."""
    found = decide([a for a, _ in pairs], [b for _, b in pairs], 0.0, SETTINGS)
    proven = found.interval_low > SETTINGS.min_gain and found.p_value < SETTINGS.alpha and len(pairs) >= SETTINGS.min_pairs
    assert (found.decision == "promote") == proven
    assert np.isfinite([found.estimate, found.interval_low, found.interval_high, found.p_value]).all()
    assert found.interval_low - 1e-9 <= found.estimate <= found.interval_high + 1e-9
    assert found.reason


@settings(max_examples=40, deadline=None)
@given(pairs=scores)
def test_the_gate_takes_no_side(pairs: list[tuple[float, float]]) -> None:
    """With the sides changed, what was promoted is rejected and the other way round."""
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    forth, back = decide(one, other, 0.0, SETTINGS), decide(other, one, 0.0, SETTINGS)
    clear = (
        min(abs(edge) for found in (forth, back) for edge in (found.interval_low, found.interval_high)) > 0.02
    )  # not within the noise of resampling
    if clear:
        assert {"promote": "reject", "reject": "promote", "hold": "hold"}[forth.decision] == back.decision


@pytest.mark.parametrize("pairs", [30, 60, 120])
@pytest.mark.parametrize("shape", ["normal", "skewed", "mostly ties"])
def test_without_a_difference_it_promotes_at_most_alpha_of_the_time(shape: str, pairs: int) -> None:
    """
    Under no difference the share of promotions is at most alpha = 0.05 (300 rounds: + 2.6 standard errors = 0.083).

    Skewed differences have mean zero but are not symmetric: there the signed-rank test alone would be wrong.
    """
    rng = np.random.default_rng(11)
    rounds = 300
    promoted = sum(decide([0.0] * pairs, _no_difference(shape, pairs, rng), 0.0, SETTINGS).decision == "promote" for _ in range(rounds))
    assert promoted / rounds <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / rounds)


def _no_difference(shape: str, pairs: int, rng: np.random.Generator) -> list[float]:
    if shape == "skewed":
        return list(1.0 - rng.exponential(1.0, pairs))  # many small gains, few large losses, mean zero
    drawn = rng.normal(0, 0.2, pairs)
    return list(np.where(rng.random(pairs) < 0.7, 0.0, drawn) if shape == "mostly ties" else drawn)


def test_a_real_gain_is_promoted_and_a_real_loss_rejected() -> None:
    """A gain of half a standard deviation on 60 questions is found in at least nine of ten rounds, a loss as well."""
    rng = np.random.default_rng(5)
    drawn = [rng.normal(0.1, 0.2, 60) for _ in range(100)]
    better = sum(decide([0.0] * 60, list(d), 0.0, SETTINGS).decision == "promote" for d in drawn)
    worse = sum(decide([0.0] * 60, list(-d), 0.0, SETTINGS).decision == "reject" for d in drawn)
    assert min(better, worse) >= 90


def test_equal_answers_hold() -> None:
    """When both answer alike nothing is proven, and nothing breaks."""
    found = decide([0.4] * 50, [0.4] * 50, 0.0, SETTINGS)
    assert (found.decision, found.p_value, found.estimate) == ("hold", 1.0, 0.0)


def test_too_few_questions_hold() -> None:
    """However large the gain: below `min_pairs` nothing is judged, and none at all is fine too."""
    assert decide([0.0] * 29, [1.0] * 29, 0.0, SETTINGS).decision == "hold"
    assert decide([], [], 0.0, SETTINGS).decision == "hold"


def test_a_gain_below_the_asked_one_holds() -> None:
    """Better, but not by as much as was asked for."""
    assert decide([0.5, 0.4] * 20, [0.55, 0.45] * 20, 0.0, GateSettings(min_gain=0.1)).decision == "hold"


@pytest.mark.parametrize("forgetting", [0.31, float("nan")])
def test_a_model_that_forgot_too_much_is_held(forgetting: float) -> None:
    """A proven gain does not pay for general answers that got worse, or were not measured."""
    found = decide([0.3, 0.4] * 20, [0.6, 0.6] * 20, forgetting, SETTINGS)
    assert found.decision == "hold"
    assert "forgot" in found.reason


def test_the_same_scores_give_the_same_decision() -> None:
    """The resampling is seeded: a decision can be computed again."""
    rng = np.random.default_rng(1)
    one, other = list(rng.random(40)), list(rng.random(40))
    assert decide(one, other, 0.0, SETTINGS) == decide(one, other, 0.0, SETTINGS)


def test_only_questions_that_both_answered_are_paired() -> None:
    """A question without a logged answer of the champion is left out of the test."""
    rows = [{"champion.f1": 0.1, "candidate.f1": 0.2}, {"candidate.f1": 0.9}]
    assert paired(rows, "f1") == ([0.1], [0.2])


def test_unequal_lengths_are_refused() -> None:
    """Scores that cannot be paired are a mistake of the caller, told with both numbers."""
    with pytest.raises(ValueError, match="2 scores of the champion and 1 of the candidate"):
        decide([0.1, 0.2], [0.1], 0.0, SETTINGS)
