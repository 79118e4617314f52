"""A member of a group of the local bus."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from driftwheel.bus import Claim, Record
from driftwheel.bus._groups import Member
from driftwheel.errors import NotOwner

if TYPE_CHECKING:
    from driftwheel.bus.local import LocalBus

BEAT_S = 1.0
"""How often a member says that it is alive and looks who else is."""

POLL_BYTES = 16 * 1024**2
"""A poll brings no more than this and one record: 500 of the largest envelopes would be 450 MB."""


class LocalConsumer:
    """One member of a group; see the `Consumer` port."""

    def __init__(self, bus: "LocalBus", group: str, partitions: Mapping[str, int]) -> None:
        self._bus, self._partitions = bus, partitions
        self._member = Member(group, uuid4().hex, list(partitions))  # never again: pids come back when a container restarts
        self._positions: dict[Claim, int] = {}
        self._beat_at = 0.0
        self._turn = 0
        self.news = asyncio.Event()

    @property
    def topics(self) -> Sequence[str]:
        """What this member reads."""
        return self._member.topics

    async def poll(self, *, max_records: int = 500, timeout_s: float = 0.1) -> list[Record]:
        """The next records of the owned partitions, at most *max_records*; empty after *timeout_s* without any."""
        end = time.monotonic() + timeout_s
        while True:
            self.news.clear()
            owned = self.owned()
            records, moved = await self._bus.in_reader(self._read, max_records)
            self._positions |= moved  # only now: a poll that is cut off has read nothing
            left = end - time.monotonic()
            if records or left <= 0 or owned - self.owned():  # who lost a partition is to know it before it can come back
                return records
            try:
                await asyncio.wait_for(self.news.wait(), min(left, BEAT_S))
            except TimeoutError:
                continue

    def owned(self) -> frozenset[Claim]:
        """The partitions that this member owns since its last `poll`."""
        return frozenset(self._positions)

    async def seek(self, claim: Claim, offset: int) -> None:
        """Read *claim* from *offset* next, or from the oldest kept where the log (made anew, perhaps) does not reach that far."""
        if claim not in self._positions:
            raise NotOwner(f"{claim.topic}[{claim.partition}] of group {self._member.group} belongs to another member")
        self._positions[claim] = await self._bus.in_reader(lambda: self._bus.log(claim.topic).resume(claim.partition, offset))
        self.news.set()

    async def committed(self, claim: Claim) -> int:
        """The offset to be read next after a restart: 0, or the oldest kept, when nothing was committed."""
        return await self._bus.in_reader(self._committed, claim)

    async def commit(self, claim: Claim, offset: int) -> None:
        """Everything below *offset* is done; durable on return. Raises `NotOwner` when the partition is another's by now."""
        await self._bus.in_reader(lambda: self._bus.groups().commit(self._member, claim, offset))

    async def close(self) -> None:
        """Leave the group, so that others take over at once. Does not commit."""
        if self._bus.gone(self):
            self._positions.clear()
            await self._bus.in_reader(lambda: self._bus.groups().leave(self._member))

    def _read(self, limit: int) -> tuple[list[Record], dict[Claim, int]]:
        """The next records, and the positions behind them."""
        self._beat()
        found: list[Record] = []
        moved: dict[Claim, int] = {}
        room = POLL_BYTES
        claims = sorted(self._positions)
        self._turn += 1
        for number in range(len(claims)):  # begin with another partition each time, so that none starves
            claim = claims[(number + self._turn) % len(claims)]
            left = limit - len(found)
            if left <= 0 or room <= 0:
                break
            if records := self._bus.log(claim.topic).read(claim.partition, self._positions[claim], left, room):
                moved[claim] = records[-1].offset + 1
                room -= sum(len(record.value) for record in records)
                found += records
        return found, moved

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beat_at < BEAT_S:
            return
        self._beat_at = now
        before = dict(self._member.epochs)
        self._bus.groups().beat(self._member, self._partitions, self._bus.settings.clock())
        for claim in self._positions.keys() - self._member.epochs.keys():
            del self._positions[claim]
        for claim, epoch in self._member.epochs.items():
            if before.get(claim) != epoch:
                self._positions[claim] = self._committed(claim)

    def _committed(self, claim: Claim) -> int:
        offset = self._bus.groups().committed(self._member.group, claim.topic).get(claim.partition, 0)
        return self._bus.log(claim.topic).resume(claim.partition, offset)
