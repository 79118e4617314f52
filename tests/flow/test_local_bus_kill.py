"""The local bus under kill -9, SIGSTOP and a full disk, with real processes."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftwheel.bus import Claim, Outgoing
from driftwheel.bus._consumer import POLL_BYTES
from driftwheel.bus._groups import Groups, Member
from driftwheel.bus._segments import Segments
from driftwheel.bus.local import LocalBus, LocalSettings
from driftwheel.errors import BusFull, ConfigError
from driftwheel_schemas.topics import Topic

TOPIC = Topic(name="test.kill", purpose="a test", event="", key="id", partitions=2, retention_hours=1, writers=(), readers=())

WRITER = """
import asyncio, sys
from pathlib import Path
from driftwheel.bus import Outgoing
from driftwheel.bus.local import LocalBus, LocalSettings

async def main():
    bus = LocalBus(Path(sys.argv[1]), LocalSettings(segment_bytes=200_000))
    n = int(sys.argv[2])
    while True:
        calls = [bus.append([Outgoing("test.kill", f"{n + i}/{k}".encode().ljust(500), partition=i % 2) for k in range(3)]) for i in range(4)]
        await asyncio.gather(*calls)
        print(n, flush=True)
        n += 4

asyncio.run(main())
"""

MEMBER = """
import asyncio, sys
from pathlib import Path
from driftwheel.bus import Claim
from driftwheel.bus.local import LocalBus, LocalSettings
from driftwheel.errors import NotOwner

async def main():
    bus = LocalBus(Path(sys.argv[1]), LocalSettings(lease_s=2.0))
    consumer = await bus.consumer("g", ["test.kill"])
    while len(consumer.owned()) < 2:
        await consumer.poll(timeout_s=0.1)
    print("owns", flush=True)
    sys.stdin.readline()
    try:
        await consumer.commit(Claim("test.kill", 0), 1)
        print("committed", flush=True)
    except NotOwner:
        print("not the owner", flush=True)

asyncio.run(main())
"""


async def everything(folder: Path) -> dict[int, list[bytes]]:
    """All records by partition."""
    bus = LocalBus(folder)
    ends = await bus.ends(TOPIC.name)
    found = {p: [(r.offset, r.value.strip()) for r in await bus.in_reader(bus.log(TOPIC.name).read, p, 0, 10**6)] for p in ends}
    await bus.close()
    for p, records in found.items():
        assert [offset for offset, _ in records] == list(range(ends[p])), "offsets are dense"
    return {p: [value for _, value in records] for p, records in found.items()}


async def create(folder: Path) -> None:
    bus = LocalBus(folder)
    await bus.ensure([TOPIC])
    await bus.close()


READER = """
import asyncio, sys
from pathlib import Path
from driftwheel.bus.local import LocalBus

async def main():
    bus = LocalBus(Path(sys.argv[1]))
    consumer = await bus.consumer("reader", ["test.kill"])
    print("reads", flush=True)
    seen, ends = {0: 0, 1: 0}, None
    while ends is None or seen != ends:
        for record in await consumer.poll(timeout_s=0.05):
            if record.offset != seen[record.partition]:
                sys.exit(f"partition {record.partition}: {record.offset} came where {seen[record.partition]} was due")
            seen[record.partition] += 1
        if ends is None and Path(sys.argv[2]).exists():
            ends = await bus.ends("test.kill")
    print(sum(seen.values()), flush=True)
    await bus.close()

asyncio.run(main())
"""

SEALER = """
import os, signal, sys
from pathlib import Path
from driftwheel.bus import Outgoing
from driftwheel.bus._groups import Groups, Member
from driftwheel.bus._segments import Segments

class Killed(Segments):
    def _make(self, number, ends, now):
        super()._make(number, ends, now)
        os.kill(os.getpid(), signal.SIGKILL)

log = Killed(Path(sys.argv[1]) / "test.kill", synchronous="NORMAL", segment_bytes=100_000)
while True:
    log.append([[Outgoing("test.kill", bytes(5000), partition=0)]], 0.0)
    print("kept", flush=True)
