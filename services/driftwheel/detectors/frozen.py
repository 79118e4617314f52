"""Bytes of a state and back: msgpack of dataclasses whose arrays travel as their own bytes."""

from typing import TypeVar

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
    if isinstance(value, np.ndarray):
        return value.tobytes()
    raise NotImplementedError(f"a state cannot hold a {type(value).__name__}")


def _of_bytes(_: type, data: bytes) -> Floats:
    """The one matrix that states hold: the six rows of an `Evidence`."""
    return np.frombuffer(data).reshape(6, -1).copy()
