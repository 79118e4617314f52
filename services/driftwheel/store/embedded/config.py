"""The engine's own configuration file: memory, threads, and what the one engine user may never do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from driftwheel.errors import ConfigError

FILE = "engine.xml"

GRANTS = (
    "SELECT, INSERT, ALTER TABLE, ALTER VIEW, TRUNCATE, OPTIMIZE, CHECK, SHOW, KILL QUERY, DROP, UNDROP TABLE, "
    "CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, CREATE ARBITRARY TEMPORARY TABLE, CREATE FUNCTION, "
    "SYSTEM FLUSH, SYSTEM MERGES, SYSTEM DROP CACHE"
)
"""
What a client may do. What is not here the engine refuses, wherever a statement hides it: every way out of the store (file,
url, s3, mysql, remote … as functions, table engines and database engines), dictionaries (theirs reach out unasked), named
collections, backups, users, shutdown. GRANT ALL without the sources would leave engines such as URL and dictionaries.
"""


READER = "reader"
"""The engine's profile of who may only read: its constraints hold against SETTINGS in the text of a query, too."""

CAPS = {"max_execution_time": 60, "max_memory_usage": 1 << 30, "max_result_rows": 1_000_000, "max_result_bytes": 256 << 20}
"""A minute is what Grafana waits; a third of the memory leaves the inserts theirs; nobody looks at more than a million rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What the store may use. *body_bytes* bounds a request, packed and unpacked; *flying_bytes* all requests together.

    *caps* are settings of ClickHouse and the most that a query of a user who may only read can have of each.
    """

    memory_bytes: int = 3 << 30
    mark_cache_bytes: int = 256 << 20
    background_threads: int = 2
    body_bytes: int = 256 << 20
    flying_bytes: int = 512 << 20
    answer_bytes: int = 256 << 20
    readers: int = 8
    writers: int = 4
    caps: Mapping[str, int] = field(default_factory=lambda: CAPS)


TEMPLATE = """<clickhouse>
  <!-- Written anew at every start. -->
  <max_server_memory_usage>{limits.memory_bytes}</max_server_memory_usage>
  <mark_cache_size>{limits.mark_cache_bytes}</mark_cache_size>
  <background_pool_size>{limits.background_threads}</background_pool_size>
  <timezone>UTC</timezone>
  <profiles>
    <default/>
    <{reader}><constraints>{caps}</constraints></{reader}>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT {grants} ON *.*</query>
      </grants>
    </default>
  </users>
  <user_directories><users_xml><path>{file}</path></users_xml></user_directories>
</clickhouse>
"""


def connection(folder: Path, limits: Limits) -> str:
    """
    Write the configuration into *folder*, made if missing; returns what chDB calls the connection.

    Raises `ConfigError` for a folder whose name chDB would read as options.
    """
    folder = folder.absolute()
    if any(sign in str(folder) for sign in "?&#"):
        raise ConfigError(f"{folder}: the store's folder may not have ?, & or # in its name; give another path")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE
        caps = "".join(f"<{name}><min>1</min><max>{most}</max></{name}>" for name, most in limits.caps.items())  # 0 would be no bound
        text = TEMPLATE.format(limits=limits, reader=READER, caps=caps, grants=GRANTS, file=escape(str(file)))
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
    except OSError as wrong:
        raise ConfigError(f"{folder}: cannot write here ({wrong.strerror}); give a folder that this user may write") from wrong
    return f"{folder}?config-file={file}"
