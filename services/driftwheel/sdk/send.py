"""`driftwheel send`: what was logged elsewhere, line by line, into a collector; a second run changes nothing."""

import gzip
import json
import sys
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Literal

from driftwheel.errors import ConfigError
from driftwheel.sdk._delivery import Delivery, Loss
from driftwheel.sdk._encode import encode
from driftwheel.sdk._notices import Notices
from driftwheel.sdk._queue import Item
from driftwheel.sdk.transport import Transport
from driftwheel_schemas.ids import derived_id
from driftwheel_schemas.shapes import FEEDBACK_ALIASES, INFERENCE_ALIASES

MAX_LINE = 64 << 20
"""A line over 64 MiB is rejected without being parsed."""
BATCH_ITEMS = 500
BATCH_BYTES = 900 << 10
EXAMPLES = 3

File = IO[bytes] | gzip.GzipFile

_SAYS_INFERENCE = {name for field_ in ("prompt", "response", "model") for name in (field_, *INFERENCE_ALIASES[field_])}
_SAYS_WHEN = {
    "inferences": {name for field_ in ("started_at", "ended_at") for name in (field_, *INFERENCE_ALIASES[field_])},
    "feedback": {"at", *FEEDBACK_ALIASES["at"]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """
    How lines become events. `fields` maps names of the contract to dotted paths in a line (`response` → `answer.text`).

    `source` names the lines in their derived ids. Lines without a time get `undated_at` plus a microsecond a line: it must be
    the same in a second run, or the collector sees other content under the same id. `rate` is events a second, 0 for no limit.
    """

    source: str = "-"
    kind: Literal["auto", "inference", "feedback"] = "auto"
    fields: Mapping[str, str] = field(default_factory=dict)
    app: str = "default"
    model: str = ""
    api_key: str = ""
    rate: float = 0.0
    undated_at: datetime | None = None
    patience_s: float = 60.0


@dataclass(slots=True)
class Rejects:
    """How many lines one reason cost, and the first of them: line number and detail."""

    count: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class SendReport:
    """What became of the lines: `read == sent + sum of rejects` once it is over; blank lines are not counted."""

    read: int = 0
    sent: int = 0
    undated: int = 0
    truncated: int = 0
    rejects: dict[str, Rejects] = field(default_factory=dict)
    complete: bool = False

    def reject(self, line: int, loss: Loss) -> None:
        """Count *line* under its reason."""
        rejects = self.rejects.setdefault(loss.reason, Rejects())
        rejects.count += 1
        if len(rejects.examples) < EXAMPLES:
            rejects.examples.append((line, loss.detail))

    def __str__(self) -> str:
        lines = [f"{self.sent} of {self.read} lines sent" + ("" if self.complete else "; stopped before the end")]
        if self.undated:
            lines.append(f"{self.undated} had no time and got the file's")
        if self.truncated:
            lines.append(f"{self.truncated} were too long and were cut")
        for reason, rejects in sorted(self.rejects.items()):
            lines.append(f"{rejects.count} {reason}:")
            lines += [f"  line {line}: {detail}" for line, detail in rejects.examples]
        return "\n".join(lines)


def parse_map(text: str) -> dict[str, str]:
    """
    The field map in `--map`.

    >>> parse_map("prompt=question, response=answer.text")
    {'prompt': 'question', 'response': 'answer.text'}
    """
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if wrong := [name for name, equals, path in pairs if not (equals and name.strip() and path.strip())]:
        raise ConfigError(f"--map: {wrong[0].strip()!r} has no path; write FIELD=PATH, such as prompt=question,response=answer.text")
    return {name.strip(): path.strip() for name, _, path in pairs}


def send_file(path: str, to: Transport, options: SendOptions, progress: Callable[[SendReport], None] = lambda _: None) -> SendReport:
    """`send` for a file of JSON lines, plain or gzip, or `-` for standard input. Raises ConfigError where there is no such file."""
    with _opened(path) as (file, changed_at):
        source = options.source if options.source != "-" else Path(path).name
        return send(_lines(file), to, replace(options, source=source, undated_at=options.undated_at or changed_at), progress)


def send(
    lines: Iterable[bytes], to: Transport, options: SendOptions, progress: Callable[[SendReport], None] = lambda _: None
) -> SendReport:
    """
    Send each of *lines*, a JSON object each, and say what became of them; *progress* is called after every batch.

    An event's id is the line's own UUID, else it is derived from the source, the line's number and its content. Waits for
    the collector, and stops, not `complete`, when it has not answered for `patience_s`.
    """
    report = SendReport()
    run = _Run(to, options, report, progress)
    number, whole = 0, True
    try:
        for number, line in enumerate(lines, 1):
            if line.strip():
                report.read += 1
                run.add(number, line)
            if run.stopped:
                break
    except (EOFError, OSError, zlib.error) as wrong:  # of the lines: a truncated archive, a broken pipe
        whole = False
        report.read += 1
        report.reject(number + 1, Loss("unreadable", f"the lines break off here: {wrong}"))
    run.post_all()
    report.complete = whole and not run.stopped
    return report


class _Run:
    """One run: a batch of each kind in the making, the pace, and the patience."""

    def __init__(self, to: Transport, options: SendOptions, report: SendReport, progress: Callable[[SendReport], None]) -> None:
        headers = {"user-agent": "driftwheel-send"} | ({"x-api-key": options.api_key} if options.api_key else {})
        self._delivery = Delivery(to, lambda: headers, self._pause, Notices(), timeout_s=30.0, backoff_s=0.5)
        self._options, self._report, self._progress = options, report, progress
        self._lanes: dict[str, list[tuple[int, bytes]]] = {"inferences": [], "feedback": []}
        self._sizes = dict.fromkeys(self._lanes, 0)
        self._most = max(1, min(BATCH_ITEMS, int(options.rate / 2))) if options.rate else BATCH_ITEMS
        self._posted, self._began_at = 0, time.monotonic()
        self._waited_s = 0.0
        self.stopped = False

    def add(self, number: int, line: bytes) -> None:
        """Make *line* an event; post the batch that is full with it."""
        try:
            item = _item(number, line, self._options)
            body, cut = encode(item, self._options.app)
        except (ValueError, TypeError, RecursionError) as wrong:
            self._report.reject(number, Loss("unreadable", str(wrong)[:300]))
            return
        self._report.truncated += cut
        self._report.undated += not (_SAYS_WHEN[item.kind] & item.fields.keys())
        if self._sizes[item.kind] + len(body) > BATCH_BYTES:
            self._post(item.kind)
        self._lanes[item.kind].append((number, body))
        self._sizes[item.kind] += len(body) + 1
        if len(self._lanes[item.kind]) >= self._most:
            self._post(item.kind)

    def post_all(self) -> None:
        """What is left; nothing once the run has stopped, and then it says so line by line."""
        for kind in self._lanes:
            self._post(kind)

    def _post(self, kind: str) -> None:
        batch, self._lanes[kind], self._sizes[kind] = self._lanes[kind], [], 0
        if not batch:
            return
        self._waited_s = 0.0
        bodies = [body for _, body in batch]
        lost = (
            dict.fromkeys(range(len(batch)), Loss("gave_up", "the run had stopped"))
            if self.stopped
            else self._delivery.deliver(kind, bodies)
        )
        for index, (number, _) in enumerate(batch):
            if (loss := lost.get(index)) is not None:
                self._report.reject(number, loss)
        self._report.sent += len(batch) - len(lost)
        self.stopped = self.stopped or any(loss.reason == "gave_up" for loss in lost.values())
        self._progress(self._report)
        self._keep_pace(len(batch))

    def _pause(self, seconds: float, *, firm: bool) -> bool:  # noqa: ARG002  nobody waits for the outcome but this run
        self._waited_s += seconds
        if self._waited_s > self._options.patience_s:
            return False
        time.sleep(seconds)
        return True

    def _keep_pace(self, events: int) -> None:
        self._posted += events
        if self._options.rate and not self.stopped:
            time.sleep(max(0.0, self._began_at + self._posted / self._options.rate - time.monotonic()))


def _item(number: int, line: bytes, options: SendOptions) -> Item:
    """The event in *line*, not yet in the contract's words. Raises ValueError for what is no JSON object."""
    if len(line) > MAX_LINE:
        raise ValueError(f"the line is over {MAX_LINE >> 20} MiB")
    try:
        said = json.loads(line)
    except ValueError as wrong:
        raise ValueError(f"no JSON: {wrong}") from None
    if not isinstance(said, dict):
        raise ValueError(f"a JSON object is wanted, this is {type(said).__name__}; one object a line")  # noqa: TRY004  one error for a bad line
    found = {name: value for name, path in options.fields.items() if (value := _at(said, path)) is not None}
    fields = said | found
    kind, identity = _kind(fields, options), _id(fields, number, line, options.source)
    if options.model:
        fields.setdefault("model", options.model)
    at = (options.undated_at or datetime.now(UTC)) + timedelta(microseconds=number)
    at_ns = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    return Item(kind, identity, at_ns, fields, len(line), cut=False)


def _kind(fields: Mapping[str, object], options: SendOptions) -> str:
    told = next((fields[name] for name in ("type", "kind") if fields.get(name) in {"inference", "feedback"}), None)
    if options.kind != "auto":
        told = options.kind
    if told is not None:
        return "inferences" if told == "inference" else "feedback"
    return "inferences" if _SAYS_INFERENCE & fields.keys() else "feedback"


def _id(fields: Mapping[str, object], number: int, line: bytes, source: str) -> str:
    try:
        return str(uuid.UUID(str(fields.get("id"))))
    except ValueError:
        return derived_id("send", source, number, line.strip().decode("utf-8", "replace"))


def _at(value: object, path: str) -> object:
    """What lies at a dotted *path*: keys, positions in lists, or one key that has the dots itself."""
    if isinstance(value, Mapping) and path in value:
        return value[path]
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, Sequence) and not isinstance(value, str) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


@contextmanager
def _opened(path: str) -> Iterator[tuple[File, datetime]]:
    """The file at *path*, and the time that its undated lines get: when it was last changed."""
    if path == "-":
        yield sys.stdin.buffer, datetime.now(UTC)
        return
    try:
        changed_at = datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
        with gzip.open(path) if path.endswith(".gz") else Path(path).open("rb") as file:
            yield file, changed_at
    except (FileNotFoundError, IsADirectoryError, PermissionError) as wrong:
        raise ConfigError(f"{path}: {wrong.strerror or wrong}; give a file of JSON lines, plain or .gz, or - for standard input") from None


def _lines(file: File) -> Iterator[bytes]:
    """The lines of *file*; of one that is too long only its head, so that no line fills the memory."""
    while line := file.readline(MAX_LINE + 1):
        rest = line
        while len(line) > MAX_LINE and rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE)
        yield line
