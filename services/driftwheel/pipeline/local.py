"""The local shell: reads a bus and hands what it read to the carrier. (`faust_shell.py` is the one on Kafka.)"""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial

from driftwheel.bus import Claim, Consumer, Record
from driftwheel.pipeline import Worker
from driftwheel.pipeline.carrier import AT_ONCE, Carrier, Outside, ShellSettings
from driftwheel.pipeline.envelope import MAX_BYTES
from driftwheel.pipeline.health import Health

log = logging.getLogger(__name__)


class Shell:
    """Runs one core until told to stop."""

    def __init__(self, worker: Worker, outside: Outside, settings: ShellSettings | None = None) -> None:
        self._worker, self._outside = worker, outside
        self._settings = settings or ShellSettings()
        self._carrier = Carrier(worker, outside, self._settings, self._commit)
        self._consumer: Consumer | None = None
        self._biggest = MAX_BYTES

    @property
    def health(self) -> Health:
        """How it does."""
        return self._carrier.health

    @property
    def claims(self) -> frozenset[Claim]:
        """The partitions that it works on."""
        return self._carrier.claims

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop* is set; what is in hand then is finished first."""
        self._carrier.retry.gave_up = stop.is_set
        consumer = self._consumer = await self._outside.bus.consumer(self._worker.group, self._worker.topics)
        try:
            while not stop.is_set():
                records = await self._gather(consumer)
                if not await self._carrier.step(records):
                    await stop.wait()
        finally:
            await consumer.close()

    async def _gather(self, consumer: Consumer) -> list[Record]:
        """Records of some *linger_s*, none after a tick; those of a partition that is new here only after its seeds."""
        end = time.monotonic() + self._settings.tick_s
        records: list[Record] = []
        while (room := self._room(records)) > 0 and (left := end - time.monotonic()) > 0:
            more = await self._carrier.retry(partial(consumer.poll, max_records=room, timeout_s=left))
            if more and not records:
                end = min(end, time.monotonic() + self._settings.linger_s)
            self._biggest = max((len(record.value) for record in more), default=self._biggest)
            records += more
            kept = await self._take_over(consumer)
            records = [record for record in records if Claim(record.topic, record.partition) in kept]
        return records

    def _room(self, records: Sequence[Record]) -> int:
        """How many records to read next, by the biggest of those read last; none when the batch is full. Each read costs 1 to 10 ms."""
        left = self._settings.max_bytes - sum(len(record.value) for record in records)
        return min(self._settings.max_records - len(records), max(AT_ONCE, left // self._biggest)) if left > 0 else 0

    async def _take_over(self, consumer: Consumer) -> frozenset[Claim]:
        """Follow a rebalance. The partitions that were owned before it and still are: only their records are in order."""
        owned, before = consumer.owned(), self._carrier.claims
        await self._carrier.follow(owned)
        for claim in sorted(owned - before):
            await consumer.seek(claim, await consumer.committed(claim))
        return owned & before

    async def _commit(self, claim: Claim, offset: int) -> None:
        if self._consumer:
            await self._consumer.commit(claim, offset)
