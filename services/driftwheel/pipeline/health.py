"""How a shell does: what `/health/live`, `/health/ready` and `/metrics` of a worker tell."""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from driftwheel.bus import Claim, Record

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
RECORDS = (1, 5, 20, 50, 100, 200, 500)

DEAD_AFTER_S = 120.0
"""A worker that has not come round for so long is not alive: its longest single wait, a statement of the store, may last 60 s."""

STUCK_AFTER_S = 300.0
"""A lag that is not 0 and stays the same for so long: the consumer has died in silence, as Kafka clients sometimes do."""


@dataclass(slots=True)
class Spread:
    """A histogram: how many values lie at or below each bound, and their sum."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """
        One more value.

        >>> spread = Spread((1, 10))
        >>> for value in (0.5, 1, 7, 99):
        ...     spread.add(value)
        >>> spread.counts, spread.total
        ([2, 1, 1], 107.5)
        """
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class Health:
    """
    Written by one shell, read by whoever asks.

    `paused` says why it stands still; `lag` holds the records of each partition that are not acked yet; `steps` the seconds
    that each step took; `delay` the seconds from the bus's own clock to stored and published; `records` the size of batches.
    """

    paused: str = ""
    ready: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    lag: dict[Claim, int] = field(default_factory=dict)
    steps: dict[str, Spread] = field(default_factory=dict)
    delay: Spread = field(default_factory=lambda: Spread(SECONDS))
    records: Spread = field(default_factory=lambda: Spread(RECORDS))
    alive_at: float = field(default_factory=time.monotonic)
    moved_at: float = field(default_factory=time.monotonic)

    @property
    def live(self) -> bool:
        """Whether it came round lately, and got on. One that stands still on purpose is alive: a restart would not help it."""
        now = time.monotonic()
        stuck = any(self.lag.values()) and now - self.moved_at > STUCK_AFTER_S
        return bool(self.paused) or (now - self.alive_at < DEAD_AFTER_S and not stuck)

    def alive(self) -> None:
        """It comes round."""
        self.alive_at = time.monotonic()

    def waits(self) -> None:
        """It waits for the store or the bus, and does so for a bounded time: a restart would not help."""
        self.alive_at = self.moved_at = time.monotonic()

    def lags(self, lag: Mapping[Claim, int]) -> None:
        """
        The worker's lag is *lag* now.

        >>> health, claim = Health(), Claim("t", 0)
        >>> health.lags({claim: 3})
        >>> health.moved_at -= STUCK_AFTER_S + 1
        >>> health.lags({claim: 3})
        >>> stuck = not health.live
        >>> health.lags({claim: 2})
        >>> stuck, health.live
        (True, True)
        """
        if lag != self.lag:
            self.moved_at = time.monotonic()
        self.lag = dict(lag)

    def count(self, counts: Mapping[str, int]) -> None:
        """Add *counts* to what was counted so far."""
        for name, n in counts.items():
            self.counts[name] = self.counts.get(name, 0) + n

    def took(self, step: str, seconds: float) -> None:
        """*step* took *seconds*."""
        self.steps.setdefault(step, Spread(SECONDS)).add(seconds)

    def batch(self, records: Sequence[Record], now: datetime) -> None:
        """*records* are done at *now*; the delay is that of the oldest."""
        self.alive()
        if records:
            self.records.add(len(records))
            self.delay.add(max(0.0, (now - min(record.appended_at for record in records)).total_seconds()))
