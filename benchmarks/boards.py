"""
What the boards cost: every query of every panel over five million inferences, spread over 30 days and crowded into one.

The store is the embedded one behind its HTTP interface, asked as Grafana's plugin asks, with every variable at *All*. With the
inferences come 5 % feedback (twice: as it came, and joined), late readings, vectors, verdicts and the meters of two processes, every
15 s for 30 days. `python benchmarks/boards.py [--rows 5000000] [--times 5] [--board UID]`. Targets (two quiet cores): p95 of each query under
500 ms, a whole board, six queries at a time as a browser asks, under 2 s. `cpu` is what a query costs the store; beside other work on
the machine only that number says something.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from boards_data import World, counters
from boards_visit import Asked, Board, Reader, Visit, boards
from driftwheel.store.clickhouse import ClickHouse
from driftwheel.store.migrate import migrate
from stores import RunningStore, running_store

QUERY_S, BOARD_S = 0.5, 2.0
AT_ONCE = 6
"""Connections of a browser to one host."""

CALLS = """
INSERT INTO driftwheel.inferences (tenant, id, app, environment, operation, provider, model, response_model, prompt_name,
    prompt_version, session_id, user_id, trace_id, response_id, finish_reason, error_type, started_at, accepted_at, latency_s, ttft_s,
    input_tokens, output_tokens, cached_tokens, cost_usd, readings, labels, topic, partition, offset)
WITH number AS n, randNormal(-0.2, 0.6, n) AS spread, cityHash64(n, 6) % 40 = 0 AS bad
SELECT 'default', generateUUIDv7(), ['support', 'search', 'writer', 'tutor'][cityHash64(n, 1) % 4 + 1] AS app,
    ['production', 'staging'][(cityHash64(n, 11) % 5 = 0) + 1], 'chat', 'openai',
    concat('model-', toString(cityHash64(n, 2) % 5)) AS model, model, 'faq', concat('v', toString(cityHash64(n, 3) % 4)),
    concat('s', toString(intDiv(n, 4))), concat('u', toString(cityHash64(n, 5) % 20000)), hex(cityHash64(n, 12)), concat('r', toString(n)),
    'stop', if(bad, ['timeout', 'rate_limit'][n % 2 + 1], ''),
    fromUnixTimestamp64Micro(toInt64({since}) + toInt64((n - {first}) * {gap})) AS st, st + toIntervalSecond(2), exp(spread) AS lat,
    if(bad OR app = 'tutor', NULL, lat * 0.2), 200 + cityHash64(n, 7) % 900 AS tokens_in, 20 + cityHash64(n, 8) % 700 AS tokens_out,
    if(cityHash64(n, 9) % 3 = 0, intDiv(tokens_in, 2), 0), if(model = 'model-4', NULL, toDecimal64(tokens_in * 1e-6 + tokens_out * 4e-6, 9)),
    map('latency.seconds', lat, 'error.flag', bad, 'refusal.flag', cityHash64(n, 10) % 40 = 0, 'empty.flag', 0, 'json.valid.flag', 1,
        'cost.usd', tokens_in * 1e-6 + tokens_out * 4e-6, 'tokens.input.count', tokens_in, 'tokens.output.count', tokens_out,
        'length.prompt.chars', tokens_in * 4, 'length.response.chars', tokens_out * 4, 'output.tokens_per_second', tokens_out / lat),
    map('language.code', ['en', 'de', 'pt', 'fr'][cityHash64(n, 11) % 4 + 1]), 'driftwheel.inferences.v1', n % 4, intDiv(n, 4)
FROM numbers({first}, {count})
"""

# The ids of these are not those of the inferences' rows but as many, as scattered and as long.
FEEDBACK = """
INSERT INTO driftwheel.feedback (tenant, id, revision, matched, app, name, value, comment, source, author, inference_id, model, prompt_name,
    prompt_version, lag_s, at, accepted_at)
SELECT tenant, reinterpretAsUUID(sipHash128(id)), {revision}, {revision}, if({revision}, app, ''), ['thumbs', 'thumbs', 'rating'][offset % 3 + 1],
    if(offset % 3 = 2, offset % 5 + 1, offset % 4 > 0), if(offset % 4 > 0, '', 'not what was asked'), if(offset % 3 = 2, 'judge', 'user'), user_id,
    toString(id), if({revision}, model, ''), if({revision}, prompt_name, ''), if({revision}, prompt_version, ''),
    if({revision}, offset % 3600, NULL), started_at + toIntervalSecond(offset % 3600) AS at, at
