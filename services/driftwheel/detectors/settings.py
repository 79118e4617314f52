"""What a person can set about detection: the false-alarm budget, reference sizes, and bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from driftwheel.errors import ConfigError

Kind = str
"""`number`, `flag` or `vector`: the kind of an observation (`driftwheel_schemas.Observation`)."""

LEAST_REFERENCE = 64
"""Units a reference needs at least. Revisions of an alarm double its sample and so stay below this; see `pipeline/detection_series.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSettings:
    """
    How one series is watched.

    `budget_per_week` is the expected number of false alarms that one series may spend a week. The first `reference`
    units are what it is compared with; the first `train` of them are no part of the bag (a novelty detector measures
    distances to them). At `cap` units in the bag the last `keep` stay.
    """

    budget_per_week: float = 0.02
    reference: int = 200
    train: int = 0
    cap: int = 8000
    keep: int = 4000

    def __post_init__(self) -> None:
        if not 0 < self.budget_per_week <= 1:
            raise ConfigError(
                f"detection.budget_per_week: {self.budget_per_week} is no budget; give more than 0 and at most 1 false alarm a week"
            )
        if self.reference < LEAST_REFERENCE:
            raise ConfigError(f"detection.references: {self.reference} units are too few to compare with; give at least {LEAST_REFERENCE}")
        if not self.reference - self.train <= self.keep < self.cap:
            raise ConfigError(
                f"detection.keep: {self.keep} must be at least the reference ({self.reference - self.train}) and below the cap ({self.cap})"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionSettings:
    """
    How all series are watched.

    `budget_per_week` is given per series. Budgets add up whatever the series have to do with each other (union bound):
    an app with 40 series expects at most 40 x 0.02 = 0.8 false alarms a week; to promise B for the app, give B / series.

    `detectors` and `references` go by kind; `patterns` sets the reference of the signals that match, first match first.
    A vector's reference is five eighths train points and three eighths calibration.
    `units` is how many recent units each series remembers. Beyond `max_series` series or `max_bytes` of state a partition
    takes no new series and counts what it refused. A snapshot is due every `snapshot_every_s` or `snapshot_every` observations,
    and stores `snapshot_bytes` at a time; with one, every `evidence_every_s`, goes a row with the evidence of a quiet series (every minute: half a million rows a year).
    """

    budget_per_week: float = 0.02
    detectors: Mapping[Kind, str] = field(default_factory=lambda: {"number": "conformal", "flag": "rate", "vector": "novelty"})
    references: Mapping[Kind, int] = field(default_factory=lambda: {"number": 200, "flag": 200, "vector": 400})
    patterns: Sequence[tuple[str, int]] = ()
    cap: int = 8000
    keep: int = 4000
    units: int = 8192
    max_series: int = 10_000
    max_bytes: int = 512 * 1024 * 1024
    snapshot_every_s: float = 5.0
    snapshot_every: int = 20_000
    snapshot_bytes: int = 32 * 1024 * 1024
    evidence_every_s: float = 60.0

    def of(self, signal: str, kind: Kind) -> DetectorSettings:
        """
        How a series of *signal* is watched.

        >>> DetectionSettings(patterns=[("latency.*", 500)]).of("latency.seconds", "number").reference
        500
        >>> DetectionSettings().of("embedding.prompt", "vector").train
        250
        """
        reference = next((n for pattern, n in self.patterns if fnmatchcase(signal, pattern)), self.references[kind])
        train = reference * 5 // 8 if kind == "vector" else 0
        return DetectorSettings(budget_per_week=self.budget_per_week, reference=reference, train=train, cap=self.cap, keep=self.keep)
