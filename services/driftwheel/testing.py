"""Fakes for tests, ours and our users': the same seams as in production, without a network."""

import gzip
import json
from collections.abc import Callable

from driftwheel.sdk._delivery import rejected_in
from driftwheel.sdk.transport import Request, Response

__all__ = ["MemoryTransport"]


class MemoryTransport:
    """
    A collector in memory: takes every event, or answers what *handler* says.

    >>> from driftwheel import Client
    >>> transport = MemoryTransport()
    >>> client = Client(transport=transport, strict=True)
    >>> event = client.record("Hi", "Hello", "own-model")
    >>> client.shutdown().ok, transport.inferences[0]["response"], transport.inferences[0]["id"] == event
    (True, 'Hello', True)
    """

    def __init__(self, handler: Callable[[Request], Response] | None = None) -> None:
        self._handler = handler
        self.requests: list[Request] = []
        self.inferences: list[dict[str, object]] = []
        self.feedback: list[dict[str, object]] = []

    def send(self, request: Request, timeout_s: float) -> Response:  # noqa: ARG002  the seam's own parameter
        """Answer as the handler says; keep the events of a request that was answered with 2xx and that names them not rejected."""
        self.requests.append(request)
        items = events_in(request) if request.method == "POST" else []
        taken = Response(202, {}, json.dumps({"accepted": len(items), "rejected": []}).encode())
        answer = self._handler(request) if self._handler else taken if request.method == "POST" else Response(404, {})
        if 200 <= answer.status < 300 and request.method == "POST":
            rejected = rejected_in(answer.body, len(items))
            kept = self.inferences if request.path == "/v1/inferences" else self.feedback
            kept += [item for index, item in enumerate(items) if index not in rejected]
        return answer

    def close(self) -> None:
        """Nothing is open."""


def events_in(request: Request) -> list[dict[str, object]]:
    """The events in a request of the SDK, as the collector would read them."""
    body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
    read: list[dict[str, object]] = json.loads(body)
    return read