FROM driftwheel.inferences WHERE cityHash64(id) % 20 = 0
"""

LATE = """
INSERT INTO driftwheel.late_readings (tenant, id, inference_id, app, model, prompt_name, prompt_version, signal, value, version, started_at, accepted_at)
SELECT tenant, reinterpretAsUUID(sipHash128(id, signal)), id, app, model, prompt_name, prompt_version,
    arrayJoin(['correction.likeness.score', 'grounded.flag']) AS signal, if(signal = 'grounded.flag', offset % 9 > 0, offset % 100 / 100), 1,
    started_at, accepted_at
FROM driftwheel.inferences WHERE cityHash64(id) % 20 = 1
"""

VECTORS = """
INSERT INTO driftwheel.embeddings (tenant, id, inference_id, app, model, prompt_name, prompt_version, role, encoder, started_at, accepted_at, vec)
SELECT tenant, reinterpretAsUUID(sipHash128(id, role)), id, app, model, prompt_name, prompt_version, arrayJoin(['prompt', 'response']) AS role,
    'minilm', started_at, accepted_at, arrayWithConstant(384, toBFloat16(0.1))
FROM driftwheel.inferences WHERE cityHash64(id) % 200 = 2
"""

# 160 series, a quiet verdict each hour, as detection says it.
VERDICTS = """
INSERT INTO driftwheel.verdicts (tenant, id, revision, app, signal, segment, series, detector, reference_version, epoch, drifted, evidence, level,
    promise, at, accepted_at, sample_size, reference_size, units_to_alarm)
SELECT 'default', reinterpretAsUUID(sipHash128(series)), hour, app, signal, segment, concat('default/', signal, '{{', segment, '}}') AS series,
    'conformal', 'r', 0, false, -2 + sin(hour / 20 + cityHash64(series) % 7), 1, 'at most one false alarm a year and segment',
    fromUnixTimestamp64Micro(toInt64({since}) + hour * toInt64({span} / 720)) AS at, at, hour * 10, 500, 0
FROM (SELECT number % 720 AS hour, intDiv(number, 720) AS k, ['support', 'search', 'writer', 'tutor'][k % 4 + 1] AS app,
    ['latency.seconds', 'error.flag', 'refusal.flag', 'cost.usd', 'empty.flag', 'json.valid.flag', 'language.foreign.flag',
     'length.response.chars'][intDiv(k, 4) % 8 + 1] AS signal,
    concat('app=', app, ',model=model-', toString(intDiv(k, 32)), ',prompt_name=faq,prompt_version=v1') AS segment FROM numbers(720 * 160))
"""

METERS = """
INSERT INTO driftwheel.meters (at, instance, name, labels, value)
SELECT toDateTime64({start}, 3, 'UTC') + toIntervalSecond(15 * number), {instance}, {name}, {labels},
    floor((number % 100000) * 15 * {per_s})
FROM numbers({samples})
"""


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many inferences, evenly spread over the *span* up to *now*."""

    name: str
    rows: int
    span: timedelta
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def fill(self, store: ClickHouse) -> None:
        """Everything that boards read."""
        since, span = int((self.now - self.span).timestamp() * 1e6), int(self.span.total_seconds() * 1e6)
        pieces = 30  # as many statements: parts as a running system has, bounded memory
        for piece in range(pieces):
            count = self.rows // pieces
            first = piece * count
            begin = since + piece * span // pieces
            store.command(CALLS.format(since=begin, first=first, count=count, gap=span / pieces / count))
        for sql in (FEEDBACK.format(revision=0), FEEDBACK.format(revision=1), LATE, VECTORS, VERDICTS.format(since=since, span=span)):
            store.command(sql)
        for instance, meter, labels, per_s in counters():
            said = "map(" + ", ".join(f"'{key}', '{value}'" for key, value in labels.items()) + ")"
            start = (self.now - timedelta(days=30)).timestamp()
            sql = METERS.format(
                start=int(start), instance=repr(instance), name=repr(meter), labels=said, per_s=per_s, samples=30 * 86_400 // 15
            )
            store.command(sql)
        World(self.now, size=90).put(store, without=["meters"])  # of incidents, jobs and so on there are few


