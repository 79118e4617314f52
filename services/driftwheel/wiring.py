"""Wiring: one function per process; each collaborator is made here and handed on. Nothing else reads the clock or the settings."""

import asyncio
import contextlib
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from driftwheel import actions
from driftwheel import signals as signal_table
from driftwheel.actions import Reach
from driftwheel.actions.delivery import Delivery
from driftwheel.answers import tell
from driftwheel.bus import Bus, Claim
from driftwheel.bus.local import LocalBus, LocalSettings
from driftwheel.config import Settings
from driftwheel.errors import ConfigError
from driftwheel.memory import calm_memory
from driftwheel.pipeline import Worker, meters
from driftwheel.pipeline.carrier import Outside
from driftwheel.pipeline.detection import Detection
from driftwheel.pipeline.health import Health
from driftwheel.pipeline.joiner import Joiner
from driftwheel.pipeline.local import Shell
from driftwheel.pipeline.patience import Patience
from driftwheel.pipeline.rules import Rules
from driftwheel.pipeline.signals import Signals
from driftwheel.pipeline.telemetry import Telemetry
from driftwheel.pipeline.triggers import Telling, Triggers
from driftwheel.signals import Signal
from driftwheel.store import Store
from driftwheel.store.clickhouse import ClickHouse
from driftwheel_schemas import Trigger, topics
from driftwheel_schemas.topics import OBSERVATIONS, TRIGGERS, VERDICTS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from driftwheel.pipeline.faust_shell import FaustShell

log = logging.getLogger(__name__)

WORKERS = ("signals", "feedback", "detection", "rules", "triggers", "enrich")
ROLES = ("store", "collector", *WORKERS, "jobs")


GONE_AFTER_S = 10.0


def clock() -> datetime:
    """The one clock of the server side."""
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def open_bus(settings: Settings) -> AsyncIterator[Bus]:
    """The bus: the local log with every topic in place, or Kafka, whose topics `driftwheel admin topics apply` makes."""
    bus: Bus
    if settings.bus.kafka.servers:
        from driftwheel.bus.kafka import KafkaBus

        bus = KafkaBus(settings.bus.kafka)
    else:
        bus = LocalBus(settings.data / "bus", LocalSettings(synchronous=settings.bus.synchronous, max_bytes=settings.bus.max_bytes))
    try:
        if isinstance(bus, LocalBus):
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
            return Detection(partitions(VERDICTS), settings.detection)
        case "triggers":
            return Triggers(settings.policies, partitions(TRIGGERS), Telling(actions=settings.actions, link=settings.notify.link))
        case "rules":
            return Rules(settings.rules, partitions(VERDICTS))
        case "enrich":
            from driftwheel import embedders
            from driftwheel.pipeline.enrich import Enrich

            embedder = embedders.load(settings.embeddings.use, **settings.embeddings.params)
            return Enrich(embedder, partitions(OBSERVATIONS), sample=settings.embeddings.sample, segment_by=settings.measure.segment_by)
    raise ConfigError(f"no role called {role!r}; known: {', '.join(ROLES)}")


def run_roles(roles: Sequence[str], settings: Settings, *, parent_pid: int = 0) -> None:
    """
    Run *roles* in this process until SIGTERM, SIGINT or the end of *parent_pid*.

    The store, the collector and the jobs each want a process of their own; workers may share one. Raises `ConfigError`
    for other combinations and unknown names.
    """
    unknown = [role for role in roles if role not in ROLES]
    if unknown or (len(roles) > 1 and not set(roles) <= set(WORKERS)):
        raise ConfigError(f"run {' '.join(roles)}: run one of store, collector, jobs, or one or more of {', '.join(WORKERS)}")
    if parent_pid:
        threading.Thread(target=_follow, args=(parent_pid,), daemon=True, name="follow-parent").start()
    match roles[0]:
        case "store":
            _run_store(settings)
        case "collector":
            _run(lambda stop: run_collector(settings, stop))
        case "jobs":
            _run(lambda stop: run_jobs(settings, stop))
        case _:
            _run(lambda stop: run_workers(roles, settings, stop))


async def run_workers(roles: Sequence[str], settings: Settings, stop: asyncio.Event) -> None:
    """Run the workers of *roles* until *stop*; the first error ends all, and the supervisor starts them again."""
    async with open_bus(settings) as bus:
        patience = Patience("workers", for_s=settings.shell.retry_for_s, gave_up=stop.is_set)
        counts = {topic: await patience(partial(bus.partitions, topic)) for topic in (OBSERVATIONS, VERDICTS, TRIGGERS)}
        outside = Outside(bus, open_store(settings), clock)
        shells = {role: shell_of(worker_of(role, settings, counts.__getitem__), outside, settings) for role in roles}
        runs = {role: shell.run for role, shell in shells.items()}
        healths = {role: shell.health for role, shell in shells.items()}
        if "triggers" in roles and settings.actions:
            delivery = delivery_of(outside, settings, lambda: Claim(VERDICTS, 0) in shells["triggers"].claims)
            runs["delivery"], healths["delivery"] = delivery.run, delivery.health
        if isinstance(bus, LocalBus):
            runs["retention"] = partial(_retain, bus)
        runs["telemetry"] = telemetry_of(meters.registry_of(healths), outside.store, roles, settings).run
        with _metrics(healths, settings):
            async with asyncio.TaskGroup() as group:
                for name, run in runs.items():
                    group.create_task(run(stop), name=name)


