"""
Flags: step bets on exact conformal ranks (reference/drift.md §2.8 and §3.2).

A flag's rank is p = U m / n where it is set (m of the n flags up to now are set) and above m / n where not. A bet that
steps at the base rate sees a changed rate at once. Where may the step stand? Not at the share of the bag before the unit:
p is uniform given the bag *with* the unit, not given the bag before it, and the sum then grows under no change. So the
step stands at the share of *other* units: the first half of what is known trains it, the second half is the bag. Given
the first half, ranks in the second half and in the stream are exactly uniform, so the bets are fair. When the units have
doubled, the halves move on: what was known trains, what came since is the bag. Ranks before and after such a move are
independent (the earlier ones of any bag are independent of what is in it), so the sums go on.
"""

from dataclasses import dataclass, field

import numpy as np

from driftwheel.detectors.bets import Flags
from driftwheel.detectors.frozen import Floats, freeze, thaw
from driftwheel.detectors.settings import DetectorSettings
from driftwheel_schemas import Observation

ODDS = np.array([0.2, 0.5, 1.5, 2.5, 6.0])
"""Each bet expects the odds of the rarer outcome to be multiplied by one of these."""

PLACES = np.array([2 / 3, 1.0, 3 / 2])
"""And its step stands at the trained rate times one of these: 100 units know a rate of 8 % to within a third."""


@dataclass(slots=True)
class Rate:
    """
    Ranks each flag among those before it and bets that the rate changed. State: three pairs of counts, so no cap is needed.

    `train`, `bag` and `fresh` are (units, units that are set); fresh ones are in the bag too.
    """

    settings: DetectorSettings
    train: tuple[int, int] = (0, 0)
    bag: tuple[int, int] = (0, 0)
    fresh: tuple[int, int] = (0, 0)
    first: bytes = b""
    """The counts when the reference was full: train units, of them set, bag units, of them set."""
    _rare: float = field(default=1.0, init=False)
    _place: Floats = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    _pays: tuple[Floats, Floats] = field(default_factory=lambda: (np.empty(0), np.empty(0)), init=False, repr=False)

    @property
    def full(self) -> bool:
        """The reference is complete."""
        return bool(self.first)

    @property
    def rising(self) -> Flags:
        """Components that win when the share of set flags rises."""
        return np.tile((ODDS > 1) == (self._rare == 1.0), len(PLACES))

    @property
    def learned(self) -> int:
        return self.train[0] + self.bag[0]

    @property
    def size(self) -> int:
        return self.train[0] + self.bag[0]

    def measure(self, seen: Observation) -> float:
        return float(seen.value or 0.0)

    def learn(self, seen: Observation) -> float:
        value = self.measure(seen)
        if self.train[0] < self.settings.train:
            self.train = _add(self.train, value)
        else:
            self.bag = _add(self.bag, value)
        if self.learned == self.settings.reference:
            self.first = freeze((self.train, self.bag))
            self._aim()
        return value

    def bet(self, value: float, luck: float) -> Floats:
        p = self.rank(value, luck)
        pays = np.where(p <= self._place, *self._pays)
        self.bag, self.fresh = _add(self.bag, value), _add(self.fresh, value)
        if 2 * self.fresh[0] >= self.learned:
            self.train = (self.train[0] + self.bag[0] - self.fresh[0], self.train[1] + self.bag[1] - self.fresh[1])
            self.bag, self.fresh = self.fresh, (0, 0)
            self._aim()
        return pays

    def rank(self, value: float, luck: float) -> float:
        """Where a flag is in the bag with itself, the rarer outcome first; equals by *luck*."""
        units, rare = self.bag[0] + 1, self.bag[1] if self._rare == 1.0 else self.bag[0] - self.bag[1]
        return luck * (rare + 1) / units if value == self._rare else (rare + luck * (units - rare)) / units

    def renew(self) -> tuple[int, float] | None:
        return None

    def reference(self) -> bytes:
        return self.first

    def moving(self) -> bytes:
        return freeze((self.train, self.bag, self.fresh))

    def restore(self, reference: bytes, moving: bytes) -> None:
        self.first = reference
        self.train, self.bag, self.fresh = thaw(moving, tuple[tuple[int, int], tuple[int, int], tuple[int, int]])
        if reference:
            self._aim()

    def _aim(self) -> None:
        """Place the steps. Which outcome is the rarer one is settled by the first train units, for the whole epoch."""
        first, _ = thaw(self.first, tuple[tuple[int, int], tuple[int, int]])
        self._rare = 1.0 if 2 * first[1] <= first[0] else 0.0
        units, rare = self.train[0], self.train[1] if self._rare == 1.0 else self.train[0] - self.train[1]
        share = (rare + 0.5) / (units + 1)  # never 0 or 1, so that every bet pays something finite either way
        place = np.repeat(np.minimum(share * PLACES, 0.95), len(ODDS))
        odds = np.tile(ODDS, len(PLACES))
        expected = odds * place / (1 - place + odds * place)
        self._place, self._pays = place, (expected / place, (1 - expected) / (1 - place))


def _add(counts: tuple[int, int], value: float) -> tuple[int, int]:
    return counts[0] + 1, counts[1] + int(value)
