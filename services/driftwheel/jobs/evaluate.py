"""
Scores champion and candidate on questions that neither was trained on: `python -m driftwheel.jobs.evaluate RUN_DIR`.

Reads `eval.jsonl` (unseen questions of seen groups) and `heldout.jsonl` (groups held out as a whole), has both
answer, and scores each answer against its reference. Where the champion cannot be called, its answers are those
that production logged, in `champion_answers.jsonl`. Leaves `scores.jsonl`, a line a question.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from driftwheel.embedders import Embedder
from driftwheel.jobs.dataset import Line, Manifest, general
from driftwheel.jobs.finetune import peak_rss_mib
from driftwheel.jobs.folder import CHAMPION_ANSWERS, CONFIG, MANIFEST, Progress, Result, decoded, main, read_lines, say, to_lines, write
from driftwheel.jobs.generate import Answered, Generator
from driftwheel.jobs.settings import Comparison, Contender

SCORES = "scores.jsonl"
METRICS = ("similarity", "f1")
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A word; of Chinese and Japanese, which put no spaces, a character."""
LOADED, ANSWERED = 0.15, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One question: the answers, and `champion.similarity`, `candidate.f1`, …; of those who answered."""

    id: str
    side: str
    group: str
    source: str
    question: str
    reference: str
    answers: Mapping[str, str]
    scores: Mapping[str, float] = field(default_factory=dict)


def token_f1(answer: str, reference: str) -> float:
    """
    The harmonic mean of precision and recall of words, counted with repetition (SQuAD, Rajpurkar et al. 2016).

    >>> token_f1("Your card is blocked.", "your card was blocked"), token_f1("", "no")
    (0.75, 0.0)
    """
    said, wanted = Counter(WORD.findall(answer.casefold())), Counter(WORD.findall(reference.casefold()))
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


def similarities(answers: Sequence[str], references: Sequence[str], embedder: Embedder) -> list[float]:
    """The cosine of each answer with its reference; an empty answer is like nothing: 0."""
    vectors = embedder.encode([*answers, *references])
    cosines = np.einsum("ij,ij->i", vectors[: len(answers)], vectors[len(answers) :])
    return [float(cosine) if answer.strip() else 0.0 for cosine, answer in zip(cosines, answers, strict=True)]


def program(folder: Path) -> Result:
    """Compare what `config.json` names on the questions in *folder*."""
    config, manifest = decoded(folder / CONFIG, Comparison), decoded(folder / MANIFEST, Manifest)
    started = time.monotonic()
    asked = [
        (side, line) for side in ("eval", "heldout") for line in read_lines(folder / f"{side}.jsonl", Line)[: config.settings.max_questions]
    ]
    answers, metrics = _answers(folder, config, [line for _side, line in asked])
    say(Progress(progress=ANSWERED, note="scoring"))
    rows = _scored([_row(side, line, answers) for side, line in asked])
    write(folder / SCORES, to_lines(rows))
    metrics |= summary(rows) | {"evaluate.seconds": time.monotonic() - started, "evaluate.peak_rss.mib": peak_rss_mib()}
    origin = f"logged in production ({CHAMPION_ANSWERS})" if config.champion.logged else "generated here"
    return Result(
        metrics=metrics,
        artifact_uri=str(folder / SCORES),
        base_model=config.base,
        dataset_id=manifest.dataset_id,
        details={"champion_answers": origin, "note": _caveat(config.champion)},
    )


def summary(rows: Sequence[Score]) -> dict[str, float]:
    """Means per side, and on the tested side per source, over the questions that all contenders answered."""
    found: dict[str, float] = {}
    for side in ("eval", "heldout"):
        mine = [row for row in rows if row.side == side]
        parts = {side: mine} | {f"{side}.{source}": [row for row in mine if row.source == source] for source in ("correction", "accepted")}
        for part, chosen in parts.items():
            if chosen:
                found[f"{part}.questions"] = float(len(chosen))
            for name in sorted({name for row in chosen for name in row.scores}):
                found[f"{part}.{name}"] = float(np.mean([row.scores[name] for row in chosen if name in row.scores]))
    return found


def _answers(folder: Path, config: Comparison, asked: Sequence[Line]) -> tuple[dict[str, dict[str, str]], dict[str, float]]:
    """What each contender answered, by line id; and how well base and candidate still know general answers."""
    logged = {row.id: row.answer for row in read_lines(folder / CHAMPION_ANSWERS, Answered)}
    answers: dict[str, dict[str, str]] = {"champion": logged} if config.champion.logged else {}
    callable_ones = {"champion": config.champion, "candidate": config.candidate}
    to_call = {role: one for role, one in callable_ones.items() if one is not None and not one.logged}
    if not to_call:
        return answers, {}
    say(Progress(progress=0.0, note=f"loading {config.base}"))
    generator = Generator(config.base, threads=config.settings.threads, batch=config.settings.batch, cache=config.cache)
    probe = [(line.question, line.reference) for line in general("probe")]
    metrics = {"general.nll.base": generator.surprise(probe)}
    total, done = len(to_call) * len(asked), 0

    def tell(_at: int, _answer: str) -> None:
        nonlocal done
        done += 1
        say(Progress(progress=round(LOADED + (ANSWERED - LOADED) * done / total, 4), step=done, note="answering"))

    for role, contender in to_call.items():
        generator.wear(contender.adapter)
        said = generator.answer([line.question for line in asked], config.settings.max_new_tokens, tell)
        answers[role] = {line.id: text for line, text in zip(asked, said, strict=True)}
        metrics[f"general.nll.{role}"] = generator.surprise(probe)
    if "candidate" in to_call:
        metrics["general.forgetting"] = metrics["general.nll.candidate"] - metrics["general.nll.base"]
    return answers, metrics


def _row(side: str, line: Line, answers: Mapping[str, Mapping[str, str]]) -> Score:
    given = {role: texts[line.id] for role, texts in answers.items() if line.id in texts}
    return Score(
        id=line.id, side=side, group=line.group, source=line.source, question=line.question, reference=line.reference, answers=given
    )


def _scored(rows: Sequence[Score]) -> list[Score]:
    from driftwheel.embedders import load

    pairs = [(at, role) for at, row in enumerate(rows) for role in row.answers]
    said, wanted = [rows[at].answers[role] for at, role in pairs], [rows[at].reference for at, _role in pairs]
    close = similarities(said, wanted, load("sentence_transformers")) if pairs else []
    found: list[dict[str, float]] = [{} for _row in rows]
    for (at, role), cosine, answer, reference in zip(pairs, close, said, wanted, strict=True):
        found[at] |= {f"{role}.similarity": cosine, f"{role}.f1": token_f1(answer, reference)}
    return [replace(row, scores=scores) for row, scores in zip(rows, found, strict=True)]


def _caveat(champion: Contender) -> str:
    if not champion.logged:
        return ""
    return (
        "The champion's answers are those observed in production since the onset. Where a person accepted one, it is the reference itself and "
        "scores 1, which favours the champion."
    )


if __name__ == "__main__":
    main(program)
