"""The embedded store as clickhouse-connect sees it, sync and async, and as the product's own client does."""

import asyncio
import datetime as dt
import decimal
import uuid
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from clickhouse_connect.driver.external import ExternalData

from driftwheel.errors import StoreError, StoreUnavailable
from driftwheel.store.clickhouse import ClickHouse, StoreSettings
from stores import RunningStore, running_store

COLUMNS = "id UInt32, name LowCardinality(String), at DateTime64(3, 'UTC'), cost Decimal(18, 9), tags Map(String, UInt8), vector Array(Float32), note Nullable(String), key UUID"
KEY = uuid.UUID("61f0c404-5cb3-11e7-907b-a6006ad3dba0")
AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)


def rows(count: int) -> list[list[Any]]:
    return [
        [n, f"n{n % 3}", AT, decimal.Decimal("0.000000125"), {"a": n % 200}, [0.5, n / 2], None if n % 2 else "x", KEY]
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with running_store(tmp_path_factory.mktemp("clients") / "store") as running:
        yield running


@pytest.fixture(params=[False, "lz4", "zstd", "gzip", "br"], ids=lambda coding: str(coding or "plain"))
def client(store: RunningStore, request: pytest.FixtureRequest) -> Iterator[Any]:
    one = clickhouse_connect.get_client(
        host="127.0.0.1", port=store.port, username="default", password=store.password, compress=request.param
    )
    yield one
    one.close()


@pytest.fixture
def plain(store: RunningStore) -> Iterator[Any]:
    one = clickhouse_connect.get_client(host="127.0.0.1", port=store.port, username="default", password=store.password, compress=False)
    yield one
    one.close()


def table(client: Any, columns: str = COLUMNS) -> str:
    name = f"t_{uuid.uuid4().hex}"
    client.command(f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
    return name


def test_rows_come_back_as_they_went_in(client: Any) -> None:
    """Every type of the schema, under every coding, over several blocks."""
    name, given = table(client), rows(3000)
    client.insert(name, given)

    found = client.query(f"SELECT * FROM {name} ORDER BY id", settings={"max_block_size": 1000}, tz_mode="aware")
    assert [list(row) for row in found.result_rows] == given
    assert [str(kind.name) for kind in found.column_types][2:4] == ["DateTime64(3, 'UTC')", "Decimal(18, 9)"]


def test_questions_of_every_kind_are_answered(plain: Any) -> None:
    """Parameters, settings, commands, raw answers and inserts."""
    assert plain.query("SELECT {a:String} AS a, {b:Array(UInt8)} AS b", parameters={"a": "it's \\ \n", "b": [1, 2]}).first_row == (
        "it's \\ \n",
        [1, 2],
    )
    assert plain.query("SELECT %(a)s", parameters={"a": "x"}).first_row == ("x",)
    assert plain.query("SELECT getSetting('max_threads')", settings={"max_threads": 1}).first_row == (1,)
    assert plain.command("SELECT 7") == 7
    assert plain.command("EXISTS system.one") == 1
    assert plain.query("SELECT number FROM numbers(0)").result_rows == []
    assert plain.query("SHOW DATABASES").row_count >= 3
    assert plain.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'
    assert plain.ping()
    name = table(plain, "x UInt8, y String")
    plain.raw_insert(name, insert_block=b'{"x": 1, "y": "\xc3\xa4"}\n{"x": 2}\n', fmt="JSONEachRow", settings={"async_insert": 0})
    assert plain.query(f"SELECT x, y FROM {name} ORDER BY x").result_rows == [(1, "ä"), (2, "")]
    plain.command(f"INSERT INTO {name} VALUES (3, 'c;d')")
    assert plain.query(f"SELECT y FROM {name} WHERE x = 3").first_row == ("c;d",)
    assert plain.insert(name, [[4, "e"]]).written_rows == 1


def test_answers_stream(plain: Any) -> None:
    """Block by block; a stream that is left early leaves its client usable."""
    with plain.query_row_block_stream("SELECT number FROM numbers(200000)") as blocks:
        sizes = [len(block) for block in blocks]
    assert len(sizes) > 1
    assert sum(sizes) == 200_000
    with plain.query_rows_stream("SELECT number FROM numbers(2000000)") as stream:
        assert next(iter(stream)) == (0,)
    assert plain.command("SELECT 1") == 1


def test_a_session_keeps_its_temporary_tables(store: RunningStore) -> None:
    """And its settings; another client sees neither."""
    at = {"host": "127.0.0.1", "port": store.port, "username": "default", "password": store.password}
    mine = clickhouse_connect.get_client(**at, session_id=str(uuid.uuid4()))
    other = clickhouse_connect.get_client(**at)
    mine.command("CREATE TEMPORARY TABLE mine (x UInt8)")
    mine.insert("mine", [[1], [2]])
    mine.command("SET max_threads = 1")

    assert mine.query("SELECT sum(x), getSetting('max_threads') FROM mine").first_row == (3, 1)
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        other.query("SELECT * FROM mine")
    mine.close()
    other.close()


def test_external_data_can_be_joined(plain: Any) -> None:
    """A file's rows stand in a query as a table."""
    external = ExternalData(file_name="ids.csv", fmt="CSV", structure="id UInt8, word String", data=b"1,one\n2,two\n")
    assert plain.query("SELECT word FROM ids WHERE id = 2", external_data=external).first_row == ("two",)


def test_errors_keep_their_code(plain: Any, store: RunningStore) -> None:
    """Clients raise with the engine's words, also in the middle of a stream."""
    with pytest.raises(DatabaseError, match="Code: 60"):
        plain.query("SELECT * FROM nope")
    with pytest.raises(ClickHouseError, match="395"):
        plain.query("SELECT number, throwIf(number = 900000) FROM numbers(1000000) SETTINGS max_threads = 1, max_block_size = 1000")
    with pytest.raises(DatabaseError, match="Authentication"):
        clickhouse_connect.get_client(host="127.0.0.1", port=store.port, username="default", password="wrong")


def test_the_async_client_does_the_same(store: RunningStore) -> None:
    """Inserts, parallel queries, streams, errors."""

    async def play() -> None:
        client = await clickhouse_connect.get_async_client(
            host="127.0.0.1", port=store.port, username="default", password=store.password, autogenerate_session_id=False
        )
        name = f"t_{uuid.uuid4().hex}"
        await client.command(f"CREATE TABLE {name} ({COLUMNS}) ENGINE = MergeTree ORDER BY id")
        await client.insert(name, rows(500))
        found = await asyncio.gather(
            *(
                client.query(f"SELECT * FROM {name} WHERE id < {{n:UInt32}} ORDER BY id", parameters={"n": n}, tz_mode="aware")
                for n in (1, 10, 500)
            )
        )
        assert [one.row_count for one in found] == [1, 10, 500]
        assert [list(row) for row in found[2].result_rows] == rows(500)
        async with await client.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
            assert sum([len(block) async for block in stream]) == 200_000
        with pytest.raises(DatabaseError, match="Code: 60"):
            await client.query("SELECT * FROM nope")
        await client.close()

    asyncio.run(play())


def test_the_products_own_client_tells_refused_from_away(store: RunningStore, unused_port: int) -> None:
    """Refused is a `StoreError` with its code; nobody there is `StoreUnavailable`, which workers retry."""
    own = store.client()
    with pytest.raises(StoreError) as refused:
        own.query("SELECT * FROM nope")
    assert refused.value.code == 60
    with pytest.raises(StoreError) as written:
        own.query("CREATE TABLE no (x Int8) ENGINE = Memory", read_only=True)
    assert written.value.code == 164
    with pytest.raises(StoreUnavailable):
        ClickHouse(StoreSettings(port=unused_port, password=store.password)).query("SELECT 1")


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
