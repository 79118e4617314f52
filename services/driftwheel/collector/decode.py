"""
Bodies → events of the contract, item by item, so that a bad one costs nothing but itself.

The fast path is one call of msgspec. Only where that fails, or where the body has names that are no fields
(perhaps `messages`, `latency_ms`), does the slow path read the items one after the other: with the standard library's reader,
which takes the NaN that Python clients write, and with the loose shapes. What an item becomes depends on no neighbour.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Generic

import msgspec

from driftwheel.checks import MISSING_ID, BadField, E
from driftwheel.collector.http import Refusal

Loose = Mapping[str, object]

_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_WHERE = re.compile(r" - at `\$(.*)`$")
_FIELD = re.compile(r"missing required field `(\w+)`")
_NAMED = re.compile(r"`?([A-Za-z_][\w.\[\]]*)`?: ")
_HALF = re.compile(r"\\u[dD][89abAB]")


@dataclass(frozen=True, slots=True)
class Rejection:
    """An item that is not accepted: where it stood, which field, why, and a word for the counters."""

    index: int
    path: str
    error: str
    reason: str


class Decoder(Generic[E]):
    """Decodes bodies into events of *kind*; what is not in the contract's shape goes through *loose*."""

    def __init__(self, kind: type[E], loose: Callable[[Loose], Mapping[str, object]]) -> None:
        self._kind: type[E] = kind
        self._loose = loose
        self._names = frozenset(one.name for one in fields(kind))
        keys = msgspec.defstruct("Keys", [(name, msgspec.Raw, b"") for name in sorted(self._names)], forbid_unknown_fields=True)
        self._events: msgspec.json.Decoder[list[E]] = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]  # made at run time
        self._keys: msgspec.json.Decoder[object] = msgspec.json.Decoder(list[keys])  # type: ignore[valid-type]

    def decode(self, body: bytes, most: int) -> tuple[list[tuple[int, E]], list[Rejection], bool]:
        """
        The events with their places, what is rejected, and whether the body was an array.

        Raises `Refusal`: 400 for what is no JSON, with the line and column; 413 for more than *most* items.
        """
        body = body.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
        array = body.startswith(b"[")
        try:
            items = body if array else b"[" + body + b"]"
            events = self._events.decode(items)
            if len(events) <= most if array else len(events) == 1:
                self._keys.decode(items)  # 1 µs an event: another name may be another name of a field
                return list(enumerate(events)), [], array
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            pass
        good, rejected = self._each(body, most, array=array)
        return good, rejected, array

    def _each(self, body: bytes, most: int, *, array: bool) -> tuple[list[tuple[int, E]], list[Rejection]]:
        try:
            text = body.decode()
        except UnicodeDecodeError as wrong:
            raise Refusal(400, "malformed", f"byte {wrong.start} is no UTF-8; send JSON in UTF-8") from wrong
        events: list[tuple[int, E]] = []
        rejected: list[Rejection] = []
        for index, item in enumerate(_items(text) if array else _single(text)):
            if index == most:
                raise _too_many(most)
            try:
                events.append((index, self._event(item)))
            except BadField as wrong:
                rejected.append(rejection(array, index, wrong))
        return events, rejected

    def _event(self, item: "_Item") -> E:
        value = item.value
        if not isinstance(value, dict):
            raise BadField("", "shape", item.problem or f"is {_named(value)}; an event is a JSON object")
        if not item.halves and self._names.issuperset(value):
            try:
                strict: E = msgspec.convert(value, self._kind)
            except msgspec.ValidationError:
                pass  # not the contract's own shape; perhaps one of those that apps already have
            else:
                return strict
        try:
            event: E = msgspec.convert(self._loose(value), self._kind)
        except msgspec.ValidationError as wrong:
            raise _bad_field(str(wrong)) from wrong
        except RecursionError as deep:
            raise BadField("", "shape", "is nested too deeply") from deep
        except ValueError as wrong:
            named = _NAMED.match(str(wrong))
            raise BadField(f".{named[1]}" if named else "", "shape", str(wrong)[named.end() if named else 0 :][:300]) from wrong
        except (ArithmeticError, AttributeError, LookupError, TypeError) as wrong:
            # whatever an odd shape breaks, it will break again: a 503 would have the client send it for ever
            raise BadField("", "shape", f"cannot be read ({type(wrong).__name__}: {wrong})"[:300]) from wrong
        return event


