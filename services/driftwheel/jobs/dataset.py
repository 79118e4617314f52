"""
Datasets: from what people said of answers to files that a model is trained and tested with. Pure.

Good are the answers that people accepted, and their corrections in place of those that they did not. The same
question, however it is written, is taken once and lies on one side: trained on, tested with, or held out.
The same examples give the same bytes and the same id.
"""

import hashlib
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec

from driftwheel.jobs.folder import MANIFEST, to_lines, write
from driftwheel.jobs.settings import DatasetSettings

Side = Literal["train", "valid", "eval", "heldout"]
SIDES: tuple[Side, ...] = ("train", "valid", "eval", "heldout")
Source = Literal["correction", "accepted", "replay"]
LISTED = 100
"""How many ids the manifest lists of each kind of excluded example; the number is always of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """
    An inference and what was said of it: a row of the join of `inferences`, `payloads` and `feedback`.

    `value` and `correction` are of the feedback, `at` is when it was given. `group` is what can be held out as a
    whole, say the intent or the topic. `refused` is the reading `refusal.flag`. `model` gave `response`.
    """

    inference_id: str
    prompt: str
    response: str
    at: datetime
    value: float | None = None
    correction: str = ""
    group: str = ""
    model: str = ""
    language: str = ""
    session_id: str = ""
    user_id: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A chat message as TRL reads it."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    A line of a file: a TRL prompt-completion record in chat form, and where it comes from.

    `observed` is what production, with `observed_model`, last answered to the question, whatever was said of it; empty in
    what is trained on.
    """

    id: str
    group: str = ""
    language: str = ""
    source: Source
    prompt: tuple[Turn, ...]
    completion: tuple[Turn, ...]
    observed: str = ""
    observed_model: str = ""
    observed_at: datetime | None = None

    @property
    def question(self) -> str:
        """What is asked."""
        return self.prompt[-1].content

    @property
    def reference(self) -> str:
        """What should be answered."""
        return self.completion[-1].content


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """What was left out for one reason: how many examples, and the first ids of them."""

    rows: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file of a dataset."""

    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """
    What is in a dataset and why: `manifest.json`. `dataset_id` is derived from all the rest.

    `shared_questions` is the contamination check: questions in more than one file, general examples included.
    """

    dataset_id: str = ""
    format: int = 1
    settings: DatasetSettings
    window: tuple[datetime, datetime] | None
    read: int
    excluded: Mapping[str, Excluded]
    sources: Mapping[str, int]
    groups: Mapping[str, Mapping[str, int]]
    files: Mapping[str, Written]
    row_ids: Mapping[str, tuple[str, ...]]
    shared_questions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The files, by name, and their manifest."""

    manifest: Manifest
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def id(self) -> str:
        """`ds-` and 16 hex digits of a SHA-256."""
        return self.manifest.dataset_id

    def rows(self, side: Side) -> int:
        """How many lines the file of *side* has."""
        return self.manifest.files[f"{side}.jsonl"].rows

    def write(self, folder: Path) -> None:
        """Write every file into *folder*, the manifest last: where it lies, the dataset is complete."""
        for name, content in self.files.items():
            write(folder / name, content)
        write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(self.manifest)) + b"\n")


def build(examples: Iterable[Example], settings: DatasetSettings, general: Sequence[Line] = ()) -> Dataset:
    """
    The dataset of *examples*, with *general* ones (`general("replay")`) mixed into what is trained on.

    >>> day = datetime(2026, 11, 25)
    >>> rows = [Example(inference_id=f"{n}", prompt=f"Where is shop {n}?", response="Here.", at=day, value=1.0) for n in range(50)]
    >>> made = build(rows, DatasetSettings())
    >>> sum(map(made.rows, SIDES)), made.manifest.shared_questions
    (50, 0)
    """
    ordered = sorted(examples, key=lambda example: (example.at, msgspec.json.encode(example)))
    left_out: dict[str, list[str]] = {}
    chosen = _choose(ordered, settings, left_out)
    latest = {normalised(example.prompt): example for example in ordered}
    sides: dict[Side, list[Line]] = {side: [] for side in SIDES}
    for question in sorted(chosen, key=lambda question: _draw(settings.seed, question)):
        side = side_of(question, chosen[question].group, settings)
        sides[side].append(_line(chosen[question], latest[question] if side in {"eval", "heldout"} else None))
    sides["train"] = _mixed(sides, general, settings)
    return _sealed(sides, ordered, left_out, settings)


def normalised(question: str) -> str:
    """
    *question* as it counts for being the same: without case, punctuation, and width of spaces and letters.

    >>> normalised("  Where's MY  card?! ") == normalised("where s my card")
    True
    """
    folded = unicodedata.normalize("NFKC", question).casefold()
    return " ".join("".join(" " if unicodedata.category(char)[0] == "P" else char for char in folded).split())


