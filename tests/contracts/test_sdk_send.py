"""`driftwheel send`: logs of any source arrive, twice the same, and every line has a fate."""

import gzip
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftwheel.errors import ConfigError
from driftwheel.sdk.send import SendOptions, SendReport, parse_map, send, send_file
from driftwheel.sdk.transport import Request, Response
from driftwheel.testing import MemoryTransport, events_in
from driftwheel_schemas import Feedback, Inference

DATA = Path(os.environ.get("REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
UNDATED = SendOptions(source="log", undated_at=datetime(2026, 3, 2, tzinfo=UTC))


def lines(*rows: object) -> list[bytes]:
    return [json.dumps(row).encode() + b"\n" for row in rows]


def sent(rows: Iterable[bytes], options: SendOptions = UNDATED) -> tuple[SendReport, MemoryTransport]:
    memory = MemoryTransport()
    return send(rows, memory, options), memory


def test_a_map_of_dotted_paths_makes_any_log_a_log_of_inferences() -> None:
    """Names by path, positions in lists, keys that have dots; the rest is read by its usual names."""
    row = {"question": "Hi", "answer": {"parts": [{"t": "Hello"}]}, "gen.model": "m", "ms": 20, "ts": "2026-03-02T09:00:00Z"}
    options = SendOptions(fields=parse_map("response=answer.parts.0.t,model=gen.model,latency_ms=ms"), app="shop")
    report, memory = sent(lines(row), options)

    inference = msgspec.convert(memory.inferences[0], Inference)
    assert (report.sent, report.complete, report.undated) == (1, True, 0)
    assert (inference.prompt, inference.response, inference.model, inference.latency_s, inference.app) == ("Hi", "Hello", "m", 0.02, "shop")


def test_kinds_are_told_apart_or_told() -> None:
    """A line with a prompt, a response or a model is an inference; its own `type` or the option wins."""
    rows = lines(
        {"messages": "Hi"},
        {"thumbs": True, "response_id": "r"},
        {"type": "feedback", "name": "note", "model": "m"},
        {"type": "inference", "session_id": "s"},
    )
    report, memory = sent(rows)
    _, forced = sent(rows, SendOptions(kind="feedback"))

    assert report.sent == 4
    assert (len(memory.inferences), len(memory.feedback), len(forced.feedback)) == (2, 2, 4)
    assert msgspec.convert(memory.feedback[0], Feedback).value == 1.0


@settings(deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["id", "prompt", "value", "x"]), st.text(max_size=3) | st.uuids().map(str), min_size=1), max_size=6
    )
)
def test_a_second_run_sends_the_same_events(rows: list[dict[str, str]]) -> None:
    """Ids and times come from the lines: the collector sees nothing new. Two equal lines are two events."""
    once, again = sent(lines(*rows))[1], sent(lines(*rows))[1]
    own = [row["id"] for row in rows if len(row.get("id", "")) == 36]
    ids = [event["id"] for event in once.inferences + once.feedback]

    assert (once.inferences, once.feedback) == (again.inferences, again.feedback)
    assert set(own) <= set(ids)
    assert len(set(ids)) == len(rows) - len(own) + len(set(own))


LINE = st.sampled_from(
    [
        b"{",
        b"[]",
        b"\n",
        b"",
        b'{"prompt": "a", "latency_s": NaN}',
        b'{"prompt": "a", "ts": "soon"}',
        b"\xff\xfe",
        b'{"prompt": "good"}',
        b'{"value": 1}',
    ]
)


@settings(deadline=None)
@given(rows=st.lists(LINE, max_size=12), bad=st.sets(st.integers(0, 11)))
def test_every_line_that_is_read_is_sent_or_rejected(rows: list[bytes], bad: set[int]) -> None:
    """No line disappears: `read == sent + rejects`, blank ones aside, and what counts as sent was taken."""

    def reject(request: Request) -> Response:
        count = len(events_in(request))
        body = {"accepted": 0, "rejected": [{"index": index, "path": "$.x", "error": "bad"} for index in bad if index < count]}
        return Response(202, {}, json.dumps(body).encode())

    memory = MemoryTransport(reject)
    report = send(rows, memory, UNDATED)

    assert report.read == sum(bool(row.strip()) for row in rows)
    assert report.read == report.sent + sum(rejects.count for rejects in report.rejects.values())
    assert report.sent == len(memory.inferences) + len(memory.feedback)


