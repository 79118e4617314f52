"""Who may do what over HTTP: users and their rights, and what nobody may: files, other machines, a second statement."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.guard import check
from driftwheel.store.embedded.sql import statement
from store_http import PASSWORD, Server, running
from stores import failed

SECRET = "nobody may read this"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def secret(folder: Path) -> str:
    """A file beside the store, which this user may read and no client."""
    file = folder / "secret.txt"
    file.write_text(SECRET)
    return str(file)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with running(folder / "data") as up, up.client() as http:
        assert http.post("/", content="CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a").status_code == 200
        yield up


def code(answer: httpx.Response) -> int:
    return int(answer.headers.get("x-clickhouse-exception-code", "0"))


def test_credentials_come_by_basic_by_headers_or_by_url(server: Server) -> None:
    """And wrong ones are 403 with code 516, in the same words for a wrong name and a wrong password."""
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        good: list[tuple[dict[str, str], dict[str, str]]] = [
            ({"authorization": "Basic " + base64.b64encode(f"reader:{PASSWORD}".encode()).decode()}, {}),
            ({"x-clickhouse-user": "writer", "x-clickhouse-key": PASSWORD}, {}),
            ({}, {"user": "default", "password": PASSWORD}),
        ]
        for headers, params in good:
            assert http.post("/", content="SELECT 1", headers=headers, params=params).text == "1\n"
        texts = set()
        for name, password in (("default", "wrong"), ("nobody", PASSWORD), ("default", "")):
            answer = http.post("/", content="SELECT 1", params={"user": name, "password": password})
            assert (answer.status_code, code(answer)) == (403, 516)
            texts.add(answer.text.replace(name, ""))
        assert len(texts) == 1
        for basic in (b"Basic ?", b"Basic \xff", b"Basic /w=="):
            assert code(http.post("/", content="SELECT 1", headers={b"authorization": basic})) == 516


def test_a_reader_reads_and_nothing_else(server: Server) -> None:
    """Whatever it sets, and in a session too."""
    with server.client("reader") as http:
        assert http.post("/", content="SELECT count() FROM t").text == "0\n"
        assert http.post("/", content="SHOW TABLES").text == "t\n"
        assert http.post("/", params={"max_threads": "1"}, content="SELECT 1 SETTINGS max_block_size = 9").text == "1\n"
        for params in ({}, {"session_id": "r"}, {"readonly": "0"}):
            for sql in (
                "INSERT INTO t VALUES ('x')",
                "INSERT INTO t SELECT 'x'",
                "CREATE TABLE u (a Int8) ENGINE = Memory",
                "DROP TABLE t",
                "ALTER TABLE t DELETE WHERE 1",
                "OPTIMIZE TABLE t",
                "KILL QUERY WHERE 1",
                "SYSTEM FLUSH LOGS",
                "SET readonly = 0",
                "SELECT 1 SETTINGS readonly = 0",
            ):
                assert code(http.post("/", params=params, content=sql)) == 164, (params, sql)


def test_a_url_can_give_rights_up(server: Server) -> None:
    """readonly=1 and 2 bind a writer for one request; GET only reads."""
    with server.client() as http:
        for level in ("1", "2"):
            assert code(http.post("/", params={"readonly": level}, content="INSERT INTO t VALUES ('x')")) == 164
        assert code(http.post("/", params={"readonly": "1"}, content="SELECT 1 SETTINGS max_threads = 1")) == 164
        assert code(http.post("/", params={"readonly": "2"}, content="SELECT 1 SETTINGS max_threads = 1")) == 0
        assert code(http.get("/", params={"query": "INSERT INTO t VALUES ('x')"})) == 164
        assert http.post("/", content="SELECT count() FROM t").text == "0\n"


OUTSIDE = [
    "SELECT * FROM file('{file}', LineAsString)",
    "SELECT * FROM file /* so */ ('{file}', LineAsString)",
    "SELECT * FROM `file`('{file}', LineAsString)",
    "SELECT * FROM `\\x66ile`('{file}', LineAsString)",
    "SELECT * FROM \"f\\x69le\"('{file}', LineAsString)",
    "SELECT * FROM '{file}'",
    "SELECT file('{file}')",
    "SELECT FiLe\u00a0('{file}')",
    "SELECT \"file\"('{file}')",
    "SELECT “file”('{file}')",
    "SELECT '{file}' AS x, $$'$$, file(x)",
    "SELECT 1, $a$'$a$, file('{file}'), ''",
    "SELECT * APPLY(file) FROM (SELECT '{file}' AS x)",
    "SELECT * APPLY file FROM (SELECT '{file}' AS x)",
    "SELECT COLUMNS('x') APPLY (`file`) FROM (SELECT '{file}' AS x)",
    "SELECT arrayMap(x -> file(x), ['{file}'])",
    "SELECT * FROM eval('SELECT file(\\'{file}\\')') SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT * FROM format(JSONEachRow, 'a Int8, x String DEFAULT file(\\'{file}\\')', '{{\"a\":1}}')",
    "SELECT * FROM system.one, format(JSONEachRow, 'a Int8, x String DEFAULT fi' || 'le(\\'{file}\\')', '{{\"a\":1}}')",
    "SELECT 1 SETTINGS additional_result_filter = 'throwIf(length(file(\\'{file}\\')) > 0)'",
    "SELECT * FROM t SETTINGS additional_table_filters = {{'t': 'file(\\'{file}\\') = a'}}",
    "CREATE FUNCTION f AS (x) -> file(x)",
    "CREATE TABLE u (a String DEFAULT file('{file}')) ENGINE = Memory",
    "CREATE VIEW v AS SELECT file('{file}')",
    "CREATE TABLE u (a String) ENGINE = File(LineAsString, '{file}')",
    "CREATE TABLE u (a String) ENGINE = URL('http://127.0.0.1:9', CSV)",
    "CREATE TABLE u (a String) ENGINE = SQLite('{file}', 'x')",
    "CREATE TABLE u (a String) ENGINE = Executable('x', CSV)",
    "CREATE DATABASE u ENGINE = Filesystem('/')",
    "CREATE DATABASE u ENGINE = S3('http://127.0.0.1:9/bucket')",
    "CREATE DICTIONARY d (x String) PRIMARY KEY x SOURCE(HTTP(url 'http://127.0.0.1:9' format 'TSV')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(1)",
    "CREATE DICTIONARY d (x String) PRIMARY KEY x SOURCE(EXECUTABLE(command 'touch {file}.out' format 'TSV')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(1)",
    "CREATE DICTIONARY d (x String) PRIMARY KEY x SOURCE(`executable`(command 'touch {file}.out' format 'TSV')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(1)",
    "INSERT INTO FUNCTION file('{file}.out', CSV, 'a String') SELECT 'x'",
    "INSERT INTO t VALUES (file('{file}'))",
    "INSERT INTO t SETTINGS input_format_values_interpret_expressions = 1 VALUES (file('{file}'))",
    "INSERT INTO t FROM INFILE '{file}' FORMAT LineAsString",
    "SELECT 'x' INTO OUTFILE '{file}.out'",
    "SELECT $$'$$ AS x INTO OUTFILE '{file}.out'",
    "SELECT 1 /* /* */ ' */ INTO -- '\n OUTFILE '{file}.out' -- '",
    "SELECT 1 // '\n INTO # '\n OUTFILE '{file}.out'",
    "SELECT \u2018'\u2019 INTO OUTFILE '{file}.out' FORMAT CSV",
    "BACKUP TABLE t TO File('{file}.out')",
    "SELECT * FROM url('http://127.0.0.1:9/x', LineAsString)",
    "SELECT * FROM s3('http://127.0.0.1:9/bucket/x', CSV, 'a String')",
    "SELECT * FROM remote('127.0.0.1:9', system.one)",
    "SELECT * FROM executable('x', CSV, 'a String')",
    "SELECT * FROM Python(x)",
    "SELECT * FROM sqlite('{file}', 'x')",
    "SELECT * FROM file('{file}')",
    "SELECT * FROM `{file}`",
    "SELECT * APPLY(`file`) FROM (SELECT '{file}' AS x)",
    "SELECT * APPLY(`fil\\x65`) FROM (SELECT '{file}' AS x)",
    "SELECT * FROM mysql('127.0.0.1:9', 'a', 'b', 'c', 'd')",
    "DESCRIBE TABLE file('{file}')",
    "EXPLAIN SELECT file('{file}')",
    "CREATE TABLE u (a String) ENGINE = File TSV",
    "CREATE TABLE u (a String) ENGINE = `URL`('http://127.0.0.1:9', 'TSV')",
    "INSERT INTO t FROM INFILE '{file}' FORMAT CSV",
    "INSERT INTO FUNCTION file('{file}.out', 'CSV', 'x Int8') VALUES (1)",
    "INSERT INTO FUNCTION file('{file}.out', 'CSV', 'x Int8') FORMAT CSV\n1",
    "SELECT 1 UNION ALL SELECT 2 INTO\nOUTFILE '{file}.out'",
    "CREATE USER eve",
    "SYSTEM SHUTDOWN",
    "SELECT 1;; SELECT 2",
    "SELECT 1 /* ; */ ; DROP DATABASE default",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE t",
    "DROP TABLE nothing; DROP TABLE t",
]


@pytest.mark.parametrize("sql", OUTSIDE)
@pytest.mark.parametrize(("user", "revision"), [("default", 0), ("default", 54460), ("reader", 0)])
def test_nobody_reaches_files_machines_or_a_second_statement(server: Server, secret: str, user: str, revision: int, sql: str) -> None:
    """However it is written; no file is read or made, nobody even tries to connect, and the table is still there."""
    asked = {"client_protocol_version": str(revision), "default_format": "Native" if revision else "TSV"}
    with server.client(user) as http:
        answer = http.post("/", params=asked, content=sql.format(file=secret).encode())

        assert answer.status_code >= 400
        failed(answer, code(answer))
        assert "refused" not in answer.text.lower()
        assert code(answer) in {1, 36, 46, 48, 60, 62, 81, 164, 344, 497}, answer.text
        assert SECRET not in answer.text
    assert [one.name for one in Path(secret).parent.iterdir() if "out" in one.name] == []
    with server.client() as http:
        assert http.post("/", content="SELECT count() FROM t").text == "0\n"


def test_external_tables_settings_and_parameters_are_no_way_round(server: Server, secret: str) -> None:
    """What comes beside the statement is looked at too."""
    with server.client() as http:
        files = {"x": ("x", b"{}")}
        data = {"x_structure": f"a Int8, b String DEFAULT file('{secret}')", "x_format": "JSONEachRow"}
        assert code(http.post("/", params={"query": "SELECT * FROM x"}, data=data, files=files)) == 497
        values = {"x": ("x", f"(file('{secret}'))".encode())}
        typed = {"x_structure": "a String", "x_format": "Values"}
        assert SECRET not in http.post("/", params={"query": "SELECT * FROM x"}, data=typed, files=values).text
        for name, value in (
            ("additional_result_filter", f"file('{secret}') = 'x'"),
            ("additional_table_filters", f"{{'t': 'file(\\'{secret}\\') = a'}}"),
        ):
            assert code(http.post("/", params={name: value}, content="SELECT * FROM t")) == 497
        sql = "SELECT 1 SETTINGS additional_result_filter = {f:String}"
        assert code(http.post("/", params={"param_f": f"file('{secret}') = 'x'"}, content=sql)) in (62, 497)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'file(1) INTO OUTFILE', `into outfile` FROM (SELECT 1 AS `into outfile`)",
        "SELECT format('{}-{}', 'a', 'b') -- file('x')",
        "SELECT file FROM (SELECT 1 AS file) AS python",
        "INSERT INTO t VALUES ('file(1)', 'eval')",
        "SELECT 'a;b' /* ; DROP TABLE t */;",
    ],
)
def test_words_alone_are_innocent(sql: str) -> None:
    """Strings, comments, columns and the function that formats texts stay usable."""
    statement(sql.encode())


def test_grafanas_filters_pass() -> None:
    """Its ad-hoc filters are texts that the engine takes for SQL."""
    statement(b"SELECT * FROM t SETTINGS additional_table_filters = {'t' : ' a = \\'x\\' '}")
    with pytest.raises(Failure):
        check(b"{'t': 'file(\\'x\\') = a'}", nested=True)


def test_data_with_the_words_are_stored_as_they_are(server: Server) -> None:
    """A literal is a literal."""
    with server.client() as http:
        assert http.post("/", content="CREATE TABLE words (a String) ENGINE = MergeTree ORDER BY a").status_code == 200
        assert http.post("/", content="INSERT INTO words VALUES ('see file(1)'), ('it''s a python')").text == ""
        assert http.post("/", content="SELECT * FROM words ORDER BY a FORMAT TSVRaw").text == "it's a python\nsee file(1)\n"


@pytest.mark.parametrize(
    "engine",
    [
        "MergeTree ORDER BY a",
        "ReplacingMergeTree ORDER BY a",
        "AggregatingMergeTree ORDER BY a",
        "Memory",
        "Null",
        "Log",
        "Buffer(default, t, 1, 1, 1, 1, 1, 1, 1)",
    ],
)
def test_the_engines_that_keep_data_here_need_no_grant(server: Server, engine: str) -> None:
    """What is refused is only what reaches outside."""
    with server.client() as http:
        for sql in (f"CREATE TABLE kept (a String) ENGINE = {engine}", "INSERT INTO kept SELECT 'x' WHERE 0", "DROP TABLE kept"):
            answer = http.post("/", content=sql)
            assert answer.status_code == 200, answer.text
