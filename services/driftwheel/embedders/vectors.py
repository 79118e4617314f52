"""Vectors as they are stored and published: bfloat16, the upper half of a float32."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def bfloat16(vectors: ArrayLike) -> list[bytes]:
    """
    Each row of *vectors*, shape (n, dimensions), as little-endian bfloat16: two bytes a dimension.

    Rounds to the nearest, ties to even. What is rounded once stays: the store gets the floats of these bytes, so a
    vector read back is the one that was published.

    >>> [row.hex() for row in bfloat16([[1.0, -2.5]])]
    ['803f20c0']
    >>> from_bfloat16(bfloat16([[1.0, 1.001]])[0]).tolist()
    [1.0, 1.0]
    """
    bits = np.ascontiguousarray(vectors, dtype="<f4").view("<u4")
    upper = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # half of the last kept bit, less one unless that bit is odd
    return [row.tobytes() for row in upper.astype("<u2")]


def from_bfloat16(vector: bytes) -> NDArray[np.float32]:
    """The floats of one vector, shape (dimensions,); every bfloat16 is a float32 exactly."""
    floats: NDArray[np.float32] = (np.frombuffer(vector, dtype="<u2").astype("<u4") << 16).view("<f4")
    return floats


def unit(vectors: Sequence[Sequence[float]] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row at length 1; a row of zeros stays (there is no direction to keep)."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: NDArray[np.float32] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return units


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """
    The cosine of two vectors that are not zero, -1 to 1, in double precision.

    >>> cosine(np.array([1, 0], np.float32), np.array([2, 2], np.float32))
    0.7071067811865475
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))
