"""The embedded store's HTTP interface, byte by byte: headers, statuses, codings, native blocks, refusals."""

import gzip
import io
import time
import uuid
import zlib
from collections.abc import Callable, Iterator

import brotli
import httpx
import lz4.frame
import pytest
import zstandard
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.bufferedreader import BufferedReader
from clickhouse_driver.context import Context
from clickhouse_driver.streams.native import BlockInputStream

from stores import RunningStore, ask, failed, running_store

MIB = 1024**2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("http") / "store") as running:
        yield running


@pytest.fixture(scope="module")
def http(store: RunningStore) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=store.url, auth=("default", store.password), timeout=60, headers={"Accept-Encoding": "identity"}) as client:
        yield client


# ---- who, and how it is answered


def test_ping_needs_no_password_and_everything_else_does(http: httpx.Client, store: RunningStore) -> None:
    """A wrong name and a wrong password get the same answer: 403, code 516."""
    assert httpx.get(store.url + "ping").text == "Ok.\n"
    assert httpx.get(store.url).text == "Ok.\n"
    assert httpx.head(store.url + "ping").status_code == 200
    for auth in (("default", "wrong"), ("nobody", store.password), ("default", "")):
        answer = httpx.get(store.url, params={"query": "SELECT 1"}, auth=auth)
        assert answer.status_code == 403
        failed(answer, 516)
    url = {"user": "default", "password": store.password, "query": "SELECT 1"}
    assert httpx.get(store.url, params=url).text == "1\n"
    keys = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": store.password}
    assert httpx.get(store.url, params={"query": "SELECT 1"}, headers=keys).text == "1\n"
    assert httpx.get(store.url, params={"query": "SELECT 1"}, headers={"Authorization": "Basic %%%"}).status_code == 403


def test_an_answer_carries_the_headers_that_clients_read(http: httpx.Client) -> None:
    """Query id, format, time zone, summary, display name, and a tag of 16 characters."""
    query_id = f"q-{uuid.uuid4()}"
    answer = ask(http, "SELECT number FROM numbers(3) FORMAT JSON", query_id=query_id)

    assert answer.headers["x-clickhouse-query-id"] == query_id
    assert answer.headers["x-clickhouse-format"] == "JSON"
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-clickhouse-timezone"]
    assert answer.headers["x-clickhouse-server-display-name"]
    assert len(answer.headers["x-clickhouse-exception-tag"]) == 16
    assert '"read_rows":' in answer.headers["x-clickhouse-summary"]
    assert answer.json()["rows"] == 3


def test_a_running_query_is_seen_under_its_query_id(http: httpx.Client) -> None:
    """People find a query in system.processes by the id that its client gave it."""
    answer = ask(http, "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'find me'", query_id="find me")

    assert answer.text == "1\n"


def test_head_has_no_body_and_get_may_only_read(http: httpx.Client) -> None:
    """GET implies readonly: code 164 for a write, settings may be chosen."""
    head = http.head("/", params={"query": "SELECT 1"})
    assert (head.status_code, head.content) == (200, b"")
    assert http.get("/", params={"query": "SELECT 1", "max_threads": "1"}).text == "1\n"
    failed(http.get("/", params={"query": "CREATE TABLE by_get (x Int8) ENGINE = Memory"}), 164)
    failed(http.get("/", params={"query": "INSERT INTO FUNCTION null('x Int8') VALUES (1)"}), 164)


def test_chunked_bodies_and_a_query_split_over_url_and_body(http: httpx.Client) -> None:
    """The URL's text comes first, the body follows."""

    def pieces() -> Iterator[bytes]:
        yield b"SEL"
        yield b"ECT 41 "
        yield b"+ 1"

    assert http.post("/", content=pieces()).text == "42\n"
    assert ask(http, "number FROM numbers(2)", query="SELECT").text == "0\n1\n"
    ask(http, "CREATE TABLE split (x Int8) ENGINE = MergeTree ORDER BY x").raise_for_status()
    ask(http, '{"x": 1}\n{"x": 2}', query="INSERT INTO split FORMAT JSONEachRow").raise_for_status()
    assert ask(http, "SELECT sum(x) FROM split").text == "3\n"


