"""
Native blocks of any protocol revision, out of `FORMAT Buffers`.

chDB writes Native as revision 0. Clients ask for a later one by `client_protocol_version` and then expect BlockInfo, from
54454 on a byte per column (is it serialized in a special way? no), and type names that keep their zones. `FORMAT Buffers`
gives every column as a sized buffer, so blocks of any revision can be put together without decoding a value.
BlockInfo is tagged: readers of later revisions do without the fields that they know and this does not write.
"""

import struct
from collections.abc import Iterator, Sequence

CUSTOM_SERIALIZATION = 54454
BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""Field 1: no overflow rows; field 2: bucket -1; end."""

Column = tuple[str, str]
"""Name and type."""


def blocks(buffers: bytes, columns: Sequence[Column], revision: int) -> bytes:
    r"""
    The Native blocks for the blocks in *buffers*.

    >>> blocks(struct.pack("<QQQ", 1, 2, 2) + b"\x07\x08", [("a", "UInt8")], 54460).hex(" ")
    '01 00 02 ff ff ff ff 00 01 02 01 61 05 55 49 6e 74 38 00 07 08'
    """
    heads = [_text(name) + _text(kind) + (b"\x00" if revision >= CUSTOM_SERIALIZATION else b"") for name, kind in columns]
    return b"".join(_pieces(memoryview(buffers), heads))


def _pieces(view: memoryview, heads: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    at = 0
    while at < len(view):
        count, rows = struct.unpack_from("<QQ", view, at)
        at += 16
        if count != len(heads):
            raise ValueError(f"a block of {count} columns where {len(heads)} were described")
        yield BLOCK_INFO + varint(count) + varint(rows)
        for head in heads:
            (size,) = struct.unpack_from("<Q", view, at)
            at += 8
            yield head
            yield view[at : at + size]
            at += size


def names_and_types(data: bytes) -> tuple[list[Column], int]:
    r"""
    The columns that stand before the rows of RowBinaryWithNamesAndTypes, and where the rows begin.

    >>> names_and_types(b"\x01\x01a\x05UInt8\x07")
    ([('a', 'UInt8')], 9)
    """
    count, at = _read_varint(data, 0)
    texts = []
    for _ in range(2 * count):
        size, at = _read_varint(data, at)
        texts.append(data[at : at + size].decode("utf-8", "replace"))
        at += size
    return list(zip(texts[:count], texts[count:], strict=True)), at


def varint(number: int) -> bytes:
    r"""
    LEB128, seven bits a byte.

    >>> varint(300)
    b'\xac\x02'
    """
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
        shift += 7


def _text(text: str) -> bytes:
    raw = text.encode()
    return varint(len(raw)) + raw
