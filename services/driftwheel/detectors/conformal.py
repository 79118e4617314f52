"""Numbers: exact conformal ranks in a growing bag (Vovk et al. 2021)."""

from array import array
from dataclasses import dataclass, field
from typing import ClassVar

from driftwheel.detectors.bag import Bag
from driftwheel.detectors.bets import RANK_RISING, Flags, rank_bets
from driftwheel.detectors.frozen import Floats
from driftwheel.detectors.settings import DetectorSettings
from driftwheel_schemas import Observation


@dataclass(slots=True)
class Conformal:
    """
    Ranks each number among all before it, and bets on the rank and on its opposite.

    The reference and the units since are one bag: under no change every rank is uniform whatever the numbers are
    distributed like, so the promise needs no assumption but that units are exchangeable. About 30 µs a unit.
    """

    settings: DetectorSettings
    bag: Bag = field(default_factory=Bag)

    noun: ClassVar[str] = "mean"

    @property
    def rising(self) -> Flags:
        return RANK_RISING

    @property
    def full(self) -> bool:
        """The reference is complete."""
        return len(self.bag.start) > 0

    @property
    def learned(self) -> int:
        return len(self.bag)

    def measure(self, seen: Observation) -> float:
        return float(seen.value or 0.0)

    def learn(self, seen: Observation) -> float:
        value = self.measure(seen)
        self.bag.add(value)
        if len(self.bag) >= self.settings.reference:
            self.bag.close()
        return value

    def bet(self, value: float, luck: float) -> Floats:
        p = self.bag.rank(value, luck)
        self.bag.add(value)
        return rank_bets(p)

    def renew(self) -> tuple[int, float] | None:
        if len(self.bag) < self.settings.cap:
            return None
        self.bag.renew(self.settings.keep)
        return len(self.bag), float(sum(self.bag.start))

    def reference(self) -> bytes:
        return self.bag.start.tobytes()

    def moving(self) -> bytes:
        return self.bag.since.tobytes()

    def restore(self, reference: bytes, moving: bytes) -> None:
        self.bag = Bag(array("f", reference), array("f", moving))
