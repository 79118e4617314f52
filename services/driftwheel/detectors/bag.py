"""The growing bag of an exact conformal detector (Vovk et al., "Retrain or not retrain", 2021)."""

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

Values = array  # of C floats: 4 bytes a value; rounding to them only makes a few more ties, and ties are broken exactly


@dataclass(slots=True)
class Bag:
    """
    Values to rank against: those at the `start` of the epoch, and those `since`, in their order of arrival.

    >>> bag = Bag(array("f", [1, 2, 3]))
    >>> bag.rank(2.5, 0.5), bag.rank(2.0, 0.5)
    (0.375, 0.5)
    """

    start: "array[float]" = field(default_factory=lambda: array("f"))
    since: "array[float]" = field(default_factory=lambda: array("f"))
    _sorted: "array[float]" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._sorted = array("f", sorted(self.start + self.since))

    def __len__(self) -> int:
        return len(self._sorted)

    def rank(self, value: float, luck: float) -> float:
        """
        The share of the bag and *value* itself that is above *value*; equals count by *luck* in (0, 1).

        Exact: uniform on (0, 1), and independent of all ranks before, when bag and value are exchangeable.
        """
        value = array("f", [value])[0]
        above = len(self._sorted) - bisect_right(self._sorted, value)
        equal = len(self._sorted) - above - bisect_left(self._sorted, value) + 1
        return (above + luck * equal) / (len(self._sorted) + 1)

    def add(self, value: float) -> None:
        """Put *value* in."""
        self.since.append(value)
        last = self.since[-1]
        self._sorted.insert(bisect_right(self._sorted, last), last)

    def close(self) -> None:
        """What came in so far is the start: the reference is full."""
        self.start, self.since = self.start + self.since, array("f")

    def renew(self, keep: int) -> None:
        """Begin an epoch with the last *keep* values."""
        self.start, self.since = (self.start + self.since)[-keep:], array("f")
        self._sorted = array("f", sorted(self.start))
