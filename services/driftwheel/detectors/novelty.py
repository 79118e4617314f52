"""Vectors: how far a unit is from what was seen before, ranked exactly (conformal ranks of Vovk et al. 2021)."""

from array import array
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from driftwheel.detectors.bag import Bag
from driftwheel.detectors.bets import RANK_RISING, Flags, rank_bets
from driftwheel.detectors.frozen import Floats, freeze, thaw
from driftwheel.detectors.settings import DetectorSettings
from driftwheel_schemas import Observation

NEIGHBOUR = 5
"""The distance is to the fifth nearest train point: one near twin does not make a unit ordinary."""

MOST_TRAIN = 500
"""Train points at most: 500 of 384 dimensions are 0.75 MiB and cost some 30 µs a unit."""


@dataclass(slots=True)
class Novelty:
    """
    The first units are train points; a later one's distance is 1 - its fifth largest cosine to them, ranked in a growing bag.

    Given the train points the distances are exchangeable while the traffic is, so the promise is exact. Both bets count:
    prompts that become stranger, and prompts that crowd on known ground.
    """

    settings: DetectorSettings
    train: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    bag: Bag = field(default_factory=Bag)

    noun: ClassVar[str] = "mean distance"

    @property
    def rising(self) -> Flags:
        return RANK_RISING

    @property
    def full(self) -> bool:
        """The reference is complete."""
        return len(self.bag.start) > 0

    @property
    def learned(self) -> int:
        return len(self.train) + len(self.bag)

    def measure(self, seen: Observation) -> float:
        """Distance in [0, 2], rounded to 1e-5 so that the order of additions in a dot product cannot decide a rank."""
        cosines = self.train @ _unit(vector_of(seen.vector or b""))
        nearest = min(NEIGHBOUR, len(cosines))
        return round(1.0 - float(np.partition(cosines, -nearest)[-nearest]), 5)

    def learn(self, seen: Observation) -> float | None:
        if len(self.train) < min(self.settings.train, MOST_TRAIN):
            point = _unit(vector_of(seen.vector or b""))[None]
            self.train = np.concatenate([self.train, point]) if len(self.train) else point
            return None
        value = self.measure(seen)
        self.bag.add(value)
        if self.learned >= self.settings.reference:
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
        return freeze((self.train.shape, self.train.tobytes(), self.bag.start.tobytes())) if self.full else b""

    def moving(self) -> bytes:
        return self.bag.since.tobytes() if self.full else freeze((self.train.shape, self.train.tobytes(), self.bag.since.tobytes()))

    def restore(self, reference: bytes, moving: bytes) -> None:
        (rows, columns), train, values = thaw(reference or moving, tuple[tuple[int, int], bytes, bytes])
        self.train = np.frombuffer(train, np.float32).reshape(rows, columns).copy()
        self.bag = Bag(array("f", values), array("f", moving)) if reference else Bag(since=array("f", values))


def vector_of(data: bytes) -> NDArray[np.float32]:
    """
    Numbers out of little-endian bfloat16, shape (len(data) / 2,).

    >>> vector_of(bytes([0x80, 0x3F, 0x00, 0xC0])).tolist()
    [1.0, -2.0]
    """
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.float32(max(float(np.sqrt(vector @ vector)), 1e-12))