def delivery_of(outside: Outside, settings: Settings, duty: Callable[[], bool]) -> Delivery:
    """What delivers the notices of the configured actions, while *duty* says that this process is the one to do it."""
    loop = asyncio.get_running_loop()

    def start(trigger: Trigger) -> None:  # called in the thread of an action
        asyncio.run_coroutine_threadsafe(tell(outside.bus, outside.store, trigger), loop).result(timeout=settings.store.timeout_s)

    at = settings.notify
    reach = Reach(allow_private=at.allow_private, timeout_s=at.timeout_s, start=start)
    made = {use.name: actions.load(use, reach) for use in settings.actions}
    return Delivery(outside.store, made, at, outside.clock, duty)


def telemetry_of(registry: "CollectorRegistry", store: Store, roles: Sequence[str], settings: Settings) -> Telemetry:
    """What keeps the numbers of this process; it is called by its host and its roles, and its slot where it has one."""
    instance = "/".join(filter(None, (platform.node(), "+".join(roles), settings.bus.kafka.slot)))
    return Telemetry(registry=registry, store=store, instance=instance, clock=clock)


def shell_of(worker: Worker, outside: Outside, settings: Settings) -> "Shell | FaustShell":
    """The shell that runs *worker*: Faust on Kafka, our own on the local log."""
    if not settings.bus.kafka.servers:
        return Shell(worker, outside, settings.shell)
    from driftwheel.pipeline.faust_shell import FaustShell

    return FaustShell(worker, outside, settings.bus.kafka, settings.shell)


async def run_jobs(settings: Settings, stop: asyncio.Event) -> None:
    """Run the jobs of approved triggers until *stop*."""
    from driftwheel.jobs import launchers
    from driftwheel.jobs.service import Jobs, Place

    health = Health()
    async with open_bus(settings) as bus:
        place = Place(data=settings.data, settings=settings.jobs, clock=clock)
        store, healths = open_store(settings), {"jobs": health}
        with _metrics(healths, settings):
            async with asyncio.TaskGroup() as group:
                telemetry = telemetry_of(meters.registry_of(healths), store, ["jobs"], settings)
                group.create_task(telemetry.run(stop), name="telemetry")
                group.create_task(Jobs(bus, store, launchers.load("local"), place, health).run(stop), name="jobs")


@contextlib.contextmanager
def _metrics(roles: Mapping[str, Health], settings: Settings) -> Iterator[None]:
    """Serve how *roles* do, where a port is set for it."""
    if not settings.metrics_port:
        yield
        return
    end = meters.serve(roles, settings.metrics_host, settings.metrics_port)
    try:
        yield
    finally:
        end()


def _run_store(settings: Settings) -> None:
    from driftwheel.store.embedded import default_users, serve

    at = settings.store
    serve(settings.data / "store", host=at.host, port=at.port or 8123, users=default_users(at.password))


async def run_collector(settings: Settings, stop: asyncio.Event) -> None:
    """Serve the collector until *stop*; requests under way are finished."""
    from driftwheel.collector.app import Collector, create_app
    from driftwheel.collector.serve import listen, serve
    from driftwheel.jobs.service import champion

    collector = replace(settings.collector, survives_power_loss=settings.bus.survives_power_loss)
    store = open_store(settings)
    with listen(collector) as where:
        async with open_bus(settings) as bus:
            collect = Collector(bus, collector, clock, lambda tenant, app: champion(store, tenant, app))
            done = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(telemetry_of(collect.meters.registry, store, ["collector"], settings).run(done), name="telemetry")
                await serve(create_app(collect), collector, stop, where)
                done.set()


def _run(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run *work* to its end in a loop of its own. After an error the process is gone in ten seconds, whatever still hangs."""
    import uvloop

    calm_memory()
    done = False
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_until_stopped(work))
            done = True
        finally:
            if not done:
                last = threading.Timer(GONE_AFTER_S, os._exit, (1,))
                last.daemon = True
                last.start()


async def _until_stopped(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run *work*; SIGTERM and SIGINT set its stop, and it finishes what it has in hand."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await work(stop)


def _follow(parent: int) -> None:
    """End this process in order when its parent is gone: an orphan would hold the data folder."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


async def _retain(bus: LocalBus, stop: asyncio.Event) -> None:
    """Every minute, drop what is past its retention."""
    while not stop.is_set():
        if dropped := await bus.retain(clock()):
            log.info("retention dropped %s", dropped)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 60)