def test_the_report_names_lines_and_reasons() -> None:
    """The first lines of each reason, with their numbers, as an editor counts them."""
    report, _ = sent([b'{"prompt": "a"}\n', b"\n", b"{broken\n", b'"text"\n', b'{"prompt": "a", "timestamp": 5}\n'])

    assert str(report).splitlines() == [
        "1 of 4 lines sent",
        "1 had no time and got the file's",
        "3 unreadable:",
        "  line 3: no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "  line 4: a JSON object is wanted, this is str; one object a line",
        "  line 5: started_at: is 5; seconds, milli-, micro- or nanoseconds since 1970 are wanted, between the years 2000 and 2200",
    ]


def test_files_are_plain_or_gzip_and_undated_lines_get_the_files_time(tmp_path: Path) -> None:
    """The same lines in both; a microsecond apart, in their order; the id does not depend on when it is sent."""
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_bytes(b"".join(lines({"prompt": "a"}, {"prompt": "b"})))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        os.utime(path, (1_772_442_000, 1_772_442_000))
    one, two = MemoryTransport(), MemoryTransport()
    send_file(str(plain), one, SendOptions(source="same"))
    send_file(str(packed), two, SendOptions(source="same"))

    assert one.inferences == two.inferences
    assert [event["started_at"] for event in one.inferences] == ["2026-03-02T09:00:00.000001Z", "2026-03-02T09:00:00.000002Z"]


def test_what_cannot_be_opened_is_told_with_the_cure(tmp_path: Path) -> None:
    """A wrong path and a wrong map are settings errors; an archive that breaks off is a line that cannot be read."""
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl: .*give a file of JSON lines"):
        send_file(str(tmp_path / "nowhere.jsonl"), MemoryTransport(), SendOptions())
    with pytest.raises(ConfigError, match="--map: 'prompt' has no path"):
        parse_map("prompt,response=a")

    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(os.urandom(8).hex().encode() + b"\n" + b'{"prompt": "a"}\n' * 9_000)[:-20])
    report = send_file(str(broken), memory := MemoryTransport(), SendOptions())
    assert not report.complete
    assert report.sent == len(memory.inferences) > 0
    assert "the lines break off here" in str(report)


def test_a_collector_that_is_away_ends_the_run_and_says_so() -> None:
    """After its patience the run stops; what was not sent is counted, and a second run will send it."""

    def away(_: Request) -> Response:
        raise ConnectionRefusedError("away")

    report = send(lines(*[{"prompt": "a"}] * 3), MemoryTransport(away), SendOptions(patience_s=0.0))

    assert (report.read, report.sent, report.complete) == (3, 0, False)
    assert report.rejects["gave_up"].count == 3


def test_the_rate_is_kept() -> None:
    """100 events at 400 a second take a quarter of a second at least, and go in steps."""
    import time

    began, stamps = time.monotonic(), []

    def note(request: Request) -> Response:
        stamps.append((time.monotonic() - began, len(events_in(request))))
        return Response(202, {})

    send(lines(*[{"prompt": "a"}] * 100), MemoryTransport(note), SendOptions(rate=400.0))

    assert time.monotonic() - began >= 0.25
    assert all(later[0] > earlier[0] for earlier, later in pairwise(stamps))


@pytest.mark.parametrize(
    ("name", "mapping", "least"),
    [("gateway_events.jsonl.gz", "latency_ms=response_time_ms", 100), ("feedback_stream.jsonl.gz", "prompt=question,response=answer", 100)],
)
def test_recorded_logs_of_others_are_sent_whole(name: str, mapping: str, least: int) -> None:
    """Real logs in shapes of their own arrive without a reject, and decode into the contract."""
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not here; set REAL_DATA to the folder of third-party data")
    memory = MemoryTransport()
    report = send_file(str(DATA / name), memory, SendOptions(fields=parse_map(mapping), app="replay", model="unknown"))

    assert report.rejects == {}
    assert report.sent == report.read >= least
    events: list[Any] = msgspec.convert(memory.inferences, list[Inference])
    assert all(event.prompt for event in events)
    msgspec.convert(memory.feedback, list[Feedback])