"""

STARTER = """
import asyncio, sys
from pathlib import Path
from driftwheel.bus import Outgoing
from driftwheel.bus.local import LocalBus
from driftwheel_schemas import topics

async def main():
    sys.stdin.readline()
    bus = LocalBus(Path(sys.argv[1]))
    await bus.ensure(list(topics().values()))
    consumer = await bus.consumer("g", ["driftwheel.inferences.v1"])
    await consumer.poll(timeout_s=0.1)
    await asyncio.gather(*(bus.append([Outgoing(topic, b"x", "key")]) for topic in topics()))
    await bus.close()

asyncio.run(main())
"""


def child(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A Python process that runs *code*."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_reader_misses_nothing_while_two_writers_seal_and_are_killed(tmp_path: Path) -> None:
    """A segment is seen only when all before it is final, so a live reader meets every offset once and in order."""
    asyncio.run(create(tmp_path))
    reader = child(READER, tmp_path, tmp_path / "stop")
    assert reader.stdout
    assert reader.stdout.readline() == "reads\n"
    for round_ in range(3):
        writers = [child(WRITER, tmp_path, (2 * round_ + half) * 10**6) for half in range(2)]
        for writer in writers:
            assert writer.stdout
            for _ in range(60):
                writer.stdout.readline()
        for writer in writers:
            writer.kill()
            writer.communicate()
    (tmp_path / "stop").touch()
    out, err = reader.communicate(timeout=60)

    assert (reader.returncode, err) == (0, "")
    assert int(out) == sum(map(len, asyncio.run(everything(tmp_path)).values())) > 3 * 2 * 60 * 12
    assert len(list((tmp_path / TOPIC.name).glob("*.db"))) > 10


def test_a_reader_skips_nothing_at_the_moment_of_sealing(tmp_path: Path) -> None:
    """Whoever writes and reads as soon as the next segment can be seen meets nothing out of turn."""
    log = {name: Segments(tmp_path / "t", synchronous="NORMAL", segment_bytes=10**9) for name in ("reader", "second")}
    log["reader"].create(1, 0.0)
    seen: list[int] = []

    def read() -> None:
        seen.extend(record.offset for record in log["reader"].read(0, len(seen), 1000))

    class Watched(Segments):
        def _make(self, number: int, ends: Mapping[int, int], now: float) -> None:
            super()._make(number, ends, now)
            log["second"].append([[Outgoing("t", b"from another process")]], 0.0)
            read()

    first = Watched(tmp_path / "t", synchronous="NORMAL", segment_bytes=100_000)
    for _ in range(30):
        first.append([[Outgoing("t", bytes(5000))]], 0.0)
        read()

    assert len(first.numbers()) > 1
    assert seen == list(range(first.ends()[0]))


def test_a_kill_while_a_segment_is_sealed_leaves_no_gap(tmp_path: Path) -> None:
    """The next segment begins exactly where what was acknowledged ends."""
    asyncio.run(create(tmp_path))
    sealer = child(SEALER, tmp_path)
    out, _ = sealer.communicate()

    async def go_on() -> list[tuple[int, int]]:
        bus = LocalBus(tmp_path)
        placed = await bus.append([Outgoing(TOPIC.name, b"after", partition=0)])
        await bus.close()
        return placed

    kept = out.count("kept")
    assert len(list((tmp_path / TOPIC.name).glob("*.db"))) == 2
    assert asyncio.run(go_on()) == [(0, kept)]
    assert len(asyncio.run(everything(tmp_path))[0]) == kept + 1


@pytest.mark.slow
def test_processes_may_start_on_a_new_folder_at_once(tmp_path: Path) -> None:
    """The supervisor starts all roles together; whoever comes first makes the files."""
    starters = [child(STARTER, tmp_path) for _ in range(5)]
    ends = [starter.communicate("go\n", timeout=60) for starter in starters]

    assert [err for _, err in ends if err] == []
    assert {starter.returncode for starter in starters} == {0}


def open_files() -> list[str]:
    """What this process has open, as the system tells it."""
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


def test_a_dropped_segment_is_let_go_of_by_everybody(tmp_path: Path) -> None:
    """Its space is free only when no process holds it open any more."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell which files a process has open")

    async def act() -> None:
        small = LocalSettings(segment_bytes=100_000)
        writer, cleaner = LocalBus(tmp_path, small), LocalBus(tmp_path, small)
        await cleaner.ensure([TOPIC])
        reader = await writer.consumer("g", [TOPIC.name])
        for _ in range(60):
            await writer.append([Outgoing(TOPIC.name, bytes(20_000), partition=0)])
            await reader.poll(timeout_s=1.0)
        dropped = await cleaner.retain(datetime.now(UTC) + timedelta(hours=2))
        await writer.append([Outgoing(TOPIC.name, b"x", partition=0)])
        await reader.poll(timeout_s=1.0)
        held = await asyncio.to_thread(open_files)
        assert sum(one.records for one in dropped) == sum(one.unread for one in dropped) >= 50
        assert [name for name in held if name.startswith(str(tmp_path)) and name.endswith("(deleted)")] == []
        await cleaner.close()
        await writer.close()

    asyncio.run(act())


