"""The client: what `driftwheel.record()` and its siblings do, on an object of its own."""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from driftwheel.sdk._ids import Mint
from driftwheel.sdk._notices import Notices, Shield
from driftwheel.sdk._queue import Item, Queue
from driftwheel.sdk._snapshot import Snapshot
from driftwheel.sdk.transport import HttpTransport, Transport

if TYPE_CHECKING:
    from driftwheel.sdk._champion import Champions
    from driftwheel.sdk._sender import Sender

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"
EXIT_S = 2.0
"""What the end of the process waits for all clients together; what is not sent by then is lost to `shutdown`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    The bounds of a client. `max_bytes` is what bounds the host's memory: it estimates what is kept of the events on their way.

    50,000 items, because a burst of 20,000 small events must fit while their answers take 50 ms each.
    """

    max_items: int = 50_000
    max_bytes: int = 64 << 20
    batch_items: int = 500
    batch_bytes: int = 900 << 10
    linger_s: float = 0.2
    timeout_s: float = 10.0
    backoff_s: float = 0.5
    champion_ttl_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult:
    """
    What became of all events since `init()`: `delivered`, and `lost` by reason. `pending` were recorded before and are not settled.

    `ok` is true when nothing is pending and nothing was ever lost.
    """

    delivered: int
    pending: int
    lost: Mapping[str, int]

    @property
    def ok(self) -> bool:
        return self.pending == 0 and not self.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """
    The account of one moment: `recorded == sent + pending + sum(lost.values())`.

    Reasons of loss: `queue_full`, `queue_bytes`, `encode_error`, `refused` (a 4xx), `rejected` (by the collector, item by item),
    `gave_up`, `shutdown`. `details` counts them with their text; `truncated` events were sent, but not whole.
    """

    recorded: int
    sent: int
    pending: int
    pending_bytes: int
    lost: Mapping[str, int]
    truncated: int
    details: Mapping[str, int]


