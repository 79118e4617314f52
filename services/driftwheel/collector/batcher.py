"""Packs the events of concurrent requests into common envelopes and waits until the bus has them."""

import asyncio
from collections.abc import Sequence

import msgspec

from driftwheel.bus import Bus
from driftwheel.pipeline.envelope import MAX_BYTES, MAX_EVENTS, pack

Sealed = tuple[str, msgspec.Raw]
"""An event's id, which says where it lives on the bus, and the event encoded."""


class _Batch:
    """Events that go to the bus together: all of them land, or every request that waits for them hears the error."""

    def __init__(self) -> None:
        self.events: list[Sealed] = []
        self.size = 0
        self.full = asyncio.Event()  # enough events, or enough waiting
        self.sent: asyncio.Task[None] | None = None


class Batcher:
    """
    One topic's way to the bus. While an append is under way the next batch grows, so a slow bus gets larger envelopes.

    The events of one request stay in one batch and one append: nothing of a request is answered for in parts.
    """

    def __init__(self, bus: Bus, topic: str, *, linger_s: float, timeout_s: float) -> None:
        self._bus = bus
        self._topic = topic
        self._linger_s = linger_s
        self._timeout_s = timeout_s
        self._open: _Batch | None = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, events: Sequence[Sealed]) -> None:
        """
        Returns once all *events* are durable. Raises what the bus raised, `TimeoutError` where it did not answer in time:
        then they may have landed or not, and may be sent again under the same ids.
        """
        if not events:
            return
        batch = self._open
        if batch is None:
            batch = self._open = _Batch()
            batch.sent = asyncio.create_task(self._send(batch))
            self._tasks.add(batch.sent)
            batch.sent.add_done_callback(self._sent)
        batch.events += events
        batch.size += sum(len(memoryview(raw)) for _, raw in events)
        if len(batch.events) >= MAX_EVENTS or batch.size >= MAX_BYTES:
            batch.full.set()
        if batch.sent is not None:
            await asyncio.shield(batch.sent)  # a client that leaves does not take the others' events with it

    async def close(self) -> None:
        """Send what waits, at most for the time that a request would wait."""
        if self._open:
            self._open.full.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout_s)
        for task in self._tasks:
            task.cancel()

    async def _send(self, batch: _Batch) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._linger(batch)
                async with self._turn:
                    self._open = None  # only now: while another append was under way, events were still welcome
                    partitions = await self._bus.partitions(self._topic)
                    await self._bus.append(list(pack(self._topic, partitions, batch.events)))
        finally:
            if self._open is batch:
                self._open = None

    async def _linger(self, batch: _Batch) -> None:
        timer = asyncio.get_running_loop().call_later(self._linger_s, batch.full.set)
        await batch.full.wait()
        timer.cancel()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its waiters heard it; where they have left, asyncio need not complain
