"""
EXTENSION: embedders, one file each. An embedder turns texts into unit vectors.

To add one: a file here and a line in EMBEDDERS. `tests/contracts/test_embedders.py` then tests it.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Loaded where it is built (a model may take seconds); then thread-safe for one caller at a time."""

    @property
    def name(self) -> str:
        """Which model this is; stored beside every vector, since vectors of two models cannot be compared."""
        ...

    @property
    def dimensions(self) -> int:
        """How long its vectors are."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, one row a text: shape (len(texts), dimensions). Long texts are cut, empty ones allowed."""
        ...
