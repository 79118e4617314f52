"""
The gate: candidate against champion on the same questions → promote, hold or reject. Pure.

Two looks at the paired differences must agree: Wilcoxon's signed-rank test (one-sided; robust to a few wild scores)
and a bootstrap interval of their mean (which is what one gains). Under no difference both together promote at most
`alpha` of the time; `tests/properties/test_gate.py` counts it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftwheel.jobs.settings import GateSettings

TEST = "Wilcoxon signed-rank (one-sided) and BCa bootstrap interval of the mean paired difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """
    What the gate says and why. `estimate` is the mean of candidate - champion, `p_value` is for "candidate is better".

    The names are those of `Promotion`, which is made of it.
    """

    decision: Literal["promote", "hold", "reject"]
    estimate: float
    interval_low: float
    interval_high: float
    confidence: float
    p_value: float
    sample_size: int
    reason: str


def decide(champion: Sequence[float], candidate: Sequence[float], forgetting: float, settings: GateSettings) -> Decision:
    """
    Judge paired scores: `champion[i]` and `candidate[i]` are of the same question, more is better.

    *forgetting* is how many nats a token worse the candidate predicts general answers.
    Raises `ValueError` when the two are not of one length.

    >>> decide([0.5] * 30, [0.5] * 30, 0.0, GateSettings()).decision
    'hold'
    >>> decide([0.3, 0.4] * 15, [0.6, 0.5] * 15, 0.0, GateSettings()).decision
    'promote'
    """
    if len(champion) != len(candidate):
        raise ValueError(f"gate: {len(champion)} scores of the champion and {len(candidate)} of the candidate cannot be paired")
    differences = np.asarray(candidate, dtype=np.float64) - np.asarray(champion, dtype=np.float64)
    low, high = _interval(differences, settings)
    better, worse = _p_value(differences, "greater"), _p_value(differences, "less")
    proven = low > settings.min_gain and better < settings.alpha
    decision, why = _rule(len(differences), forgetting, settings, proven=proven, disproven=high < 0 and worse < settings.alpha)
    estimate = float(differences.mean()) if len(differences) else 0.0
    measured = (
        f"mean {settings.metric} of the candidate is {estimate:+.3f} against the champion's on {len(differences)} questions "
        f"({settings.confidence:.0%} interval {low:+.3f} to {high:+.3f}, p = {better:.2g})"
    )
    return Decision(
        decision=decision,
        estimate=estimate,
        interval_low=low,
        interval_high=high,
        confidence=settings.confidence,
        p_value=better,
        sample_size=len(differences),
        reason=f"{why}: {measured}",
    )


def paired(scores: Sequence[Mapping[str, float]], metric: str) -> tuple[list[float], list[float]]:
    """The champion's and the candidate's *metric* of each question that both answered."""
    both = [row for row in scores if f"champion.{metric}" in row and f"candidate.{metric}" in row]
    return [row[f"champion.{metric}"] for row in both], [row[f"candidate.{metric}"] for row in both]


def _rule(
    pairs: int, forgetting: float, settings: GateSettings, *, proven: bool, disproven: bool
) -> tuple[Literal["promote", "hold", "reject"], str]:
    if pairs < settings.min_pairs:
        return "hold", f"too few questions to judge ({pairs} of at least {settings.min_pairs})"
    if disproven:
        return "reject", "the candidate is worse"
    if not proven:
        return "hold", f"a gain of more than {settings.min_gain:g} is not proven"
    if not forgetting <= settings.max_forgetting:  # also when it could not be measured (nan)
        return (
            "hold",
            f"better, but it forgot too much ({forgetting:+.2f} nats a token on general answers, at most {settings.max_forgetting:g})",
        )
    return "promote", "the candidate is better"


def _p_value(differences: NDArray[np.float64], alternative: Literal["greater", "less"]) -> float:
    """Wilcoxon's; zeros say nothing and are left out, and when nothing is left p is 1."""
    moved = differences[differences != 0]
    return float(stats.wilcoxon(moved, alternative=alternative).pvalue) if len(moved) else 1.0


def _interval(differences: NDArray[np.float64], settings: GateSettings) -> tuple[float, float]:
    """
    The bootstrap interval of the mean, BCa (Efron 1987); a point when all differences are equal.

    Where gains are many and small and losses few and large, the plain percentile interval promotes 7.6 % of the time
    under no difference (30 questions, alpha 0.05), BCa 5.3 %.
    """
    if not len(differences):
        return 0.0, 0.0  # infinities do not travel in JSON; the sample size says what this is worth
    if np.ptp(differences) < 1e-9:
        return float(differences[0]), float(differences[0])
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=settings.resamples,
        batch=500,  # 500 resamples of 200 questions, 8 bytes each: under a MiB at a time
        confidence_level=settings.confidence,
        method="BCa",
        rng=np.random.default_rng(settings.seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
