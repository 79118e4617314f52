"""What a detector says, before it is said of a series."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    The fields of a `Verdict` that a detector knows; the series adds its name.

    `version` is that of the reference, empty while it is being filled. A finding that is not drifted has as `revision`
    the units seen so far, so that it can be told of a series again and again. `stated` says that the promise holds: only
    such a finding may wake somebody.
    """

    version: str
    epoch: int
    revision: int
    drifted: bool
    evidence: float
    level: float
    promise: str
    stated: bool
    at: datetime
    accepted_at: datetime
    onset: datetime | None = None
    onset_accepted_at: datetime | None = None
    direction: Literal["up", "down", "other"] = "other"
    baseline: float | None = None
    current: float | None = None
    sample_size: int = 0
    reference_size: int = 0
    units_to_alarm: int = 0
    examples: tuple[str, ...] = ()
    reason: str = ""


def micros(moment: datetime) -> int:
    """
    Microseconds since 1970, exact; a float holds them exactly until the year 2255.

    >>> moment_of(micros(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)))
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
    """
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment_of(microseconds: float) -> datetime:
    """The time that is *microseconds* after 1970."""
    return EPOCH + timedelta(microseconds=int(microseconds))
