"""The demo's text: much, varied, in the languages it says, without anything that redaction would mask; and a user's own file."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from driftwheel.demo.corpus import from_file, intents
from driftwheel.demo.story import GOOD_FROM, overlap
from driftwheel.errors import ConfigError
from driftwheel.privacy import Redactor
from driftwheel.signals import SIGNALS
from driftwheel_schemas import Inference

CORPUS = intents()
ANY = Inference(id="1", app="helpdesk", model="assistant", started_at=datetime(2026, 1, 1, tzinfo=UTC))
ASKED = [(one, question) for one in CORPUS for question in one.questions]


def tokens(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def words(text: str) -> int:
    """Words as people count them: the `>` of a menu path is none."""
    return sum(any(map(str.isalnum, piece)) for piece in text.split())


def own(path: Path, lines: Sequence[object]) -> Path:
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), "utf-8")
    return path


def simple(answers: int, each: int) -> list[dict[str, str]]:
    """Lines of a user's own, the answers interleaved."""
    return [{"question": f"Question {n} about {a}?", "answer": f"Answer {a}."} for n in range(each) for a in range(answers)]


def test_there_is_enough_to_ask() -> None:
    """60 intents with 10 questions each and more; some 40 asked from the start, the others after the change, in two languages."""
    assert len(CORPUS) == len({one.intent for one in CORPUS}) == len({one.answer for one in CORPUS}) >= 64
    assert all(len(one.questions) >= 10 for one in CORPUS)
    languages = Counter(one.language for one in CORPUS)
    assert set(languages) == {"en", "pt"}
    assert languages["en"] >= 48
    assert languages["pt"] >= 16
    assert 36 <= sum(one.phase == "base" for one in CORPUS) <= 44
    assert {one.language for one in CORPUS if one.phase == "base"} == {"en"}


def test_the_change_brings_topics_that_nobody_asked_about_before() -> None:
    """Two English ones at least, and Portuguese ones of their own: a shift of language is a shift of topic too."""
    before = {one.topic for one in CORPUS if one.phase == "base"}
    new = {language: {one.topic for one in CORPUS if one.language == language} - before for language in ("en", "pt")}

    assert len(before) >= 8
    assert len(new["en"]) >= 2
    assert {"nota_fiscal", "pix"} <= new["pt"] - new["en"]


def test_eight_intents_are_held_out_before_and_after_the_change() -> None:
    """Six English ones from both phases and two Portuguese ones."""
    held = Counter((one.language, one.phase) for one in CORPUS if one.heldout)

    assert held == {("en", "base"): 4, ("en", "shift"): 2, ("pt", "shift"): 2}


def test_no_question_is_asked_twice() -> None:
    """Token Jaccard below 0.8 between intents and below 0.9 within one."""
    read = [(one.intent, question, tokens(question)) for one, question in ASKED]
    for (intent, question, a), (other, another, b) in itertools.combinations(read, 2):
        assert len(a & b) < (0.9 if intent == other else 0.8) * len(a | b), (question, another)


def test_answers_are_short_and_questions_shorter() -> None:
    """25 to 45 words for an answer; 30 at most for a question."""
    assert [one.intent for one in CORPUS if not 25 <= words(one.answer) <= 45] == []
    assert [question for _, question in ASKED if words(question) > 30] == []


def test_a_right_answer_to_something_else_contents_nobody() -> None:
    """Two house answers share too little for the one to pass as the other: the story's bar lies above."""
    for one, other in itertools.combinations(CORPUS, 2):
        assert overlap(one.answer, other.answer) < GOOD_FROM, (one.intent, other.intent)


def test_texts_are_in_the_language_they_claim() -> None:
    """The signal that the product itself uses agrees on 95 of 100 of those that it dares to judge, and it judges most."""
    signal = SIGNALS["language"]()
    texts = [(one.language, text) for one in CORPUS for text in (one.answer, *one.questions)]
    said = [(wanted, dict(signal(replace(ANY, prompt=text))).get("language.code")) for wanted, text in texts]
    judged = [wanted == code for wanted, code in said if code]

    assert len(judged) >= 0.85 * len(texts)
    assert sum(judged) >= 0.95 * len(judged)


