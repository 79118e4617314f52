"""Sessions: what SET, USE and temporary tables leave behind for the next request of the same session_id."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from driftwheel.store.embedded.core import Handle
from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.request import Session

MAX_SESSIONS = 1000
PATIENCE_S = 1.0
"""A session is busy for as long after a hang-up as the kill takes; a server refuses at once."""


@dataclass(slots=True, eq=False)
class Kept:
    """A session. It has a handle of its own only once a statement left something behind."""

    handle: Handle | None = None
    mark: int = 0
    until: float = 0.0
    busy: threading.Lock = field(default_factory=threading.Lock)


class Sessions:
    """At most 1,000; the one unused longest goes first. Safe from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def entered(self, user: str, asked: Session) -> Iterator[Kept]:
        """
        The session that *user* asks for, for this request alone.

        Raises `Failure`: 372 when it must exist and does not, 373 when another request is in it.
        """
        key = (user, asked.id)
        with self._lock:
            self._sweep()
            if asked.must_exist and key not in self._kept:
                raise Failure(372, f"Session {asked.id[:80]} not found")
            kept = self._kept.setdefault(key, Kept())
            kept.until = self._clock() + asked.timeout_s
            self._kept.move_to_end(key)
        if not kept.busy.acquire(timeout=PATIENCE_S):
            raise Failure(373, f"Session {asked.id[:80]} is locked by a concurrent client")
        try:
            yield kept
        finally:
            with self._lock:
                kept.until = self._clock() + asked.timeout_s
                if asked.close and key in self._kept:
                    _drop(self._kept.pop(key))
            kept.busy.release()

    def close(self) -> None:
        """End all sessions."""
        with self._lock:
            while self._kept:
                _drop(self._kept.popitem()[1])

    def _sweep(self) -> None:
        now = self._clock()
        idle = [key for key, kept in self._kept.items() if not kept.busy.locked()]
        old = [key for key in idle if self._kept[key].until < now]
        surplus = idle[: max(0, len(self._kept) - MAX_SESSIONS + 1)]
        for key in {*old, *surplus}:
            _drop(self._kept.pop(key))


def _drop(kept: Kept) -> None:
    if kept.handle:
        kept.handle.close()
        kept.handle = None