def test_settings_database_default_format_and_limit_come_from_the_url(http: httpx.Client) -> None:
    """They hold for one request only."""
    assert ask(http, "SELECT getSetting('max_threads')", max_threads=1).text == "1\n"
    assert ask(http, "SELECT number FROM numbers(9)", limit=2).text == "0\n1\n"
    assert ask(http, "SELECT currentDatabase()", database="system", default_format="JSONEachRow").json() == {"currentDatabase()": "system"}
    assert ask(http, "SELECT currentDatabase()", {"X-ClickHouse-Database": "system", "X-ClickHouse-Format": "CSV"}).text == '"system"\n'
    assert ask(http, "SELECT currentDatabase()").text == "default\n"
    failed(ask(http, "SELECT 1", no_such_setting=1), 115)
    failed(ask(http, "SELECT 1", **{"max_threads = 1, readonly": 0}), 115)


def test_parameters_are_bound_and_not_pasted(http: httpx.Client) -> None:
    """Text with quotes, arrays, identifiers; inserts too."""
    evil = "'; DROP TABLE x --"
    assert ask(http, "SELECT {a:String}, length({b:Array(UInt8)})", param_a=evil, param_b="[1,2,3]").text == f"{evil}\t3\n".replace(
        "'", "\\'"
    )
    assert ask(http, "SELECT * FROM {t:Identifier} LIMIT 0", param_t="system.one").status_code in (200, 404)
    ask(http, "CREATE TABLE bound (x Int8) ENGINE = MergeTree ORDER BY x").raise_for_status()
    ask(http, "INSERT INTO {t:Identifier} FORMAT CSV\n7", param_t="bound").raise_for_status()
    assert ask(http, "SELECT x FROM bound WHERE x = {x:Int8}", param_x=7).text == "7\n"
    failed(ask(http, "SELECT {missing:Int8}"), 456)


# ---- a query runs once, whatever surrounds it


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "{};",
        "{} ; \n",
        "/* a */ {} -- b",
        "{} -- c\n;",
        "{} FORMAT Native",
        "{} FORMAT Native SETTINGS max_threads = 1",
        "{} SETTINGS max_threads = 1 FORMAT Native;",
        "# c\n{}",
    ],
)
@pytest.mark.parametrize("revision", [0, 54405, 54460])
def test_a_select_runs_exactly_once(http: httpx.Client, around: str, revision: int) -> None:
    """Half a second of sleep is half a second of answer: nothing is run a second time to learn its types."""
    began = time.monotonic()
    answer = ask(http, around.format("SELECT sleep(0.5)"), default_format="Native", client_protocol_version=revision)
    took = time.monotonic() - began

    assert answer.status_code == 200, answer.text
    assert 0.5 <= took < 0.95


def test_a_scalar_subquery_runs_once_too(http: httpx.Client) -> None:
    """Describing a query would compute it."""
    began = time.monotonic()
    answer = ask(http, "SELECT (SELECT sleep(0.5)) AS x FORMAT Native", client_protocol_version=54460)

    assert answer.status_code == 200
    assert time.monotonic() - began < 0.95


# ---- native blocks, read by somebody else's decoder

WIDE = """
SELECT toLowCardinality(toString(number % 3)) AS lc, map('a', number, 'b', number + 1) AS m, [number, 1]::Array(UInt32) AS a,
  if(number % 2, NULL, toString(number)) AS n, toDateTime('2026-01-02 03:04:05', 'Asia/Tokyo') AS t,
  toDateTime64('2026-01-02 03:04:05.678', 3, 'America/New_York') AS t64, toDecimal64(number, 4) / 3 AS d,
  toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS u, [toLowCardinality('x'), NULL]::Array(LowCardinality(Nullable(String))) AS al,
  tuple(1, 'y')::Tuple(one UInt8, two String) AS tp, toDate('2026-01-02') AS day, toFixedString('ab', 2) AS f
FROM numbers(1000)
"""
TYPES = [
    "LowCardinality(String)", "Map(String, UInt64)", "Array(UInt32)", "Nullable(String)", "DateTime('Asia/Tokyo')",
    "DateTime64(3, 'America/New_York')", "Decimal(18, 4)", "UUID", "Array(LowCardinality(Nullable(String)))",
    "Tuple(one UInt8, two String)", "Date", "FixedString(2)",
]  # fmt: skip


