"""The contract of the bus. Every implementation passes this suite unchanged: it uses the port alone, and names of its own."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from driftwheel.bus import Bus, Claim, Consumer, Outgoing, Record
from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel.bus.local import LocalBus, LocalSettings
from driftwheel.errors import ConfigError, NotOwner
from driftwheel_schemas import partition_of
from driftwheel_schemas.topics import Topic
from kafka_broker import Broker

Opener = Callable[[], AbstractAsyncContextManager[Bus]]

names = itertools.count()


def local(folder: Path) -> Opener:
    """A local bus on *folder*; opened again it is the same log."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Bus]:
        bus = LocalBus(folder, LocalSettings(lease_s=3.0))
        try:
            yield bus
        finally:
            await bus.close()

    return opened


def kafka(broker: Broker) -> Opener:
    """A bus on the run's Kafka, whose topics and groups are this test's own."""
    namespace = f"test-{uuid4().hex}."

    @asynccontextmanager
    async def opened() -> AsyncIterator[Bus]:
        bus = KafkaBus(KafkaSettings(servers=broker.servers, namespace=namespace, session_timeout_s=6), silence_s=3.0)
        try:
            yield bus
        finally:
            await bus.close()

    return opened


@pytest.fixture(params=["local", pytest.param("kafka", marks=pytest.mark.kafka)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return local(tmp_path) if request.param == "local" else kafka(request.getfixturevalue("broker"))


def topic(partitions: int = 3, name: str = "") -> Topic:
    """A topic that no other test uses."""
    return Topic(
        name=name or f"test.bus.{next(names)}",
        purpose="a test",
        event="",
        key="id",
        partitions=partitions,
        retention_hours=1,
        writers=(),
        readers=(),
    )


def play(opener: Opener, act: Callable[[Bus], Awaitable[None]]) -> None:
    """Run *act* with an open bus."""

    async def run() -> None:
        async with opener() as bus:
            await act(bus)

    asyncio.run(run())


async def read(consumer: Consumer, count: int, within_s: float = 20.0) -> list[Record]:
    """At least *count* records, or what came in time."""
    found: list[Record] = []
    end = asyncio.get_running_loop().time() + within_s
    while len(found) < count and asyncio.get_running_loop().time() < end:
        found += await consumer.poll(timeout_s=0.2)
    return found


async def own(count: int, *consumers: Consumer, within_s: float = 30.0) -> list[Record]:
    """Poll in turn until each of *consumers* owns *count* partitions; what came meanwhile."""
    end = asyncio.get_running_loop().time() + within_s
    found: list[Record] = []
    while any(len(one.owned()) != count for one in consumers):
        assert asyncio.get_running_loop().time() < end, [one.owned() for one in consumers]
        for one in consumers:
            found += await one.poll(max_records=1, timeout_s=0.05)
    return found


def test_records_come_back_as_they_were_in_the_order_of_their_partition(opener: Opener) -> None:
    """Value, key and headers are kept to the byte; offsets of a partition are dense and say where a record lies."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        sent = [Outgoing(one.name, bytes([n]) * n, f"key{n}", headers={"h": b"\x00\xff", "n": str(n).encode()}) for n in range(20)]
        placed = await bus.append(sent)
        found = await read(await bus.consumer("g", [one.name]), 20)

        assert placed == [(0, n) for n in range(20)]
        assert [(r.value, r.key, dict(r.headers), r.partition, r.offset) for r in found] == [
            (o.value, o.key, dict(o.headers), 0, n) for n, o in enumerate(sent)
        ]
        assert await bus.ends(one.name) == {0: 20}

    play(opener, act)


def test_a_key_chooses_its_partition_and_a_partition_wins_over_it(opener: Opener) -> None:
    """Everybody computes the same place for a key."""

    async def act(bus: Bus) -> None:
        one = topic(5)
        await bus.ensure([one])
        keyed = await bus.append([Outgoing(one.name, b"v", key) for key in "abcdefghij"])
        named = await bus.append([Outgoing(one.name, b"v", "a", partition=4)])

        assert [partition for partition, _ in keyed] == [partition_of(key, 5) for key in "abcdefghij"]
        assert named[0][0] == 4
        assert await bus.partitions(one.name) == 5

    play(opener, act)


def test_what_was_accepted_is_there_after_a_restart(opener: Opener) -> None:
    """The log outlives the process; so does how far a group has come."""
    one = topic(2)

    async def before(bus: Bus) -> None:
        await bus.ensure([one])
        await bus.append([Outgoing(one.name, str(n).encode(), partition=n % 2) for n in range(10)])
        consumer = await bus.consumer("g", [one.name])
        await read(consumer, 10)
        await consumer.commit(Claim(one.name, 0), 3)

    async def after(bus: Bus) -> None:
        await bus.ensure([one])
        consumer = await bus.consumer("g", [one.name])
        found = await read(consumer, 7)

        assert await consumer.committed(Claim(one.name, 0)) == 3
        assert sorted(int(record.value) for record in found) == [1, 3, 5, 6, 7, 8, 9]
        assert await bus.lag("g", one.name) == {0: 2, 1: 5}

    play(opener, before)
    play(opener, after)


def test_groups_read_on_their_own(opener: Opener) -> None:
    """Every group sees every record; one's commits are nothing to another."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        await bus.append([Outgoing(one.name, b"x")])
        first, second = await bus.consumer("a", [one.name]), await bus.consumer("b", [one.name])

        assert len(await read(first, 1)) == 1
        await first.commit(Claim(one.name, 0), 1)
        assert len(await read(second, 1)) == 1
        assert (await bus.lag("a", one.name), await bus.lag("b", one.name)) == ({0: 0}, {0: 1})

    play(opener, act)


def test_a_poll_without_records_waits_and_one_with_records_does_not(opener: Opener) -> None:
    """An empty answer comes after the time-out; a record that arrives meanwhile is given at once."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        consumer = await bus.consumer("g", [one.name])
        await own(1, consumer)
        assert await consumer.poll(timeout_s=0.05) == []

        waiting = asyncio.create_task(consumer.poll(timeout_s=30))
        await asyncio.sleep(0.05)
        await bus.append([Outgoing(one.name, b"now")])
        assert [record.value for record in await asyncio.wait_for(waiting, 20)] == [b"now"]

    play(opener, act)


def test_seek_reads_again(opener: Opener) -> None:
    """A detector starts where its snapshot ends; what is another's cannot be sought."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        await bus.append([Outgoing(one.name, str(n).encode()) for n in range(5)])
        consumer = await bus.consumer("g", [one.name])
        await read(consumer, 5)
        await consumer.seek(Claim(one.name, 0), 3)

        assert [record.offset for record in await read(consumer, 2)] == [3, 4]
        with pytest.raises(NotOwner):
            await consumer.seek(Claim(one.name, 9), 0)

    play(opener, act)


def test_max_records_bounds_a_poll_and_no_partition_starves(opener: Opener) -> None:
    """All partitions get their turn."""

    async def act(bus: Bus) -> None:
        one = topic(3)
        await bus.ensure([one])
        for partition in range(3):
            await bus.append([Outgoing(one.name, b"v", partition=partition) for _ in range(50)])
        consumer = await bus.consumer("g", [one.name])
        await own(3, consumer)
        for partition in range(3):
            await consumer.seek(Claim(one.name, partition), 0)
        polls = [await consumer.poll(max_records=25, timeout_s=1.0) for _ in range(6)]

        assert max(map(len, polls)) <= 25
        assert {record.partition for poll in polls for record in poll} == {0, 1, 2}

    play(opener, act)


def test_members_share_the_partitions_and_take_over_when_one_leaves(opener: Opener) -> None:
    """Each partition has one owner; the next owner begins at what is committed."""

    async def act(bus: Bus) -> None:
        one = topic(4)
        await bus.ensure([one])
        first = await bus.consumer("g", [one.name])
        await own(4, first)
        second = await bus.consumer("g", [one.name])
        await own(2, first, second)
        assert not first.owned() & second.owned()
        assert len(first.owned() | second.owned()) == 4

        claim = min(second.owned())
        await bus.append([Outgoing(one.name, str(n).encode(), partition=claim.partition) for n in range(4)])
        await read(second, 4)
        await second.commit(claim, 2)
        await second.close()
        found = await own(4, first)
        found += await read(first, 2 - len(found))
        assert [record.offset for record in found if record.partition == claim.partition] == [2, 3]

    play(opener, act)


def test_who_lost_a_partition_cannot_commit_it(opener: Opener) -> None:
    """The fence that makes a paused owner harmless."""

    async def act(bus: Bus) -> None:
        one = topic(2)
        await bus.ensure([one])
        await bus.append([Outgoing(one.name, b"v", partition=n % 2) for n in range(4)])
        paused = await bus.consumer("g", [one.name])
        await read(paused, 4)
        before = paused.owned()
        other = await bus.consumer("g", [one.name])
        end = asyncio.get_running_loop().time() + 40
        while len(other.owned()) < 2 and asyncio.get_running_loop().time() < end:  # the paused one says nothing until its lease is over
            await other.poll(timeout_s=0.2)

        assert len(before) == 2
        assert other.owned() == before
        for claim in sorted(before):
            with pytest.raises(NotOwner):
                await paused.commit(claim, 1)
        await other.commit(Claim(one.name, 0), 1)

    play(opener, act)


def test_unknown_topics_and_other_partitions_are_told(opener: Opener) -> None:
    """Nothing is created by accident, and a topic keeps its partitions."""

    async def act(bus: Bus) -> None:
        one = topic(2)
        await bus.ensure([one])
        await bus.ensure([one])
        with pytest.raises(ConfigError, match=one.name):
            await bus.partitions("test.bus.none")
        with pytest.raises(ConfigError):
            await bus.append([Outgoing("test.bus.none", b"v")])
        with pytest.raises(ConfigError, match="partitions"):
            await bus.ensure([topic(3, one.name)])

    play(opener, act)


def test_concurrent_appends_all_land_and_each_call_keeps_its_order(opener: Opener) -> None:
    """Fifty callers at once, as the collector's requests are."""

    async def act(bus: Bus) -> None:
        one = topic(2)
        await bus.ensure([one])

        async def caller(n: int) -> None:
            await bus.append([Outgoing(one.name, f"{n}/{i}".encode(), partition=n % 2) for i in range(5)])

        await asyncio.gather(*(caller(n) for n in range(50)))
        found = await read(await bus.consumer("g", [one.name]), 250)

        assert len({record.value for record in found}) == 250
        assert sorted((r.partition, r.offset) for r in found) == [(p, o) for p in range(2) for o in range(125)]
        for n in range(50):
            mine = [r for r in sorted(found, key=lambda r: r.offset) if r.value.startswith(f"{n}/".encode())]
            assert [r.value for r in mine] == [f"{n}/{i}".encode() for i in range(5)]

    play(opener, act)


def test_a_record_of_900_kib_passes(opener: Opener) -> None:
    """The largest envelope there is."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        value = bytes(range(256)) * 3600
        await bus.append([Outgoing(one.name, value)])

        assert [record.value for record in await read(await bus.consumer("g", [one.name]), 1)] == [value]

    play(opener, act)


def test_a_partition_that_was_lost_and_comes_back_is_missed_in_between(opener: Opener) -> None:
    """Another owner worked on it meanwhile: whoever gets it back must start anew, and can see that it has to."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        paused = await bus.consumer("g", [one.name])
        await own(1, paused)
        other = await bus.consumer("g", [one.name])
        end = asyncio.get_running_loop().time() + 40
        while not other.owned() and asyncio.get_running_loop().time() < end:
            await other.poll(timeout_s=0.2)
        assert other.owned()
        await other.close()

        seen: list[frozenset[Claim]] = []
        while not seen or not seen[-1]:
            await paused.poll(timeout_s=1.2)
            seen.append(paused.owned())
        assert frozenset() in seen

    play(opener, act)


def test_an_impossible_call_fails_alone(opener: Opener) -> None:
    """Calls that are committed together share the disk's work, not each other's mistakes."""

    async def act(bus: Bus) -> None:
        one = topic(2)
        await bus.ensure([one])
        calls = [bus.append([Outgoing(one.name, str(n).encode(), partition=9 if n == 5 else n % 2)]) for n in range(10)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, ConfigError)] == [5]
        assert sum((await bus.ends(one.name)).values()) == 9

    play(opener, act)


def test_a_caller_that_gives_up_takes_no_other_along(opener: Opener) -> None:
    """A request that is cut off while it waits leaves its neighbours alone."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        large = asyncio.create_task(bus.append([Outgoing(one.name, bytes(900_000))] * 20))
        await asyncio.sleep(0.005)  # the disk is busy with 18 MB, the next wait for it together
        waiting = [asyncio.create_task(bus.append([Outgoing(one.name, str(n).encode())])) for n in range(10)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        outcomes = await asyncio.gather(*waiting[1:])

        assert len({offset for [(_, offset)] in outcomes}) == 9
        assert len(await large) == 20

    play(opener, act)


def test_two_connections_share_one_log(opener: Opener) -> None:
    """What one appends another reads, soon; offsets stay dense though both append at once."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        async with opener() as other:
            consumer = await other.consumer("g", [one.name])
            await own(1, consumer)
            placed = await asyncio.gather(*((bus, other)[n % 2].append([Outgoing(one.name, str(n).encode())]) for n in range(60)))
            found = await read(consumer, 60)

        assert sorted(offset for [(_, offset)] in placed) == list(range(60))
        assert [record.offset for record in found] == list(range(60))
        assert all(int(found[offset].value) == n for n, [(_, offset)] in enumerate(placed))

    play(opener, act)


def test_what_was_lost_and_comes_back_is_missing_in_between(opener: Opener) -> None:
    """Its owner is to notice that another had it, and starts from what is committed by now."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        claim = Claim(one.name, 0)
        await bus.ensure([one])
        await bus.append([Outgoing(one.name, str(n).encode()) for n in range(5)])
        paused = await bus.consumer("g", [one.name])
        await read(paused, 5)
        other = await bus.consumer("g", [one.name])
        end = asyncio.get_running_loop().time() + 40
        while not other.owned() and asyncio.get_running_loop().time() < end:  # the paused one says nothing until its lease is over
            await other.poll(timeout_s=0.2)
        await other.commit(claim, 3)
        await other.close()

        assert await paused.poll(timeout_s=5.0) == []
        assert paused.owned() == frozenset()
        with pytest.raises(NotOwner):
            await paused.commit(claim, 5)
        found = await own(1, paused)
        found += await read(paused, 2 - len(found))
        assert [record.offset for record in found] == [3, 4]
        await paused.commit(claim, 5)

    play(opener, act)


def test_closing_twice_is_harmless_and_an_empty_call_appends_nothing(opener: Opener) -> None:
    """Whoever cleans up need not know who did before."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        consumer = await bus.consumer("g", [one.name])
        await own(1, consumer)
        assert await bus.append([]) == []
        assert await bus.ends(one.name) == {0: 0}
        await consumer.close()
        await consumer.close()
        await bus.close()
        await bus.close()

    play(opener, act)


def test_a_poll_that_is_cut_off_has_read_nothing(opener: Opener) -> None:
    """Its records come with the next one."""

    async def act(bus: Bus) -> None:
        one = topic(1)
        await bus.ensure([one])
        await bus.append([Outgoing(one.name, str(n).encode()) for n in range(60)])
        consumer = await bus.consumer("g", [one.name])
        found = await own(1, consumer)
        for _ in range(5):
            cut = asyncio.create_task(consumer.poll(max_records=5))
            await asyncio.sleep(0)
            cut.cancel()
            await asyncio.gather(cut, return_exceptions=True)
            found += await consumer.poll(max_records=5, timeout_s=5.0)
        found += await read(consumer, 60 - len(found))

        assert [record.offset for record in found] == list(range(60))

    play(opener, act)
