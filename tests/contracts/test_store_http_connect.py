"""The embedded store through clickhouse-connect, synchronous and asynchronous, as the product and its users speak to it."""

import asyncio
import datetime as dt
import gzip
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from clickhouse_connect.driver.external import ExternalData

from driftwheel.errors import StoreError, StoreUnavailable
from driftwheel.store.clickhouse import ClickHouse, StoreSettings
from store_http import PASSWORD, Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("store")) as up:
        yield up


def connect(server: Server, **options: Any) -> Any:
    return clickhouse_connect.get_client(host="127.0.0.1", port=server.port, username="default", password=PASSWORD, **options)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    one = connect(server)
    one.command(
        "CREATE TABLE things (id UInt64, name LowCardinality(String), at DateTime64(6, 'UTC'), tags Array(String), "
        "attrs Map(String, String), price Decimal(18, 4), uid UUID, note Nullable(String)) ENGINE = MergeTree ORDER BY id"
    )
    yield one
    one.close()


NAMES = ["id", "name", "at", "tags", "attrs", "price", "uid", "note"]
UID = UUID("01234567-89ab-cdef-0123-456789abcdef")


def thing(n: int) -> list[Any]:
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC) + dt.timedelta(seconds=n)
    return [n, f"n{n % 3}", at, ["a", "it's"], {"k": f"v\t{n}"}, Decimal("1.2500"), UID, None if n % 2 else "é\\"]


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip", "br"])
def test_rows_and_columns_go_in_and_come_out(server: Server, client: Any, compress: Any) -> None:
    """With every compression of the client, both ways."""
    client.command("TRUNCATE TABLE things")
    one = connect(server, compress=compress)
    rows = [thing(n) for n in range(50)]
    one.insert("things", rows[:25], column_names=NAMES)
    one.insert("things", [list(column) for column in zip(*rows[25:], strict=True)], column_names=NAMES, column_oriented=True)
    result = one.query("SELECT * FROM things ORDER BY id", tz_mode="schema", settings={"max_block_size": 10})
    one.close()

    assert list(result.column_names) == NAMES
    assert [list(row) for row in result.result_rows] == rows


def test_json_lines_go_in_raw_and_come_out_raw(client: Any) -> None:
    """The way of the product's own store."""
    client.command("TRUNCATE TABLE things")
    summary = client.raw_insert(
        "things",
        insert_block=b'{"id":1,"name":"x"}\n{"id":2,"name":"y"}\n',
        fmt="JSONEachRow",
        settings={"async_insert": 0, "wait_end_of_query": 1},
    )

    assert summary.written_rows == 2
    assert client.raw_query("SELECT id, name FROM things ORDER BY id", fmt="JSONEachRow") == b'{"id":1,"name":"x"}\n{"id":2,"name":"y"}\n'
    client.raw_insert("things", ["id", "name"], gzip.compress(b"3,z\n"), fmt="CSV", compression="gzip")
    assert client.command("SELECT count() FROM things") == 3


def test_parameters_of_every_kind(client: Any) -> None:
    """On the server's side, with what needs escapes."""
    values = {"s": "it's \\ a\ttab\nline 'é'", "n": -5, "a": ["x", "y'z"], "d": dt.date(2026, 1, 2), "t": "one"}
    row = client.query("SELECT {s:String}, {n:Int32}, {a:Array(String)}, {d:Date} FROM system.{t:Identifier}", parameters=values).first_row

    assert list(row) == [values["s"], -5, ["x", "y'z"], dt.date(2026, 1, 2)]
    many = [str(n) for n in range(40_000)]  # 300 kB, beyond what the engine parses as a statement
    assert client.query("SELECT length({a:Array(String)})", parameters={"a": many}).first_row == (40_000,)
    assert client.query("SELECT %(a)s", parameters={"a": "x"}).first_row == ("x",)


def test_zones_survive(client: Any) -> None:
    """The revision that the client asks for keeps them in the names of types."""
    result = client.query("SELECT toDateTime('2026-01-02 03:04:05', 'Asia/Tokyo') AS t", tz_mode="schema")
    value = result.first_row[0]

    assert value.utcoffset() == dt.timedelta(hours=9)
    assert result.column_types[0].name == "DateTime('Asia/Tokyo')"


def test_json_dynamic_and_variant_come_out(client: Any) -> None:
    """The newer types too."""
    row = client.query('SELECT \'{"a":1,"b":{"c":"x"}}\'::JSON AS j, 7::Dynamic AS d, CAST(1, \'Variant(UInt8, String)\') AS v').first_row

    assert row[0] == {"a": 1, "b": {"c": "x"}}
    assert str(row[1]) == "7"
    assert row[2] == 1


def test_the_products_own_client_tells_refused_from_away(server: Server) -> None:
    """Refused is a `StoreError` with its code; nobody there is `StoreUnavailable`, which workers retry."""
    own = ClickHouse(StoreSettings(port=server.port, password=PASSWORD, timeout_s=30))
    with pytest.raises(StoreError) as refused:
        own.query("SELECT * FROM nope")
    assert refused.value.code == 60
    with pytest.raises(StoreError) as written:
        own.query("CREATE TABLE no (x Int8) ENGINE = Memory", read_only=True)
    assert written.value.code == 164
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # taken, and nobody listens
        with pytest.raises(StoreUnavailable):
            ClickHouse(StoreSettings(port=probe.getsockname()[1], password=PASSWORD)).query("SELECT 1")


