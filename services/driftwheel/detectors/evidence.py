"""
The e-detector: bets against "nothing has changed" that are staked as time goes by (Shin, Ramdas and Rinaldo, arXiv 2203.03532).

Shin, Ramdas and Rinaldo, "E-detectors" (2022): a Shiryaev-Roberts sum of betting games. Every component stakes the same
money, `S <- (S + w) f`, where f has mean 1 as long as the units are exchangeable. So the mean of S over the components is
the money staked so far, and P(it ever reached 1) is at most that (Doob). The money comes by the clock, so the promise
is per week whatever the traffic.
"""

from dataclasses import dataclass, field

import numpy as np

from driftwheel.detectors.frozen import Floats

CAP = 1e30
"""No sum grows beyond this: an alarm is at 1, the rest is only guard against overflow."""

_FLOOR, _CAP = np.array(1.0), np.array(CAP)
"""As arrays: numpy need not convert them at every unit."""

STAKE, CUSUM, COUNT, TOTAL, AT, ACCEPTED = range(6)
"""Rows of the matrix: the two sums, then of the presumed onset the units and their sum before it, and its two times (µs)."""


@dataclass(slots=True)
class Evidence:
    """The sums of J components, each with the onset that its CUSUM twin presumes: shape (6, J)."""

    sums: Floats
    waiting: float = 0.0
    """Money of the gap before the last unit. It is staked from the next unit on: a slow answer lengthens its own gap,
    and what is staked on a unit must not depend on it."""

    @property
    def total(self) -> float:
        """The mean of the components: log10 of this is shown as evidence, an alarm is at 1."""
        return float(np.add.reduce(self.sums[STAKE]) / max(1, self.sums.shape[1]))

    @property
    def largest(self) -> int:
        """The component that speaks loudest; its presumed onset is reported."""
        return int(self.sums[STAKE].argmax())

    def update(self, factors: Floats, money: float, mark: tuple[float, float, float, float]) -> None:
        """
        Play a round: *factors* of shape (J,) are what the bets pay, *money* is for the next round.

        *mark* is (units before, sum of values before, µs of the event, µs of its acceptance), kept where a CUSUM is at
        its floor: there an onset would begin with this unit.
        """
        sums = self.sums  # written in place: the same numbers in a third of the time
        stake, cusum = sums[STAKE], sums[CUSUM]
        np.copyto(sums[COUNT:], np.array(mark)[:, None], where=cusum <= _FLOOR)
        np.maximum(cusum, _FLOOR, out=cusum)
        np.add(stake, self.waiting, out=stake)
        both = sums[: CUSUM + 1]
        np.multiply(both, factors, out=both)
        np.minimum(both, _CAP, out=both)
        self.waiting = money


def fresh(components: int) -> Evidence:
    """Nothing staked yet."""
    return Evidence(np.zeros((6, components)))


@dataclass(slots=True)
class Alarm:
    """A change that was found: what was before it, when it began, and how often it was said."""

    units_before: int
    total_before: float
    onset: int
    onset_accepted: int
    evidence: float
    rising: bool
    first_sample: int
    revision: int = 0
    examples: list[str] = field(default_factory=list)
