"""ClickHouse over HTTP through clickhouse-connect: a server, a cluster or the embedded engine, all the same here."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from driftwheel.errors import ConfigError, StoreError, StoreUnavailable
from driftwheel.store import Row

DATABASE = "driftwheel"

REVISED = frozenset({"feedback", "verdicts", "incidents", "outbox", "snoozes", "triggers", "jobs", "detector_state"})
"""Tables whose rows come again with a higher revision: there the identity is id and revision."""

AGAIN = frozenset({159, 202, 203, 209, 210, 241, 243, 252, 279, 473})
"""Codes that pass: timeouts, too many queries, no memory or disk, sockets, too many parts, all connections tried, deadlock."""

AT_ONCE = 5_000
"""Ids asked about in one statement: 5,000 take 0.05 s over 60,000 rows, 25,000 took 11 s (the Bloom filter is tried id by id)."""

READABLE: Mapping[str, int | str] = {
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 1,
}
"""Times as RFC 3339, whole numbers as numbers, decimals as text: what msgspec turns into the contract's types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """
    Where the store is; port 0 is the embedded one of the data folder. `cluster` is empty for it and for a single server.

    `secure` is TLS, with the certificate authority in the file `ca` where the system does not know the server's.
    """

    host: str = "127.0.0.1"
    port: int = 0
    user: str = "default"
    password: str = ""
    secure: bool = False
    ca: Path | None = None
    cluster: str = ""
    timeout_s: float = 60.0


class ClickHouse:
    """The store. One client per thread, since a clickhouse-connect client does one thing at a time."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self._threads = threading.local()

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        self._do(
            lambda client: client.raw_insert(
                f"{DATABASE}.{table}",
                insert_block=msgspec.json.Encoder().encode_lines(rows),
                fmt="JSONEachRow",
                settings=insert_settings(self.settings),
            )
        )

    def missing(self, table: str, rows: Sequence[Row]) -> list[Row]:
        revised = table in REVISED
        revision = "revision" if revised else "0 AS revision"
        sql = f"SELECT toString(id) AS id, {revision} FROM {DATABASE}.{table} WHERE id IN {{ids:Array(String)}}"
        ids = sorted({str(row["id"]) for row in rows})
        stored = {
            (row["id"], row["revision"])
            for start in range(0, len(ids), AT_ONCE)
            for row in self.query(sql, {"ids": ids[start : start + AT_ONCE]})
        }
        return [row for row in rows if (str(row["id"]), row["revision"] if revised else 0) not in stored]

    def ask(self, question: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        if params and any(value == [] for value in params.values()):
            return []  # a question about nobody; ClickHouse cannot type an empty array
        return self.query(question_text(question), params)

    def query(self, sql: str, params: Mapping[str, Any] | None = None, *, read_only: bool = False) -> list[Row]:
        """The rows that *sql* selects; parameters are bound by name as `{name:Type}`. *read_only* refuses all that is no question."""
        settings: dict[str, int | str] = dict(READABLE)
        if self.settings.cluster:
            settings["distributed_product_mode"] = "global"  # a join of two sharded tables asks every shard for the right side
        if read_only:
            settings["readonly"] = 2  # 1 would refuse the settings beside it
        answer = self._do(lambda client: client.raw_query(sql, parameters=dict(params or {}), fmt="JSONEachRow", settings=settings))
        return msgspec.json.Decoder(Row).decode_lines(answer)

    def command(self, sql: str) -> None:
        """Run a statement that has no answer."""
        self._do(lambda client: client.command(sql))

    def _do(self, call: Any) -> Any:
        from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

        try:
            return call(self._client())
        except OperationalError as away:
            raise StoreUnavailable(f"the store at {self.settings.host}:{self.settings.port} does not answer: {_line(away)}") from away
        except ClickHouseError as refused:
            code = getattr(refused, "code", None) or _code(str(refused))
            if code in AGAIN:
                raise StoreUnavailable(f"the store is busy: {_line(refused)}") from refused
            raise StoreError(code, f"the store refused: {_line(refused)}") from refused

    def _client(self) -> Any:
        if not hasattr(self._threads, "client"):
            import clickhouse_connect

            at = self.settings
            self._threads.client = clickhouse_connect.get_client(
                host=at.host,
                port=at.port,
                username=at.user,
                password=at.password,
                secure=at.secure,
                ca_cert=str(at.ca) if at.ca else None,
                send_receive_timeout=at.timeout_s,
                connect_timeout=5,
                query_retries=0,  # the workers retry, and they know what is safe to repeat
                autogenerate_session_id=False,
                compress=False,  # on loopback it only costs
            )
        return self._threads.client


def insert_settings(settings: StoreSettings) -> dict[str, int | str]:
    """
    What makes an insert durable when it answers. On a cluster: on the shard itself, and on most of its replicas.

    >>> insert_settings(StoreSettings())["async_insert"], insert_settings(StoreSettings(cluster="main"))["insert_quorum"]
    (0, 'auto')
    """
    # async_insert is the default of servers since 26.3 and would answer before the rows are there
    durable: dict[str, int | str] = {"async_insert": 0, "wait_end_of_query": 1, "date_time_input_format": "best_effort"}
    if settings.cluster:
        durable |= {"insert_quorum": "auto", "insert_quorum_parallel": 1, "distributed_foreground_insert": 1}
    return durable


@cache
def question_text(name: str) -> str:
    """The SQL of the question *name*. Raises `ConfigError` for an unknown one, naming the known."""
    folder = files("driftwheel.store").joinpath("questions")
    file = folder.joinpath(f"{name}.sql")
    if not file.is_file():
        known = ", ".join(sorted(one.name.removesuffix(".sql") for one in folder.iterdir()))
        raise ConfigError(f"no question called {name!r}; known: {known}")
    return file.read_text("utf-8")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


def _code(text: str) -> int:
    _, _, rest = text.partition("Code: ")
    digits = rest.split(".", 1)[0].strip()
    return int(digits) if digits.isdigit() else 0
