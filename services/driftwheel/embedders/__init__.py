"""
EXTENSION: embedders, one file each. An embedder turns texts into unit vectors.

To add one: a file here and a line in EMBEDDERS. `tests/contracts/test_embedders.py` then tests it.
"""

import pkgutil
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driftwheel.embedders.openai import OpenAI
from driftwheel.embedders.sentence_transformers import SentenceTransformers
from driftwheel.errors import ConfigError


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
        """
        Unit vectors, one row a text: shape (len(texts), dimensions). Long texts are cut, empty ones allowed.

        Raises `Busy` when a service does not answer in time, `ConfigError` when it refuses.
        """
        ...


EMBEDDERS: dict[str, Callable[..., Embedder]] = {
    "openai": OpenAI,
    "sentence_transformers": SentenceTransformers,
}


def load(name: str, **params: object) -> Embedder:
    """
    Build the embedder called *name* in EMBEDDERS, or the one at an import path `package.module:Class`.

    Raises `ConfigError` for a name that is not known, a path that leads nowhere and parameters that do not fit,
    `MissingExtra` when its library is not installed.

    >>> load("openai", url="http://127.0.0.1:11434/v1", model="nomic-embed-text").name
    'nomic-embed-text'
    """
    try:
        make: Callable[..., Embedder] = pkgutil.resolve_name(name) if ":" in name else EMBEDDERS[name]
    except (KeyError, ImportError, AttributeError, ValueError) as wrong:
        raise ConfigError(
            f'embeddings.use: no embedder called "{name}"; known: {", ".join(EMBEDDERS)}, or "package.module:Class"'
        ) from wrong
    try:
        return make(**params)
    except TypeError as wrong:
        raise ConfigError(f"embeddings.params: {wrong}; see the parameters of {make.__module__}") from wrong
