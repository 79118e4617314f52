"""Points in time as apps give them → aware UTC `datetime`. Pure; the standard library only."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_SPAN: Final = (int(_EARLIEST.timestamp()), int(_LATEST.timestamp()))


def moment(value: object) -> datetime:
    """
    A point in time as an aware UTC `datetime`, from a `datetime` (naive: UTC), ISO 8601 text, or a number.

    A number is seconds, milli-, micro- or nanoseconds since 1970, told by its size; text of nine digits and more is such
    a number. Raises ValueError, with a sentence, for what is none of these or outside the years 2000 to 2200.

    >>> moment(1_741_120_143_020) == moment("2025-03-04T20:29:03.020Z") == moment(1_741_120_143.02)
    True
    """
    if isinstance(value, str):
        said = value.strip()
        digits = said.replace(".", "", 1)
        value = _read(said) if not (digits.isdecimal() and len(digits) >= 9) else Decimal(said) if "." in said else int(said)
    if isinstance(value, datetime):
        when = utc(value)
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        when = _counted(value)
    else:
        wanted = "give a datetime, ISO 8601 text or a number of seconds since 1970"
        raise ValueError(f"is {type(value).__name__}; {wanted}")  # noqa: TRY004  callers catch one error for one bad field
    if not _EARLIEST <= when <= _LATEST:
        raise ValueError(f"is {when.isoformat()}; a time between the years 2000 and 2200 is wanted")
    return when


def utc(when: datetime) -> datetime:
    """*when* in UTC; a naive time is taken as UTC."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _read(said: str) -> datetime:
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        raise ValueError(f"is {said[:40]!r}; ISO 8601 text is wanted, such as 2026-03-02T09:00:00Z") from None


def _counted(value: float | Decimal) -> datetime:
    low, high = _SPAN
    for per_second in (1, 10**3, 10**6, 10**9):
        if low * per_second <= value <= high * per_second:
            micros = value * 10**6 // per_second if isinstance(value, int) else round(Decimal(value) * 10**6 / per_second)
            return _EPOCH + timedelta(microseconds=int(micros))
    raise ValueError(f"is {value}; seconds, milli-, micro- or nanoseconds since 1970 are wanted, between the years 2000 and 2200")