@dataclass(frozen=True, slots=True)
class Measured:
    """How long a query took, each time, and what it cost the store's process on average, in seconds."""

    asked: Asked
    look: str
    times: list[float]
    cpu_s: float
    rows: int

    @property
    def p95(self) -> float:
        """Of few times this is the longest."""
        return max(self.times)


def measure(board: Board, store: RunningStore, crowd: Crowd, look: timedelta, times: int) -> Iterator[Measured]:
    """Each query of *board* alone, after one that warms up."""
    reader, process = Reader(store.settings), psutil.Process(store.process.pid)
    visit = Visit(board, reader, crowd.now - look, crowd.now, pinned={"tenant": "default"})
    for asked in [*board.asked(), *(one for _, one in board.questions())]:
        sql = visit.sql(asked)
        rows, took, used = len(reader.ask(sql).rows), [], sum(process.cpu_times()[:2])
        for _ in range(times):
            began = time.perf_counter()
            reader.ask(sql)
            took.append(time.perf_counter() - began)
        cpu_s = (sum(process.cpu_times()[:2]) - used) / times
        yield Measured(asked, f"{crowd.name}, {look.days} d", took, cpu_s, rows)


def whole(board: Board, store: RunningStore, crowd: Crowd, look: timedelta, times: int) -> float:
    """All queries of *board*, six at a time, in seconds: the median."""
    visit = Visit(board, Reader(store.settings), crowd.now - look, crowd.now, pinned={"tenant": "default"})
    queries = [visit.sql(asked) for asked in board.asked()]
    readers = [Reader(store.settings) for _ in range(AT_ONCE)]
    took = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(times):
            began = time.perf_counter()
            list(pool.map(lambda place: readers[place % AT_ONCE].ask(queries[place]), range(len(queries))))
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def tell(found: list[Measured], wholes: dict[tuple[str, str], float]) -> None:
    """The slowest first, and what missed its target."""
    print(f"\n{'median':>8} {'p95':>8} {'cpu':>8} {'rows':>7}  query (target: p95 {QUERY_S * 1000:.0f} ms)")
    for one in sorted(found, key=lambda one: -one.p95):
        late = "  MISSED" if one.p95 > QUERY_S else ""
        print(
            f"{statistics.median(one.times) * 1000:6.0f}ms {one.p95 * 1000:6.0f}ms {one.cpu_s * 1000:6.0f}ms {one.rows:7}  {one.asked} [{one.look}]{late}"
        )
    print(f"\n{'whole':>8}  board, {AT_ONCE} queries at a time (target: {BOARD_S:.0f} s)")
    for (board, look), took in sorted(wholes.items(), key=lambda one: -one[1]):
        print(f"{took:7.2f}s  {board} [{look}]{'  MISSED' if took > BOARD_S else ''}")
    slow, heavy = sum(one.p95 > QUERY_S for one in found), sum(took > BOARD_S for took in wholes.values())
    print(f"\n{slow} of {len(found)} queries and {heavy} of {len(wholes)} boards missed their target")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--board", default="", help="only the board with this uid")
    given = parser.parse_args()
    found: list[Measured] = []
    wholes: dict[tuple[str, str], float] = {}
    for crowd in (Crowd("over 30 d", given.rows, timedelta(days=30)), Crowd("within 24 h", given.rows, timedelta(days=1))):
        with tempfile.TemporaryDirectory() as folder, running_store(Path(folder) / "store") as store:
            client = store.client()
            migrate(client)
            began = time.monotonic()
            crowd.fill(client)
            counted = client.query("SELECT count() AS n FROM driftwheel.inferences")[0]["n"]
            print(f"{crowd.name}: {counted:,} inferences seeded in {time.monotonic() - began:.0f} s", flush=True)
            for board in boards():
                if given.board in ("", board.uid):
                    for look in sorted({timedelta(days=1), crowd.span}):
                        found += measure(board, store, crowd, look, given.times)
                        wholes[board.uid, f"{crowd.name}, {look.days} d"] = whole(board, store, crowd, look, given.times)
    tell(found, wholes)


if __name__ == "__main__":
    main()