class Client:
    """
    Sends what is recorded to a collector, from a thread of its own that starts with the first event.

    No method raises into the host and only `flush`, `shutdown` and `champion` wait, each for a stated time; `strict`
    lets faults through, for tests. After a fork the child begins with an empty queue; the parent sends what it has.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        app: str = "default",
        api_key: str = "",
        *,
        transport: Transport | None = None,
        limits: Limits | None = None,
        strict: bool = False,
    ) -> None:
        self._app, self._strict = app, strict
        self._limits = limits or Limits()
        self._transport: Transport = transport or HttpTransport(endpoint)
        self._identity = {"user-agent": "driftwheel-sdk"} | ({"x-api-key": api_key} if api_key else {})
        self._champions: Champions | None = None
        self._begin()
        _CLIENTS.add(self)

    def record(self, prompt: object = None, response: object = None, model: str | None = None, **fields: object) -> str:
        """
        Record one call of a model and return its event id: `id=` if given (a UUID), else a fresh UUIDv7.

        *prompt* and *response* may be text, messages, or a provider's whole answer. Other fields are those of `Inference`
        (`latency_s`, `input_tokens`, `session_id`, `error_type`, …) and their usual other names. The arguments are
        copied at once; encoding and sending happen later, elsewhere.
        """
        return self._offer("inferences", {"prompt": prompt, "response": response, "model": model, **fields})

    def feedback(self, value: object = None, name: str | None = None, inference_id: str | None = None, **fields: object) -> str:
        """
        Record what a person, a judge or code said of an inference, a response id, a span or a session; returns its event id.

        Other fields are those of `Feedback` (`label`, `comment`, `correction`, `source`, `session_id`, …). True is 1, False is 0.
        """
        return self._offer("feedback", {"value": value, "name": name, "inference_id": inference_id, **fields})

    def flush(self, timeout_s: float = 5.0) -> FlushResult:
        """Send what is recorded, waiting at most *timeout_s* seconds (in asyncio: `await asyncio.to_thread(client.flush)`)."""
        pending = self._queue.wait(timeout_s)
        account = self._queue.account()
        if self._strict and self._sender is not None and (fault := self._sender.fault) is not None:
            self._sender.fault = None
            raise fault
        return FlushResult(delivered=account.sent, pending=pending, lost=account.lost)

    def shutdown(self, timeout_s: float = EXIT_S) -> FlushResult:
        """Take nothing more in, send what is recorded for at most *timeout_s* seconds, count the rest as lost to `shutdown`."""
        end = monotonic() + timeout_s
        self._queue.close()
        self._queue.wait(timeout_s)
        if left := self._queue.abandon():
            self._notices.warn("shutdown", f"{left} events lost to shutdown: they could not be sent in {timeout_s:g} s")
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, min(0.2, end - monotonic())))
        return self.flush(0)

    def retire(self) -> None:
        """Take nothing more in; the thread sends what is left and ends, nobody waits."""
        self._queue.close()

    def champion(self, app: str | None = None, default: str | None = None) -> str | None:
        """
        The model that serves *app* now, or *default*. Asked of the collector at most every 30 s, for at most 1 s.

        While the collector is away the last answer stays true; callers beside one that asks get it too.
        """
        with Shield(self._notices, lambda: None, strict=self._strict):
            if self._champions is None:
                from driftwheel.sdk._champion import Champions

                self._champions = Champions(self._transport, self._identity, self._limits.champion_ttl_s)
            return self._champions.of(app or self._app) or default
        return default

    def stats(self) -> Stats:
        """The account of this moment; never waits for anything but a lock."""
        account, sender = self._queue.account(), self._sender
        return Stats(
            **account._asdict(),
            truncated=sender.truncated if sender else 0,
            details=dict(sender.reasons) if sender else {},
        )

    def _offer(self, kind: str, given: dict[str, object]) -> str:
        event = str(given.pop("id", None) or self._mint.new())
        with self._shield:
            snapshot = Snapshot()
            fields = snapshot.of_fields(given)
            item = Item(kind, event, time_ns(), fields, snapshot.size_bytes, snapshot.cut)
            if reason := self._queue.offer(item):
                self._notices.warn(reason, f"an event ({item.size_bytes} bytes) was lost to {reason}; `driftwheel.stats()` counts them")
            if self._thread is None:
                self._start()
        return event

    def _begin(self) -> None:
        """Everything that belongs to this process alone; once more in the child of a fork."""
        limits = self._limits
        self._queue = Queue(limits.max_items, limits.max_bytes, limits.batch_items)
        self._notices = Notices()
        self._shield = Shield(self._notices, lambda: self._queue.lose("encode_error"), strict=self._strict)
        self._mint = Mint()
        self._instance = self._mint.new()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._sender: Sender | None = None
        self._champions = None

    def _start(self) -> None:
        from driftwheel.sdk._delivery import Delivery
        from driftwheel.sdk._sender import Sender

        with self._starting:
            if self._thread is not None:
                return
            limits = self._limits
            delivery = Delivery(self._transport, self._headers, self._queue.pause, self._notices, limits.timeout_s, limits.backoff_s)
            self._sender = sender = Sender(self._queue, delivery, self._notices, self._app, limits.batch_bytes)
            arguments = (limits.linger_s, self._transport.close)
            thread = threading.Thread(target=sender.run, args=arguments, name="driftwheel-sender", daemon=True)
            thread.start()
            self._thread = thread
            _end_with_worker()

    def _headers(self) -> Mapping[str, str]:
        """Who sends, and what this process lost so far: the collector shows it on the Pipeline board."""
        if not (lost := self._queue.account().lost):
            return self._identity
        told = ",".join(f"{reason}={count}" for reason, count in sorted(lost.items()))
        return {**self._identity, "x-driftwheel-instance": self._instance, "x-driftwheel-lost": told}


_CLIENTS: "weakref.WeakSet[Client]" = weakref.WeakSet()


def _shutdown_all() -> None:
    end = monotonic() + EXIT_S
    for client in list(_CLIENTS):
        client.shutdown(max(0.0, end - monotonic()))


def _begin_all() -> None:
    for client in list(_CLIENTS):
        client._begin()  # noqa: SLF001  the child of a fork: the locks and the thread belong to the parent


def _end_with_worker() -> None:
    """A child of multiprocessing leaves without `atexit`; its own finalizers run, and only those made inside it."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, _shutdown_all, exitpriority=0)


atexit.register(_shutdown_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all)
