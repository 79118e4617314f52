"""The events on their way, bounded in items and bytes, and the exact account of what became of each."""

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import NamedTuple


class Item(NamedTuple):
    """One recorded event, not yet encoded. `kind` is the last part of its path; `cut`: the snapshot left something out."""

    kind: str
    id: str
    at_ns: int
    fields: Mapping[str, object]
    size_bytes: int
    cut: bool


class Account(NamedTuple):
    """`recorded == sent + pending + sum(lost.values())`, at every moment."""

    recorded: int
    sent: int
    pending: int
    pending_bytes: int
    lost: dict[str, int]


class Queue:
    """
    First in, first out; many threads offer, one takes and settles. An item is pending until it is settled.

    At the bound the newest is lost, because what came first is nearer to having been sent.
    """

    def __init__(self, max_items: int, max_bytes: int, batch_items: int) -> None:
        self._max_items, self._max_bytes, self._batch_items = max_items, max_bytes, batch_items
        self._lock = threading.RLock()  # reentrant: a finalizer or signal handler may record while the host records
        self._changed = threading.Condition(self._lock)
        self._items: deque[Item] = deque()
        self._recorded = self._sent = self._settled = self._pending = self._bytes = self._hurries = self._waiting = 0
        self._lost: Counter[str] = Counter()
        self._idle = self._closed = self._abandoned = False

    def offer(self, item: Item) -> str:
        """Take *item* in; returns the reason of its loss, or an empty string."""
        with self._lock:
            self._recorded += 1
            if self._closed:
                reason = "shutdown"
            elif self._pending >= self._max_items:
                reason = "queue_full"
            elif self._bytes + item.size_bytes > self._max_bytes:
                reason = "queue_bytes"
            else:
                self._items.append(item)
                self._pending += 1
                self._bytes += item.size_bytes
                if self._idle or len(self._items) == self._batch_items:
                    self._idle = False
                    self._changed.notify_all()
                return ""
            self._lost[reason] += 1
            return reason

    def lose(self, reason: str) -> None:
        """Account for an event that never became an item."""
        with self._lock:
            self._recorded += 1
            self._lost[reason] += 1

    def take(self, linger_s: float) -> list[Item]:
        """Wait for items, then *linger_s* for more unless a batch is full or someone waits; empty once closed and drained."""
        with self._lock:
            while not self._items:
                if self._closed:
                    return []
                self._idle = True
                self._changed.wait()
            self._idle = False
            hurries, end = self._hurries, monotonic() + linger_s
            while (
                len(self._items) < self._batch_items and hurries == self._hurries and not self._closed and (left := end - monotonic()) > 0
            ):
                self._changed.wait(left)
            return [self._items.popleft() for _ in range(min(self._batch_items, len(self._items)))]

    def pause(self, seconds: float, *, firm: bool) -> bool:
        """Wait; someone who flushes cuts it short unless it is *firm*. False when there is nothing left to do here."""
        with self._lock:
            hurries, end = self._hurries, monotonic() + seconds
            while not self._abandoned and (firm or hurries == self._hurries) and (left := end - monotonic()) > 0:
                self._changed.wait(left)
            return not self._abandoned

    def settle(self, items: Sequence[Item], lost: Mapping[str, int]) -> None:
        """What became of *items*: as many *lost* as said, the others sent. Comes too late once they were abandoned."""
        with self._lock:
            if self._abandoned:
                return
            self._pending -= len(items)
            self._bytes -= sum(item.size_bytes for item in items)
            self._settled += len(items)
            self._sent += len(items) - sum(lost.values())
            self._lost.update(lost)
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> int:
        """Hurry and wait until all that was recorded before is settled; returns how many of these are not."""
        with self._lock:
            self._hurries += 1
            self._changed.notify_all()
            target, end = self._settled + self._pending, monotonic() + timeout_s
            self._waiting += 1
            try:
                while self._settled < target and not self._abandoned and (left := end - monotonic()) > 0:
                    self._changed.wait(left)
            finally:
                self._waiting -= 1
            return 0 if self._abandoned else max(0, target - self._settled)

    def close(self) -> None:
        """Take nothing in any more; what is pending may still be sent."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """Give up what is pending, and say how many: they are lost to `shutdown`, even if an answer should still come."""
        with self._lock:
            left = self._pending
            if left:
                self._lost["shutdown"] += left
            self._pending = self._bytes = 0
            self._items.clear()
            self._abandoned = True
            self._changed.notify_all()
            return left

    @property
    def abandoned(self) -> bool:
        """Nobody waits for what is still in hand."""
        return self._abandoned

    def account(self) -> Account:
        """The counts, all of one moment."""
        with self._lock:
            return Account(self._recorded, self._sent, self._pending, self._bytes, dict(self._lost))
