"""How requests leave the process: one seam. Its fake is `driftwheel.testing.MemoryTransport`."""

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from http.client import HTTPConnection

MAX_ANSWER = 1 << 20
"""An answer is read up to 1 MiB: 500 rejections with their reasons are about 100 KiB."""


class Request(NamedTuple):
    """What is sent: `path` is below the endpoint, such as `/v1/inferences`."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Response(NamedTuple):
    """What came back; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Transport(Protocol):
    """
    Carries a request and brings the answer, whatever its status.

    Raises OSError (a timeout is one) when there is no answer: the same request is then sent again, which is safe because
    an event's id is its identity. Raises ValueError when there can never be one. Called from several threads.
    """

    def send(self, request: Request, timeout_s: float) -> Response:
        """Send *request*; *timeout_s* bounds the connecting and each wait for bytes."""
        ...

    def close(self) -> None:
        """Let go of this thread's connection."""
        ...


class HttpTransport:
    """
    HTTP/1.1 to *endpoint* (`http://host:port` or `https://…`, a path before `/v1` is kept), one kept connection a thread.

    Proxy variables of the environment are not read. A fork never shares a connection with its parent.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._mine = threading.local()

    def send(self, request: Request, timeout_s: float) -> Response:
        from http.client import HTTPException  # 20 ms to import: paid by the sender's thread

        connection, kept = self._connection(timeout_s)
        try:
            return self._exchange(connection, request)
        except (HTTPException, OSError) as wrong:
            self.close()
            # a server may close a kept connection at any time: that says nothing about the server's health
            if kept and not isinstance(wrong, TimeoutError):
                return self.send(request, timeout_s)
            raise wrong if isinstance(wrong, OSError) else ConnectionError(f"no HTTP answer: {wrong!r}") from wrong

    def close(self) -> None:
        if (connection := getattr(self._mine, "connection", None)) is not None:
            self._mine.connection = None
            connection.close()

    def _connection(self, timeout_s: float) -> "tuple[HTTPConnection, bool]":
        connection: HTTPConnection | None = getattr(self._mine, "connection", None)
        if connection is not None and self._mine.pid == os.getpid():
            connection.timeout = timeout_s
            if connection.sock is not None:
                connection.sock.settimeout(timeout_s)
            return connection, connection.sock is not None
        self._mine.connection = fresh = self._open(timeout_s)
        self._mine.pid = os.getpid()
        return fresh, False

    def _open(self, timeout_s: float) -> "HTTPConnection":
        from http.client import HTTPConnection, HTTPSConnection
        from urllib.parse import urlsplit

        url = urlsplit(self._endpoint)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"endpoint {self._endpoint!r}: give a URL such as http://127.0.0.1:4318")
        self._mine.base = url.path
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        return kind(url.hostname, url.port, timeout=timeout_s)

    def _exchange(self, connection: "HTTPConnection", request: Request) -> Response:
        try:
            connection.request(request.method, self._mine.base + request.path, request.body or None, dict(request.headers))
        except BrokenPipeError:
            pass  # it closed before it read all, perhaps behind an answer such as 413
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER)
        headers = {name.lower(): value for name, value in answer.getheaders()}
        if not answer.isclosed():
            self.close()
        return Response(answer.status, headers, body)
