"""
The run folder: what a program of a job is given and what it leaves, whoever launches it.

In:  config.json, and what the program needs of manifest.json, train.jsonl, valid.jsonl, eval.jsonl, heldout.jsonl,
     questions.jsonl, champion_answers.jsonl.
Out: result.json, written last and in one go; progress as JSON lines on standard output, `{"progress": 0.4, …}`.

A result names the digest of what it was computed from, so it counts only for the very same input.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from driftwheel.errors import LauncherError

T = TypeVar("T")

CONFIG, MANIFEST, RESULT = "config.json", "manifest.json", "result.json"
CHAMPION_ANSWERS, QUESTIONS = "champion_answers.jsonl", "questions.jsonl"
INPUTS = (CONFIG, MANIFEST, "train.jsonl", "valid.jsonl", "eval.jsonl", "heldout.jsonl", QUESTIONS, CHAMPION_ANSWERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a program is: `progress` from 0 to 1, and what it can say of itself."""

    progress: float
    step: int = 0
    loss: float | None = None
    eta_s: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a program found. `artifact_uri` is where what it made lies, `details` is for people and lineage."""

    status: Literal["succeeded", "failed"] = "succeeded"
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifact_uri: str = ""
    artifact_digest: str = ""
    base_model: str = ""
    dataset_id: str = ""
    run_digest: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


def digest(folder: Path) -> str:
    """The SHA-256 of everything that *folder* was given: names, sizes and bytes."""
    sha = hashlib.sha256()
    for name in INPUTS:
        if (path := folder / name).exists():
            sha.update(f"{name}\0{path.stat().st_size}\0".encode())
            sha.update(path.read_bytes())
    return sha.hexdigest()


def finished(folder: Path) -> Result | None:
    """The result in *folder*, if it is one of exactly this input."""
    path = folder / RESULT
    if not path.exists():
        return None
    result = decoded(path, Result)
    return result if result.run_digest == digest(folder) else None


def decoded(path: Path, kind: type[T]) -> T:
    """What JSON file *path* holds, as *kind*. Raises `LauncherError` naming the file and the bad field."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as wrong:
        raise LauncherError(
            f"{path}: {wrong}; the run folder is incomplete or of another version, remove it and start the job again"
        ) from wrong


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The lines of JSONL file *path*, each as *kind*; none if there is no such file."""
    if not path.exists():
        return []
    try:
        return msgspec.json.Decoder(kind).decode_lines(path.read_bytes())
    except msgspec.DecodeError as wrong:
        raise LauncherError(f"{path}: {wrong}; write it again with one JSON object a line") from wrong


def to_lines(rows: Iterable[object]) -> bytes:
    """*rows* as JSONL; the same rows, the same bytes."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def write(path: Path, content: bytes) -> None:
    """Write *content* to *path* in one go: after a crash there is the old file, or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def say(progress: Progress, **more: object) -> None:
    """Tell the launcher: one JSON line on standard output."""
    known = {name: value for name in Progress.__slots__ if (value := getattr(progress, name)) not in (None, "")}
    sys.stdout.write(json.dumps(known | more, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def main(program: Callable[[Path], Result]) -> None:
    """What each program does when it is run: read the folder in its only argument, work, leave the result."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python -m {program.__module__} RUN_DIR (the run folder; see driftwheel/jobs/folder.py)")
    folder = Path(sys.argv[1])
    given = digest(folder)
    result = replace(program(folder), run_digest=given)
    write(folder / RESULT, msgspec.json.format(msgspec.json.encode(result)) + b"\n")
