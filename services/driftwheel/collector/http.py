"""What the collector's routes share: refusals as problem+json (RFC 9457), keys, and bodies of bounded size."""

import hashlib
import hmac
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from driftwheel.collector.settings import CollectorSettings, Key, Scope
from driftwheel.errors import DriftwheelError

TITLES = {
    400: "Bad request",
    401: "No valid key",
    403: "The key may not do this",
    404: "Not found",
    413: "Too large",
    415: "Unsupported encoding",
    429: "Too many bytes in flight",
    503: "Not now",
}


class Refusal(DriftwheelError):  # named like the errors in errors.py
    """A request as a whole is refused: the HTTP status, a word for the counters, and a sentence for people."""

    def __init__(self, status: int, reason: str, detail: str, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s

    def response(self) -> Response:
        """The refusal as an answer."""
        headers = {"retry-after": str(max(1, ceil(self.retry_after_s)))} if self.status in (429, 503) else {}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.status == 415:
            headers["accept-encoding"] = "gzip, deflate"
        return problem(self.status, str(self), headers=headers)


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None, **extra: object) -> Response:
    """An `application/problem+json` answer."""
    body = {"type": "about:blank", "title": TITLES[status], "status": status, "detail": detail, **extra}
    return Response(msgspec.json.encode(body), status, dict(headers or {}), "application/problem+json")


def answer(status: int, body: object) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def tenant_of(request: Request, keys: Mapping[str, Key], scope: Scope) -> str:
    """
    Whose request this is. Without any keys everyone is `default` (and the collector listens on loopback only).

    Raises `Refusal`: 401 without a valid key, 403 where the key lacks *scope*.
    """
    if not keys:
        return "default"
    given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    prefix, _, rest = given.partition("_")
    name, _, secret = rest.partition("_")
    key = keys.get(name)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    if not hmac.compare_digest(digest, key.sha256 if key else "0" * 64) or key is None or prefix != "dw":
        raise Refusal(
            401, "key", "send a key of this collector as `x-api-key: dw_<id>_<secret>` or `Authorization: Bearer dw_<id>_<secret>`"
        )
    if scope not in key.scopes:
        raise Refusal(403, "scope", f"key {name} has {', '.join(key.scopes) or 'no scope'}, this needs {scope}")
    return key.tenant


class InFlight:
    """Counts the bytes of all bodies in memory against a bound."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.held = 0

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """What one request holds, given back at its end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.held -= lease.held


class Lease:
    """What one request holds of the bytes in flight."""

    def __init__(self, of: InFlight) -> None:
        self._of = of
        self.held = 0

    def take(self, size: int) -> None:
        """Hold *size* bytes more. Raises `Refusal` 429 above the bound, unless this request is alone."""
        if self._of.held + size > self._of.bound and self._of.held > self.held:
            raise Refusal(429, "in_flight", f"{self._of.held} bytes of other requests are under way; send this again", 1.0)
        self._of.held += size
        self.held += size


async def read_body(request: Request, lease: Lease, settings: CollectorSettings) -> bytes:
    """The body, inflated. Raises `Refusal`: 413 above a bound, 415 for an unknown encoding, 400 for a broken one."""
    too_large = Refusal(413, "size", f"a body may have {settings.max_body_bytes} bytes; send fewer events at a time")
    if request.headers.get("content-length", "0").isdigit() and int(request.headers.get("content-length", "0")) > settings.max_body_bytes:
        raise too_large
    inflate = _inflater(request.headers.get("content-encoding", ""), settings.max_inflated_bytes)
    parts: list[bytes] = []
    sent = 0
    async for chunk in request.stream():
        sent += len(chunk)
        if sent > settings.max_body_bytes:
            raise too_large
        part = inflate.feed(chunk) if inflate else chunk
        lease.take(len(part))
        parts.append(part)
    if inflate and not inflate.complete:
        raise Refusal(400, "encoding", "the compressed body ends too early; it was cut on its way")
    return b"".join(parts)


def _inflater(encoding: str, bound: int) -> "_Inflate | None":
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Inflate((31,), bound)
        case "deflate":
            return _Inflate((15, -15), bound)  # RFC 9110 means zlib; some clients send the bare stream
        case other:
            raise Refusal(415, "encoding", f"content-encoding {other[:40]!r} is not known; known: gzip, deflate, identity")


class _Inflate:
    """Inflates piece by piece and stops at a bound, so that a bomb costs its bound and no more."""

    def __init__(self, windows: tuple[int, ...], bound: int) -> None:
        self._windows = windows
        self._left = bound
        self._bound = bound
        self._fresh = True
        self._inflate = zlib.decompressobj(windows[0])

    @property
    def complete(self) -> bool:
        """Whether the stream has ended as it should; an empty body is complete too."""
        return self._fresh or self._inflate.eof

    def feed(self, chunk: bytes) -> bytes:
        """The next piece. Raises `Refusal`."""
        out: list[bytes] = []
        while chunk:
            if self._inflate.eof:  # gzip allows several members in a row
                self._inflate = zlib.decompressobj(self._windows[0])
            part = self._part(chunk)
            self._fresh = False
            self._left -= len(part)
            if self._left < 0:
                raise Refusal(413, "size", f"the body inflates to more than {self._bound} bytes; send fewer events at a time")
            out.append(part)
            chunk = self._inflate.unused_data if self._inflate.eof else b""
        return b"".join(out)

    def _part(self, chunk: bytes) -> bytes:
        for window in self._windows if self._fresh else self._windows[:1]:
            if self._fresh:
                self._inflate = zlib.decompressobj(window)
            try:
                return self._inflate.decompress(chunk, self._left + 1)
            except zlib.error:
                continue
        raise Refusal(400, "encoding", "the body is not what its content-encoding says")
