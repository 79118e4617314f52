"""Any service that speaks OpenAI's `POST /embeddings`: OpenAI itself, vLLM, Ollama, llama.cpp, TEI, a gateway."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftwheel.embedders.vectors import unit
from driftwheel.errors import Busy, ConfigError

TRIES = 3
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers after which the same request may work; any other is a wrong address, key, model or input."""

LONGEST_WAIT_S = 10.0
CHARS = 8_000
"""Longer text is cut: OpenAI refuses more than 8,191 tokens, and a Chinese character may be one."""

MOST_BYTES = 64 * 1024**2
"""Read of an answer: 64 vectors of 3,072 dimensions are 4 MiB of JSON."""


@dataclass(frozen=True, slots=True)
class _Item:
    index: int
    embedding: list[float]


@dataclass(frozen=True, slots=True)
class _Answer:
    data: list[_Item]


class OpenAI:
    """
    An embeddings endpoint. *url* is its base, as in `http://127.0.0.1:11434/v1`; *api_key* goes nowhere but its header.

    Texts go in requests of *batch*. A request is tried three times with growing pauses, then it is `Busy`; a refusal
    is a `ConfigError` with the service's own words. *dimensions* 0 takes what the model gives, another number is
    asked for (some models can be shortened).
    """

    def __init__(self, url: str, model: str, api_key: str = "", *, dimensions: int = 0, batch: int = 64, timeout_s: float = 30.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f'embeddings.params.url: "{url}" is no HTTP address; give the base, as in https://api.openai.com/v1')
        self._url, self._model, self._batch, self._timeout_s = f"{url.rstrip('/')}/embeddings", model, batch, timeout_s
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._shape = {"dimensions": dimensions} if dimensions else {}
        self._dimensions = dimensions

    @property
    def name(self) -> str:
        return self._model

    @property
    def dimensions(self) -> int:
        """How long its vectors are; asks the service once if it has not embedded anything yet."""
        if not self._dimensions:
            self.encode(["dimensions"])
        return self._dimensions

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        parts = [self._embed(texts[start : start + self._batch]) for start in range(0, len(texts), self._batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # A blank stands for an empty text, which OpenAI refuses.
        body = {"model": self._model, "input": [text[:CHARS] or " " for text in texts], "encoding_format": "float"} | self._shape
        answer = self._post(msgspec.json.encode(body))
        try:
            items = sorted(msgspec.json.decode(answer, type=_Answer).data, key=lambda item: item.index)
        except msgspec.DecodeError as wrong:
            raise ConfigError(f"embeddings.params.url: {self._url} does not answer as OpenAI's /embeddings does: {wrong}") from wrong
        lengths = {len(item.embedding) for item in items}
        expected = {self._dimensions} if self._dimensions else lengths
        if [item.index for item in items] != list(range(len(texts))) or lengths != expected or len(lengths) != 1:
            raise ConfigError(
                f"embeddings.params: {self._url} gave {len(items)} vectors of {sorted(lengths)} dimensions for {len(texts)} texts; "
                f"expected {self._dimensions or 'one length'}. Check model and dimensions."
            )
        self._dimensions = lengths.pop()
        return unit([item.embedding for item in items])

    def _post(self, body: bytes) -> bytes:
        reason, wait = "", 0.0
        for attempt in range(TRIES):
            time.sleep(wait)
            try:
                request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310  http(s) only, checked when built
                with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310  the same
                    read: bytes = answer.read(MOST_BYTES)
                    return read
            except urllib.error.HTTPError as refusal:
                with refusal:
                    words = refusal.read(500).decode("utf-8", "replace")
                    if refusal.code not in RETRIED:
                        raise ConfigError(f"embeddings.params: {self._url} refuses ({refusal.code}): {words}") from refusal
                    reason, wait = f"{refusal.code} {words}", _retry_after(refusal.headers.get("Retry-After"), attempt)
            except (OSError, http.client.HTTPException) as failure:  # no connection, a timeout, or one that broke off
                reason, wait = str(failure) or type(failure).__name__, _retry_after(None, attempt)
        raise Busy(f"{self._url} does not embed now: {reason}", retry_after_s=wait)


def _retry_after(header: str | None, attempt: int) -> float:
    """Seconds to wait: what the service asks for, else half a second and doubling; never more than ten."""
    asked = float(header) if header and header.isdigit() else 0.5 * 2**attempt
    return min(asked, LONGEST_WAIT_S)
