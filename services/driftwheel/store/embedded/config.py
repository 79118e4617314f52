"""The engine's own configuration file: memory, threads, and what the one engine user may never do."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the store may use. *body_bytes* bounds a request, packed and unpacked; *flying_bytes* all requests together."""

    memory_bytes: int = 3 << 30
    mark_cache_bytes: int = 256 << 20
    background_threads: int = 2
    body_bytes: int = 256 << 20
    flying_bytes: int = 512 << 20
    answer_bytes: int = 256 << 20
    readers: int = 8
    writers: int = 4


TEMPLATE = """<clickhouse>
  <!-- Written anew at every start. -->
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>{marks}</mark_cache_size>
  <background_pool_size>{threads}</background_pool_size>
  <timezone>UTC</timezone>
  <profiles><default/></profiles>
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
        text = TEMPLATE.format(
            memory=limits.memory_bytes,
            marks=limits.mark_cache_bytes,
            threads=limits.background_threads,
            grants=GRANTS,
            file=escape(str(file)),
        )
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
    except OSError as wrong:
        raise ConfigError(f"{folder}: cannot write here ({wrong.strerror}); give a folder that this user may write") from wrong
    return f"{folder}?config-file={file}"
