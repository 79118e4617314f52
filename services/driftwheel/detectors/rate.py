"""
Flags: step bets on exact conformal ranks (Vovk et al. 2021).

A flag's rank is uniform below the share m / n where it is set (m of the n flags up to and with it are set), and above
that where not. A bet that steps at the share sees a changed rate at once, but where may the step stand? Not at the share
of the bag before the unit: ranks are uniform given the bag *with* the unit, and a step at an estimate pays
1 + (q - share)(c - 1) / (1 - share) on average when the true rate is q, not 1. So the steps stand on a fixed grid of rates,
one of which is near enough: each bet is fixed and fair whatever the rate, also where the share is 0 or 1, and the price is
the logarithm of the grid. Measured beside a step at the share before (reference 1,000, 8 % to 16 %): 750 units to 410.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from driftwheel.detectors.bets import Flags
from driftwheel.detectors.frozen import Floats, freeze, thaw
from driftwheel.detectors.settings import DetectorSettings
from driftwheel_schemas import Observation

_PLACES = 1 / (1 + np.exp(-np.linspace(-5, 5, 17)))
_ODDS = np.array([0.2, 0.5, 1.5, 2.5, 6.0])

PLACE: Floats = np.repeat(_PLACES, len(_ODDS))
"""Where each step stands: 17 rates from 0.7 % to 99.3 %, nearly doubling below a tenth; shape (85,)."""

ODDS: Floats = np.tile(_ODDS, len(_PLACES))
"""What each bet expects the odds to be multiplied by; shape (85,)."""

_EXPECTED = ODDS * PLACE / (1 - PLACE + ODDS * PLACE)
_PAYS_BELOW, _PAYS_ABOVE = _EXPECTED / PLACE, (1 - _EXPECTED) / (1 - PLACE)

_STEPS: list[float] = _PLACES.tolist()
_PAYS: list[Floats] = [
    np.where(np.arange(len(PLACE)) >= passed * len(_ODDS), _PAYS_BELOW, _PAYS_ABOVE) for passed in range(len(_STEPS) + 1)
]
"""What the bets pay where a rank is above so many of the steps; shape (18, 85)."""
for _pays in _PAYS:
    _pays.flags.writeable = False  # they are handed out
_RISING: Flags = ODDS > 1


def step_bets(p: float) -> Floats:
    """
    85 factors, each of which integrates to 1 over (0, 1).

    >>> round(float(np.mean([step_bets(p) for p in np.linspace(0.0005, 0.9995, 1000)])), 2)
    1.0
    """
    return _PAYS[bisect_left(_STEPS, p)]


@dataclass(slots=True)
class Rate:
    """
    Ranks each flag among all before it and bets that the rate changed. `bag` is (units, of them set).

    The counts are the whole bag, so it needs no cap.
    """

    settings: DetectorSettings
    bag: tuple[int, int] = (0, 0)
    start: bytes = b""
    """The counts when the reference was full."""

    noun: ClassVar[str] = "share"

    @property
    def rising(self) -> Flags:
        return _RISING

    @property
    def full(self) -> bool:
        """The reference is complete."""
        return bool(self.start)

    @property
    def learned(self) -> int:
        return self.bag[0]

    def measure(self, seen: Observation) -> float:
        return float(seen.value or 0.0)

    def learn(self, seen: Observation) -> float:
        value = self.measure(seen)
        self._add(value)
        if self.bag[0] >= self.settings.reference:
            self.start = freeze(self.bag)
        return value

    def bet(self, value: float, luck: float) -> Floats:
        p = self.rank(value, luck)
        self._add(value)
        return step_bets(p)

    def rank(self, value: float, luck: float) -> float:
        """Where a flag is in the bag with itself, set ones first; equals by *luck*."""
        units, were_set = self.bag[0] + 1, self.bag[1]
        return luck * (were_set + 1) / units if value else (were_set + luck * (units - were_set)) / units

    def renew(self) -> tuple[int, float] | None:
        return None

    def reference(self) -> bytes:
        return self.start

    def moving(self) -> bytes:
        return freeze(self.bag)

    def restore(self, reference: bytes, moving: bytes) -> None:
        self.start, self.bag = reference, thaw(moving, tuple[int, int])

    def _add(self, value: float) -> None:
        self.bag = (self.bag[0] + 1, self.bag[1] + int(value))
