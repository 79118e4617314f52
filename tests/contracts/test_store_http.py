"""The embedded store over plain HTTP: statements, parameters, settings, formats, errors. Reference: ClickHouse's HTTP interface."""

import json
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from driftwheel.store.embedded.sql import Kind, statement
from store_http import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("store"), "--body-mib", "8") as up:
        yield up


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def ask(http: httpx.Client, sql: str | bytes, **params: str) -> str:
    answer = http.post("/", params=params, content=sql)
    assert answer.status_code == 200, answer.text
    return answer.text


def refused(answer: httpx.Response, code: int, name: str, status: int) -> None:
    """Every failure looks like this."""
    assert (answer.status_code, answer.headers["x-clickhouse-exception-code"]) == (status, str(code)), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name}) (version " in answer.text
    assert answer.text.count("DB::Exception") == 1
    assert "Traceback" not in answer.text


def test_ping_needs_no_credentials(server: Server) -> None:
    """Health checks know no password; HEAD answers without a body."""
    for path in ("/ping", "/", "/replicas_status"):
        assert httpx.get(server.url + path, trust_env=False).text == "Ok.\n"
    head = httpx.head(server.url + "/ping", trust_env=False)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "4", b"")


def test_a_statement_may_stand_in_the_url_in_the_body_or_in_both(http: httpx.Client) -> None:
    """The two texts are one."""
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    assert ask(http, "SELECT 2") == "2\n"
    assert ask(http, "+ 3", query="SELECT 2") == "5\n"
    assert http.post("/", content=iter([b"SELE", b"CT 4"])).text == "4\n"  # a chunked body
    head = http.head("/", params={"query": "SELECT 1"})
    assert (head.status_code, head.content, head.headers["x-clickhouse-format"]) == (200, b"", "TabSeparated")


