"""HTTP content codings both ways: bounded inflating of requests, flushing compression of responses. ClickHouse's own: frames.py."""

import io
import zlib
from collections.abc import Callable
from typing import Protocol

from driftwheel.store.embedded.failure import Failure

PREFERENCE = ("zstd", "lz4", "gzip", "br", "deflate")
"""Cheapest per byte first, among those that the client takes equally."""


class Coder(Protocol):
    """Compresses piece by piece."""

    def piece(self, data: bytes) -> bytes:
        """*data* compressed so that the receiver can read all of it at once."""
        ...

    def end(self) -> bytes:
        """What closes the stream."""
        ...


def inflate(body: bytes, coding: str, bound: int) -> bytes:
    """
    The request's body without its Content-Encoding, *bound* bytes at most.

    Raises `Failure`: 89 for an unknown coding, 271 for a broken body, 229 for one that inflates beyond *bound*.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity") or not body:
        return body
    if coding not in _READERS:
        raise Failure(89, f"Unknown compression method {coding[:40]!r}; known: {', '.join(_READERS)}")
    try:
        plain = _READERS[coding](body, bound + 1)
    except _broken() as wrong:
        raise Failure(271, f"Cannot decompress the request body as {coding}: it is broken or cut") from wrong
    if len(plain) > bound:
        raise Failure(229, f"the request body inflates to more than {bound} bytes; send it in smaller batches")
    return plain


def coder_for(accepted: str) -> tuple[str, Coder | None]:
    """
    The best coding that an Accept-Encoding takes, and a fresh coder for it; ("", None) for none.

    >>> coder_for("gzip;q=0.5, br;q=0, lz4")[0], coder_for("gzip, deflate")[0], coder_for("identity")
    ('lz4', 'gzip', ('', None))
    """
    weights = dict(_weight(item) for item in accepted.lower().split(",") if item.strip())
    best = max(PREFERENCE, key=lambda name: (weights.get(name, 0.0), -PREFERENCE.index(name)))
    return (best, _CODERS[best]()) if weights.get(best, 0.0) > 0 else ("", None)


def _weight(item: str) -> tuple[str, float]:
    name, _, q = item.partition(";")
    try:
        return name.strip(), float(q.strip().removeprefix("q=")) if q.strip() else 1.0
    except ValueError:
        return name.strip(), 0.0


class _Stream:
    """A coder of cramjam. The lowest levels: on loopback speed wins, and higher ones of brotli cost ten times the CPU for a tenth."""

    def __init__(self, name: str, level: int) -> None:
        import cramjam

        self._stream = getattr(cramjam, name).Compressor(level)

    def piece(self, data: bytes) -> bytes:
        self._stream.compress(data)
        return bytes(self._stream.flush())

    def end(self) -> bytes:
        return bytes(self._stream.finish())


class _Lz4:
    """Not cramjam's, whose flush keeps something back."""

    def __init__(self) -> None:
        import lz4.frame

        self._stream, self._begun = lz4.frame.LZ4FrameCompressor(auto_flush=True), False

    def piece(self, data: bytes) -> bytes:
        head = b"" if self._begun else self._stream.begin()
        self._begun = True
        return bytes(head + self._stream.compress(data))

    def end(self) -> bytes:
        head = b"" if self._begun else self._stream.begin()
        return bytes(head + self._stream.flush())


def _gunzip(body: bytes, most: int) -> bytes:
    import gzip

    with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
        return stream.read(most)


def _undeflate(body: bytes, most: int) -> bytes:
    """RFC 9110 means zlib; some clients send the bare stream."""
    try:
        return _zlib_read(zlib.decompressobj(15), body, most)
    except zlib.error:
        return _zlib_read(zlib.decompressobj(-15), body, most)


def _zlib_read(stream: "zlib._Decompress", body: bytes, most: int) -> bytes:
    plain = stream.decompress(body, most)
    if len(plain) < most and not stream.eof:
        raise EOFError
    return plain


def _unzstd(body: bytes, most: int) -> bytes:
    """
    Slice by slice, since the reader of a whole stream takes a cut one for a short one.

    Four bytes can say 128 KiB, so a slice of 1/32768 of what may still come cannot overshoot by much.
    """
    import zstandard

    parts, size, at = [], 0, 0
    frame = zstandard.ZstdDecompressor().decompressobj()
    while at < len(body) and size < most:
        if frame.eof:
            frame = zstandard.ZstdDecompressor().decompressobj()
        piece = body[at : at + max(256, (most - size) // 32768)]
        parts.append(frame.decompress(piece))
        size += len(parts[-1])
        at += len(piece) - len(frame.unused_data)
    if size < most and not frame.eof:
        raise EOFError
    return b"".join(parts)


def _unlz4(body: bytes, most: int) -> bytes:
    import lz4.frame

    with lz4.frame.LZ4FrameFile(io.BytesIO(body)) as stream:
        return bytes(stream.read(most))


def _unbrotli(body: bytes, most: int) -> bytes:
    import brotli

    stream, parts, size, rest = brotli.Decompressor(), [], 0, body
    while size < most:
        part = stream.process(rest, output_buffer_limit=most - size)
        rest = b""
        parts.append(part)
        size += len(part)
        if stream.is_finished():
            break
        if not part and stream.can_accept_more_data():
            raise EOFError
    return b"".join(parts)[:most]


def _broken() -> tuple[type[Exception], ...]:
    """What the libraries raise for a broken body; nothing common is among it."""
    import brotli
    import zstandard

    return OSError, EOFError, ValueError, RuntimeError, zlib.error, zstandard.ZstdError, brotli.error


_READERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "deflate": _undeflate,
    "br": _unbrotli,
    "lz4": _unlz4,
    "zstd": _unzstd,
}
_CODERS: dict[str, Callable[[], Coder]] = {
    "gzip": lambda: _Stream("gzip", 3),
    "deflate": lambda: _Stream("zlib", 3),  # what RFC 9110 means by deflate
    "zstd": lambda: _Stream("zstd", 1),
    "lz4": _Lz4,
    "br": lambda: _Stream("brotli", 1),
}
