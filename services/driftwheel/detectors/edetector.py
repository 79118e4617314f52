"""A detector: a bettor whose bets feed an e-detector, from an empty reference to an alarm and on (docs/architecture.md)."""

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

from driftwheel.detectors.bets import Flags, luck
from driftwheel.detectors.evidence import ACCEPTED, AT, COUNT, TOTAL, Alarm, Evidence, fresh
from driftwheel.detectors.finding import Finding, micros, moment_of
from driftwheel.detectors.frozen import Floats, freeze, thaw
from driftwheel.detectors.settings import DetectorSettings
from driftwheel.detectors.words import say
from driftwheel_schemas import Observation

WEEK_US = 7 * 86400 * 1_000_000
EXAMPLES = 8
TELLING = 1.1
"""The last eight units that paid more than this in some component are remembered as examples."""


class Bettor(Protocol):
    """What one kind of detector knows: its reference, its bag and its bets. All bets of a bettor are fair."""

    noun: ClassVar[str]
    """What `baseline` and `current` are, in words: mean, share or mean distance."""

    @property
    def rising(self) -> Flags:
        """Which components win when values rise, shape (J,)."""
        ...

    @property
    def full(self) -> bool:
        """The reference is complete, bets may be made."""
        ...

    @property
    def learned(self) -> int:
        """Units in the reference and the bag: what a new one is judged by."""
        ...

    def learn(self, seen: Observation) -> float | None:
        """Take *seen* into the reference. Returns its measure, None where it only trains."""
        ...

    def measure(self, seen: Observation) -> float:
        """What is looked at: the value, or the distance of the vector."""
        ...

    def bet(self, value: float, luck: float) -> Floats:
        """What the bets on *value* pay, shape (J,), and take it into the bag."""
        ...

    def renew(self) -> tuple[int, float] | None:
        """At the cap keep the last values: how many, and their sum. None below it."""
        ...

    def reference(self) -> bytes:
        """The part that stays as it is for an epoch; empty while it is being filled."""
        ...

    def moving(self) -> bytes:
        """The rest of the state."""
        ...

    def restore(self, reference: bytes, moving: bytes) -> None:
        """Be in the state of these bytes."""
        ...


@dataclass(slots=True)
class Course:
    """Where a detector stands: all that moves but the bag. `count` and `total` are of the values measured in this epoch."""

    evidence: Evidence
    version: str = ""
    epoch: int = 0
    units: int = 0
    loose: int = 0
    count: int = 0
    total: float = 0.0
    clock: int = 0
    at: int = 0
    examples: list[tuple[int, str, bool]] = field(default_factory=list)
    alarm: Alarm | None = None