class _Bytes(BufferedReader):  # type: ignore[misc]
    """clickhouse-driver's reader, over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._left = io.BytesIO(data)
        super().__init__(MIB)

    def read_into_buffer(self) -> None:
        piece = self._left.read(MIB)
        self.current_buffer_size = len(piece)
        self.buffer[: len(piece)] = piece
        if not piece:
            raise EOFError

    @property
    def at_end(self) -> bool:
        return self.position >= self.current_buffer_size and self._left.tell() == len(self._left.getbuffer())


def decoded(data: bytes, revision: int) -> list[ColumnOrientedBlock]:
    class Server:
        used_revision = revision

        def get_timezone(self) -> str:
            return "UTC"

    context = Context()
    context.server_info = Server()
    context.settings = {}
    context.client_settings = {
        "strings_as_bytes": False, "strings_encoding": "utf-8", "use_numpy": False, "namedtuple_as_json": False,
        "input_format_null_as_default": False, "opentelemetry_traceparent": None, "opentelemetry_tracestate": "",
        "quota_key": "", "server_side_params": False,
    }  # fmt: skip
    reader = _Bytes(data)
    stream = BlockInputStream(reader, context)
    blocks = []
    while not reader.at_end:
        blocks.append(stream.read())
    return blocks


@pytest.mark.parametrize("revision", [54405, 54460])
def test_native_blocks_of_both_revisions_are_read_by_an_independent_decoder(http: httpx.Client, revision: int) -> None:
    """Types with their zones on one line, values equal to JSON's, over several blocks."""
    answer = ask(http, WIDE + "SETTINGS max_block_size = 300 FORMAT Native", client_protocol_version=revision)
    blocks = decoded(answer.content, revision)

    assert len(blocks) > 1
    assert [kind for _, kind in blocks[0].columns_with_types] == TYPES
    rows = [row for block in blocks for row in block.get_rows()]
    assert len(rows) == 1000
    first = sorted(rows, key=lambda row: row[1]["a"])[4]
    assert (first[0], first[1], first[2], first[3]) == ("1", {"a": 4, "b": 5}, [4, 1], "4")
    assert first[4].isoformat() == "2026-01-02T03:04:05+09:00"
    assert first[5].isoformat() == "2026-01-02T03:04:05.678000-05:00"
    assert (str(first[6]), str(first[7]), first[8]) == ("1.3333", "61f0c404-5cb3-11e7-907b-a6006ad3dba0", ["x", None])
    assert first[11] == "ab"


def test_other_answers_come_as_native_blocks_too(http: httpx.Client) -> None:
    """SHOW, DESCRIBE, EXISTS, EXPLAIN and a query with a scalar subquery."""
    for sql in ("SHOW DATABASES", "DESCRIBE system.one", "EXISTS system.one", "EXPLAIN SELECT 1", "SELECT (SELECT 1) AS x, 'y' AS x2"):
        answer = ask(http, sql, default_format="Native", client_protocol_version=54460)
        assert answer.status_code == 200, answer.text
        assert sum(block.num_rows for block in decoded(answer.content, 54460)) >= 1, sql


# ---- codings

DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "lz4": lz4.frame.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def raw(http: httpx.Client, sql: str, coding: str, **url: str | int) -> httpx.Response:
    params = {name: str(value) for name, value in url.items()}
    request = http.build_request("POST", "/", params=params, content=sql, headers={"Accept-Encoding": coding})
    answer = http.send(request, stream=True)
    answer.extensions["raw"] = b"".join(answer.iter_raw())
    answer.close()
    return answer


