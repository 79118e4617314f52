"""Whether the answer says nothing, or the same thing over and over."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftwheel_schemas import Attachment, Inference, Text, text_of, tool_calls_of

TAIL = 1_000
"""Characters looked at: a model that loops does so until it is cut off, so the end shows it."""

WIDTH = 16
"""Characters of a piece: about three words, and longer than the keys of common JSON."""

LEAST = 100
"""Characters below which repetition may be meant ("ha ha ha")."""


@dataclass(frozen=True, slots=True)
class Emptiness:
    """
    `empty.flag`: an answer without a word, a tool call or an attachment. `repeated.flag`: one that loops.

    It loops if, of all pieces of 16 characters in its last 1,000, at most `distinct` are different: .2 means that on
    average each is there five times. Ordinary prose, tables and lists of JSON objects are far above (see the tests).
    Nothing is said of calls that failed, of embeddings, which have no answer, and where texts are not logged at all.
    """

    distinct: float = 0.2

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        if event.error_type or event.operation == "embeddings" or not (event.prompt or event.response):
            return
        text = text_of(event.response)
        blank = not text.strip()
        yield "empty.flag", float(blank and not tool_calls_of(event.response) and not _attachments(event.response))
        if not blank:
            yield "repeated.flag", float(self._loops(text))

    def _loops(self, text: str) -> bool:
        tail = " ".join(text[-TAIL:].split())
        if len(tail) < LEAST:
            return False
        if tail.count(tail[len(tail) // 2 :][:WIDTH]) < 1 / self.distinct - 1:  # 1 µs instead of 100 for almost every answer
            return False
        pieces = [tail[start : start + WIDTH] for start in range(len(tail) - WIDTH + 1)]
        return len(set(pieces)) <= self.distinct * len(pieces)


def _attachments(text: Text) -> tuple[Attachment, ...]:
    return () if isinstance(text, str) else tuple(one for message in text for one in message.attachments)