class EDetector:
    """Watches one series with one bettor. See `driftwheel.detectors.Detector` for how it is called."""

    def __init__(self, settings: DetectorSettings, make: "type[BettorOf]") -> None:
        self.settings = settings
        self._make = make
        self.bettor: Bettor = make(settings)
        self.course = Course(fresh(0))

    @property
    def version(self) -> str:
        return self.course.version

    def update(self, seen: Observation) -> bool:
        course = self.course
        money = self._tick(seen)
        if course.alarm:
            return self._follow(course.alarm, self.bettor.measure(seen))
        if not self.bettor.full:
            self._learn(seen)
            return False
        value, chance = self.bettor.measure(seen), luck(seen.id)
        factors = self.bettor.bet(value, chance)
        course.evidence.update(factors, money, (course.count, course.total, course.at, course.clock))
        self._remember(seen, factors)
        course.count += 1
        course.total += value
        if course.evidence.total >= 1.0:
            course.alarm = self._alarm()
            return True
        if kept := self.bettor.renew():
            self._begin(*kept)
        return False

    def accept(self) -> None:
        self.bettor = self._make(self.settings)
        self.course = Course(fresh(0), epoch=self.course.epoch + 1, units=self.course.units, clock=self.course.clock, at=self.course.at)

    def finding(self) -> Finding:
        course, alarm = self.course, self.course.alarm
        sample = course.count - alarm.units_before if alarm else 0
        found = Finding(
            version=course.version,
            epoch=course.epoch,
            revision=alarm.revision if alarm else course.units,
            drifted=alarm is not None,
            evidence=alarm.evidence if alarm else _log10(course.evidence.total),
            level=0.0,
            promise=self._promise(),
            stated=not course.loose,
            at=moment_of(course.at),
            accepted_at=moment_of(course.clock),
            onset=moment_of(alarm.onset) if alarm else None,
            onset_accepted_at=moment_of(alarm.onset_accepted) if alarm else None,
            direction=self._direction(alarm),
            baseline=_mean(alarm.total_before, alarm.units_before) if alarm else _mean(course.total, course.count),
            current=_mean(course.total - alarm.total_before, sample) if alarm else None,
            sample_size=sample,
            reference_size=alarm.units_before if alarm else self.bettor.learned,
            units_to_alarm=alarm.first_sample if alarm else 0,
            examples=tuple(alarm.examples) if alarm else (),
        )
        return replace(found, reason=say(found, self.bettor.noun, self.settings.reference))

    def reference(self) -> bytes:
        return self.bettor.reference()

    def state(self) -> bytes:
        return freeze((self.course, self.bettor.moving()))

    def restore(self, reference: bytes, state: bytes) -> None:
        self.course, moving = thaw(state, tuple[Course, bytes])
        self.bettor = self._make(self.settings)
        self.bettor.restore(reference, moving)

    def _tick(self, seen: Observation) -> float:
        """Note the time; returns the budget of the gap before *seen*. One gap pays for a week at most, a clock that steps back nothing."""
        course, now = self.course, micros(seen.accepted_at)
        gap = min(max(0, now - course.clock), WEEK_US) if course.clock else 0
        course.clock, course.at = max(course.clock, now), micros(seen.at)
        course.units += 1
        course.loose += seen.unit.startswith(("event:", "user:"))
        return self.settings.budget_per_week * gap / WEEK_US

    def _learn(self, seen: Observation) -> None:
        value = self.bettor.learn(seen)
        if value is not None:
            self.course.count += 1
            self.course.total += value
        if self.bettor.full:
            self._date()

    def _begin(self, count: int, total: float) -> None:
        """An epoch with the last values of the bag as its reference: nothing staked, so the promise stays exact."""
        course = self.course
        course.epoch, course.count, course.total, course.loose, course.examples = course.epoch + 1, count, total, 0, []
        self._date()

    def _date(self) -> None:
        self.course.version = hashlib.blake2b(self.bettor.reference(), digest_size=16).hexdigest()
        self.course.evidence = fresh(len(self.bettor.rising))

    def _remember(self, seen: Observation, factors: Floats) -> None:
        best = int(factors.argmax())
        if factors[best] > TELLING:
            self.course.examples = [
                *self.course.examples[1 - EXAMPLES :],
                (self.course.count, seen.inference_id, bool(self.bettor.rising[best])),
            ]

    def _alarm(self) -> Alarm:
        course, evidence = self.course, self.course.evidence
        best = evidence.largest
        units, rising = int(evidence.sums[COUNT, best]), bool(self.bettor.rising[best])
        return Alarm(
            units_before=units,
            total_before=float(evidence.sums[TOTAL, best]),
            onset=int(evidence.sums[AT, best]),
            onset_accepted=int(evidence.sums[ACCEPTED, best]),
            evidence=_log10(evidence.total),
            rising=rising,
            first_sample=course.count - units,
            examples=[name for unit, name, up in course.examples if unit >= units and up == rising],
        )

    def _follow(self, alarm: Alarm, value: float) -> bool:
        """Count on after an alarm; True where the sample has doubled and the alarm is to be said again."""
        self.course.count += 1
        self.course.total += value
        again = self.course.count - alarm.units_before >= alarm.first_sample << (alarm.revision + 1)
        alarm.revision += again
        return again

    def _direction(self, alarm: Alarm | None) -> Literal["up", "down", "other"]:
        """Up or down where ranks and means agree, else another change (a few outliers can move a mean the other way)."""
        if not alarm or not alarm.units_before:
            return "other"
        sample = self.course.count - alarm.units_before
        risen = (self.course.total - alarm.total_before) / sample > alarm.total_before / alarm.units_before
        return ("up" if alarm.rising else "down") if risen == alarm.rising else "other"

    def _promise(self) -> str:
        if self.course.loose:
            return f"not stated: {self.course.loose} units are no sessions; send a session id with every call"
        return f"at most {self.settings.budget_per_week:g} false alarms a week for this series"


class BettorOf(Bettor, Protocol):
    """A bettor that is made of its settings alone."""

    def __init__(self, settings: DetectorSettings) -> None: ...


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _log10(total: float) -> float:
    """Of nothing staked -12: less than a microsecond of any budget."""
    return math.log10(max(total, 1e-12))
