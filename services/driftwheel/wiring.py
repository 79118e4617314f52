"""Wiring: one function per process; each collaborator is made here and handed on. Nothing else reads the clock or the settings."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from driftwheel import signals as signal_table
from driftwheel.bus import Bus
from driftwheel.bus.local import LocalBus
from driftwheel.config import Settings
from driftwheel.errors import ConfigError
from driftwheel.pipeline import Worker
from driftwheel.pipeline.detection import Detection
from driftwheel.pipeline.joiner import Joiner
from driftwheel.pipeline.local import Shell
from driftwheel.pipeline.signals import Signals
from driftwheel.pipeline.triggers import Triggers
from driftwheel.signals import Signal
from driftwheel.store.clickhouse import ClickHouse
from driftwheel_schemas import topics
from driftwheel_schemas.topics import OBSERVATIONS, TRIGGERS, VERDICTS

log = logging.getLogger(__name__)

WORKERS = ("signals", "feedback", "detection", "triggers", "enrich")
ROLES = ("store", "collector", *WORKERS, "jobs")


def clock() -> datetime:
    """The one clock of the server side."""
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def open_bus(settings: Settings) -> AsyncIterator[Bus]:
    """The bus with every topic in place."""
    bus = LocalBus(settings.data / "bus", synchronous=settings.bus.synchronous, max_bytes=settings.bus.max_bytes)
    try:
        await bus.ensure(list(topics().values()))
        yield bus
    finally:
        await bus.close()


def open_store(settings: Settings) -> ClickHouse:
    """The store, wherever it is."""
    return ClickHouse(settings.store)


def signals_of(settings: Settings) -> list[Signal]:
    """The signals that the settings name; all of the table when they name none."""
    if not settings.signals:
        return [signal_table.load(name) for name in signal_table.SIGNALS]
    return [signal_table.load(one.use, **one.params) for one in settings.signals]


def worker_of(role: str, settings: Settings, partitions: Callable[[str], int]) -> Worker:
    """The core of *role*; *partitions* says how many a topic has."""
    match role:
        case "signals":
            return Signals(signals_of(settings), partitions(OBSERVATIONS), settings.measure)
        case "feedback":
            return Joiner(partitions(OBSERVATIONS), settings.feedback)
        case "detection":
            return Detection(settings.detection, partitions(VERDICTS))
        case "triggers":
            return Triggers(settings.policies, partitions(TRIGGERS))
        case "enrich":
            from driftwheel import embedders
            from driftwheel.pipeline.enrich import Enrich

            embedder = embedders.load(settings.embeddings.use, **settings.embeddings.params)
            return Enrich(embedder, partitions(OBSERVATIONS), sample=settings.embeddings.sample)
    raise ConfigError(f"no role called {role!r}; known: {', '.join(ROLES)}")


async def run_workers(roles: Sequence[str], settings: Settings, stop: asyncio.Event) -> None:
    """Run the workers of *roles* in this process until *stop*; the first error ends all, and the supervisor starts them again."""
    async with open_bus(settings) as bus:
        counts = {topic: await bus.partitions(topic) for topic in (OBSERVATIONS, VERDICTS, TRIGGERS)}
        store = open_store(settings)
        async with asyncio.TaskGroup() as group:
            for role in roles:
                shell = Shell(worker_of(role, settings, counts.__getitem__), bus, store, clock=clock, settings=settings.shell)
                group.create_task(shell.run(stop), name=role)
            group.create_task(_retain(bus, stop))
    log.info("stopped")


async def _retain(bus: Bus, stop: asyncio.Event) -> None:
    """Every minute, drop what is past its retention."""
    while not stop.is_set():
        if isinstance(bus, LocalBus):
            dropped = await bus.retain(clock())
            if dropped:
                log.info("retention dropped %s", dropped)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 60)
