"""Bytes of a state and back: msgpack of dataclasses whose arrays travel as their own bytes."""

from array import array
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
T = TypeVar("T")


def freeze(state: object) -> bytes:
    """The bytes of *state*: the same state, the same bytes."""
    return msgspec.msgpack.encode(state, enc_hook=_bytes_of)


def thaw(data: bytes, kind: type[T]) -> T:
    """
    The state in *data*, bit for bit. Raises `msgspec.DecodeError` where *data* is no such state.

    >>> thaw(freeze([1, 2.5]), list)
    [1, 2.5]
    """
    return msgspec.msgpack.decode(data, type=kind, dec_hook=_of_bytes)


def _bytes_of(value: object) -> bytes:
    if isinstance(value, np.ndarray | array):
        return value.tobytes()
    raise NotImplementedError(f"a state cannot hold a {type(value).__name__}")


def _of_bytes(kind: Any, data: bytes) -> object:  # the kinds that `_bytes_of` knows: matrices of six rows, and float32 in a row
    return array("f", data) if kind is array or getattr(kind, "__origin__", None) is array else np.frombuffer(data).reshape(6, -1).copy()
