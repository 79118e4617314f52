"""
The SDK: a guest in somebody else's process. Standard library and contract only.

The functions here act on one client, made by `init()` or, with its defaults, by the first use.
"""

import os
import threading

from driftwheel.sdk.client import DEFAULT_ENDPOINT, Client, FlushResult, Limits, Stats
from driftwheel.sdk.transport import Transport

__all__ = ["Client", "FlushResult", "Limits", "Stats", "champion", "feedback", "flush", "init", "record", "shutdown", "stats"]


class _Default:
    """The client behind the functions of this module."""

    lock = threading.RLock()
    client: Client | None = None


def init(
    endpoint: str | None = None,
    app: str | None = None,
    api_key: str | None = None,
    *,
    transport: Transport | None = None,
    limits: Limits | None = None,
    strict: bool = False,
) -> Client:
    """
    Make the client behind `record()` and its siblings, and return it. Neither connects nor waits.

    What is not given is read from DRIFTWHEEL_ENDPOINT, DRIFTWHEEL_APP and DRIFTWHEEL_API_KEY, here and nowhere else; without them
    it is `http://127.0.0.1:4318`, `default` and no key. A client from before sends what it has and ends.
    """
    given = os.environ.get
    client = Client(
        endpoint or given("DRIFTWHEEL_ENDPOINT") or DEFAULT_ENDPOINT,
        app or given("DRIFTWHEEL_APP") or "default",
        api_key or given("DRIFTWHEEL_API_KEY") or "",
        transport=transport,
        limits=limits,
        strict=strict,
    )
    with _Default.lock:
        before, _Default.client = _Default.client, client
    if before is not None:
        before.retire()
    return client


def _client() -> Client:
    if (client := _Default.client) is not None:
        return client
    with _Default.lock:
        return _Default.client or init()


def record(prompt: object = None, response: object = None, model: str | None = None, **fields: object) -> str:
    """Record one call of a model; see `Client.record`."""
    return _client().record(prompt, response, model, **fields)


def feedback(value: object = None, name: str | None = None, inference_id: str | None = None, **fields: object) -> str:
    """Record feedback; see `Client.feedback`."""
    return _client().feedback(value, name, inference_id, **fields)


def flush(timeout_s: float = 5.0) -> FlushResult:
    """Send what is recorded; see `Client.flush`."""
    return _client().flush(timeout_s)


def shutdown(timeout_s: float = 2.0) -> FlushResult:
    """End the client; see `Client.shutdown`. What is recorded afterwards is counted as lost to `shutdown`."""
    return _client().shutdown(timeout_s)


def champion(app: str | None = None, default: str | None = None) -> str | None:
    """The model that serves *app* now; see `Client.champion`."""
    return _client().champion(app, default)


def stats() -> Stats:
    """What became of the events; see `Client.stats`."""
    return _client().stats()
