"""A replicated ClickHouse: the statements and settings as text. They were not run against a cluster here."""

import re

from driftwheel.store.clickhouse import StoreSettings, insert_settings
from driftwheel.store.migrate import LEDGER, SHARDED, migrations, render, views

CLUSTER = "main"
CREATED = re.compile(r"CREATE TABLE IF NOT EXISTS driftwheel\.(\w+)")


def statements() -> list[str]:
    """Everything that `migrate` runs on a cluster."""
    return [one for sql in (*(migration.sql for migration in migrations()), LEDGER, *views()) for one in render(sql, CLUSTER)]


def test_large_tables_are_sharded_by_id_and_small_ones_are_whole_on_every_node() -> None:
    """The shard of an id follows from CRC-32 as its Kafka partition does, so a double row meets its twin and collapses."""
    made = {found[1]: one for one in statements() if (found := CREATED.search(one))}

    assert set(made) >= SHARDED
    for name, one in made.items():
        if name in SHARDED:
            assert f"Distributed('{CLUSTER}', driftwheel, {name}_local, CRC32(toString(id)))" in one
            assert f"AS driftwheel.{name}_local" in one
            assert "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'" in made[f"{name}_local"]
        elif not name.endswith("_local"):
            assert "'/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}'" in one


def test_every_statement_is_for_the_whole_cluster() -> None:
    """No node is left behind, and no placeholder is left over but ClickHouse's own macros, and the typed parameters of views."""
    for one in statements():
        assert f"ON CLUSTER '{CLUSTER}'" in one, one
        assert set(re.findall(r"\{(\w+)[^:\w]", one)) <= {"shard", "replica", "database", "table"}


def test_inserts_wait_for_most_replicas() -> None:
    """What is acked to Kafka is gone from there one day: it must be on more than one disk before."""
    assert insert_settings(StoreSettings(cluster=CLUSTER)) == {
        "async_insert": 0,
        "wait_end_of_query": 1,
        "date_time_input_format": "best_effort",
        "insert_quorum": "auto",
        "insert_quorum_parallel": 1,
        "distributed_foreground_insert": 1,
    }
    assert "insert_quorum" not in insert_settings(StoreSettings())
