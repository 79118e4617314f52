"""
Migrations: numbered SQL files, one statement each, forward only; then the views, replaced every time.

`{engine:X}` becomes X, or ReplicatedX on a cluster; `{on_cluster}` becomes ON CLUSTER there. On a cluster the large tables
are sharded by the id of their rows, as Kafka's partitions are, so that all that is stored under an id lies on one shard,
where it collapses; the others are whole on every node, so that they can be joined with. A released file is never edited:
its digest is kept, and a file that changed is refused.
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

SHARD = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
EVERYWHERE = "'/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}'"
"""Where replicas of a table find each other: those of one shard, or all nodes."""

SHARDED = frozenset({"inferences", "payloads", "aliases", "embeddings", "late_readings", "feedback"})
"""What grows with the traffic. On a cluster `x` is a Distributed table over the `x_local` of each shard."""


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
    todo = migrations()
    for sql in (todo[0].sql, LEDGER):
        _run(store, sql)
    applied = {row["number"]: row for row in store.query(f"SELECT number, name, sha256 FROM {DATABASE}.migrations")}
    done = []
    for migration in todo:
        if known := applied.get(migration.number):
            if known["sha256"] != migration.sha256:
                raise ConfigError(f"{migration.name} was edited after it was applied; put it back and add a new migration instead")
            continue
        _run(store, migration.sql)
        row = {"number": migration.number, "name": migration.name, "sha256": migration.sha256}
        store.insert("migrations", [row])
        done.append(migration.name)
    for sql in views():
        _run(store, sql)
    return done


def views() -> Iterator[str]:
    """The views: named questions that boards and pages ask."""
    folder = files("driftwheel_schemas").joinpath("views")
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        if one.name.endswith(".sql"):
            yield one.read_text("utf-8")


def render(sql: str, cluster: str = "") -> list[str]:
    r"""
    The statements that *sql* is on one server, or on *cluster*.

    >>> create = "CREATE TABLE driftwheel.jobs {on_cluster} (id UUID) ENGINE = {engine:ReplacingMergeTree(v)} ORDER BY id"
    >>> render(create)
    ['CREATE TABLE driftwheel.jobs  (id UUID) ENGINE = ReplacingMergeTree(v) ORDER BY id']
    >>> print(*render(create.replace("jobs", "feedback"), "main"), sep="\n")
    CREATE TABLE driftwheel.feedback_local ON CLUSTER 'main' (id UUID) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', v) ORDER BY id
    CREATE TABLE IF NOT EXISTS driftwheel.feedback ON CLUSTER 'main' AS driftwheel.feedback_local ENGINE = Distributed('main', driftwheel, feedback_local, CRC32(toString(id)))
    """
    found = re.search(rf"(CREATE|ALTER) TABLE (?:IF NOT EXISTS )?{DATABASE}\.(\w+)", sql)
    sharded = found[2] if cluster and found and found[2] in SHARDED else ""
    whole = sql.replace("{on_cluster}", f"ON CLUSTER '{cluster}'" if cluster else "")
    text = whole.replace(f"{DATABASE}.{sharded} ", f"{DATABASE}.{sharded}_local ", 1) if sharded else whole
    if sharded and found and found[1] == "ALTER":  # the shards first, then the table over them
        return [text, whole]
    if cluster:  # a board may ask any node
        text = re.sub(rf"(CREATE OR REPLACE VIEW {DATABASE}\.\w+)", rf"\1 ON CLUSTER '{cluster}'", text)
    place = "" if not cluster else SHARD if sharded else EVERYWHERE
    text = re.sub(r"\{engine:(\w+)(?:\(([^)]*)\))?\}", lambda found: _engine(found[1], found[2] or "", place), text)
    if not sharded:
        return [text]
    over = f"Distributed('{cluster}', {DATABASE}, {sharded}_local, CRC32(toString(id)))"
    return [text, f"CREATE TABLE IF NOT EXISTS {DATABASE}.{sharded} ON CLUSTER '{cluster}' AS {DATABASE}.{sharded}_local ENGINE = {over}"]


def _run(store: ClickHouse, sql: str) -> None:
    for statement in render(sql, store.settings.cluster):
        store.command(statement)


def _engine(name: str, arguments: str, place: str) -> str:
    given = ", ".join(filter(None, (place, arguments)))
    prefix = "Replicated" if place else ""
    return f"{prefix}{name}({given})" if given else name
