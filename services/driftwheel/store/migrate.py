"""
Migrations: numbered SQL files, one statement each, forward only; then the views, replaced every time.

`{engine:X}` becomes X, or ReplicatedX on a cluster; `{on_cluster}` becomes ON CLUSTER there. A released file is never
edited: its digest is kept, and a file that changed is refused.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from driftwheel.errors import ConfigError
from driftwheel.store.clickhouse import DATABASE, ClickHouse

LEDGER = f"""
CREATE TABLE IF NOT EXISTS {DATABASE}.migrations {{on_cluster}}
(number UInt32, name String, sha256 String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = {{engine:MergeTree}} ORDER BY number
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The digest of its text as released."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Every migration in order. Raises `ConfigError` when numbers repeat or have gaps."""
    folder = files("driftwheel_schemas").joinpath("clickhouse")
    found = sorted((int(one.name[:4]), one.name, one.read_text("utf-8")) for one in folder.iterdir() if one.name.endswith(".sql"))
    if [number for number, _, _ in found] != list(range(1, len(found) + 1)):
        raise ConfigError(f"schemas/clickhouse: numbers must run from 0001 without a gap; found {[name for _, name, _ in found]}")
    return [Migration(*one) for one in found]


def migrate(store: ClickHouse) -> list[str]:
    """
    Bring the store to the newest schema; the names of what was applied. Running it again does nothing.

    Raises `ConfigError` when a released file was edited, `StoreError` and `StoreUnavailable` as the store does.
    """
    cluster = store.settings.cluster
    todo = migrations()
    store.command(render(todo[0].sql, cluster))
    store.command(render(LEDGER, cluster))
    applied = {row["number"]: row for row in store.query(f"SELECT number, name, sha256 FROM {DATABASE}.migrations")}
    done = []
    for migration in todo:
        if known := applied.get(migration.number):
            if known["sha256"] != migration.sha256:
                raise ConfigError(f"{migration.name} was edited after it was applied; put it back and add a new migration instead")
            continue
        store.command(render(migration.sql, cluster))
        row = {"number": migration.number, "name": migration.name, "sha256": migration.sha256}
        store.insert("migrations", [row])
        done.append(migration.name)
    for sql in views():
        store.command(render(sql, cluster))
    return done


def views() -> Iterator[str]:
    """The views: named questions that boards and pages ask."""
    folder = files("driftwheel_schemas").joinpath("views")
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        if one.name.endswith(".sql"):
            yield one.read_text("utf-8")


def render(sql: str, cluster: str = "") -> str:
    """
    *sql* for one server, or for *cluster*.

    >>> render("CREATE TABLE t {on_cluster} (x Int8) ENGINE = {engine:ReplacingMergeTree(v)} ORDER BY x", "main")
    "CREATE TABLE t ON CLUSTER 'main' (x Int8) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', v) ORDER BY x"
    """
    sql = sql.replace("{on_cluster}", f"ON CLUSTER '{cluster}'" if cluster else "")
    return re.sub(r"\{engine:(\w+)(?:\(([^)]*)\))?\}", lambda found: _engine(found[1], found[2] or "", replicated=bool(cluster)), sql)


def _engine(name: str, arguments: str, *, replicated: bool) -> str:
    if not replicated:
        return f"{name}({arguments})" if arguments else name
    place = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
    return f"Replicated{name}({place}{', ' + arguments if arguments else ''})"
