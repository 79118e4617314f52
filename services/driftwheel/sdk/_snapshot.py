"""A copy of what the host gave, taken at once: what the host changes afterwards changes nothing here."""

from collections import deque
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from sys import getsizeof
from uuid import UUID

MAX_NODES = 20_000
"""Values in one event: 20,000 are copied in about 2 ms; what is beyond them is left out and the event is marked."""
MAX_DEPTH = 32
"""Containers inside containers; a container that holds itself ends here."""
_MAX_WORDS = 10_000

_SCALARS = frozenset({int, float, bool, type(None)})
_FIXED = (date, Decimal, UUID)
"""Cannot be changed, so they need no copy; `datetime` is a `date`."""


class Snapshot:
    """
    One event's copier. `size_bytes` estimates what the copy holds in memory; `cut` says that something was left out.

    Containers are copied, strings and numbers shared, models (`model_dump()`), dataclasses and plain objects become
    mappings. Iterators are never read, because they belong to the host.

    >>> messages = [{"role": "user", "content": "Hi"}]
    >>> copy = Snapshot().of(messages)
    >>> messages[0]["content"] = "Bye"
    >>> copy
    [{'role': 'user', 'content': 'Hi'}]
    """

    __slots__ = ("_left", "cut", "size_bytes")

    def __init__(self) -> None:
        self._left = MAX_NODES
        self.size_bytes = 0
        self.cut = False

    def of_fields(self, given: dict[str, object]) -> dict[str, object]:
        """A copy of the fields of one event, values and all; *given* itself is ours already."""
        for name, value in given.items():
            given[name] = self.of(value)
        self.size_bytes += 500  # the dict of fields and the item in the queue
        return given

    def of(self, value: object, depth: int = 0) -> object:
        """A copy of *value*; `None` for what is too deep or too much. The exact types that JSON has go the short way."""
        kind = type(value)
        if kind is str:
            self.size_bytes += getsizeof(value)
            return value
        if kind in _SCALARS:
            self.size_bytes += 32
            return value
        if depth >= MAX_DEPTH:
            self.cut = True
            return None
        if isinstance(value, dict):
            return self._mapping(value, depth + 1)
        if isinstance(value, list | tuple):
            return self._sequence(value, depth + 1)
        return self._other(value, depth)

    def _mapping(self, value: dict[object, object], depth: int) -> dict[object, object]:
        self._left -= len(value)
        if self._left < 0:
            self.cut = True
            return {}
        size = 240
        copy = value.copy()  # in one step of the interpreter: another thread may be changing it
        for key, item in copy.items():
            if type(item) is str:
                size += getsizeof(item)
            elif type(item) not in _SCALARS:
                copy[key] = self.of(item, depth)
        self.size_bytes += size
        return copy

    def _sequence(self, value: list[object] | tuple[object, ...], depth: int) -> list[object]:
        copy = list(value[: self._left]) if self._left > 0 else []
        if len(value) > len(copy):
            self.cut = True
        self._left -= len(copy)
        self.size_bytes += 64 + 8 * len(copy)
        for index, item in enumerate(copy):
            copy[index] = self._mapping(item, depth + 1) if type(item) is dict and depth < MAX_DEPTH else self.of(item, depth)
        return copy

    def _other(self, value: object, depth: int) -> object:
        if isinstance(value, bytes | bytearray | memoryview):
            self.size_bytes += getsizeof(value)
            return bytes(value)
        if isinstance(value, _FIXED):
            self.size_bytes += 64
            return value
        return self.of(_plainer(value), depth + 1)


def _plainer(value: object) -> object:
    """What stands for *value*, one step nearer to JSON; at last its words."""
    dump = getattr(value, "model_dump", None)
    names = getattr(type(value), "__dataclass_fields__", None) or getattr(value, "__dict__", None)
    plainer: object
    if isinstance(value, Enum):
        plainer = value.value
    elif isinstance(value, str):
        plainer = str.__str__(value)
    elif isinstance(value, BaseException):
        plainer = type(value).__name__
    elif isinstance(value, Mapping):
        plainer = dict(value)
    elif isinstance(value, set | frozenset | deque):
        plainer = list(value)
    elif callable(dump) and not isinstance(value, type):
        plainer = dump()
    elif (number := _number(value)) is not None:
        plainer = number
    elif names and isinstance(names, dict) and not callable(value):
        plainer = {name: getattr(value, name) for name in names if not name.startswith("_")}
    else:
        plainer = str(value)[:_MAX_WORDS]
    return plainer


def _number(value: object) -> float | None:
    """The number in a scalar of a numerical library; an array of several is none."""
    for name in ("__index__", "__float__"):
        convert = getattr(value, name, None)
        if not callable(convert) or isinstance(value, type):
            continue
        try:
            found = convert()
        except (TypeError, ValueError):
            continue
        if isinstance(found, int | float):
            return found
    return None