@pytest.mark.parametrize("coding", DECODE)
def test_answers_are_coded_as_the_client_asks(http: httpx.Client, coding: str) -> None:
    """Whole and streamed alike, and smaller than plain."""
    for sql in ("SELECT number FROM numbers(100000)", "SELECT number FROM numbers(100000) FORMAT JSONCompact"):
        plain = ask(http, sql).content
        answer = raw(http, sql, coding)
        body = answer.extensions["raw"]
        assert answer.headers["content-encoding"] == coding
        assert len(body) < len(plain)
        if "JSON" not in sql:
            assert DECODE[coding](body) == plain
    assert "content-encoding" not in raw(http, "SELECT 1", coding, enable_http_compression=0).headers


@pytest.mark.parametrize("coding", ENCODE)
def test_bodies_are_decoded_and_broken_ones_refused(http: httpx.Client, coding: str) -> None:
    """Also a body that ends too early."""
    body = ENCODE[coding](b"SELECT length('" + b"x" * 5000 + b"')")
    assert ask(http, body, {"Content-Encoding": coding}).text == "5000\n"
    for broken in (b"no such thing", body[: len(body) // 2]):
        failed(ask(http, broken, {"Content-Encoding": coding}), 271)


@pytest.mark.parametrize("coding", ENCODE)
def test_a_bomb_is_refused_before_it_fills_the_memory(http: httpx.Client, coding: str) -> None:
    """300 MiB of blanks weigh little on the way; the bound is 256 MiB."""
    bomb = ENCODE[coding](b" " * (300 * MIB))
    answer = ask(http, bomb, {"Content-Encoding": coding})

    assert answer.status_code in (400, 413)
    assert answer.headers["x-clickhouse-exception-code"] in ("229", "307", "271")
    assert ask(http, "SELECT 1").text == "1\n"


def test_an_unknown_coding_is_refused(http: httpx.Client) -> None:
    """Code 89 names what is known."""
    failed(ask(http, "SELECT 1", {"Content-Encoding": "rot13"}), 89)


def test_compressed_answers_still_stream(http: httpx.Client) -> None:
    """The first rows can be decoded long before the query ends."""
    sql = "SELECT number, sleepEachRow(0.2) FROM numbers(10) SETTINGS max_block_size = 1"
    began = time.monotonic()
    request = http.build_request("POST", "/", content=sql, headers={"Accept-Encoding": "gzip"})
    answer = http.send(request, stream=True)
    first = next(answer.iter_bytes())
    took = time.monotonic() - began
    answer.close()

    assert first.startswith(b"0\t")
    assert took < 1.5


# ---- errors


def test_an_error_has_its_code_status_and_name(http: httpx.Client) -> None:
    """Whatever layer it comes from."""
    for sql, code, status in (
        ("SELEC 1", 62, 400),
        ("", 62, 400),
        ("-- nothing", 62, 400),
        ("SELECT nope", 47, 404),
        ("SELECT * FROM nope", 60, 404),
        ("SELECT * FROM nope.nope", 81, 404),
        ("SELECT nope(1)", 46, 404),
        ("SELECT 1 FORMAT Nope", 73, 404),
        ("SELECT throwIf(1)", 395, 500),
        (b"SELECT '\xff\xfe' + 1", 43, 400),
        ("INSERT INTO nope FORMAT CSV\n1", 60, 404),
        ("KILL MUTATION WHERE nope", 47, 404),
    ):
        answer = ask(http, sql)
        failed(answer, code)
        assert answer.status_code == status, sql


def test_nonsense_around_the_statement_is_a_clickhouse_error(http: httpx.Client) -> None:
    """Never the words of a library."""
    for answer in (
        ask(http, "SELECT 1", client_protocol_version="x"),
        ask(http, "SELECT 1", session_id="s", session_timeout="-1"),
        http.post("/", content=b"--x", headers={"Content-Type": "multipart/form-data"}),
        http.post("/", content=b"nothing", headers={"Content-Type": "multipart/form-data; boundary=x"}),
        http.post("/?param_a=%ff&query=SELECT+{a:Int8}"),
        http.post("/", params={"role": "boss", "query": "SELECT 1"}),
        http.post("/", content=b'{"x": "\xff', params={"query": "INSERT INTO FUNCTION null('x Int8') FORMAT JSONEachRow"}),
    ):
        failed(answer, int(answer.headers.get("x-clickhouse-exception-code", "-1")))


def test_a_query_id_cannot_write_headers(http: httpx.Client) -> None:
    """It comes back as text of one line."""
    answer = http.post("/", params={"query_id": "a\r\nX-Evil: b", "query": "SELECT 1"})

    assert "x-evil" not in answer.headers
    assert answer.headers["x-clickhouse-query-id"].startswith("a")


def test_an_error_in_the_middle_of_an_answer_is_framed(http: httpx.Client) -> None:
    """The tag of the headers stands on both ends; clients then raise instead of taking half an answer for the whole."""
    answer = ask(
        http, "SELECT number, throwIf(number = 900000, 'too far') FROM numbers(1000000) SETTINGS max_threads = 1, max_block_size = 1000"
    )
    tag = answer.headers["x-clickhouse-exception-tag"]
    head, _, rest = answer.text.partition(f"\r\n__exception__\r\n{tag}\r\n")

    assert answer.status_code == 200
    assert head.startswith("0\t0\n1\t0\n")
    assert "Code: 395. DB::Exception: too far" in rest
    assert rest.endswith(f" {tag}\r\n__exception__\r\n")


def test_an_early_error_is_no_200(http: httpx.Client) -> None:
    """Nothing was sent yet, so the status can still tell."""
    assert ask(http, "SELECT throwIf(number = 3) FROM numbers(10)").status_code == 500
    buffered = ask(
        http, "SELECT throwIf(number = 900000) FROM numbers(1000000) SETTINGS max_threads = 1, max_block_size = 1000", wait_end_of_query=1
    )
    assert buffered.status_code == 500


# ---- sessions and external tables


def test_a_session_keeps_its_temporary_tables_settings_and_database(http: httpx.Client) -> None:
    """And nobody else sees them."""
    mine = {"session_id": str(uuid.uuid4())}
    for sql in ("CREATE TEMPORARY TABLE mine (x Int8)", "INSERT INTO mine VALUES (1), (2)", "SET max_threads = 1", "USE system"):
        ask(http, sql, **mine).raise_for_status()

    assert ask(http, "SELECT sum(x), getSetting('max_threads'), currentDatabase() FROM mine", **mine).text == "3\t1\tsystem\n"
    failed(ask(http, "SELECT * FROM mine"), 60)
    failed(ask(http, "SELECT * FROM mine", session_id=str(uuid.uuid4())), 60)
    assert ask(http, "SELECT getSetting('max_block_size')", **mine, max_block_size=77).text == "77\n"
    assert ask(http, "SELECT getSetting('max_block_size')", **mine).text != "77\n"
    assert http.get("/", params={"query": "SELECT 1", **mine}).text == "1\n"
    ask(http, "INSERT INTO mine VALUES (3)", **mine).raise_for_status()  # the GET before it left no readonly behind
    failed(ask(http, "SELECT 1", session_id=str(uuid.uuid4()), session_check=1), 372)


def test_external_tables_come_with_the_form(http: httpx.Client) -> None:
    """With names and types, several at once, in any format; gone after the request."""
    form: dict[str, tuple[str | None, bytes]] = {
        "query": (None, b"SELECT sum(a.x), any(b._2) FROM a, b"),
        "a_structure": (None, b"x UInt8"),
        "a_format": (None, b"JSONEachRow"),
        "a": ("a", b'{"x":1}\n{"x":2}\n'),
        "b_types": (None, b"UInt8,String"),
        "b": ("b", b"1\tone\r\n"[:-2] + b"\n"),
    }
    assert http.post("/", files=form).text == "3\tone\n"
    failed(ask(http, "SELECT * FROM a"), 60)
    failed(http.post("/", files={"query": (None, b"SELECT 1"), "c": ("c", b"1")}), 36)
    native = ask(http, "SELECT 7::UInt8 AS x FORMAT Native").content
    form = {"query": (None, b"SELECT x FROM a"), "a_structure": (None, b"x UInt8"), "a_format": (None, b"Native"), "a": ("a", native)}
    assert http.post("/", files=form).text == "7\n"
