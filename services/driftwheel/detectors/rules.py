"""Fixed rules for what statistics cannot judge: series that are too young, known limits, silence. They promise nothing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np

from driftwheel.detectors.finding import Finding, micros, moment_of
from driftwheel.detectors.frozen import freeze, thaw
from driftwheel.detectors.settings import LimitRule, RuleSettings, SilenceRule
from driftwheel.detectors.words import amount
from driftwheel_schemas import Observation

PROMISE = "a rule, no promise"


class Rule(Protocol):
    """Judged at every unit and on quiet ticks. Like a detector it gives findings and keeps its state in bytes."""

    @property
    def name(self) -> str:
        """`rule.threshold`, `rule.share` or `rule.silence`."""
        ...

    @property
    def version(self) -> str:
        """Digest of the rule's settings."""
        ...

    def update(self, seen: Observation) -> bool:
        """Take a unit in. True where the rule is broken now, or still and its sample has doubled."""
        ...

    def tick(self, now: datetime) -> bool:
        """Nothing came, up to *now*. True where that breaks the rule."""
        ...

    def finding(self) -> Finding:
        """What the rule says now."""
        ...

    def state(self) -> bytes:
        """All that moves."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on from *state*."""
        ...


@dataclass(slots=True)
class _Standing:
    """A rule that is broken: since when, how many units were looked at first and by now, and how often it was said."""

    at: int
    accepted: int
    first: int
    sample: int
    revision: int = 0
    calm: int = 0


@dataclass(slots=True)
class _Moving:
    """`recent` holds (value, accepted µs) of the last units, oldest first."""

    epoch: int = 0
    at: int = 0
    accepted: int = 0
    recent: list[tuple[float, int]] = field(default_factory=list)
    standing: _Standing | None = None


class Limit:
    """A mean, quantile or share against bounds. Broken until a whole `last` of units was within them."""

    def __init__(self, settings: LimitRule, kind: str) -> None:
        self.settings, self._kind, self._moving = settings, kind, _Moving()

    @property
    def name(self) -> str:
        return "rule.share" if self._kind == "flag" else "rule.threshold"

    @property
    def version(self) -> str:
        return _digest(self.settings)

    def update(self, seen: Observation) -> bool:
        moving = self._moving
        moving.at, moving.accepted = micros(seen.at), max(moving.accepted, micros(seen.accepted_at))
        moving.recent.append((float(seen.value or 0.0), moving.accepted))
        del moving.recent[: -self.settings.last]
        values = self._window()
        broken = len(values) >= self.settings.least and self._bound(self._statistic(values)) is not None
        if moving.standing is None:
            if broken:
                moving.standing = _Standing(moving.at, moving.accepted, len(values), len(values))
            return broken
        return self._follow(moving.standing, broken=broken)

    def tick(self, now: datetime) -> bool:  # noqa: ARG002  a limit is judged by units alone
        return False

    def finding(self) -> Finding:
        moving, values = self._moving, self._window()
        value, standing = self._statistic(values), moving.standing
        bound = self._bound(value)
        level = bound if bound is not None else next(one for one in (self.settings.above, self.settings.below) if one is not None)
        return Finding(
            version=self.version,
            epoch=moving.epoch,
            revision=standing.revision if standing else 0,
            drifted=standing is not None,
            evidence=value,
            level=level,
            promise=PROMISE,
            at=moment_of(moving.at),
            accepted_at=moment_of(moving.accepted),
            onset=moment_of(standing.at) if standing else None,
            onset_accepted_at=moment_of(standing.accepted) if standing else None,
            direction="up" if value > level else "down",
            current=value,
            sample_size=standing.sample if standing else len(values),
            units_to_alarm=standing.first if standing else 0,
            reason=self._reason(value, level, len(values)),
        )

    def state(self) -> bytes:
        return freeze(self._moving)

    def restore(self, state: bytes) -> None:
        self._moving = thaw(state, _Moving)

    def _follow(self, standing: _Standing, *, broken: bool) -> bool:
        standing.sample += 1
        standing.calm = 0 if broken else standing.calm + 1
        if standing.calm >= self.settings.last:
            self._moving.standing, self._moving.epoch = None, self._moving.epoch + 1
        again = broken and standing.sample >= standing.first << (standing.revision + 1)
        standing.revision += again
        return again

    def _window(self) -> list[float]:
        moving, window = self._moving, self.settings.window_s
        since = moving.accepted - int(window * 1e6) if window is not None else 0
        return [value for value, accepted in moving.recent if accepted >= since]

    def _statistic(self, values: Sequence[float]) -> float:
        if not values:
            return 0.0
        return float(
            np.mean(values) if self.settings.quantile is None else np.quantile(values, self.settings.quantile, method="inverted_cdf")
        )

    def _bound(self, value: float) -> float | None:
        """The bound that *value* breaks."""
        above, below = self.settings.above, self.settings.below
        if above is not None and value > above:
            return above
        return below if below is not None and value < below else None

    def _reason(self, value: float, level: float, units: int) -> str:
        noun = "share" if self._kind == "flag" else "mean" if self.settings.quantile is None else f"{self.settings.quantile:g} quantile"
        where = "above" if value > level else "below"
        return (
            f"The {noun} of the last {units} units is {amount(value, noun)}, {where} the limit of {amount(level, noun)}. This is {PROMISE}."
        )


class Silence:
    """No unit for too long. Its findings are dated by the last unit, so that they are the same whenever the tick came."""

    name = "rule.silence"

    def __init__(self, settings: SilenceRule) -> None:
        self.settings, self._moving = settings, _Moving()

    @property
    def version(self) -> str:
        return _digest(self.settings)

    def update(self, seen: Observation) -> bool:
        moving = self._moving
        if moving.standing:
            moving.standing, moving.epoch = None, moving.epoch + 1
        moving.at, moving.accepted = micros(seen.at), max(moving.accepted, micros(seen.accepted_at))
        return False

    def tick(self, now: datetime) -> bool:
        moving = self._moving
        late = bool(moving.accepted) and micros(now) - moving.accepted > self.settings.after_s * 1e6
        if late and not moving.standing:
            moving.standing = _Standing(moving.at, moving.accepted, 0, 0)
            return True
        return False

    def finding(self) -> Finding:
        moving, after = self._moving, self.settings.after_s
        return Finding(
            version=self.version,
            epoch=moving.epoch,
            revision=0,
            drifted=moving.standing is not None,
            evidence=after if moving.standing else 0.0,
            level=after,
            promise=PROMISE,
            at=moment_of(moving.at),
            accepted_at=moment_of(moving.accepted + int(after * 1e6)),
            onset=moment_of(moving.at) if moving.standing else None,
            onset_accepted_at=moment_of(moving.accepted) if moving.standing else None,
            reason=f"Nothing came for {after:g} s: the last unit was accepted at {moment_of(moving.accepted):%Y-%m-%d %H:%M:%S} UTC. This is {PROMISE}.",
        )

    def state(self) -> bytes:
        return freeze(self._moving)

    def restore(self, state: bytes) -> None:
        self._moving = thaw(state, _Moving)


def rule_of(settings: RuleSettings, kind: str) -> Rule | None:
    """The rule for a series of *kind*; a limit says nothing of vectors."""
    if isinstance(settings, SilenceRule):
        return Silence(settings)
    return None if kind == "vector" else Limit(settings, kind)


def _digest(settings: RuleSettings) -> str:
    return hashlib.blake2b(repr(settings).encode(), digest_size=16).hexdigest()