def test_a_segment_that_is_dropped_under_a_reader_is_passed_over(tmp_path: Path) -> None:
    """It is neither an error nor made anew by being looked for."""

    class Slow(Segments):
        def numbers(self) -> list[int]:
            found = super().numbers()
            if found[0] == 0:
                cleaner.drop(0)  # between the list and the look
            return found

    cleaner = Segments(tmp_path / "t", synchronous="NORMAL", segment_bytes=100_000)
    cleaner.create(1, 0.0)
    for _ in range(50):
        cleaner.append([[Outgoing("t", bytes(5000))]], 0.0)
    found = Slow(tmp_path / "t", synchronous="NORMAL", segment_bytes=100_000).read(0, 0, 1000)

    assert [record.offset for record in found] == list(range(cleaner.starts()[0], 50))
    assert 0 not in cleaner.numbers()


def test_what_a_group_has_not_read_is_kept_though_it_never_committed(tmp_path: Path) -> None:
    """A tight disk drops what all groups have passed; a group that only just joined is one of them."""

    async def act() -> None:
        bus = LocalBus(tmp_path, LocalSettings(max_bytes=1_000_000, segment_bytes=100_000))
        await bus.ensure([TOPIC])
        slow, quick = await bus.consumer("slow", [TOPIC.name]), await bus.consumer("quick", [TOPIC.name])
        await slow.poll(timeout_s=0)
        with pytest.raises(BusFull):  # noqa: PT012
            while True:
                await bus.append([Outgoing(TOPIC.name, bytes(20_000), partition=0)])
        while (await bus.lag("quick", TOPIC.name))[0]:
            if records := await quick.poll(timeout_s=1.0):
                await quick.commit(Claim(TOPIC.name, 0), records[-1].offset + 1)
        assert await bus.retain(datetime.now(UTC)) == []
        await slow.commit(Claim(TOPIC.name, 0), (await bus.ends(TOPIC.name))[0])
        assert await bus.retain(datetime.now(UTC)) != []
        await bus.close()

    asyncio.run(act())


