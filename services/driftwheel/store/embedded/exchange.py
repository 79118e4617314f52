"""
Between the thread that asks the engine and the event loop that serves the client: a bounded queue.

The thread waits once eight pieces are unsent (back-pressure down to the engine, which then makes no more blocks), and is
woken with `Gone` when the client hangs up.
"""

import asyncio
import threading
from dataclasses import dataclass, field
from time import monotonic

from driftwheel.store.embedded.compression import Coder
from driftwheel.store.embedded.execute import Totals
from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.kills import Gone, Job

UNSENT = 8
ENOUGH = 1 << 16
"""64 KiB: smaller pieces are joined, unless they come more than 50 ms apart."""
SLOW_S = 0.05
LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Start:
    """The answer has begun, or is whole: then its *length* is known."""

    fmt: str
    summary: str
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """A piece, coded as the client wants it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """All is said, or failed."""

    failure: Failure | None = None
    started: bool = False


Event = Start | Body | End


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One answer on its way. *whole* keeps all of it, *most* bytes, until it is complete (wait_end_of_query)."""

    loop: asyncio.AbstractEventLoop
    job: Job
    coder: Coder | None
    whole: bool
    most: int
    _queue: "asyncio.Queue[Event]" = field(default_factory=asyncio.Queue)
    _window: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(UNSENT))
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0
    _flushed_at: float = field(default_factory=monotonic)
    _head: tuple[str, Totals] = field(default_factory=lambda: ("", Totals()))
    started: bool = False

    # the thread's side

    def head(self, fmt: str, totals: Totals) -> None:
        """What the answer will be; sent with its first bytes."""
        self._head = (fmt, totals)

    def data(self, piece: bytes) -> None:
        """More of the answer. Raises `Gone`, and `Failure` when a whole answer grows too large."""
        self.job.check()
        self._parts.append(piece)
        self._size += len(piece)
        if self.whole:
            if self._size > self.most:
                raise Failure(307, f"an answer that is to be complete before it is sent may have {self.most} bytes")
        elif self._size >= ENOUGH or monotonic() - self._flushed_at > SLOW_S:
            self._flush()

    def close(self) -> None:
        """That was all of it."""
        if self.started:
            self._flush()
            if tail := self.coder.end() if self.coder else b"":
                self._put(Body(tail))
        else:
            rest = b"".join(self._parts)
            coded = self.coder.piece(rest) + self.coder.end() if self.coder else rest
            self._put(Start(self._head[0], self._head[1].summary(), len(coded)))
            for at in range(0, len(coded), LARGEST):
                self._put(Body(coded[at : at + LARGEST]))
        self._put(End(started=True))

    def fail(self, failure: Failure) -> None:
        """It went wrong. What was not sent yet is dropped, so that a first block that failed has a proper status."""
        if self.started:
            self._flush()
        self._put(End(failure, started=self.started))

    def coded_end(self, frame: bytes) -> bytes:
        """*frame* as the end of an answer that has begun."""
        return self.coder.piece(frame) + self.coder.end() if self.coder else frame

    def _flush(self) -> None:
        if not self._size:
            return
        if not self.started:
            self.started = True
            self._put(Start(self._head[0], self._head[1].summary()))
        joined, self._parts, self._size = memoryview(b"".join(self._parts)), [], 0
        for at in range(0, len(joined), LARGEST):
            part = bytes(joined[at : at + LARGEST])
            self._put(Body(self.coder.piece(part) if self.coder else part))
        self._flushed_at = monotonic()

    def _put(self, event: Event) -> None:
        self._window.acquire()
        if self.job.gone.is_set():
            raise Gone
        try:
            self.loop.call_soon_threadsafe(self._queue.put_nowait, event)
        except RuntimeError:  # the loop is closed: the server ends
            raise Gone from None

    # the loop's side

    async def next(self) -> Event:
        """The next event; asking for it is what lets the thread go on."""
        event = await self._queue.get()
        self._window.release()
        return event

    def hang_up(self) -> None:
        """The client is gone: wake the thread, wherever it waits."""
        self.job.gone.set()
        self._window.release(UNSENT)