def test_redaction_finds_nothing_in_it() -> None:
    """No address, telephone, card or key, not even an invented one; and no link."""
    redactor = Redactor()
    for one in CORPUS:
        for text in (one.answer, *one.questions):
            assert redactor.redact(text) == (text, {}), text
            assert not re.search(r"https?:|www\.|\.com\b", text)


def test_lines_of_a_question_and_an_answer_become_intents(tmp_path: Path) -> None:
    """Lines with one answer are one intent; the last third comes with the change and every eighth is held out."""
    found = from_file(own(tmp_path / "own.jsonl", simple(answers=9, each=8)))

    assert [one.answer for one in found] == [f"Answer {n}." for n in range(9)]
    assert found[2].questions == tuple(f"Question {n} about 2?" for n in range(8))
    assert [one.intent for one in found if one.phase == "shift"] == ["answer-7", "answer-8", "answer-9"]
    assert [one.intent for one in found if one.heldout] == ["answer-8"]


def test_a_file_in_the_corpus_own_form_reads_back_the_same(tmp_path: Path) -> None:
    """Phases and what is held out stay as they are said, also with a byte order mark and Windows line ends."""
    path = tmp_path / "own.jsonl"
    lines = [json.dumps(asdict(one), ensure_ascii=False) for one in CORPUS]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())

    assert from_file(path) == CORPUS


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"question": "Where?"}', "missing required field `answer`"),
        ('{"question": "Where?", "answer": " "}', "at `$.answer`"),
        ('{"question": "Where?", "anwser": "There."}', "unknown field `anwser`"),
        ('{"answer": "There."}', 'nothing is asked; add a "question"'),
        ('{"question": "Where?", "answer"', "truncated"),
        ('{"question": "Question 0 about 0?", "answer": "Otherwise."}', "line 1 answers 'Question 0 about 0?' otherwise"),
        (b'{"question": "Onde \xe9?", "answer": "L\xe1."}', "in UTF-8"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_the_cure(tmp_path: Path, line: str | bytes, says: str) -> None:
    """Counted from 1, blank lines too."""
    path = own(tmp_path / "own.jsonl", simple(answers=5, each=13))
    path.write_bytes(path.read_bytes() + b"\n\n" + (line if isinstance(line, bytes) else line.encode()))

    with pytest.raises(ConfigError, match=re.escape(f"{path}:67: ")) as told:
        from_file(path)
    assert says in str(told.value)


@pytest.mark.parametrize(("answers", "each"), [(3, 40), (5, 11), (0, 0)])
def test_too_little_to_train_on_is_told_before_anything_starts(tmp_path: Path, answers: int, each: int) -> None:
    """60 questions and 4 answers are the least."""
    with pytest.raises(ConfigError, match=rf"{answers * each} questions and {answers} answers to train on; add lines"):
        from_file(own(tmp_path / "own.jsonl", simple(answers, each)))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With what it should hold."""
    with pytest.raises(ConfigError, match=r'No such file or directory; give a file of one \{"question"'):
        from_file(tmp_path / "own.jsonl")


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    """16 MiB are the most; a sparse file of a gibibyte is refused at once."""
    path = tmp_path / "own.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 30)

    with pytest.raises(ConfigError, match="more than 16 MiB; a few hundred lines"):
        from_file(path)


def test_answers_of_one_intent_are_held_out_together(tmp_path: Path) -> None:
    """They are held out by the intent's name, so the others of that name do not count as trained on either."""
    lines = [line | {"intent": "same" if line["answer"] in ("Answer 0.", "Answer 7.") else ""} for line in simple(answers=8, each=9)]

    with pytest.raises(ConfigError, match="54 questions and 6 answers to train on"):
        from_file(own(tmp_path / "own.jsonl", lines))
