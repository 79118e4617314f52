"""The HTTP interface: a plain ASGI application."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from driftwheel.store.embedded.compression import coder_for, inflate
from driftwheel.store.embedded.config import Limits
from driftwheel.store.embedded.engine import Engine
from driftwheel.store.embedded.exchange import Body, End, Exchange, Start
from driftwheel.store.embedded.execute import execute
from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.frames import LZ4, ZSTD, Framed, unframed
from driftwheel.store.embedded.kills import Gone, Job
from driftwheel.store.embedded.request import Http, Order, flag, order
from driftwheel.store.embedded.users import User, Users, authenticate, credentials

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

log = logging.getLogger(__name__)

MOST_REQUESTS = 100
"""At work and waiting for a thread; a server's max_concurrent_queries."""

LATE_S = 2.0
"""A query that is killed because its time is up ends within a second, unless its client does not read: then it is cut off."""

ASKING = frozenset({b"SELECT", b"WITH", b"FROM", b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN", b"SET", b"USE", b"CHECK", b""})

TYPES = {
    **dict.fromkeys(("json", "jsoncompact"), "application/json; charset=UTF-8"),
    **dict.fromkeys(("native", "rowbinary", "rowbinarywithnamesandtypes", "parquet", "arrow", "arrowstream"), "application/octet-stream"),
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "xml": "application/xml; charset=UTF-8",
}
PLAIN = "text/plain; charset=UTF-8"


class App:
    """Serves the queries of one engine: reads, writes and kills each have their threads, so that none starves another."""

    def __init__(self, engine: Engine, users: Users, limits: Limits) -> None:
        self.engine, self.users, self.limits = engine, users, limits
        self.held = 0
        self.running: dict[str, Job] = {}
        self.lanes = {
            "parse": ThreadPoolExecutor(2, "store-parse"),
            "read": ThreadPoolExecutor(limits.readers, "store-read"),
            "write": ThreadPoolExecutor(limits.writers, "store-write"),
            "kill": ThreadPoolExecutor(1, "store-kill"),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await _Request(self, scope, receive, send).serve()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self.close)
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """End what runs, then let the folder go."""
        for job in list(self.running.values()):
            self.engine.killer.end(job)
        for pool in self.lanes.values():
            pool.shutdown(wait=True, cancel_futures=True)
        self.engine.close()

    def submit(self, wanted: Order, exchange: Exchange) -> None:
        """Have *wanted* run in its lane. Raises `Failure` when too many are at work or its query id is."""
        if wanted.query_id in self.running:
            raise Failure(216, f"Query with id = {wanted.query_id[:80]} is already running")
        if len(self.running) >= MOST_REQUESTS:
            raise Failure(202, f"Too many simultaneous queries. Maximum: {MOST_REQUESTS}", status=503)
        self.running[wanted.query_id] = exchange.job
        first = wanted.statement.first
        lane = "read" if first in ASKING else "kill" if first == b"KILL" else "write"
        try:
            self.lanes[lane].submit(self._work, wanted, exchange)
        except RuntimeError:
            del self.running[wanted.query_id]
            raise Failure(236, "the store is ending") from None

    def _work(self, wanted: Order, exchange: Exchange) -> None:
        try:
            try:
                exchange.job.check()
                execute(self.engine, wanted, exchange.job, exchange)
                exchange.close()
            except Failure as failure:
                exchange.fail(exchange.job.late or failure)
            except Gone:
                raise
            except Exception:  # the last resort of this server: every failure is a ClickHouse error with a code
                log.exception("query %s failed inside the interface", wanted.query_id)
                exchange.fail(Failure(49, "the store's HTTP interface failed; its log says where"))
        except Gone:
            log.debug("query %s: its client is gone", wanted.query_id)
        finally:
            del self.running[wanted.query_id]
            exchange.job.done.set()


class _Request:
    """One request and its answer."""

    def __init__(self, app: App, scope: Message, receive: Receive, send: Send) -> None:
        self.app, self.scope, self.receive, self.send = app, scope, receive, send
        self.headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        self.tag = secrets.token_hex(8)
        self.holds = self.blocks = 0
        self.begun = False
        self.answer = {
            "X-ClickHouse-Server-Display-Name": "driftwheel",
            "X-ClickHouse-Timezone": app.engine.timezone,
            "X-ClickHouse-Exception-Tag": self.tag,
        }

    async def serve(self) -> None:
        """Answer; whatever goes wrong is answered too, as long as somebody listens."""
        try:
            try:
                await self._serve()
            except Failure as failure:
                await self._refuse(failure)
            except Exception:  # the last resort of this server: every failure is a ClickHouse error with a code
                log.exception("a request failed inside the interface")
                await self._refuse(Failure(49, "the store's HTTP interface failed; its log says where"))
        except (Gone, OSError):
            log.debug("a client hung up")
        finally:
            self.app.held -= self.holds

    async def _serve(self) -> None:
        method, path, query = self.scope["method"], self.scope["path"], self.scope["query_string"]
        if path in ("/ping", "/replicas_status") or (path == "/" and method in ("GET", "HEAD") and not query):
            await self._reply(200, {"Content-Type": PLAIN}, b"Ok.\n")
            return
        if path not in ("/", "/query"):
            raise Failure(36, f"There is no handle {path[:80]}. Use / for queries or /ping for health checks", status=404)
        if method not in ("GET", "HEAD", "POST"):
            raise Failure(48, f"method {method} is not supported; use GET or POST")
        http = Http(method, query.decode("latin-1"), self.headers)
        params = http.params()
        name, password = credentials(self.headers, params)
        user = authenticate(self.app.users, name, password)
        if flag(params, "compress"):  # from here on errors come in blocks, too
            self.blocks = ZSTD if params.get("network_compression_method", "").upper() == "ZSTD" else LZ4
        body = await self._body()
        wanted = await asyncio.get_running_loop().run_in_executor(self.app.lanes["parse"], self._read, http, body, name, user)
        del body
        self.answer["X-ClickHouse-Query-Id"] = _header(wanted.query_id)
        await self._run(wanted, self.headers.get("accept-encoding", "") if params.get("enable_http_compression") != "0" else "")

    def _read(self, http: Http, body: bytes, name: str, user: User) -> Order:
        most = self.app.limits.body_bytes
        plain = inflate(body, self.headers.get("content-encoding", ""), most)
        if flag(http.params(), "decompress"):
            plain = unframed(plain, most)
        return order(replace(http, body=plain), name, user)

    async def _body(self) -> bytes:
        """All of the body. What is beyond the bound is read and dropped, so that the client gets to read why."""
        parts: list[bytes] = []
        size, more, limits = 0, True, self.app.limits
        refused: Failure | None = None
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > limits.body_bytes:
                refused = Failure(229, f"a request body may have {limits.body_bytes} bytes; send it in smaller batches")
            elif self.app.held + len(piece) > limits.flying_bytes and self.app.held > self.holds:
                refused = refused or Failure(241, "the bodies of other requests fill the memory for requests; send this again")
            if refused:
                parts.clear()
                continue
            self.app.held += len(piece)
            self.holds += len(piece)
            parts.append(piece)
        if refused:
            raise refused
        return b"".join(parts)

    async def _run(self, wanted: Order, accepted: str) -> None:
        coding, coder = coder_for(accepted)
        coder = Framed(self.blocks, coder) if self.blocks else coder
        exchange = Exchange(loop=asyncio.get_running_loop(), job=Job(), coder=coder, whole=wanted.whole, most=self.app.limits.answer_bytes)
        cap = self.app.limits.caps.get("max_execution_time") if wanted.user.readonly else None
        self.app.submit(wanted, exchange)
        watcher = asyncio.create_task(self._watch())
        answering = asyncio.create_task(self._pass_on(exchange, coding))
        try:
            await self._first(watcher, answering, exchange.job, cap)
        finally:
            for task in (watcher, answering):
                task.cancel()
            if not exchange.job.done.is_set():
                exchange.hang_up()
                self.app.engine.killer.end(exchange.job)

    async def _first(self, watcher: asyncio.Task[None], answering: asyncio.Task[None], job: Job, most_s: float | None) -> None:
        """Until the client has hung up or has its answer; after *most_s* seconds the query is ended, whatever its text says of time."""
        for patience_s in (most_s, LATE_S, None):
            done, _ = await asyncio.wait((watcher, answering), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if done:
                return
            if not job.done.is_set():
                if job.late:
                    raise job.late
                self.app.engine.killer.end(job, Failure(159, f"Timeout exceeded: this user's queries may take {most_s} seconds"))

    async def _watch(self) -> None:
        """Returns once the client has hung up."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _pass_on(self, exchange: Exchange, coding: str) -> None:
        while True:
            match await exchange.next():
                case Start(fmt, summary, length):
                    await self._start(fmt, summary, length, coding)
                case Body(data):
                    await self._more(data)
                case End(None):
                    await self.send({"type": "http.response.body", "body": b""})
                    return
                case End(Failure() as failure, started):
                    if not started:
                        raise failure
                    await self._more(exchange.coded_end(self._frame(failure)))
                    await self.send({"type": "http.response.body", "body": b""})
                    return

    async def _start(self, fmt: str, summary: str, length: int | None, coding: str) -> None:
        told = {"X-ClickHouse-Format": fmt, "X-ClickHouse-Summary": summary, "Content-Type": TYPES.get(fmt.lower(), PLAIN)}
        if coding:
            told |= {"Content-Encoding": coding, "Vary": "Accept-Encoding"}
        if length is not None:
            told["Content-Length"] = str(length)
        await self._head(200, told)

    async def _more(self, data: bytes) -> None:
        if self.scope["method"] != "HEAD":
            await self.send({"type": "http.response.body", "body": data, "more_body": True})

    def _frame(self, failure: Failure) -> bytes:
        """What tells a failure in the middle of an answer from data: the tag was in the headers."""
        line = failure.line(self.app.engine.version).encode("utf-8", "replace") + b"\n"
        tag = self.tag.encode()
        return b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (tag, line, len(line), tag)

    async def _refuse(self, failure: Failure) -> None:
        if self.begun:
            raise Gone
        told = {"X-ClickHouse-Exception-Code": str(failure.code), "Content-Type": PLAIN}
        if failure.code == 516:
            told["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        line = failure.line(self.app.engine.version).encode("utf-8", "replace") + b"\n"
        await self._reply(failure.status, told, Framed(self.blocks).piece(line) if self.blocks else line)

    async def _reply(self, status: int, told: Mapping[str, str], data: bytes) -> None:
        await self._head(status, {**told, "Content-Length": str(len(data))})
        await self.send({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else data})

    async def _head(self, status: int, told: Mapping[str, str]) -> None:
        self.begun = True
        pairs = [(key.encode(), value.encode("latin-1", "replace")) for key, value in {**self.answer, **told}.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})


def _header(text: str) -> str:
    """*text* as a header can carry it."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:200]