def test_streams_are_read_block_by_block(client: Any) -> None:
    """And leave the client usable when they are left early."""
    with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(300000)") as stream:
        sizes = [len(block) for block in stream]
    assert sum(sizes) == 300_000
    assert len(sizes) > 3
    with client.query_row_block_stream("SELECT number FROM numbers(100000000)") as stream:
        next(iter(stream))
    assert client.command("SELECT 1") == 1


def test_frames_and_arrow(client: Any) -> None:
    """What notebooks use."""
    assert client.query_df("SELECT number AS n FROM numbers(3)")["n"].tolist() == [0, 1, 2]
    assert client.query_arrow("SELECT number AS n FROM numbers(3)").column("n").to_pylist() == [0, 1, 2]
    assert client.query_np("SELECT number AS n FROM numbers(3)").tolist() == [[0], [1], [2]]


def test_commands_settings_and_summaries(client: Any) -> None:
    """Of a query, of the client, of the server."""
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 3}) == 3
    assert client.server_version == "26.9.2.1"
    assert int(client.query("SELECT * FROM numbers(1000)").summary["result_rows"]) >= 0
    assert client.query("SHOW DATABASES LIKE 'default'").first_row == ("default",)
    assert client.query("EXISTS TABLE things").first_row == (1,)
    assert client.ping()
    one = client.query("SELECT 1 AS a, 'x' AS b WHERE 0")
    assert one.result_rows == []


def test_external_data_and_contexts(client: Any) -> None:
    """Tables that come with a query."""
    data = ExternalData(file_name="more", data=b"1,one\n2,two\n", fmt="CSV", structure=["id UInt8", "name String"])
    assert client.query("SELECT name FROM more WHERE id = 2", external_data=data).first_row == ("two",)


def test_sessions_belong_to_their_client(server: Server) -> None:
    """A temporary table is there for one client and not for another."""
    one, other = connect(server), connect(server)
    one.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    one.insert("mine", [[7]], column_names=["a"], column_type_names=["UInt8"])
    assert one.query("SELECT a FROM mine").first_row == (7,)
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        other.query("SELECT a FROM mine")
    one.close()
    other.close()


def test_errors_carry_the_engines_code_and_words(server: Server, client: Any) -> None:
    """Before and in the middle of an answer."""
    with pytest.raises(DatabaseError, match=r"(?s)code 47|Code: 47.*UNKNOWN_IDENTIFIER"):
        client.query("SELECT nope")
    with (
        pytest.raises(ClickHouseError, match=r"FUNCTION_THROW_IF|throwIf"),
        client.query_row_block_stream("SELECT throwIf(number = 2000000), number FROM numbers(3000000)") as stream,
    ):
        for _ in stream:
            pass
    with pytest.raises(ClickHouseError, match="nosuch"):
        client.insert("nosuch", [[1]], column_names=["a"])
    with pytest.raises(DatabaseError, match="Authentication"):
        clickhouse_connect.get_client(host="127.0.0.1", port=server.port, username="default", password="wrong")


def test_the_asynchronous_client(server: Server, client: Any) -> None:
    """Queries side by side, inserts, streams, errors."""
    client.command("CREATE TABLE IF NOT EXISTS side (n UInt64) ENGINE = MergeTree ORDER BY n")

    async def scene() -> None:
        one = await clickhouse_connect.get_async_client(host="127.0.0.1", port=server.port, username="default", password=PASSWORD)
        try:
            results = await asyncio.gather(*(one.query(f"SELECT {n}, sleep(0.1)") for n in range(6)))
            assert [result.first_row[0] for result in results] == list(range(6))
            await one.insert("side", [[n] for n in range(1000)], column_names=["n"])
            assert await one.command("SELECT sum(n) FROM side") == 499_500
            async with await one.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
                assert sum([len(block) async for block in stream]) == 200_000
            with pytest.raises(DatabaseError):
                await one.query("SELECT nope")
            raw = await one.raw_query("SELECT {a:String}", parameters={"a": "x'y"}, fmt="TSVRaw")
            assert raw == b"x'y\n"
        finally:
            await one.close()

    asyncio.run(scene())


def test_readers_and_writers_work_side_by_side(server: Server, client: Any) -> None:
    """Ten who ask and two who insert, at once: every answer is whole, every row is there."""
    client.command("CREATE TABLE IF NOT EXISTS busy (w UInt8, n UInt64) ENGINE = MergeTree ORDER BY (w, n)")
    failures: list[BaseException] = []

    def reader() -> None:
        one = connect(server, autogenerate_session_id=False)
        for _ in range(8):
            assert one.query("SELECT count(), uniq(number) FROM numbers(200000)").first_row[0] == 200_000
            assert one.query("SELECT count() % 100 FROM busy").first_row == (0,)
        one.close()

    def writer(w: int) -> None:
        one = connect(server, autogenerate_session_id=False)
        for batch in range(8):
            one.insert("busy", [[w, batch * 100 + n] for n in range(100)], column_names=["w", "n"])
        one.close()

    def guarded(work: Any, *arguments: int) -> None:
        try:
            work(*arguments)
        except (ClickHouseError, AssertionError) as wrong:
            failures.append(wrong)

    threads = [threading.Thread(target=guarded, args=(reader,)) for _ in range(10)]
    threads += [threading.Thread(target=guarded, args=(writer, w)) for w in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert client.query("SELECT w, count(), max(n) FROM busy GROUP BY w ORDER BY w").result_rows == [(0, 800, 799), (1, 800, 799)]
