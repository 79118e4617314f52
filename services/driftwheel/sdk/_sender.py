"""The sender's thread: takes recorded events, encodes them, and delivers them in batches."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from time import sleep
from typing import NamedTuple

from driftwheel.sdk._delivery import Delivery, Loss
from driftwheel.sdk._encode import encode
from driftwheel.sdk._notices import Notices
from driftwheel.sdk._queue import Item, Queue

BREATH_EVENTS = 8
BREATH_S = 50e-6
"""Every 8 events (about 0.5 ms of encoding) the sender lets go of the interpreter, so that the host waits 0.5 ms for it, not 5."""
MAX_REASONS = 50


class Batch(NamedTuple):
    """Events of one kind, encoded, beside the items that they were."""

    kind: str
    items: list[Item]
    bodies: list[bytes]


class Sender:
    """What one thread does for a client; its counters are read by others."""

    def __init__(self, queue: Queue, delivery: Delivery, notices: Notices, app: str, batch_bytes: int) -> None:
        self._queue, self._delivery, self._notices, self._app, self._batch_bytes = queue, delivery, notices, app, batch_bytes
        self.truncated = 0
        self.reasons: Counter[str] = Counter()
        self.fault: Exception | None = None

    def run(self, linger_s: float, done: Callable[[], None]) -> None:
        """Until the queue is closed and drained; then *done*."""
        while items := self._queue.take(linger_s):
            for batch in self._batches(items):
                if self._queue.abandoned:
                    break
                self._deliver(batch)
        done()

    def _batches(self, items: Sequence[Item]) -> Iterator[Batch]:
        lanes: dict[str, Batch] = {}
        sizes: Counter[str] = Counter()
        for number, item in enumerate(items, 1):
            if number % BREATH_EVENTS == 0:
                sleep(BREATH_S)
            if (body := self._encoded(item)) is None:
                continue
            lane = lanes.setdefault(item.kind, Batch(item.kind, [], []))
            if lane.bodies and sizes[item.kind] + len(body) > self._batch_bytes:
                yield lane
                lane = lanes[item.kind] = Batch(item.kind, [], [])
                sizes[item.kind] = 0
            lane.items.append(item)
            lane.bodies.append(body)
            sizes[item.kind] += len(body) + 1
        yield from lanes.values()

    def _encoded(self, item: Item) -> bytes | None:
        try:
            body, cut = encode(item, self._app)
        except Exception as wrong:  # noqa: BLE001  the SDK's shield: what a host put into an event costs this event only
            self.fault = self.fault or wrong
            detail = f"{type(wrong).__name__}: {wrong}"[:300]
            self._tell(Loss("encode_error", detail))
            where = detail.split(" is ")[0]
            self._notices.warn(
                where, f"1 event ({item.size_bytes} bytes) lost to encode_error: {where} `driftwheel.stats().details` says more"
            )
            self._queue.settle([item], {"encode_error": 1})
            return None
        self.truncated += cut
        return body

    def _deliver(self, batch: Batch) -> None:
        try:
            lost = self._delivery.deliver(batch.kind, batch.bodies)
        except Exception as wrong:  # noqa: BLE001  the SDK's shield: a transport's own fault must not end this thread
            self.fault = self.fault or wrong
            self._notices.warn("transport", f"{len(batch.items)} events lost: the transport raised {type(wrong).__name__}")
            lost = dict.fromkeys(range(len(batch.items)), Loss("gave_up", f"the transport raised {type(wrong).__name__}"))
        if self._queue.abandoned:
            return  # accounted for by whoever abandoned it
        for loss in lost.values():
            self._tell(loss)
        self._queue.settle(batch.items, Counter(loss.reason for loss in lost.values()))

    def _tell(self, loss: Loss) -> None:
        told = f"{loss.reason} {loss.detail}"
        if told in self.reasons or len(self.reasons) < MAX_REASONS:
            self.reasons[told] += 1
