"""Where an observation belongs: its segment, its unit, and times as the store reads them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from driftwheel_schemas import Inference

SEGMENT_BY = ("app", "model", "prompt_name", "prompt_version")
"""A segment is a model behind a prompt version of an app, unless the settings name other fields."""


def segment_of(event: Inference, by: Sequence[str] = SEGMENT_BY) -> str:
    """
    The segment of *event*, `field=value` of the fields that are given, quoted so that it can be taken apart again.

    >>> from driftwheel_schemas import new_id
    >>> event = Inference(id=new_id(), app="shop", model="m,1", started_at=datetime(2026, 1, 1, tzinfo=UTC))
    >>> segment_of(event)
    'app=shop,model=m%2C1'
    """
    return segment_of_values(by, (getattr(event, field) for field in by))


def segment_of_values(by: Sequence[str], values: Iterable[object]) -> str:
    """
    The segment of the fields *by* that have *values*.

    >>> segment_of_values(["app", "model"], ["shop", ""])
    'app=shop'
    """
    return _segment(tuple(by), tuple(values))


@lru_cache(maxsize=4096)
def _segment(by: tuple[str, ...], values: tuple[object, ...]) -> str:
    return ",".join(f"{field}={quote(str(value), safe=' /:@.-_')}" for field, value in zip(by, values, strict=True) if value)


def unit_of(event: Inference) -> str:
    """
    The unit that *event* belongs to: what may be taken as one draw from the traffic (Vovk et al. 2021).

    Events of one session look alike, so a session counts once a day (a client that sends one constant id for
    everything must not fall silent for ever). Without a session: one unit per user and hour; without a user the event
    itself, and then no promise about false alarms is stated.

    >>> unit_of(Inference(id="i", app="a", model="m", session_id="s", started_at=datetime(2026, 1, 1, tzinfo=UTC)))
    'session:s@2026-01-01'
    """
    if event.session_id:
        return f"session:{event.session_id}@{event.started_at.isoformat()[:10]}"
    if event.user_id:
        return f"user:{event.user_id}@{event.started_at.isoformat()[:13]}"
    return f"event:{event.id}"


@lru_cache(maxsize=4096)
def instant(moment: datetime) -> str:
    """
    A time as the store reads and writes it: RFC 3339 in UTC with microseconds.

    Remembered: the rows of one event hold the same two times.

    >>> instant(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    '2026-01-02T03:04:05.000006Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parameter(moment: datetime) -> str:
    """
    A time as a bound parameter of type DateTime64(6, 'UTC').

    >>> parameter(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    '2026-01-02 03:04:05.000006'
    """
    return instant(moment).replace("T", " ").rstrip("Z")
