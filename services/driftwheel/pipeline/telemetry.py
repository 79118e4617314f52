"""What a process tells of itself, kept in the store: the samples of its `/metrics` every 15 seconds, for the Pipeline board."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry

from driftwheel.errors import DriftwheelError
from driftwheel.pipeline import Row
from driftwheel.pipeline.series import instant
from driftwheel.store import Store

log = logging.getLogger(__name__)

EVERY_S = 15.0
"""As Prometheus scrapes by default. A process has some 50 samples, a row of which takes 3 bytes on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Keeps the numbers in *registry* as those of *instance*, the host and the roles: the same after a restart."""

    registry: CollectorRegistry
    store: Store
    instance: str
    clock: Callable[[], datetime]

    async def run(self, stop: asyncio.Event, every_s: float = EVERY_S) -> None:
        """Until *stop*, and once more then. While the store is away samples are left out: counters catch up, nothing waits for them."""
        told = False
        while True:
            try:
                await asyncio.wait_for(stop.wait(), every_s)
            except TimeoutError:
                pass
            if stop.is_set() and told:
                return  # who stops does not wait for a store that is away
            try:
                await asyncio.to_thread(self.store.insert, "meters", list(self.samples()))
                told = False
            except DriftwheelError as away:
                if not told:
                    log.warning("the numbers of this process are not kept meanwhile: %s", away)
                told = True
            if stop.is_set():
                return

    def samples(self) -> Iterator[Row]:
        """One row a sample; of histograms the buckets that hold something."""
        at = instant(self.clock())
        for metric in self.registry.collect():
            for sample in metric.samples:
                if sample.name.endswith("_created") or (sample.name.endswith("_bucket") and not sample.value):
                    continue
                yield {"at": at, "instance": self.instance, "name": sample.name, "labels": sample.labels, "value": sample.value}