def test_a_rebalance_that_the_disk_refuses_changes_nothing(tmp_path: Path) -> None:
    """Who could not write that it gives a partition up still has it, and gives it up the next time."""
    groups = Groups(tmp_path / "groups.db", synchronous="NORMAL", lease_s=30.0)
    first, second = Member("g", "a", ["t"]), Member("g", "b", ["t"])
    groups.beat(first, {"t": 2}, 0.0)
    before = dict(first.epochs)
    groups.beat(second, {"t": 2}, 1.0)
    refuse = sqlite3.connect(tmp_path / "groups.db")
    refuse.execute("CREATE TRIGGER full BEFORE INSERT ON owners BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    with pytest.raises(sqlite3.Error, match="full"):
        groups.beat(first, {"t": 2}, 2.0)
    refuse.execute("DROP TRIGGER full")
    refuse.close()
    assert first.epochs == before
    for now in (3.0, 4.0):
        for member in (first, second):
            groups.beat(member, {"t": 2}, now)

    assert [sorted(claim.partition for claim in member.epochs) for member in (first, second)] == [[0], [1]]
    groups.close()


def test_a_poll_is_bounded_in_bytes(tmp_path: Path) -> None:
    """500 of the largest envelopes would be 450 MB."""

    async def act() -> list[int]:
        bus = LocalBus(tmp_path)
        await bus.ensure([TOPIC])
        for n in range(40):
            await bus.append([Outgoing(TOPIC.name, bytes(900_000), partition=n % 2)])
        consumer = await bus.consumer("g", [TOPIC.name])
        sizes = [sum(len(record.value) for record in await consumer.poll(timeout_s=1.0)) for _ in range(4)]
        await bus.close()
        return sizes

    sizes = asyncio.run(act())
    assert sum(sizes) == 40 * 900_000
    assert max(sizes) <= POLL_BYTES + 900_000


def test_a_file_that_is_no_log_of_ours_is_told_in_a_sentence(tmp_path: Path) -> None:
    """Broken, or of another release: every call says which file and what to do; none hangs."""
    asyncio.run(create(tmp_path))
    (file,) = (tmp_path / TOPIC.name).glob("*.db")
    whole = file.read_bytes()

    async def act(pattern: str) -> None:
        bus = LocalBus(tmp_path)
        for call in (bus.append([Outgoing(TOPIC.name, b"x")]), bus.ends(TOPIC.name)):
            with pytest.raises(ConfigError, match=pattern):
                await asyncio.wait_for(call, 10)
        await bus.close()

    file.write_bytes(b"garbage" * 1000)
    asyncio.run(act("is no log that can be used"))
    file.write_bytes(whole[:60] + (99).to_bytes(4, "big") + whole[64:])  # user_version, bytes 60 to 63 of a SQLite file
    asyncio.run(act("version 99"))


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_of_two_writers(tmp_path: Path) -> None:
    """Twelve rounds, two writers killed in each: every acknowledged record is there once, calls are whole, offsets dense."""
    asyncio.run(create(tmp_path))
    acknowledged: list[int] = []
    for round_ in range(12):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(round_ * 10**6 + half * 500_000)], stdout=subprocess.PIPE, text=True
            )
            for half in range(2)
        ]
        for writer in writers:
            assert writer.stdout
            writer.stdout.readline()
        time.sleep(0.02 * round_)
        for writer in writers:
            writer.kill()
        for half, writer in enumerate(writers):
            out, _ = writer.communicate()
            acknowledged += [round_ * 10**6 + half * 500_000, *(int(line) for line in out.split())]

    found = asyncio.run(everything(tmp_path))
    values = [value for records in found.values() for value in records]
    assert len(values) == len(set(values))
    for n in acknowledged:
        for i in range(4):
            assert {f"{n + i}/{k}".encode() for k in range(3)} <= set(found[i % 2])
    calls = [value.split(b"/")[0] for value in values]
    assert all(calls.count(call) == 3 for call in set(calls[-3000:])), "a call is kept whole or not at all"


