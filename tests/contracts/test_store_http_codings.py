"""The embedded store's codings: those of HTTP and ClickHouse's own blocks, both ways, bounded, and while an answer is made."""

import gzip
import io
import time
import zlib
from collections.abc import Callable, Iterator

import brotli
import httpx
import lz4.block
import lz4.frame
import pytest
import zstandard
from clickhouse_cityhash.cityhash import CityHash128
from clickhouse_driver.compression.lz4 import Compressor
from clickhouse_driver.writer import write_binary_uint128
from hypothesis import given
from hypothesis import strategies as st

from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.frames import HASH, HEAD, LZ4, PLAIN, ZSTD, Framed, unframed
from store_http import Server, running
from stores import ask, failed

BODY_MIB = 8
CODINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "deflate": (zlib.compress, zlib.decompress),
    "zstd": (zstandard.compress, lambda data: zstandard.ZstdDecompressor().stream_reader(data).read()),
    "lz4": (lz4.frame.compress, lz4.frame.decompress),
    "br": (brotli.compress, brotli.decompress),
}
NUMBERS = b"".join(b"%d\n" % n for n in range(200_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("store"), "--body-mib", str(BODY_MIB)) as up:
        yield up


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        client.headers["accept-encoding"] = "identity"
        yield client


def raw(http: httpx.Client, sql: bytes, headers: dict[str, str] | None = None, /, **url: str) -> tuple[httpx.Headers, bytes]:
    with http.stream("POST", "/", params=url, content=sql, headers=headers) as answer:
        return answer.headers, b"".join(answer.iter_raw())


@pytest.mark.parametrize("coding", CODINGS)
def test_http_compression_works_both_ways(http: httpx.Client, coding: str) -> None:
    """By Content-Encoding and Accept-Encoding, streamed or whole; a broken body is a ClickHouse error."""
    pack, unpack = CODINGS[coding]
    accepts = {"accept-encoding": coding}
    for sql in (b"SELECT number FROM numbers(200000)", b"SELECT number FROM numbers(200000) FORMAT CSVWithNames"):
        headers, body = raw(http, pack(sql), {"content-encoding": coding, **accepts})
        assert headers["content-encoding"] == coding
        assert unpack(body).removeprefix(b'"number"\n') == NUMBERS
        assert len(body) < 900_000
    twice = pack(b"SELECT ") + pack(b"5")  # gzip, zstd and lz4 may stand one after the other
    if coding not in ("br", "deflate"):
        assert ask(http, twice, {"content-encoding": coding}).text == "5\n"
    for broken in (pack(sql)[:-3], pack(sql)[:-7], pack(sql)[:20], b"nonsense that is no archive"):
        failed(ask(http, broken, {"content-encoding": coding}), 271)
    failed(ask(http, b"x", {"content-encoding": "rot13"}), 89)
    assert "content-encoding" not in raw(http, b"SELECT 1", accepts, enable_http_compression="0")[0]


@pytest.mark.parametrize("coding", [*CODINGS, "blocks"])
def test_a_compression_bomb_costs_its_bound_and_no_more(http: httpx.Client, coding: str) -> None:
    """A small body that inflates beyond the bound is refused, as is a large one."""
    plain = bytes(2 * BODY_MIB << 20)
    url, headers = ({"decompress": "1"}, {}) if coding == "blocks" else ({}, {"content-encoding": coding})
    bomb = framed(plain, ZSTD) if coding == "blocks" else CODINGS[coding][0](plain)
    assert len(bomb) < 1 << 20
    answer = http.post("/", params=url, content=bomb, headers=headers)
    failed(answer, 229)
    assert answer.status_code == 413
    failed(http.post("/", content=plain), 229)
    assert ask(http, "SELECT 1").text == "1\n"


@pytest.mark.parametrize(("coding", "compress"), [("identity", "0"), ("gzip", "0"), ("identity", "1")])
def test_a_stream_arrives_while_it_is_made(http: httpx.Client, coding: str, compress: str) -> None:
    """Also compressed: every piece is flushed."""
    sql = "SELECT sleepEachRow(0.3), number FROM numbers(4) SETTINGS max_block_size = 1 FORMAT CSV"
    began = time.monotonic()
    with http.stream("POST", "/", params={"compress": compress}, content=sql, headers={"accept-encoding": coding}) as answer:
        chunks = answer.iter_bytes()
        first, first_s = next(chunks), time.monotonic() - began
        body = first + b"".join(chunks)
    assert (unframed(body, 99) if compress == "1" else body).splitlines() == [b"0,%d" % n for n in range(4)]
    assert first_s < 0.9 < time.monotonic() - began


# ---- ClickHouse's own blocks


def framed(data: bytes, method: int = LZ4) -> bytes:
    return Framed(method).piece(data)


def driver_block(data: bytes) -> bytes:
    """*data* as clickhouse-driver puts it into a block."""
    compressor, out = Compressor(), io.BytesIO()
    compressor.write(data)
    block = bytes([compressor.method_byte]) + compressor.get_compressed_data(1)
    write_binary_uint128(CityHash128(block), out)
    return bytes(out.getvalue() + block)


@given(st.binary(max_size=3000), st.sampled_from([LZ4, ZSTD]), st.integers(0), st.integers(1, 255))
def test_blocks_hold_what_was_put_in_and_any_flipped_bit_is_found(data: bytes, method: int, place: int, flip: int) -> None:
    """As another client writes them; several stand one after the other."""
    packed = framed(data, method)
    assert unframed(packed + packed, 6000) == data + data
    if data:
        assert framed(data) == driver_block(data)
        at = place % len(packed)
        with pytest.raises(Failure) as broken:
            unframed(packed[:at] + bytes([packed[at] ^ flip]) + packed[at + 1 :], 6000)
        assert broken.value.code in (40, 271)
        with pytest.raises(Failure):
            unframed(packed[:at] or b"x", 6000)


def test_large_data_come_in_blocks_of_a_mebibyte() -> None:
    """Readers bound what a block may claim."""
    data = bytes(range(256)) * 12_000
    sizes, packed, at = [], framed(data), 0
    while at < len(packed):
        _, size, plain = HEAD.unpack_from(packed, at + HASH.size)
        sizes.append(plain)
        at += HASH.size + size
    assert (max(sizes), sum(sizes)) == (1 << 20, len(data))
    assert unframed(packed, len(data)) == data


@pytest.mark.parametrize(
    ("method", "size", "data", "code"),
    [
        (PLAIN, 3, b"abc", 0),
        (0x91, 3, b"abc", 89),
        (LZ4, 4, lz4.block.compress(b"abc", store_size=False), 271),
        (LZ4, 2, lz4.block.compress(b"abc", store_size=False), 271),
        (ZSTD, 2, zstandard.compress(b"abc"), 271),
        (ZSTD, 999, zstandard.compress(bytes(1000)), 271),
        (ZSTD, 1000, zstandard.compress(bytes(1000))[:-4], 271),
        (LZ4, 1 << 31, b"abc", 229),
    ],
)
def test_a_block_that_lies_about_its_size_is_refused(method: int, size: int, data: bytes, code: int) -> None:
    """With a checksum that is right: it guards against accidents only."""
    block = HEAD.pack(method, HEAD.size + len(data), size) + data
    number = CityHash128(block)
    body = HASH.pack(number >> 64, number & (1 << 64) - 1) + block
    if code:
        with pytest.raises(Failure) as refused:
            unframed(body, 10_000)
        assert refused.value.code == code
    else:
        assert unframed(body, 10_000) == data


@pytest.mark.parametrize("method", ["", "lz4", "ZSTD"])
def test_answers_come_in_blocks_by_compress(http: httpx.Client, method: str) -> None:
    """Streamed, whole and empty ones, within HTTP's coding where the client takes that too."""
    url = {"compress": "1", **({"network_compression_method": method} if method else {})}
    for sql in (b"SELECT number FROM numbers(200000)", b"SELECT number FROM numbers(200000) FORMAT CSVWithNames"):
        _, body = raw(http, sql, **url)
        assert body[16] == (ZSTD if method == "ZSTD" else LZ4)
        assert unframed(body, len(NUMBERS) + 9).removeprefix(b'"number"\n') == NUMBERS
        headers, body = raw(http, sql, {"accept-encoding": "gzip"}, **url)
        assert headers["content-encoding"] == "gzip"
        assert unframed(gzip.decompress(body), len(NUMBERS) + 9).removeprefix(b'"number"\n') == NUMBERS
    assert raw(http, b"SELECT 1 WHERE 0", **url)[1] == b""


def test_errors_come_in_blocks_too(http: httpx.Client, server: Server) -> None:
    """Before an answer and in the middle of one; who was not let in has no blocks yet."""
    headers, body = raw(http, b"SELECT nope", compress="1")
    assert headers["x-clickhouse-exception-code"] == "47"
    assert unframed(body, 9999).startswith(b"Code: 47. DB::Exception: ")
    headers, body = raw(http, b"SELECT throwIf(number = 900000), number FROM numbers(1000000)", compress="1")
    head, _, frame = unframed(body, 99_000_000).partition(b"\r\n__exception__\r\n" + headers["x-clickhouse-exception-tag"].encode())
    assert head.startswith(b"0\t0\n0\t1\n")
    assert b"Code: 395. DB::Exception: " in frame
    failed(httpx.post(server.url, params={"compress": "1"}, content="SELECT 1", auth=("default", "wrong"), trust_env=False), 516)


def test_bodies_come_in_blocks_by_decompress(http: httpx.Client) -> None:
    """A statement or the rows of an INSERT, within HTTP's coding or not; a broken one is told so."""
    body = driver_block(b"SELECT ") + driver_block(b"5")
    assert http.post("/", params={"decompress": "1"}, content=body).text == "5\n"
    assert http.post("/", params={"decompress": "1"}, content=gzip.compress(body), headers={"content-encoding": "gzip"}).text == "5\n"
    assert http.post("/", params={"decompress": "1", "query": "SELECT 1"}).text == "1\n"
    ask(http, "CREATE TABLE blocks (a UInt32) ENGINE = MergeTree ORDER BY a").raise_for_status()
    rows = framed(b"".join(b"%d\n" % n for n in range(100_000)), ZSTD)
    http.post("/", params={"decompress": "1", "query": "INSERT INTO blocks FORMAT TSV"}, content=rows).raise_for_status()
    assert ask(http, "SELECT count(), sum(a) FROM blocks").text == "100000\t4999950000\n"
    failed(http.post("/", params={"decompress": "1"}, content=body[:-1]), 40)
    failed(http.post("/", params={"decompress": "1"}, content=body[:30] + b"!" + body[31:]), 40)
    failed(http.post("/", params={"decompress": "1"}, content=b"SELECT 1"), 271)
