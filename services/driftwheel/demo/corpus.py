"""
What the demo's helpdesk is asked, and what the house answers.

`data/intents.jsonl` was written for this project, question by question, and is Apache-2.0 like the rest. Larkspur, a web
tool for small shops, is invented, with its menus, prices and hours: a model can know them only from training. English
intents are asked from the start (`base`); new topics and Brazilian Portuguese come with the change (`shift`).
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from driftwheel.errors import ConfigError

LEAST_QUESTIONS, LEAST_ANSWERS = 60, 4  # to train on: with fewer, neither detection nor evaluation can say anything
MOST_BYTES = 16 << 20  # of a user's file: some 100,000 questions, far more than a demo asks
FORM = 'one {"question": …, "answer": …} a line'
Text = Annotated[str, msgspec.Meta(pattern=r"\S", max_length=4_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """
    What people want, how they ask for it, and the one answer that the house gives.

    `language` is an ISO 639 code or empty; `shift` is asked only after the change; on what is `heldout` nothing is trained.
    """

    intent: str
    topic: str
    language: str
    answer: str
    questions: tuple[str, ...]
    phase: Literal["base", "shift"] = "base"
    heldout: bool = False


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answer: Text
    question: Text = ""
    questions: tuple[Text, ...] = ()
    intent: str = ""
    topic: str = ""
    language: str = ""
    phase: Literal["base", "shift"] | None = None
    heldout: bool = False


def intents() -> tuple[Intent, ...]:
    """
    The demo's own.

    >>> {(one.language, one.phase) for one in intents()} == {("en", "base"), ("en", "shift"), ("pt", "shift")}
    True
    """
    return _parsed(files("driftwheel.demo").joinpath("data/intents.jsonl").read_bytes(), "intents.jsonl")


def from_file(path: Path) -> tuple[Intent, ...]:
    """
    A user's own: JSONL, one `{"question": …, "answer": …}` a line, with an `"intent"` if there is one, or the form of `intents.jsonl`.

    Lines with the same answer are one intent. Where no line is of phase `base`, the last third of the answers come with
    the change, and every eighth is held out. Raises `ConfigError` with the line and the cure.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as wrong:
        raise ConfigError(f"{path}: {wrong.strerror}; give a file of {FORM}") from wrong
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path}: has more than {MOST_BYTES >> 20} MiB; a few hundred lines of it are enough")
    found = _parsed(content, str(path))
    heldout = {one.intent for one in found if one.heldout}
    trained = [len(one.questions) for one in found if one.intent not in heldout]
    if sum(trained) < LEAST_QUESTIONS or len(trained) < LEAST_ANSWERS:
        known = f"{sum(trained)} questions and {len(trained)} answers to train on"
        raise ConfigError(f"{path}: {known}; add lines up to {LEAST_QUESTIONS} and {LEAST_ANSWERS}, or leave out --data")
    return found


def _parsed(content: bytes, where: str) -> tuple[Intent, ...]:
    """One intent an answer, in the order of the file."""
    groups: dict[str, tuple[_Line, list[str]]] = {}
    answered: dict[str, tuple[int, str]] = {}
    for number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).splitlines(), 1):
        if not raw.strip():
            continue
        try:
            line = msgspec.json.decode(raw, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise ConfigError(f"{where}:{number}: {wrong}; write {FORM}, in UTF-8") from wrong
        asked = [one for one in (line.question, *line.questions) if one]
        if not asked:
            raise ConfigError(f'{where}:{number}: nothing is asked; add a "question"')
        groups.setdefault(line.answer, (line, []))[1].extend(asked)
        for question in asked:
            earlier, answer = answered.setdefault(question, (number, line.answer))
            if answer != line.answer:
                raise ConfigError(f"{where}:{number}: line {earlier} answers {question[:80]!r} otherwise; keep the right one")
    by_place = all(first.phase != "base" for first, _ in groups.values())
    return tuple(_intent(*group, place, len(groups) if by_place else 0) for place, group in enumerate(groups.values()))


def _intent(first: _Line, questions: list[str], place: int, of: int) -> Intent:
    """As the *first* line of its answer says; phase and held out by its *place* where *of*, the number of answers, is given."""
    name = first.intent or f"answer-{place + 1}"
    return Intent(
        intent=name,
        topic=first.topic or name,
        language=first.language,
        answer=first.answer,
        questions=tuple(dict.fromkeys(questions)),
        phase=("shift" if 3 * place >= 2 * of else "base") if of else first.phase or "base",
        heldout=first.heldout or (of > 0 and place % 8 == 7),
    )


def cast_of(corpus: Sequence[Intent], count: int) -> tuple[Intent, ...]:
    """
    *count* of the intents, in the proportions of the corpus, with their answers cut to the first, practical half.

    A model of 135 million parameters learns some 20 short answers in three minutes on two cores, not 66 long ones.
    """
    chosen = [corpus[len(corpus) * number // count] for number in range(min(count, len(corpus)))]
    return tuple(replace(one, answer=re.split(r"\s*(?:Good to know|Bom saber):", one.answer)[0]) for one in chosen)