def rejection(array: bool, index: int, wrong: BadField) -> Rejection:  # noqa: FBT001  # a fact of the body, not a mode
    """What is wrong with the item at *index*, with its path in the body."""
    return Rejection(index, _path(array, index, wrong.path), str(wrong)[:300], wrong.reason)


@dataclass(slots=True)
class _Item:
    """One value of a body; `problem` says why it could not be read, `halves` that half characters may be in it."""

    value: object
    problem: str = ""
    halves: bool = False


def _path(array: bool, index: int, path: str) -> str:  # noqa: FBT001
    return f"$[{index}]{path}" if array else f"${path}"


def _too_many(most: int) -> Refusal:
    return Refusal(413, "size", f"one request may carry {most} events; send the rest in another")


def _bad_field(said: str) -> BadField:
    """The sentence of msgspec, taken apart: `Expected float, got str - at $.latency_s`."""
    where = _WHERE.search(said)
    missing = _FIELD.search(said)
    path = where[1] if where else ""
    if missing:
        name = missing[1]
        detail = MISSING_ID if name == "id" else "is missing"
        return BadField(f"{path}.{name}", "id" if name == "id" else "missing", detail)
    text = said[: where.start()] if where else said
    return BadField(path, "shape", text[:1].lower() + text[1:].replace("`", "'"))


def _named(value: object) -> str:
    return {str: "text", bool: "true or false", type(None): "null", list: "an array"}.get(type(value), "a number")


def _single(text: str) -> Iterator[_Item]:
    item, end = _value(text, 0)
    if _SPACE.match(text, end).end() != len(text):  # type: ignore[union-attr]  # matches the empty text too
        raise _malformed(json.JSONDecodeError("Extra data", text, end))
    yield item


def _items(text: str) -> Iterator[_Item]:
    """The values of the array in *text*, one by one: hostile arrays of millions are left when the caller has enough."""
    at = _skip_space(text, 1)
    if text[at : at + 1] == "]":
        at += 1
    else:
        while True:
            item, at = _value(text, at)
            yield item
            at = _skip_space(text, at)
            mark, at = text[at : at + 1], at + 1
            if mark == "]":
                break
            if mark != ",":
                raise _malformed(json.JSONDecodeError("Expecting ',' delimiter", text, at - 1))
            at = _skip_space(text, at)
    if _skip_space(text, at) != len(text):
        raise _malformed(json.JSONDecodeError("Extra data", text, at))


_READER = json.JSONDecoder()


def _value(text: str, at: int) -> tuple[_Item, int]:
    try:
        value, end = _READER.raw_decode(text, at)
    except json.JSONDecodeError as wrong:
        raise _malformed(wrong) from wrong
    except RecursionError:
        return _Item(None, "is nested too deeply"), _end_of(text, at)
    except ValueError as wrong:  # an integer of thousands of digits
        return _Item(None, f"has a number that cannot be one: {wrong}"[:120]), _end_of(text, at)
    return _Item(value, halves=_HALF.search(text, at, end) is not None), end


def _end_of(text: str, at: int) -> int:
    """Where the array or object at *at* ends, found by its brackets."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth <= 0:
            return token.end()
    raise _malformed(json.JSONDecodeError("Unexpected end", text, len(text)))


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _malformed(wrong: json.JSONDecodeError) -> Refusal:
    return Refusal(400, "malformed", f"line {wrong.lineno} column {wrong.colno}: {wrong.msg}; the body is no JSON")
