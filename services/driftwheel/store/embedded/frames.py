"""
ClickHouse's own compressed blocks (`compress=1`, `decompress=1`), which the JDBC driver and clickhouse-go speak over HTTP.

A block: 16 bytes of CityHash128 over all that follows, a byte for the method, the size from that byte on and the size of
the data unpacked (u32 each), the data. Reference: https://clickhouse.com/docs/data-compression/compression-in-clickhouse
"""

import struct
from dataclasses import dataclass

from driftwheel.store.embedded.compression import Coder
from driftwheel.store.embedded.failure import Failure

HASH, HEAD = struct.Struct("<QQ"), struct.Struct("<BII")
PLAIN, LZ4, ZSTD = 0x02, 0x82, 0x90
LARGEST = 1 << 20
"""1 MiB, the most that a server puts into a block."""


@dataclass(frozen=True, slots=True)
class Framed:
    """
    A coder of blocks by *method*, on their way through the coding of HTTP if there is one.

    >>> unframed(Framed(ZSTD).piece(b"SELECT 1") + Framed(LZ4).piece(b"; "), 99)
    b'SELECT 1; '
    """

    method: int
    http: Coder | None = None

    def piece(self, data: bytes) -> bytes:
        """*data* in blocks, each readable at once."""
        framed = b"".join(_block(data[at : at + LARGEST], self.method) for at in range(0, len(data), LARGEST))
        return self.http.piece(framed) if self.http else framed

    def end(self) -> bytes:
        """Blocks need no end."""
        return self.http.end() if self.http else b""


def unframed(body: bytes, bound: int) -> bytes:
    """
    What the blocks in *body* hold, *bound* bytes at most.

    Raises `Failure`: 40 for a wrong checksum, which a cut block has, 89 for an unknown method, 271 for what is no block,
    229 beyond *bound*.
    """
    parts, left, at = [], bound, 0
    while at < len(body):
        if len(body) < at + HASH.size + HEAD.size:
            raise _broken()
        method, size, plain = HEAD.unpack_from(body, at + HASH.size)
        block = body[at + HASH.size : at + HASH.size + size]
        if _hash(block) != body[at : at + HASH.size]:
            raise Failure(40, "Checksum doesn't match: a compressed block of the request body is corrupted or cut")
        left -= plain
        if left < 0:
            raise Failure(229, f"the request body inflates to more than {bound} bytes; send it in smaller batches")
        parts.append(_unpacked(block[HEAD.size :], plain, method))
        at += HASH.size + size
    return b"".join(parts)


def _block(data: bytes, method: int) -> bytes:
    import lz4.block
    import zstandard

    packed = lz4.block.compress(data, store_size=False) if method == LZ4 else zstandard.compress(data, level=1)
    block = HEAD.pack(method, HEAD.size + len(packed), len(data)) + packed
    return _hash(block) + block


def _unpacked(data: bytes, size: int, method: int) -> bytes:
    import lz4.block
    import zstandard

    try:
        if method == LZ4:
            data = lz4.block.decompress(data, uncompressed_size=size)
        elif method == ZSTD:  # as a stream: a frame may claim any size of its own
            data = zstandard.ZstdDecompressor().stream_reader(data).read(size + 1)
        elif method != PLAIN:
            raise Failure(89, f"Unknown compression method {method:#04x} of a block; known: LZ4, ZSTD")
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as wrong:
        raise _broken() from wrong
    if len(data) != size:
        raise _broken()
    return data


def _hash(block: bytes) -> bytes:
    from clickhouse_cityhash.cityhash import CityHash128

    number: int = CityHash128(block)
    return HASH.pack(number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF)  # the high half stands first


def _broken() -> Failure:
    return Failure(271, "Cannot decompress the request body: a compressed block of it is broken or cut")
