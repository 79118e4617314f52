"""What a request asks for, read from its URL, headers and body; nothing here knows the engine."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.guard import EXPRESSIONS, check, literals_only
from driftwheel.store.embedded.multipart import parts
from driftwheel.store.embedded.sql import Kind, Statement, statement
from driftwheel.store.embedded.users import User

TRANSPORT = frozenset(
    {"query", "query_id", "database", "default_format", "user", "password", "quota_key", "role", "stacktrace", "buffer_size"}
    | {"session_id", "session_timeout", "session_check", "close_session", "wait_end_of_query", "client_protocol_version"}
    | {"compress", "decompress", "network_compression_method", "enable_http_compression", "http_zlib_compression_level"}
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "add_http_cors_header"}
    | {"cancel_http_readonly_queries_on_client_close", "http_write_exception_in_output_format"}
)
"""Parameters of a URL that are meant for the interface; all others are settings of the query."""

MAX_SESSION_S = 3600


@dataclass(frozen=True, slots=True)
class Http:
    """The request as it came: header names in lower case, the body without its content coding."""

    method: str
    query_string: str
    headers: Mapping[str, str]
    body: bytes = b""

    def params(self) -> dict[str, str]:
        """The parameters of the URL; of a name that comes twice the last one."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True, encoding="utf-8", errors="replace", max_num_fields=10_000))


@dataclass(frozen=True, slots=True)
class Table:
    """An external table: what it is called, its columns, and its rows in *fmt*."""

    name: str
    structure: str
    fmt: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """The session that a request wants; *must_exist* refuses to begin a new one."""

    id: str
    timeout_s: float
    must_exist: bool
    close: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A statement with everything that decides how it runs. *reads_only*: GET, HEAD, or a user who may only read."""

    statement: Statement
    user_name: str
    user: User
    data: Sequence[bytes] = ()
    database: str = ""
    fmt: str = "TabSeparated"
    revision: int = 0
    whole: bool = False
    reads_only: bool = False
    query_id: str = ""
    session: Session | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()


def order(http: Http, name: str, user: User) -> Order:
    """Read what *http* asks for in the name of *user*. Raises `Failure` for what cannot be."""
    params, headers, body = http.params(), http.headers, http.body
    if params.get("role"):
        raise Failure(511, f"There is no role {params['role'][:80]!r} in the embedded store")
    tables: list[Table] = []
    if headers.get("content-type", "").lower().startswith("multipart/form-data"):
        tables, body = _form(body, headers["content-type"], params), b""
    bound = {key.removeprefix("param_"): value for key, value in params.items() if key.startswith("param_")}
    told, data = _statement(params.get("query", "").encode(), body, list(bound.values()))
    if told.kind is Kind.INSERT and not told.text.strip():
        raise Failure(62, "Syntax error: Empty query")
    return Order(
        statement=told,
        data=data,
        user_name=name,
        user=user,
        database=headers.get("x-clickhouse-database") or params.get("database", ""),
        fmt=headers.get("x-clickhouse-format") or params.get("default_format") or "TabSeparated",
        revision=_number(params, "client_protocol_version", 0),
        whole=flag(params, "wait_end_of_query"),
        reads_only=http.method in ("GET", "HEAD") or bool(user.readonly or _number(params, "readonly", 0)),
        query_id=params.get("query_id") or str(uuid.uuid4()),
        session=_session(params),
        params=bound,
        settings={**_settings(params), **_literals_only(told, data, tables)},
        tables=tables,
    )


def _statement(query: bytes, body: bytes, values: Sequence[str] = ()) -> tuple[Statement, Sequence[bytes]]:
    r"""
    The URL's text and the body are one text; the data of an INSERT are copied once at most.

    >>> _statement(b"INSERT INTO t FORMAT CSV", b"1\n")[1], _statement(b"SELECT", b"1")[0].text
    ([b'1\n'], b'SELECT\n1')
    """
    if query.strip():
        told = _maybe(query, values)
        if told and told.kind is Kind.INSERT:
            return replace(told, data=b""), [piece for piece in (told.data, body) if piece]
        if not body:
            return statement(query, values), ()
        query += b"\n"
    told = statement(query + body if query else body, values)
    if told.kind is Kind.INSERT and told.data is not None:
        return replace(told, data=b""), [told.data] if told.data else []
    return told, ()


def _maybe(query: bytes, values: Sequence[str]) -> Statement | None:
    """The URL's text read alone; it may be half a statement whose other half is the body."""
    try:
        return statement(query, values)
    except Failure:
        return None


def _settings(params: Mapping[str, str]) -> dict[str, str]:
    settings = {key: value for key, value in params.items() if key not in TRANSPORT and not key.startswith("param_")}
    for key, value in settings.items():
        if key.upper().encode() in EXPRESSIONS:
            check(value.encode(), nested=True)  # a map of tables to filters, or a filter
    return settings


def _literals_only(told: Statement, data: Sequence[bytes], tables: Sequence[Table]) -> dict[str, str]:
    pieces = [*(data if told.format.lower() == "values" else ()), *(one.data for one in tables if one.fmt.lower() == "values")]
    return literals_only(told.text, pieces)


def _form(body: bytes, content_type: str, params: dict[str, str]) -> list[Table]:
    """Fields join the parameters, files become external tables with the `_structure`, `_types` and `_format` of their names."""
    files: dict[str, bytes] = {}
    for part in parts(body, content_type):
        if part.is_file:
            files[part.name] = part.value
        else:
            params[part.name] = part.value.decode("utf-8", "replace")
    return [_table(name, data, params) for name, data in files.items()]


def _table(name: str, data: bytes, params: dict[str, str]) -> Table:
    structure, types, fmt = (params.pop(f"{name}_{what}", "") for what in ("structure", "types", "format"))
    if not structure and not types:
        raise Failure(36, f"the external table {name} needs {name}_structure or {name}_types", status=400)
    numbered = ", ".join(f"_{n} {kind}" for n, kind in enumerate(_split(types), 1))
    check(f"({structure or numbered})".encode())
    return Table(name, structure or numbered, fmt or "TabSeparated", data)


def _split(types: str) -> list[str]:
    """Types at commas outside brackets."""
    return [one for one in re.split(r",\s*(?![^()]*\))", types) if one]


def _session(params: Mapping[str, str]) -> Session | None:
    if not params.get("session_id"):
        return None
    timeout = _number(params, "session_timeout", 60)
    if not 0 < timeout <= MAX_SESSION_S:
        raise Failure(374, f"session_timeout must be 1 to {MAX_SESSION_S} seconds, not {timeout}", status=400)
    return Session(params["session_id"], timeout, params.get("session_check") == "1", params.get("close_session") == "1")


def flag(params: Mapping[str, str], name: str) -> bool:
    """Whether the URL says yes to *name*."""
    return params.get(name, "0") not in ("0", "")


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, "") or str(default)
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Failure(36, f"the parameter {name} must be a whole number, not {text[:40]!r}", status=400)
    return int(text)
