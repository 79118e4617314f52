"""Native blocks of the revision that a client asks for, read back by an independent decoder."""

import datetime as dt
import socket
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from clickhouse_driver.bufferedreader import BufferedSocketReader
from clickhouse_driver.context import Context
from clickhouse_driver.streams.native import BlockInputStream

from store_http import Server, running

REVISIONS = (54405, 54460)

TYPES = {
    "toInt8(-number)": ("Int8", lambda n: -n),
    "toUInt64(number)": ("UInt64", lambda n: n),
    "toFloat64(number) / 2": ("Float64", lambda n: n / 2),
    "number % 2 = 1": ("UInt8", lambda n: n % 2),
    "repeat('é', number)": ("String", lambda n: "é" * n),
    "toFixedString('ab', 2)": ("FixedString(2)", lambda _: "ab"),
    "toLowCardinality(toString(number % 2))": ("LowCardinality(String)", lambda n: str(n % 2)),
    "toLowCardinality(if(number = 1, NULL, 'x'))": ("LowCardinality(Nullable(String))", lambda n: None if n == 1 else "x"),
    "if(number = 1, NULL, number)": ("Nullable(UInt64)", lambda n: None if n == 1 else n),
    "['x', NULL]::Array(LowCardinality(Nullable(String)))": ("Array(LowCardinality(Nullable(String)))", lambda _: ["x", None]),
    "tuple(1, 'y')::Tuple(one UInt8, two String)": ("Tuple(one UInt8, two String)", lambda _: (1, "y")),
    "range(number)": ("Array(UInt64)", lambda n: list(range(n))),
    "[['a'], [toString(number)]]": ("Array(Array(String))", lambda n: [["a"], [str(n)]]),
    "map('k', number)": ("Map(String, UInt64)", lambda n: {"k": n}),
    "CAST(map('k', 'v'), 'Map(LowCardinality(String), String)')": ("Map(LowCardinality(String), String)", lambda _: {"k": "v"}),
    "tuple(number, 'x')": ("Tuple(UInt64, String)", lambda n: (n, "x")),
    "toDate('2026-01-02') + number": ("Date", lambda n: dt.date(2026, 1, 2 + n)),
    "toDateTime('2026-01-02 03:04:05', 'Asia/Tokyo')": ("DateTime('Asia/Tokyo')", None),
    "toDateTime64('2026-01-02 03:04:05.678', 3, 'UTC')": ("DateTime64(3, 'UTC')", None),
    "toUUID('01234567-89ab-cdef-0123-456789abcdef')": ("UUID", lambda _: uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")),
    "toDecimal64('1.25', 4)": ("Decimal(18, 4)", lambda _: Decimal("1.25")),
    "toDecimal128('-1.25', 10)": ("Decimal(38, 10)", lambda _: Decimal("-1.25")),
    "CAST('a', 'Enum8(\\'a\\' = 1)')": ("Enum8('a' = 1)", lambda _: "a"),
    "toIPv4('127.0.0.1')": ("IPv4", None),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("store")) as up:
        yield up


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def ask(http: httpx.Client, sql: str, revision: int, **params: str) -> bytes:
    params |= {"client_protocol_version": str(revision), "default_format": "Native"}
    answer = http.post("/", params=params, content=sql)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-clickhouse-format"] == "Native"
    return answer.content


def decode(data: bytes, revision: int) -> tuple[list[tuple[str, str]], list[list[Any]], int]:
    """Columns, rows and the number of blocks, as clickhouse-driver reads them."""
    context = Context()
    context.server_info = SimpleNamespace(used_revision=revision, get_timezone=lambda: "UTC")
    context.client_settings = {"use_numpy": False, "strings_as_bytes": False, "strings_encoding": "utf-8", "namedtuple_as_json": False}
    context.settings = {}
    here, there = socket.socketpair()
    with here, there:

        def send() -> None:
            here.sendall(data)
            here.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        stream = BlockInputStream(BufferedSocketReader(there, 1 << 16), context)
        columns: list[tuple[str, str]] = []
        rows: list[list[Any]] = []
        blocks = 0
        while True:
            try:
                block = stream.read()
            except EOFError:
                break
            columns, blocks = list(block.columns_with_types), blocks + 1
            rows += [list(row) for row in block.get_rows()]
        sender.join()
    return columns, rows, blocks


@pytest.mark.parametrize("revision", REVISIONS)
def test_blocks_of_every_type_are_decoded_by_another_client(http: httpx.Client, revision: int) -> None:
    """Names, types with their zones, and values."""
    chosen = [f"{sql} AS c{n}" for n, sql in enumerate(TYPES)]
    columns, rows, _ = decode(ask(http, f"SELECT {', '.join(chosen)} FROM numbers(4)", revision), revision)

    assert columns == [(f"c{n}", kind) for n, (kind, _) in enumerate(TYPES.values())]
    for n, (sql, (_, expected)) in enumerate(TYPES.items()):
        if expected:
            assert [row[n] for row in rows] == [expected(number) for number in range(4)], sql
    tokyo = [kind for _, kind in columns].index("DateTime('Asia/Tokyo')")
    assert rows[0][tokyo].astimezone(dt.UTC) == dt.datetime(2026, 1, 1, 18, 4, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize("revision", REVISIONS)
def test_large_answers_come_in_several_blocks(http: httpx.Client, revision: int) -> None:
    """Each complete in itself."""
    sql = "SELECT number, toLowCardinality(toString(number % 100)) AS s FROM numbers(200000)"
    columns, rows, blocks = decode(ask(http, sql, revision), revision)

    assert columns == [("number", "UInt64"), ("s", "LowCardinality(String)")]
    assert blocks > 2
    assert rows == [[n, str(n % 100)] for n in range(200_000)]


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SHOW DATABASES LIKE 'def%'", [["default"]]),
        ("EXISTS TABLE nothing", [[0]]),
        ("DESCRIBE (SELECT 1 AS a) SETTINGS describe_compact_output = 1", [["a", "UInt8"]]),
        ("EXPLAIN SYNTAX SELECT 1", [["SELECT 1\nFROM system.one"]]),
        ("SELECT (SELECT 1) AS a, 1 AS b", [[1, 1]]),
        ("SELECT (SELECT toLowCardinality('x')) AS a, (SELECT 'it''s \\\\') AS b", [["x", "it's \\"]]),
        ("WITH (SELECT 2) AS x SELECT x FORMAT Native SETTINGS max_threads = 1;", [[2]]),
        ("SELECT 1 AS a, 1 AS b LIMIT 0", []),
        ("SELECT {p:UInt8} AS p FORMAT Native -- so", [[7]]),
    ],
)
def test_what_cannot_be_described_comes_in_blocks_too(http: httpx.Client, revision: int, sql: str, expected: list[list[Any]]) -> None:
    """Statements without a type of their own, and those that may run only once."""
    _, rows, _ = decode(ask(http, sql, revision, param_p="7"), revision)

    assert rows == expected


def test_type_names_stand_on_one_line(http: httpx.Client) -> None:
    """DESCRIBE breaks those of named tuples unless told not to."""
    sql = "SELECT CAST((1, tuple('x')), 'Tuple(a Int8, b Tuple(c String))') AS t"
    data = ask(http, sql, 54460)

    assert b"Tuple(a Int8, b Tuple(c String))" in data
    assert b"\n" not in data


def test_a_user_who_may_only_read_gets_blocks_as_well(server: Server) -> None:
    """Also at readonly=1, which allows no setting after it."""
    with server.client("reader") as http:
        assert decode(ask(http, "SELECT 1 AS a", 54460), 54460)[1] == [[1]]
        assert decode(ask(http, "SELECT (SELECT 1) AS a", 54460, readonly="1"), 54460)[1] == [[1]]
        assert decode(ask(http, "SHOW DATABASES LIKE 'default'", 54460, readonly="1"), 54460)[1] == [["default"]]


def test_without_a_revision_the_engines_own_blocks_come(http: httpx.Client) -> None:
    """No BlockInfo then."""
    assert ask(http, "SELECT toUInt8(1) AS a", 0) == b"\x01\x01\x01a\x05UInt8\x01"