def test_a_stopped_member_finds_out_that_it_lost_its_partitions(tmp_path: Path) -> None:
    """SIGSTOP, the lease ends, another takes over, SIGCONT: the old owner cannot commit any more."""
    asyncio.run(create(tmp_path))
    member = subprocess.Popen([sys.executable, "-c", MEMBER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert member.stdin
    assert member.stdout
    assert member.stdout.readline() == "owns\n"
    os.kill(member.pid, signal.SIGSTOP)

    async def take_over() -> None:
        bus = LocalBus(tmp_path, LocalSettings(lease_s=2.0))
        other = await bus.consumer("g", [TOPIC.name])
        while len(other.owned()) < 2:
            await other.poll(timeout_s=0.2)
        os.kill(member.pid, signal.SIGCONT)
        out, _ = await asyncio.to_thread(member.communicate, "go on\n")
        assert out == "not the owner\n"
        await other.commit(Claim(TOPIC.name, 0), 0)
        await bus.close()

    asyncio.run(asyncio.wait_for(take_over(), 60))


def test_a_killed_member_is_replaced_at_once(tmp_path: Path) -> None:
    """The supervisor starts a worker anew; it does not wait for the lease of the dead one."""
    asyncio.run(create(tmp_path))
    member = subprocess.Popen([sys.executable, "-c", MEMBER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert member.stdout
    assert member.stdout.readline() == "owns\n"
    member.kill()
    member.wait()

    async def take_over() -> float:
        bus = LocalBus(tmp_path, LocalSettings(lease_s=60.0))
        began = time.monotonic()
        other = await bus.consumer("g", [TOPIC.name])
        while len(other.owned()) < 2:
            await other.poll(timeout_s=0.1)
        await bus.close()
        return time.monotonic() - began

    assert asyncio.run(asyncio.wait_for(take_over(), 60)) < 20


def test_a_full_log_refuses_and_recovers(tmp_path: Path) -> None:
    """At its bound the log takes nothing more, says so, and takes again when its readers let old segments go."""

    async def act() -> None:
        bus = LocalBus(tmp_path, LocalSettings(max_bytes=3_000_000, segment_bytes=300_000))
        await bus.ensure([TOPIC])
        taken = 0
        with pytest.raises(BusFull, match="bound"):  # noqa: PT012
            while True:
                await bus.append([Outgoing(TOPIC.name, bytes(50_000), partition=0)])
                taken += 1
        consumer = await bus.consumer("g", [TOPIC.name])
        read = 0
        while read < taken:
            read += len(await consumer.poll(timeout_s=0.5))
        await consumer.commit(Claim(TOPIC.name, 0), taken)
        dropped = await bus.retain(datetime.now(UTC))
        assert dropped
        assert sum(one.unread for one in dropped) == 0
        await bus.append([Outgoing(TOPIC.name, b"again", partition=0)])
        await bus.close()

    asyncio.run(act())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_a_sentence_and_nothing_is_half_kept(tmp_path: Path) -> None:
    """ENOSPC refuses the whole call; with space back the same call is taken, and what was acknowledged is all there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("this system does not allow to mount a file system")
    try:

        async def act() -> int:
            bus = LocalBus(disk / "bus")
            await bus.ensure([TOPIC])
            (disk / "ballast").write_bytes(bytes(3_000_000))
            taken = 0
            with pytest.raises(BusFull, match="free some space"):  # noqa: PT012
                for _ in range(200):
                    await bus.append([Outgoing(TOPIC.name, bytes(60_000), partition=0), Outgoing(TOPIC.name, b"second", partition=0)])
                    taken += 2
            (disk / "ballast").unlink()
            await bus.append([Outgoing(TOPIC.name, b"again", partition=0)])
            await bus.close()
            return taken + 1

        taken = asyncio.run(act())
        assert len(asyncio.run(everything(disk / "bus"))[0]) == taken
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_bus_that_is_opened_on_a_full_disk_says_so_and_recovers(tmp_path: Path) -> None:
    """Even to open a file SQLite needs some space: that is a sentence too, and no call hangs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("this system does not allow to mount a file system")
    try:
        asyncio.run(create(disk / "bus"))
        with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):  # noqa: PT012
            while True:
                ballast.write(bytes(4096))

        async def act() -> None:
            bus = LocalBus(disk / "bus")
            other = Topic(name="other", purpose="a test", event="", key="id", partitions=1, retention_hours=1, writers=(), readers=())
            for call in (bus.append([Outgoing(TOPIC.name, bytes(9000))]), bus.ensure([TOPIC, other]), bus.ends(TOPIC.name)):
                with pytest.raises(BusFull, match="free some space"):
                    await asyncio.wait_for(call, 10)
            (disk / "ballast").unlink()
            assert await asyncio.wait_for(bus.append([Outgoing(TOPIC.name, bytes(9000))]), 10) == [(0, 0)]
            await bus.ensure([TOPIC, other])
            await bus.close()

        asyncio.run(act())
    finally:
        subprocess.run(["umount", disk], check=True)
