"""The local bus under kill -9, SIGSTOP and a full disk, with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from driftwheel.bus import Claim, Outgoing
from driftwheel.bus.local import LocalBus, LocalSettings
from driftwheel.errors import BusFull
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
