"""multipart/form-data, as clients send parameters and external tables: everything is in memory already and bounded there."""

import re
from dataclasses import dataclass

from driftwheel.store.embedded.failure import Failure

MAX_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; a file when it has a file name."""

    name: str
    value: bytes
    is_file: bool


def parts(body: bytes, content_type: str) -> list[Part]:
    r"""
    The parts of *body*. Raises `Failure` 408 for what is no form.

    >>> parts(b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n', "multipart/form-data; boundary=x")
    [Part(name='a', value=b'1', is_file=False)]
    """
    found = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', content_type, re.IGNORECASE)
    if not found:
        raise Failure(408, "a multipart/form-data body needs a boundary in its Content-Type", status=400)
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(delimiter, MAX_PARTS + 2)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--") or len(pieces) > MAX_PARTS + 2:
        raise Failure(408, f"the multipart/form-data body is cut, or has more than {MAX_PARTS} parts", status=400)
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, blank, value = piece.partition(b"\r\n\r\n")
    name = re.search(rb'(?i)content-disposition:[^\r\n]*?[;\s]name="?([^";\r\n]*)', head)
    if not blank or not name:
        raise Failure(408, "a part of the multipart/form-data body has no name", status=400)
    return Part(name[1].decode("utf-8", "replace"), value, bool(re.search(rb"(?i)[;\s]filename\*?=", head)))
