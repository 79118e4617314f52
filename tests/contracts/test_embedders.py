"""Every embedder keeps the contract: the packaged MiniLM for real, the OpenAI endpoint against a service on loopback."""

import hashlib
import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from driftwheel import embedders
from driftwheel.embedders import EMBEDDERS, Embedder
from driftwheel.embedders.openai import CHARS
from driftwheel.embedders.vectors import bfloat16, cosine, from_bfloat16, unit
from driftwheel.errors import Busy, ConfigError, MissingExtra

KEY = "sk-not-a-real-key"

ties = st.integers(0, 0x7EFF).map(lambda upper: float(np.uint32(upper << 16 | 0x8000).view(np.float32)))
finite = st.floats(-(2.0**100), 2.0**100, width=32) | ties


class Service(ThreadingHTTPServer):
    """An embeddings endpoint that remembers what it was asked, and answers as `replies` say before it answers well."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[tuple[int, bytes, dict[str, str]]] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({"path": self.path} | asked)
        self.server.keys.append(self.headers.get("Authorization"))
        items = [
            {"index": n, "object": "embedding", "embedding": vector(text, asked.get("dimensions", 8))}
            for n, text in enumerate(asked["input"])
        ]
        good: tuple[int, bytes, dict[str, str]] = (
            200,
            json.dumps({"object": "list", "data": items[::-1], "usage": {"total_tokens": 1}}).encode(),
            {},
        )
        code, body, headers = self.server.replies.pop(0) if self.server.replies else good
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name in the base class
        """Nothing: a test's output is its own."""


def vector(text: str, dimensions: int) -> list[float]:
    """Numbers that depend on the text alone; not of unit length."""
    return [float(byte) - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:dimensions]]


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    return embedders.load("sentence_transformers", threads=2)


def assert_lawful(embedder: Embedder) -> None:
    """Shapes, lengths, order, and the same text at the same place in any company."""
    texts = ["a lamp for the desk", "", "where is my order?", "a lamp for the desk", "x" * 100_000, "olá, tudo bem?"]
    vectors = embedder.encode(texts)

    assert embedder.name
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), embedder.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[0], vectors[3], atol=1e-6)
    assert np.allclose(embedder.encode(texts[::-1])[::-1], vectors, atol=1e-5)
    assert np.allclose(np.concatenate([embedder.encode([text]) for text in texts]), vectors, atol=1e-5)
    assert embedder.encode([]).shape == (0, embedder.dimensions)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_packaged_model_keeps_the_contract_and_knows_what_is_alike(minilm: Embedder) -> None:
    """MiniLM from its package folder, without a hub: 384 dimensions, and what means the same lies close."""
    assert_lawful(minilm)
    lamp, light, order = minilm.encode(["a lamp for the desk", "a desk light", "my parcel has not arrived"])

    assert (minilm.name, minilm.dimensions) == ("all-MiniLM-L6-v2", 384)
    assert lamp @ light > 0.7
    assert lamp @ order < 0.3


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_rounding_is_torchs_own(minilm: Embedder) -> None:
    """An oracle: torch rounds float32 to bfloat16 as we do, for vectors of the model and for noise."""
    import torch

    noise = np.random.default_rng(7).standard_normal((200, 384)).astype(np.float32)
    for vectors in (noise, minilm.encode(["a lamp", "a parcel", "a question"])):
        theirs = torch.from_numpy(vectors).to(torch.bfloat16).to(torch.float32).numpy()
        assert np.array_equal(np.stack([from_bfloat16(row) for row in bfloat16(vectors)]), theirs)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_model_that_is_not_there_is_an_error_of_the_settings(tmp_path: Any) -> None:
    """The text names the setting and the model."""
    with pytest.raises(ConfigError, match=r"embeddings\.params\.model: .*cannot be loaded"):
        embedders.load("sentence_transformers", model=str(tmp_path))