def side_of(question: str, group: str, settings: DatasetSettings) -> Side:
    """On which side a *question* (normalised) of *group* lies: held out with its group, else by its hash and the seed."""
    if group and group in settings.heldout:
        return "heldout"
    draw = _draw(settings.seed, question)
    if draw < settings.eval_share:
        return "eval"
    return "valid" if draw < settings.eval_share + settings.valid_share else "train"


def general(which: Literal["replay", "probe"]) -> list[Line]:
    """General questions with good answers, ours: `replay` to mix in against forgetting, `probe` to measure it."""
    text = files("driftwheel.jobs").joinpath(f"general_{which}.jsonl").read_bytes()
    pairs = msgspec.json.Decoder(tuple[str, str]).decode_lines(text)
    return [_record(f"{which}-{number}", question, answer, source="replay") for number, (question, answer) in enumerate(pairs)]


def _choose(ordered: Sequence[Example], settings: DatasetSettings, left_out: dict[str, list[str]]) -> dict[str, Example]:
    """One example a question: the newest correction, else the newest accepted answer. The others are *left_out*."""
    chosen: dict[str, Example] = {}
    for example in ordered:
        question = normalised(example.prompt)
        if reason := _unfit(example, question, settings):
            left_out.setdefault(reason, []).append(example.inference_id)
            continue
        before = chosen.get(question)
        if before is None:
            chosen[question] = example
            continue
        loser = example if before.correction and not example.correction else before
        chosen[question] = before if loser is example else example
        same = normalised(_answer(before)) == normalised(_answer(example))
        left_out.setdefault("duplicate" if same else "superseded", []).append(loser.inference_id)
    return chosen


def _unfit(example: Example, question: str, settings: DatasetSettings) -> str:
    """Why *example* teaches nothing, in a word or two; empty if it does."""
    if not example.correction.strip():
        if example.value is None:
            return "no feedback"
        if example.value < settings.accept:
            return "not accepted"
        if example.refused:
            return "refusal"
    if not question or not _answer(example):
        return "empty"
    return "too long" if len(example.prompt) + len(_answer(example)) > settings.max_chars else ""


def _answer(example: Example) -> str:
    return example.correction.strip() or example.response.strip()


def _line(example: Example, observed: Example | None) -> Line:
    made = _record(
        example.inference_id, example.prompt.strip(), _answer(example), source="correction" if example.correction.strip() else "accepted"
    )
    made = replace(made, group=example.group, language=example.language)
    if observed is None:
        return made
    return replace(made, observed=observed.response, observed_model=observed.model, observed_at=observed.at)


def _record(name: str, question: str, answer: str, *, source: Source) -> Line:
    return Line(id=name, source=source, prompt=(Turn(role="user", content=question),), completion=(Turn(role="assistant", content=answer),))


def _draw(seed: int, text: str) -> float:
    """A number in [0, 1) that hangs on *seed* and *text* alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\x1f{text}".encode()).digest()[:7]) / (1 << 56)


def _mixed(sides: Mapping[Side, list[Line]], general_lines: Sequence[Line], settings: DatasetSettings) -> list[Line]:
    """What is trained on with its share of general examples, in an order of hashes; none that is tested with."""
    train = sides["train"]
    tested = {normalised(line.question) for side in SIDES if side != "train" for line in sides[side]}
    usable = sorted(
        (line for line in general_lines if normalised(line.question) not in tested), key=lambda line: _draw(settings.seed, line.id)
    )
    wanted = round(len(train) * settings.replay / (1 - settings.replay)) if usable else 0
    mixed = [*train, *itertools.islice(itertools.cycle(usable), wanted)]
    return sorted(mixed, key=lambda line: _draw(settings.seed, f"{line.id}/{line.question}"))


def _sealed(
    sides: Mapping[Side, list[Line]], ordered: Sequence[Example], left_out: Mapping[str, list[str]], settings: DatasetSettings
) -> Dataset:
    contents = {f"{side}.jsonl": to_lines(lines) for side, lines in sides.items()}
    seen = Counter(question for lines in sides.values() for question in {normalised(line.question) for line in lines})
    kept = [line for lines in sides.values() for line in lines]
    manifest = Manifest(
        settings=settings,
        window=(ordered[0].at, ordered[-1].at) if ordered else None,
        read=len(ordered),
        excluded={reason: Excluded(rows=len(ids), ids=tuple(ids[:LISTED])) for reason, ids in sorted(left_out.items())},
        sources=dict(sorted(Counter(line.source for line in kept).items())),
        groups={side: dict(sorted(Counter(line.group for line in lines).items())) for side, lines in sides.items()},
        files={
            name: Written(rows=content.count(b"\n"), size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in contents.items()
        },
        row_ids={side: tuple(sorted({line.id for line in lines})) for side, lines in sides.items()},
        shared_questions=sum(1 for count in seen.values() if count > 1),
    )
    identity = "ds-" + hashlib.sha256(msgspec.json.encode(manifest)).hexdigest()[:16]
    return Dataset(manifest=replace(manifest, dataset_id=identity), files=contents)
