"""The contract's events → what `json.dumps` takes. Pure; the standard library only."""

import math
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from driftwheel_schemas._messages import clean
from driftwheel_schemas._moments import utc

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def to_wire(event: "DataclassInstance") -> dict[str, object]:
    """
    A contract event as what `json.dumps` takes: defaults left out, times as RFC 3339, `Decimal` as text, bytes as base64.

    Its strings are clean UTF-8, so encoding never fails. Raises ValueError, beginning with the field's name, for a
    number that JSON has not (NaN, infinity).
    """
    wire: dict[str, object] = {}
    for name, default in _layout(type(event)):
        value = getattr(event, name)
        if value != default:
            try:
                wire[name] = _plain(value)
            except ValueError as wrong:
                raise ValueError(f"{name}: {wrong}") from None
    return wire


def _plain(value: object) -> object:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if (make := _WIRE.get(kind)) is not None:
        return make(value)
    if is_dataclass(value) and not isinstance(value, type):
        return to_wire(value)
    return next((make(value) for like, make in _WIRE.items() if isinstance(value, like)), str(value))


def finite(value: float | Decimal) -> float | Decimal:
    """*value* itself. Raises ValueError for NaN and infinity."""
    if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
        raise ValueError(f"is {value}; JSON has no such number")
    return value


_AS_IT_IS = frozenset({int, bool, type(None)})
_WIRE: dict[type, Callable[..., object]] = {
    str: clean,
    float: finite,
    int: int,
    Decimal: lambda value: str(finite(value)),
    datetime: lambda value: utc(value).isoformat().replace("+00:00", "Z"),
    bytes: lambda value: b64encode(value).decode(),
    tuple: lambda value: [_plain(item) for item in value],
    list: lambda value: [_plain(item) for item in value],
    dict: lambda value: {clean(str(key)): _plain(item) for key, item in value.items()},
    Mapping: lambda value: {clean(str(key)): _plain(item) for key, item in value.items()},
}
"""How each type is written; what is like one of them is written like it."""


@cache
def _layout(kind: "type[DataclassInstance]") -> tuple[tuple[str, object], ...]:
    """Each field of *kind* and its default; a field without one has a default that equals nothing else."""
    return tuple((f.name, f.default_factory() if f.default_factory is not MISSING else f.default) for f in fields(kind))