def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cure is a command to copy."""
    monkeypatch.setitem(sys.modules, "torch", None)  # as where only the server's part is installed
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'driftwheel\[embed\]'"):
        embedders.load("sentence_transformers")


def test_an_endpoint_keeps_the_contract(service: Service) -> None:
    """The service answers in the wrong order and not at unit length; both are put right."""
    embedder = embedders.load("openai", url=service.url, model="some-model", api_key=KEY, batch=4)

    assert embedder.dimensions == 8
    assert_lawful(embedder)
    assert np.allclose(embedder.encode(["hello"]), unit([vector("hello", 8)]))
    assert {(one["path"], one["model"]) for one in service.requests} == {("/v1/embeddings", "some-model")}
    assert max(len(one["input"]) for one in service.requests) == 4
    assert {1, CHARS} <= {len(text) for one in service.requests for text in one["input"]}  # empty ones as a blank, long ones cut
    assert set(service.keys) == {f"Bearer {KEY}"}


def test_an_endpoint_is_asked_for_the_dimensions_that_are_set(service: Service) -> None:
    """Some models can be shortened; without a setting nothing is asked for. No key, no header."""
    embedder = embedders.load("openai", url=service.url, model="m", dimensions=4)

    assert embedder.encode(["a", "b"]).shape == (2, 4)
    assert [one["dimensions"] for one in service.requests] == [4]
    assert service.keys == [None]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_an_endpoint_that_is_busy_is_asked_again(service: Service, code: int) -> None:
    """Twice refused, the third time answered, with the pause that the service asks for."""
    service.replies = [(code, b"later", {"Retry-After": "0"})] * 2

    assert embedders.load("openai", url=service.url, model="m").encode(["hello"]).shape == (1, 8)
    assert len(service.requests) == 3


def test_an_endpoint_that_stays_busy_is_busy(service: Service) -> None:
    """After three tries the worker slows down; it does not stop."""
    service.replies = [(503, b"model is loading", {"Retry-After": "0"})] * 9
    with pytest.raises(Busy, match="503 model is loading"):
        embedders.load("openai", url=service.url, model="m").encode(["hello"])
    assert len(service.requests) == 3


def test_an_endpoint_that_is_not_there_is_busy() -> None:
    """It may be starting; its address is in the text."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Busy, match=f"127.0.0.1:{port}/v1/embeddings does not embed now"):
        embedders.load("openai", url=f"http://127.0.0.1:{port}/v1", model="m").encode(["hello"])


def test_a_refusal_says_why_and_keeps_the_key_to_itself(service: Service) -> None:
    """A wrong key or model is not tried again."""
    service.replies = [(401, b'{"error": "no such key"}', {})]
    with pytest.raises(ConfigError, match=r"refuses \(401\).*no such key") as refused:
        embedders.load("openai", url=service.url, model="m", api_key=KEY).encode(["hello"])

    assert KEY not in str(refused.value)
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>a proxy</html>", "does not answer as OpenAI"),
        (b'{"data": "none"}', "does not answer as OpenAI"),
        (b'{"data": []}', "gave 0 vectors"),
        (b'{"data": [{"index": 0, "embedding": [1, 2, 3]}, {"index": 1, "embedding": [1, 2]}]}', "gave 2 vectors of \\[2, 3\\]"),
        (b'{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 0, "embedding": [1, 2]}]}', "gave 2 vectors"),
    ],
)
def test_an_answer_of_another_form_is_an_error_of_the_settings(service: Service, body: bytes, words: str) -> None:
    """Half an answer is never taken for a whole one."""
    service.replies = [(200, body, {})]
    with pytest.raises(ConfigError, match=words):
        embedders.load("openai", url=service.url, model="m").encode(["hello", "you"])


def test_the_table_is_sorted_and_wrong_names_are_told() -> None:
    """As in every extension folder."""
    assert list(EMBEDDERS) == sorted(EMBEDDERS)
    with pytest.raises(ConfigError, match=r'no embedder called "opena"; known: openai, sentence_transformers, or "package\.module:Class"'):
        embedders.load("opena")
    with pytest.raises(ConfigError, match=r"embeddings\.params: .*'uri'"):
        embedders.load("openai", uri="http://127.0.0.1/v1", model="m")
    with pytest.raises(ConfigError, match=r"embeddings\.params\.url: .*is no HTTP address"):
        embedders.load("openai", url="file:///etc/passwd", model="m")
    assert embedders.load("driftwheel.embedders.openai:OpenAI", url="http://127.0.0.1/v1", model="m").name == "m"


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=finite))
def test_bfloat16_is_the_nearest_and_ties_go_to_even(vectors: NDArray[np.float32]) -> None:
    """No bfloat16 lies closer; of two that are as close, the one whose last bit is 0. Once rounded, nothing changes."""
    rounded = np.stack([from_bfloat16(row) for row in bfloat16(vectors)])

    below = (vectors.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)  # towards zero
    above = ((vectors.view(np.uint32) & np.uint32(0xFFFF0000)) + np.uint32(0x10000)).view(np.float32)
    exact = vectors.astype(np.float64)
    to_below, to_above = np.abs(exact - below), np.abs(exact - above)
    below_is_even = (below.view(np.uint32) >> np.uint32(16)) % 2 == 0
    nearest = np.where((to_below < to_above) | ((to_below == to_above) & below_is_even), below, above)
    assert np.array_equal(rounded, nearest)
    assert bfloat16(rounded) == bfloat16(vectors)
    assert all(len(row) == 2 * vectors.shape[1] for row in bfloat16(vectors))


@given(arrays(np.float32, (2, 16), elements=st.floats(-1, 1, width=32)))
def test_a_cosine_stays_within_its_bounds(pair: NDArray[np.float32]) -> None:
    """-1 to 1, the same both ways, 1 with itself, and unit vectors have length 1 unless they are zero."""
    lengths = np.linalg.norm(unit(pair), axis=1)
    assert np.all(np.isclose(lengths, 1, atol=1e-5) | (np.linalg.norm(pair, axis=1) == 0))

    a, b = pair
    if np.linalg.norm(a) > 1e-6 and np.linalg.norm(b) > 1e-6:
        assert -1 <= cosine(a, b) == cosine(b, a) <= 1
        assert cosine(a, a) == pytest.approx(1)
