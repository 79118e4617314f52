"""What the embedded store refuses: everything that would leave it, lose rows, or fill its memory."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

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


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 INTO OUTFILE '{path}'",
        "SELECT 1 INTO/**/OUTFILE '{path}' FORMAT CSV",
        "SELECT 1 UNION ALL SELECT 2 INTO\nOUTFILE '{path}'",
        "INSERT INTO nope FROM INFILE '{path}' FORMAT CSV",
        "SELECT 1; SELECT 2",
        "SELECT 1;; SELECT 2",
        "SELECT 1 /* ; */ ; DROP DATABASE default",
        "SELECT * FROM file('{path}')",
        "SELECT * FROM `file`('{path}')",
        "SELECT * FROM `f\\x69le`('{path}', 'LineAsString')",
        "SELECT file('{path}')",
        "SELECT FILE /* */ ('{path}')",
        "SELECT * APPLY(file) FROM (SELECT '{path}' AS y)",
        "SELECT * APPLY file FROM (SELECT '{path}' AS y)",
        "SELECT * APPLY(`file`) FROM (SELECT '{path}' AS y)",
        "SELECT * APPLY(`fil\\x65`) FROM (SELECT '{path}' AS y)",
        "SELECT * FROM eval('SELECT file(\\'{path}\\')') SETTINGS allow_experimental_eval_table_function = 1",
        "SELECT * FROM '{path}'",
        "SELECT * FROM `{path}`",
        "SELECT * FROM url('http://127.0.0.1:1/')",
        "SELECT * FROM s3('http://127.0.0.1:1/b/x.csv')",
        "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT * FROM remote('127.0.0.1:1', system.one)",
        "SELECT * FROM executable('ls', 'TSV', 'x String')",
        "SELECT * FROM python('x')",
        "SELECT * FROM sqlite('{path}', 'x')",
        "DESCRIBE TABLE file('{path}')",
        "EXPLAIN SELECT file('{path}')",
        "CREATE FUNCTION leak AS (x) -> file(x)",
        "CREATE VIEW leak AS SELECT file('{path}')",
        "CREATE TABLE {name} (x String) ENGINE = File(TSV)",
        "CREATE TABLE {name} (x String) ENGINE = File TSV",
        "CREATE TABLE {name} (x String) ENGINE = URL('http://127.0.0.1:1/', 'TSV')",
        "CREATE TABLE {name} (x String) ENGINE = `URL`('http://127.0.0.1:1/', 'TSV')",
        "CREATE DATABASE {name} ENGINE = Filesystem('/')",
        "CREATE DICTIONARY {name} (x String) PRIMARY KEY x SOURCE(HTTP(url 'http://127.0.0.1:1' format 'TSV')) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(1)",
        "BACKUP DATABASE default TO File('{path}')",
        "SYSTEM SHUTDOWN",
        "CREATE USER eve",
        "INSERT INTO FUNCTION file('{path}', 'CSV', 'x Int8') VALUES (1)",
        "INSERT INTO FUNCTION file('{path}', 'CSV', 'x Int8') FORMAT CSV\n1",
    ],
)
@pytest.mark.parametrize("revision", [0, 54460])
def test_no_statement_leaves_the_store(http: httpx.Client, tmp_path: Path, sql: str, revision: int) -> None:
    """No file of the machine, no other server, no second statement, wherever the words are hidden."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret\n")
    answer = ask(
        http,
        sql.replace("{path}", str(secret)).replace("{name}", f"out_{uuid.uuid4().hex}"),
        client_protocol_version=revision,
        default_format="Native" if revision else "TSV",
    )

    assert answer.status_code >= 400, answer.content
    failed(answer, int(answer.headers["x-clickhouse-exception-code"]))
    assert b"the secret" not in answer.content
    assert "refused" not in answer.text.lower()  # nobody even tried to connect
    assert secret.read_text() == "the secret\n"
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]


def test_words_in_quotes_and_comments_forbid_nothing(http: httpx.Client) -> None:
    """What only looks forbidden is answered."""
    assert ask(http, "SELECT 'INTO OUTFILE; SELECT file(1)' AS `file` -- FROM INFILE; x").text == "INTO OUTFILE; SELECT file(1)\n"
    assert ask(http, "SELECT $$a;b$$ /* ; /* ; */ ; */").text == "a;b\n"
    ask(http, "CREATE TABLE quoted (s String) ENGINE = MergeTree ORDER BY s").raise_for_status()
    ask(http, "INSERT INTO quoted (s) VALUES ('a;b'), ('FORMAT CSV'), ('it''s');").raise_for_status()
    assert ask(http, "SELECT count() FROM quoted").text == "3\n"
    assert ask(http, "SELECT s AS format FROM quoted ORDER BY format LIMIT 1").text == "FORMAT CSV\n"


def test_rows_are_never_dropped_without_a_word(http: httpx.Client) -> None:
    """A second statement behind VALUES, and input(), whose rows this engine would lose."""
    ask(http, "CREATE TABLE loss (x Int8) ENGINE = MergeTree ORDER BY x").raise_for_status()
    failed(ask(http, "INSERT INTO loss VALUES (1); DROP TABLE loss"), 62)
    failed(ask(http, "INSERT INTO loss VALUES (1); INSERT INTO loss VALUES (2)"), 62)
    failed(ask(http, "INSERT INTO loss SELECT x FROM input('x Int8') FORMAT CSV\n1"), 48)
    assert ask(http, "SELECT count() FROM loss").text == "0\n"
    ask(http, "INSERT INTO loss VALUES (1), (2); -- all\n").raise_for_status()
    assert ask(http, "SELECT count() FROM loss").text == "2\n"


def test_a_body_beyond_the_bound_is_refused(http: httpx.Client) -> None:
    """256 MiB; the store goes on."""
    answer = http.post("/", content=(b" " * MIB for _ in range(260)))

    assert answer.status_code in (400, 413)
    assert answer.headers["x-clickhouse-exception-code"] in ("229", "307")
    assert ask(http, "SELECT 1").text == "1\n"
