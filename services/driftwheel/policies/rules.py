"""
Rules beside drift: limits, own baselines, silence, error budgets of SLOs and budgets of money. They promise nothing.

Pure: a rule says which windows it must see at a moment (`windows`), somebody asks the store for them, and `judge` says
what holds. The store is asked by the times at which inferences were accepted, so old traffic that is loaded breaks no rule.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from driftwheel.errors import ConfigError
from driftwheel_schemas import Severity

FIELDS = ("app", "environment", "provider", "model", "prompt_name", "prompt_version")
"""By what a rule may group."""

BURNS: Sequence[tuple[timedelta, timedelta, float, Severity]] = (
    (timedelta(hours=1), timedelta(minutes=5), 14.4, "page"),
    (timedelta(hours=6), timedelta(minutes=30), 6.0, "page"),
    (timedelta(days=3), timedelta(hours=6), 1.0, "ticket"),
)
"""
Long window, short window, burn rate, severity: 2 % of the error budget of 30 days in an hour, 5 % in six, 10 % in three
days. The short window lets an alert end soon after the errors do (Site Reliability Workbook, 2018, ch. 5, table 5-8).
"""

FEWEST_S, MOST_S = 2.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of time, (since, until], by `accepted_at`."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.until - self.since).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one group (say an app) shows in one window: how many, their sum, and the quantile that the rule asks for."""

    count: int
    total: float
    quantile: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a rule says of a group at a moment; `level` is where it breaks."""

    broken: bool
    value: float
    level: float
    count: int
    reason: str
    direction: Literal["up", "down"] = "up"
    baseline: float | None = None
    severity: Severity = "ticket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    One rule, judged for each group of `by` that has at least `least` inferences in the window (silence needs none).

    `signal` is a reading (`latency.seconds`, `error.flag`, `cost.usd`, `feedback.thumbs.flag`); empty counts inferences.
    `limit`: the `statistic` over `window` is `above` or `below` a number. `ratio`: the same, as a multiple of what it was over the
    `baseline` before the window. `silence`: nothing in `window` from a group that came in the `baseline` before it.
    `burn`: a flag burns the error budget of `objective` (0.99: one in a hundred may fail) at one of the rates in BURNS.
    `budget`: the sum (without a signal, the number) since the beginning of the `period` (UTC) is `above` a number.
    """

    name: str
    kind: Literal["limit", "ratio", "silence", "burn", "budget"]
    signal: str = ""
    statistic: Literal["mean", "sum", "count", "quantile"] = "mean"
    quantile: float = 0.95
    by: Sequence[str] = ("app",)
    apps: Sequence[str] = ("*",)
    environments: Sequence[str] = ("*",)
    window: timedelta = timedelta(minutes=5)
    baseline: timedelta = timedelta(days=1)
    above: float | None = None
    below: float | None = None
    objective: float = 0.0
    period: Literal["day", "week", "month"] = "month"
    least: int = 20
    severity: Severity = "ticket"

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise ConfigError(f"rules[{self.name}]{fault}")

    @property
    def version(self) -> str:
        """Digest of the rule: a changed rule says new verdicts."""
        return hashlib.blake2b(repr(self).encode(), digest_size=16).hexdigest()

    @property
    def every_s(self) -> float:
        """How often it is judged: thirty times a window, so that a breach is known when a thirtieth of it has passed."""
        shortest = {"burn": BURNS[0][1].total_seconds(), "budget": MOST_S * 30}.get(self.kind, self.window.total_seconds())
        return min(MOST_S, max(FEWEST_S, shortest / 30))

    @property
    def calm_s(self) -> float:
        """For how long it must hold again before it is over: a window, at most 15 minutes."""
        return min(900.0, self.window.total_seconds())

    def windows(self, now: datetime) -> list[Window]:
        """What has to be seen to judge the rule at *now*; the last ones are what the first is compared with."""
        recent = Window(since=now - self.window, until=now)
        match self.kind:
            case "burn":
                return [Window(since=now - span, until=now) for long, short, _, _ in BURNS for span in (long, short)]
            case "budget":
                return [Window(since=_beginning(now, self.period), until=now)]
            case "ratio" | "silence":
                return [recent, Window(since=recent.since - self.baseline, until=recent.since)]
            case _:
                return [recent]

    def judge(self, windows: Sequence[Window], seen: Sequence[Seen]) -> Judgement | None:
        """What the rule says of a group that shows *seen* in its *windows*; None where too little came to say anything."""
        match self.kind:
            case "silence":
                return self._silence(windows[0], seen)
            case "burn":
                return self._burn(seen)
            case "ratio":
                return self._ratio(windows, seen)
            case _:
                return self._limit(windows[0], seen[0])

    def _limit(self, window: Window, seen: Seen) -> Judgement | None:
        if seen.count < (1 if self.kind == "budget" else self.least):
            return None
        value = self._value(seen)
        level, direction = self._level(value)
        broken = value > level if direction == "up" else value < level
        over = f"since {window.since:%Y-%m-%d} UTC" if self.kind == "budget" else f"over {_span(window.seconds)}"
        how = f"the limit of {level:.6g}" if broken else f"within {level:.6g}"
        where = ("above " if direction == "up" else "below ") if broken else ""
        reason = f"{self._noun()} {over} is {value:.4g}, {where}{how} ({seen.count} inferences)"
        return Judgement(
            broken=broken, value=value, level=level, count=seen.count, reason=reason, direction=direction, severity=self.severity
        )

    def _ratio(self, windows: Sequence[Window], seen: Sequence[Seen]) -> Judgement | None:
        if min(seen[0].count if self.statistic != "count" else self.least, seen[1].count) < self.least:
            return None
        scale = windows[0].seconds / windows[1].seconds if self.statistic in ("sum", "count") else 1.0
        usual, value = self._value(seen[1]) * scale, self._value(seen[0])
        if usual <= 0:
            return None
        level, direction = self._level(value / usual)
        broken = value / usual > level if direction == "up" else value / usual < level
        reason = (
            f"{self._noun()} over {_span(windows[0].seconds)} is {value:.4g}, {value / usual:.3g} times the {usual:.4g} of the"
            f" {_span(windows[1].seconds)} before; the limit is {level:.3g} times"
        )
        return Judgement(
            broken=broken,
            value=value,
            level=level * usual,
            count=seen[0].count,
            reason=reason,
            direction=direction,
            baseline=usual,
            severity=self.severity,
        )

    def _silence(self, window: Window, seen: Sequence[Seen]) -> Judgement | None:
        if seen[1].count < self.least:
            return None
        usual = seen[1].count * window.seconds / self.baseline.total_seconds()
        reason = f"{seen[0].count} came within {_span(window.seconds)}; the {_span(self.baseline.total_seconds())} before had {usual:.3g} in as long"
        return Judgement(
            broken=seen[0].count == 0,
            value=float(seen[0].count),
            level=1.0,
            count=seen[0].count,
            reason=reason,
            direction="down",
            baseline=usual,
            severity=self.severity,
        )

    def _burn(self, seen: Sequence[Seen]) -> Judgement | None:
        """The first pair of windows that burns; else how the first one stands."""
        budget, found = 1 - self.objective, None
        for (span, short_span, rate, severity), long, short in zip(BURNS, seen[::2], seen[1::2], strict=True):
            if long.count < self.least or not short.count:
                continue
            burn, now = (one.total / one.count / budget for one in (long, short))
            broken = burn > rate and now > rate
            reason = (
                f"{self.signal} burns the error budget of {self.objective:.6g} {burn:.3g} times as fast as it may over"
                f" {_span(span.total_seconds())} and {now:.3g} times over {_span(short_span.total_seconds())}; the limit is {rate:g}"
            )
            said = Judgement(
                broken=broken,
                value=long.total / long.count,
                level=rate * budget,
                count=long.count,
                reason=reason,
                baseline=budget,
                severity=severity,
            )
            if broken:
                return said
            found = found or said
        return found

    @property
    def _measured(self) -> str:
        return self.statistic if self.kind != "budget" else "sum" if self.signal else "count"

    def _value(self, seen: Seen) -> float:
        match self._measured:
            case "count":
                return float(seen.count)
            case "sum":
                return seen.total
            case "quantile":
                return seen.quantile or 0.0
            case _:
                return seen.total / seen.count if seen.count else 0.0

    def _level(self, value: float) -> tuple[float, Literal["up", "down"]]:
        """The bound that *value* breaks, or else the one that it might."""
        if self.above is not None and (value > self.above or self.below is None):
            return self.above, "up"
        return (self.below, "down") if self.below is not None else (0.0, "up")

    def _noun(self) -> str:
        what = self.signal or "inferences"
        named = {"mean": "mean", "sum": "sum", "count": "number", "quantile": f"{self.quantile:g} quantile"}
        return f"the {named[self._measured]} of {what}"

    def _fault(self) -> str:
        """What is wrong with the rule, behind its name; empty where nothing is."""
        bounded = self.above is not None or self.below is not None
        unknown = [one for one in self.by if one not in FIELDS]
        burn = 0 < self.objective < 1 and self.signal.endswith(".flag")
        stretches = timedelta(seconds=10) <= self.window <= timedelta(days=31) and self.window <= self.baseline <= timedelta(days=90)
        faults = {
            f": a {self.kind} needs `above` or `below`": self.kind in ("limit", "ratio") and not bounded,
            ": a budget needs `above`": self.kind == "budget" and self.above is None,
            ": a burn rate needs the `signal` of a flag and an `objective` between 0 and 1, as in 0.99": self.kind == "burn" and not burn,
            f".statistic: a {self.statistic} needs a `signal`": self.statistic in ("sum", "quantile") and not self.signal,
            f".quantile: {self.quantile} is not between 0 and 1": not 0 < self.quantile < 1,
            f".by: {unknown[:1]} is not known; known: {', '.join(FIELDS)}": bool(unknown),
            ": needs 10s <= window <= 31d and window <= baseline <= 90d": not stretches,
            f".least: {self.least} must be above 0": self.least <= 0,
        }
        return next((fault for fault, holds in faults.items() if holds), "")


def _beginning(now: datetime, period: str) -> datetime:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "week":
        return midnight - timedelta(days=midnight.weekday())
    return midnight.replace(day=1) if period == "month" else midnight


def _span(seconds: float) -> str:
    """
    A stretch of time in the largest unit that fits.

    >>> _span(300), _span(5400), _span(86400)
    ('5 min', '1.5 h', '1 d')
    """
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:g} s"
