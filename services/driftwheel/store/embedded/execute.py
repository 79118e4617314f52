"""Runs one order on a handle: a SELECT once and as a stream where its format allows it, everything else at once."""

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

import msgspec

from driftwheel.store.embedded.core import Answer, Handle
from driftwheel.store.embedded.engine import Engine
from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.kills import Job
from driftwheel.store.embedded.native import Column, blocks
from driftwheel.store.embedded.request import Order
from driftwheel.store.embedded.sql import Kind

BLOCK_SAFE = frozenset(
    """native tabseparated tsv tabseparatedraw tsvraw csv rowbinary jsoneachrow ndjson jsonlines jsoncompacteachrow
    jsoncompactstringseachrow jsonstringseachrow tskv lineasstring rawblob buffers""".split()  # noqa: SIM905 - a list of words reads better so
)
"""Formats whose blocks can stand one after the other: chDB writes each block of a stream as a document of its own."""

SELF_WRITING = "RowBinaryWithNamesAndTypes"


@dataclass(slots=True)
class Totals:
    """What a statement read, wrote and answered so far."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    since_ns: int = 0

    def add(self, answer: Answer) -> None:
        """Count *answer*; what a stream has read is told anew with each of its blocks."""
        self.read_rows = max(self.read_rows, answer.read_rows)
        self.read_bytes = max(self.read_bytes, answer.read_bytes)
        self.written_rows += answer.written_rows
        self.written_bytes += answer.written_bytes
        self.result_rows += answer.rows
        self.result_bytes += len(answer.data)

    def summary(self) -> str:
        """X-ClickHouse-Summary: a JSON object whose numbers are text."""
        names = ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows", "result_bytes")
        told = {name: str(getattr(self, name)) for name in names}
        return msgspec.json.encode({**told, "elapsed_ns": str(perf_counter_ns() - self.since_ns)}).decode()


class Out(Protocol):
    """Where an answer goes. Both may wait for the client, and raise `Gone` once it has hung up."""

    def head(self, fmt: str, totals: Totals) -> None:
        """The answer will be in *fmt*; nothing is sent yet, so that a failure can still have its status."""
        ...

    def data(self, piece: bytes) -> None:
        """More of it."""
        ...


def execute(engine: Engine, order: Order, job: Job, out: Out) -> None:
    """Run *order* to its end. Raises `Failure`, `Gone`."""
    totals = Totals(since_ns=perf_counter_ns())
    with engine.opened(order, job) as handle:
        job.check()
        if order.statement.kind is Kind.INSERT:
            _insert(handle, order, totals)
            out.head(order.fmt, totals)
        else:
            _ask(_Question(engine, handle, order, job, out, totals))


@dataclass(frozen=True, slots=True)
class _Question:
    """A statement without data of its own, and all that it takes to answer it."""

    engine: Engine
    handle: Handle
    order: Order
    job: Job
    out: Out
    totals: Totals


def _insert(handle: Handle, order: Order, totals: Totals) -> None:
    if order.reads_only:
        raise _only_reads(order)
    told = order.statement
    values = b"".join(order.data) if told.format == "Values" else b""
    # the engine would take the rows before a semicolon and forget what follows it
    if b";" in values and handle.classify(told.text + b" VALUES " + values).statements > 1:
        raise _several()
    totals.add(handle.insert(order.statement.text, order.statement.format, order.data))


def _ask(q: _Question) -> None:
    order, told = q.order, q.order.statement
    found = q.handle.classify(told.text)
    if found.statements > 1:
        raise _several()
    if order.reads_only and not found.reads and not told.stateful and found.statements:
        raise _only_reads(order)
    q.job.check()
    fmt = told.format or order.fmt
    streams = told.kind is Kind.SELECT and found.reads and fmt.lower() in BLOCK_SAFE
    if fmt.lower() == "native" and order.revision:
        _native(q, streams=streams and not told.scalar)
    elif streams:
        _stream(q, fmt)
    else:
        answer = q.handle.run(told.text, fmt, order.params)
        _give(q, fmt, answer, answer.data)


def _stream(q: _Question, fmt: str) -> None:
    q.out.head(fmt, q.totals)
    for answer in q.handle.stream(q.order.statement.text, fmt, q.order.params):
        q.totals.add(answer)
        q.out.data(answer.data)


def _native(q: _Question, *, streams: bool) -> None:
    """Blocks of the revision that the client speaks. What cannot be described without running it is run first, once."""
    told, order = q.order.statement, q.order
    if not streams:
        answer = q.handle.run(told.as_format(SELF_WRITING), SELF_WRITING, order.params)
        if not answer.data:
            _give(q, "Native", answer, b"")
            return
        columns, buffers = q.engine.as_buffers(answer.data)
        _give(q, "Native", answer, blocks(buffers, columns, order.revision))
        return
    columns = _described(q)
    q.job.check()
    q.out.head("Native", q.totals)
    for answer in q.handle.stream(told.as_format("Buffers"), "Buffers", order.params):
        q.totals.add(answer)
        q.out.data(blocks(answer.data, columns, order.revision))


def _described(q: _Question) -> list[Column]:
    answer = q.handle.run(q.order.statement.described(), "JSONCompact", q.order.params)
    rows = msgspec.json.decode(answer.data, type=_Described).data
    return [(row[0], row[1]) for row in rows]


class _Described(msgspec.Struct):
    """DESCRIBE in JSONCompact: rows of name, type and what else there is."""

    data: list[list[str]]


def _give(q: _Question, fmt: str, answer: Answer, data: bytes) -> None:
    q.totals.add(answer)
    q.out.head(fmt, q.totals)
    q.out.data(data)


def _several() -> Failure:
    return Failure(62, "Syntax error (Multi-statements are not allowed): send one statement at a time")


def _only_reads(order: Order) -> Failure:
    why = "this user may only read" if order.user.readonly else "method GET and readonly=1 or 2 only read; use POST to change data"
    return Failure(164, f"{order.user_name}: Cannot execute query in readonly mode: {why}")
