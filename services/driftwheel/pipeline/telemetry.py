"""What a process tells of itself, kept in the store: the samples of its `/metrics` every 15 seconds, for the Pipeline board."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
        with ThreadPoolExecutor(1, "telemetry") as own:  # in the workers' pool it would cost 15 MiB: another thread to insert big batches
            while True:
                try:
                    await asyncio.wait_for(stop.wait(), every_s)
                except TimeoutError:
                    pass
                if stop.is_set() and told:
                    return  # who stops does not wait for a store that is away
                told = not await asyncio.get_running_loop().run_in_executor(own, self._keep, told)
                if stop.is_set():
                    return

    def _keep(self, told: bool) -> bool:  # noqa: FBT001  whether it was told that the store is away
        try:
            self.store.insert("meters", list(self.samples()))
        except DriftwheelError as away:
            if not told:
                log.warning("the numbers of this process are not kept meanwhile: %s", away)
            return False
        return True

    def samples(self) -> Iterator[Row]:
        """One row a sample; of histograms the buckets that hold something."""
        at = instant(self.clock())
        for metric in self.registry.collect():
            for sample in metric.samples:
                if sample.name.endswith("_created") or (sample.name.endswith("_bucket") and not sample.value):
                    continue
                yield {"at": at, "instance": self.instance, "name": sample.name, "labels": sample.labels, "value": sample.value}