def test_an_answer_says_what_it_is(http: httpx.Client) -> None:
    """The headers that clients read."""
    answer = http.post("/", params={"query_id": "mine"}, content="SELECT number FROM numbers(3) FORMAT JSONEachRow")
    headers = answer.headers

    assert headers["x-clickhouse-query-id"] == "mine"
    assert headers["x-clickhouse-format"] == "JSONEachRow"
    assert headers["x-clickhouse-timezone"] in ("UTC", "Etc/UTC")
    assert headers["x-clickhouse-server-display-name"]
    assert len(headers["x-clickhouse-exception-tag"]) == 16
    summary = json.loads(headers["x-clickhouse-summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("3", "3")
    assert int(summary["elapsed_ns"]) > 0
    assert http.post("/", content="SELECT 1 FORMAT JSON").headers["content-type"].startswith("application/json")


def test_a_query_id_is_how_a_query_is_found_and_nothing_else(http: httpx.Client) -> None:
    """In system.processes; it cannot write headers."""
    sql = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'find me'"
    assert ask(http, sql, query_id="find me") == "1\n"
    answer = http.post("/", params={"query_id": "a\r\nX-Evil: b", "query": "SELECT 1"})
    assert "x-evil" not in answer.headers
    assert answer.headers["x-clickhouse-query-id"].startswith("a")


@pytest.mark.parametrize(
    "around", ["{}", "{};", "{} ; ", "{};\n-- done", "{} -- done\n;", "/* so */ {}/* a /* b */ c */;", "# c\n{}\n# done\n", "{};;"]
)
@pytest.mark.parametrize("clause", ["", " FORMAT {}", "\nformat {} SETTINGS max_threads=1", " SETTINGS max_threads = 1 FORMAT {}"])
@pytest.mark.parametrize(("fmt", "revision"), [("CSV", 54460), ("JSON", 0), ("Native", 0), ("Native", 54405), ("Native", 54460)])
def test_a_select_runs_exactly_once(http: httpx.Client, around: str, clause: str, fmt: str, revision: int) -> None:
    """Whatever stands around it, and also where the types have to be learned first."""
    before = int(ask(http, "SELECT value FROM system.events WHERE event = 'SelectedRows'") or 0)
    sql = "SELECT number, toString(number) FROM numbers(100000) WHERE cityHash64(number) % 9999 = 0" + clause.format(fmt)
    answer = http.post("/", params={"default_format": fmt, "client_protocol_version": str(revision)}, content=around.format(sql))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-clickhouse-format"] == fmt
    after = int(ask(http, "SELECT value FROM system.events WHERE event = 'SelectedRows'"))

    assert 100_000 <= after - before < 150_000


def test_a_scalar_subquery_runs_once_too(http: httpx.Client) -> None:
    """The engine runs it even to describe the statement, so that path is not taken."""
    began = time.monotonic()
    answer = http.post("/", params={"client_protocol_version": "54460"}, content="SELECT (SELECT sleep(0.8)) AS a FORMAT Native")

    assert answer.status_code == 200, answer.text
    assert time.monotonic() - began < 1.5


def test_parameters_are_bound_not_pasted(http: httpx.Client) -> None:
    """Quotes, tabs, NULL, arrays and names arrive as they are."""
    sql = "SELECT {a:String}, {b:Array(UInt8)}, {c:Nullable(String)} FROM system.{d:Identifier} FORMAT JSONCompactEachRow"
    text = ask(http, sql, param_a="it's; \\\\ \\t", param_b="[1,2]", param_c="\\N", param_d="one")

    assert json.loads(text) == ["it's; \\ \t", [1, 2], None]
    refused(http.post("/", content="SELECT {a:UInt8}"), 456, "UNKNOWN_QUERY_PARAMETER", 400)


def test_settings_of_a_url_hold_for_one_request(http: httpx.Client) -> None:
    """And an unknown one is an error, not ignored."""
    assert ask(http, "SELECT number FROM numbers(5)", limit="2") == "0\n1\n"
    assert ask(http, "SELECT number FROM numbers(3)") == "0\n1\n2\n"
    where = {"X-ClickHouse-Database": "system", "X-ClickHouse-Format": "CSV"}
    assert http.post("/", content="SELECT currentDatabase()", headers=where).text == '"system"\n'
    assert ask(http, "SELECT currentDatabase()", database="system", default_format="CSV") == '"system"\n'
    assert ask(http, "SELECT currentDatabase()") == "default\n"
    refused(http.post("/", params={"no_such": "1"}, content="SELECT 1"), 115, "UNKNOWN_SETTING", 404)
    refused(http.post("/", params={"max_threads = 1, x": "1"}, content="SELECT 1"), 115, "UNKNOWN_SETTING", 404)
    refused(http.post("/", params={"max_result_rows": "1"}, content="SELECT * FROM numbers(9)"), 396, "TOO_MANY_ROWS_OR_BYTES", 500)
    refused(
        http.post("/", params={"max_execution_time": "0.3"}, content="SELECT sum(cityHash64(number)) FROM numbers(100000000000)"),
        159,
        "TIMEOUT_EXCEEDED",
        408,
    )


def test_a_session_keeps_what_was_set_used_and_made(http: httpx.Client) -> None:
    """SET, USE and temporary tables last for the session; settings and database of a URL for one request only."""
    inside = {"session_id": "s1"}
    assert ask(http, "CREATE TEMPORARY TABLE mine (a UInt8)", **inside) == ""
    assert ask(http, "INSERT INTO mine VALUES (7)", **inside) == ""
    assert ask(http, "SELECT a, getSetting('max_threads') FROM mine", max_threads="3", **inside) == "7\t3\n"
    assert ask(http, "SET max_block_size = 77", **inside) == ""
    assert ask(http, "SELECT currentDatabase()", database="system", **inside) == "system\n"
    assert ask(http, "SELECT getSetting('max_block_size'), currentDatabase()", **inside) == "77\tdefault\n"
    assert ask(http, "SELECT getSetting('max_threads') = 3", **inside) == "0\n"
    assert http.get("/", params={"query": "SELECT 1", **inside}).text == "1\n"
    assert ask(http, "INSERT INTO mine VALUES (8)", **inside) == ""  # the GET before it left no readonly behind
    assert ask(http, "USE system", **inside) == ""
    assert ask(http, "SELECT sum(a), currentDatabase() FROM mine", **inside) == "15\tsystem\n"
    refused(http.post("/", params={"session_id": str(uuid.uuid4())}, content="SELECT * FROM mine"), 60, "UNKNOWN_TABLE", 404)
    refused(http.post("/", content="SELECT * FROM mine"), 60, "UNKNOWN_TABLE", 404)
    refused(http.post("/", params={"session_id": "none", "session_check": "1"}, content="SELECT 1"), 372, "SESSION_NOT_FOUND", 500)
    refused(http.post("/", params={"session_id": "s", "session_timeout": "9999"}, content="SELECT 1"), 374, "INVALID_SESSION_TIMEOUT", 400)
    assert ask(http, "SELECT 1", close_session="1", **inside) == "1\n"
    refused(http.post("/", params=inside, content="SELECT * FROM mine"), 60, "UNKNOWN_TABLE", 404)


def test_external_tables_come_as_a_form(http: httpx.Client) -> None:
    """Files of the form are tables of the query; its fields are parameters."""
    files = {"x": ("x.tsv", b"1\ta\n2\tb\n"), "y": ("y.csv", b"2,zwei\n")}
    data = {"x_types": "UInt8, String", "y_structure": "id UInt8, name String", "y_format": "CSV", "param_n": "2"}
    sql = "SELECT _1, _2, name FROM x JOIN y ON y.id = x._1 WHERE _1 = {n:UInt8}"
    answer = http.post("/", params={"query": sql}, data=data, files=files)

    assert answer.text == "2\tb\tzwei\n"
    refused(http.post("/", content="SELECT * FROM x"), 60, "UNKNOWN_TABLE", 404)
    native = http.post("/", content="SELECT 7::UInt8 AS a FORMAT Native").content
    form: dict[str, tuple[str | None, bytes]] = {
        "query": (None, b"SELECT a FROM z"), "z_structure": (None, b"a UInt8"), "z_format": (None, b"Native"), "z": ("z", native)
    }  # fmt: skip
    assert http.post("/", files=form).text == "7\n"
    refused(http.post("/", params={"query": "SELECT 1"}, files=files), 36, "BAD_ARGUMENTS", 400)
    for content, kind in ((b"--x\r\nno", "; boundary=x"), (b"nothing", "; boundary=x"), (b"--x", "")):
        headers = {"content-type": "multipart/form-data" + kind}
        broken = http.post("/", params={"query": "SELECT 1"}, content=content, headers=headers)
        refused(broken, 408, "BAD_REQUEST_PARAMETER", 400)


def test_data_of_an_insert_come_from_the_url_the_body_or_both(http: httpx.Client) -> None:
    """In every format, bytes as they are; nothing is lost in silence."""
    ask(http, "CREATE TABLE ins (a Int32, b String) ENGINE = MergeTree ORDER BY a")
    ask(http, b"1,x\n2,\xff\n", query="INSERT INTO ins FORMAT CSV")
    ask(http, 'INSERT INTO ins FORMAT JSONEachRow {"a": 3, "b": "y"}\n{"a": 4, "b": "SELECT 1; FORMAT CSV"}')
    ask(http, "INSERT INTO ins (b, a) VALUES ('it''s', 2 + 3), ('z', 6)")
    ask(http, "INSERT INTO ins SETTINGS async_insert = 0 FORMAT TSV\n7\tt\n")
    ask(http, "INSERT INTO ins SELECT number + 8, 's' FROM numbers(2)")
    ask(http, "(10, 'p')", query="INSERT INTO {t:Identifier} VALUES", param_t="ins")
    answer = http.post("/", params={"query": "INSERT INTO ins FORMAT RowBinary"}, content=b"\x20\x00\x00\x00\x01 ")

    assert json.loads(answer.headers["x-clickhouse-summary"])["written_rows"] == "1"
    rows = ask(http, "SELECT a, hex(b) FROM ins ORDER BY a FORMAT CSV").splitlines()
    assert [int(row.split(",")[0]) for row in rows] == [*range(1, 11), 32]
    assert rows[1] == '2,"FF"'
    refused(http.post("/", content="INSERT INTO ins FORMAT CSV\nx,y\n"), 27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", 400)
    refused(http.post("/", content="INSERT INTO nowhere FORMAT CSV\n1,2\n"), 60, "UNKNOWN_TABLE", 404)
    for second in ("DROP TABLE ins", "INSERT INTO ins VALUES (2, '')"):
        refused(http.post("/", content=f"INSERT INTO ins VALUES (1, ''); {second}"), 62, "SYNTAX_ERROR", 400)
    assert ask(http, "SELECT count() FROM ins") == "11\n"
    ask(http, "INSERT INTO ins VALUES (40, 'a;b'), (41, 'FORMAT CSV'); -- all\n")
    assert ask(http, "SELECT count() FROM ins") == "13\n"
    refused(http.post("/", content="INSERT INTO ins SELECT * FROM input('a Int32, b String') FORMAT CSV\n1,2"), 48, "NOT_IMPLEMENTED", 501)


def test_a_failure_in_the_middle_is_framed_by_the_tag(http: httpx.Client) -> None:
    """What was sent cannot be unsent, but it can be told from data; before the first byte the status says it."""
    sql = "SELECT throwIf(number = 900000), number FROM numbers(1000000)"
    answer = http.post("/", content=sql)
    tag = answer.headers["x-clickhouse-exception-tag"]
    head, _, frame = answer.text.partition(f"\r\n__exception__\r\n{tag}\r\n")

    assert answer.status_code == 200
    assert head.startswith("0\t0\n0\t1\n")
    message, _, last = frame.removesuffix("\r\n__exception__\r\n").rpartition("\n")
    assert message.startswith("Code: 395. DB::Exception: ")
    assert last == f"{len(message.encode()) + 1} {tag}"
    refused(http.post("/", params={"wait_end_of_query": "1"}, content=sql), 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", 500)


@pytest.mark.parametrize(
    ("method", "path", "content", "code", "name", "status"),
    [
        ("POST", "/", b"", 62, "SYNTAX_ERROR", 400),
        ("POST", "/", b"-- nothing", 62, "SYNTAX_ERROR", 400),
        ("POST", "/", b"SELEC 1", 62, "SYNTAX_ERROR", 400),
        ("POST", "/", b"SELECT '\xff\xfe", 62, "SYNTAX_ERROR", 400),
        ("POST", "/", b"SELECT `\xff`", 47, "UNKNOWN_IDENTIFIER", 404),
        ("POST", "/", b"SELECT * FROM nowhere.t", 81, "UNKNOWN_DATABASE", 404),
        ("POST", "/?database=nowhere", b"SELECT 1", 81, "UNKNOWN_DATABASE", 404),
        ("POST", "/?default_format=Nope", b"SELECT 1", 73, "UNKNOWN_FORMAT", 404),
        ("POST", "/?client_protocol_version=x", b"SELECT 1", 36, "BAD_ARGUMENTS", 400),
        ("POST", "/?decompress=1", b"SELECT 1", 271, "CANNOT_DECOMPRESS", 500),
        ("POST", "/?decompress=1", b"SELECT 1 -- and long enough for a head", 40, "CHECKSUM_DOESNT_MATCH", 500),
        ("POST", "/?role=boss", b"SELECT 1", 511, "UNKNOWN_ROLE", 404),
        ("POST", "/?session_id=s&session_timeout=-1", b"SELECT 1", 36, "BAD_ARGUMENTS", 400),
        ("POST", "/", b"SELECT nope(1)", 46, "UNKNOWN_FUNCTION", 404),
        ("POST", "/", b"SELECT '\xff\xfe' + 1", 43, "ILLEGAL_TYPE_OF_ARGUMENT", 400),
        ("POST", "/", b"SELECT throwIf(number = 3) FROM numbers(10)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", 500),
        ("POST", "/", b"KILL MUTATION WHERE nope", 47, "UNKNOWN_IDENTIFIER", 404),
        ("POST", "/?query=INSERT+INTO+FUNCTION+null('x+Int8')+FORMAT+JSONEachRow", b'{"x": "\xff', 0, "", 0),
        ("POST", "/", b"INSERT IN FORMAT TO x", 62, "SYNTAX_ERROR", 400),
        ("POST", "/nowhere", b"SELECT 1", 36, "BAD_ARGUMENTS", 404),
        ("PUT", "/", b"SELECT 1", 48, "NOT_IMPLEMENTED", 501),
        ("POST", "/?param_a=%FF", b"SELECT {a:UInt8}", 0, "", 0),
        ("GET", "/?query=INSERT+INTO+t+VALUES+(1)", b"", 164, "READONLY", 500),
        ("GET", "/?query=CREATE+TABLE+t+(a+Int8)+ENGINE=Memory", b"", 164, "READONLY", 500),
    ],
)
def test_every_failure_is_a_clickhouse_error(
    http: httpx.Client, method: str, path: str, content: bytes, code: int, name: str, status: int
) -> None:
    """A code, its name, the status that belongs to it, and no word of Python."""
    answer = http.request(method, path, content=content)
    if code:
        refused(answer, code, name, status)
    else:
        assert answer.text.startswith("Code: ")


@pytest.mark.parametrize(
    ("sql", "kind", "fmt", "data"),
    [
        (b"INSERT INTO t FORMAT CSV \r\n a", Kind.INSERT, "CSV", b" a"),
        (b"INSERT INTO format FORMAT CSV\n1", Kind.INSERT, "CSV", b"1"),
        (b"INSERT INTO `FORMAT x` (`values`, format) VALUES (1)", Kind.INSERT, "Values", b"(1)"),
        (b"INSERT /* FORMAT CSV */ INTO values.t -- FORMAT CSV\n FORMAT TSV\n\n1", Kind.INSERT, "TSV", b"\n1"),
        (b"INSERT INTO t SELECT format FROM x", Kind.OTHER, "", None),
        (b"SELECT format AS x", Kind.SELECT, "", None),
        (b"SELECT 'FORMAT CSV'", Kind.SELECT, "", None),
        (b"SELECT (SELECT 1 FORMAT CSV)", Kind.SELECT, "", None),
        (b"WITH $$ ; FORMAT CSV $$ AS x SELECT x FORMAT TSV;", Kind.SELECT, "TSV", None),
        ("SELECT \u2018;\u2019 FORMAT CSV".encode(), Kind.SELECT, "CSV", None),
        (b"SHOW TABLES FORMAT JSON", Kind.OTHER, "JSON", None),
    ],
)
def test_a_statement_is_cut_where_the_engine_would_cut_it(sql: bytes, kind: Kind, fmt: str, data: bytes | None) -> None:
    """Words in names, strings, comments and brackets are not clauses."""
    told = statement(sql)

    assert (told.kind, told.format, told.data) == (kind, fmt, data)


@pytest.mark.parametrize(
    ("sql", "scalar"),
    [
        (b"SELECT (SELECT 1)", True),
        (b"SELECT 1, (SELECT 2)", True),
        (b"WITH (SELECT 1) AS x SELECT x", True),
        (b"SELECT a FROM t WHERE a > ((SELECT 1))", True),
        (b"SELECT a FROM (SELECT 1 AS a)", False),
        (b"WITH x AS (SELECT 1 AS a) SELECT a FROM x WHERE a IN (SELECT 2)", False),
        (b"(SELECT 1) UNION ALL (SELECT 2)", False),
    ],
)
def test_scalar_subqueries_are_seen(sql: bytes, *, scalar: bool) -> None:
    """Only they are run by a DESCRIBE."""
    assert statement(sql).scalar is scalar
