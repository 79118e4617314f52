"""The laws of the local bus over random calls, crashes and retention: nothing lost, order kept, what was acknowledged stays."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from driftwheel.bus import Claim, Outgoing
from driftwheel.bus._groups import assignment
from driftwheel.bus.local import LocalBus, LocalSettings
from driftwheel.errors import ConfigError
from driftwheel_schemas import partition_of
from driftwheel_schemas.topics import Topic

R = TypeVar("R")

PARTITIONS = 3
LEASE_S = 30.0
TOPIC = Topic(name="law", purpose="a test", event="", key="id", partitions=PARTITIONS, retention_hours=1, writers=(), readers=())

calls = st.lists(
    st.tuples(st.binary(max_size=100) | st.integers(1, 30_000).map(bytes), st.text(max_size=3), st.none() | st.integers(0, PARTITIONS - 1)),
    min_size=1,
    max_size=6,
)


class Log(RuleBasedStateMachine):
    """A bus of small segments beside a model of lists. A crash opens the folder anew; the old bus is never closed properly."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 1_000_000.0
        self.crashed: list[LocalBus] = []
        self.log: dict[int, list[tuple[bytes, str]]] = {p: [] for p in range(PARTITIONS)}
        self.oldest = dict.fromkeys(range(PARTITIONS), 0)
        self.committed = dict.fromkeys(range(PARTITIONS), 0)
        self.at: dict[int, int] = {}

    def do(self, what: Coroutine[Any, Any, R]) -> R:
        """Run *what* to its end."""
        return self.loop.run_until_complete(what)

    @initialize()
    def start(self) -> None:
        """The log is empty."""
        self.open()

    def open(self) -> None:
        """A bus and its one reader, as a process that just began; it goes on where the group had come to."""
        self.bus = LocalBus(self.folder, LocalSettings(segment_bytes=80_000, lease_s=LEASE_S, clock=lambda: self.now))
        self.do(self.bus.ensure([TOPIC]))
        self.consumer = self.do(self.bus.consumer("g", [TOPIC.name]))
        self.at = {p: max(self.committed[p], self.oldest[p]) for p in range(PARTITIONS)}

    @rule(sent=calls)
    def append(self, sent: list[tuple[bytes, str, int | None]]) -> None:
        """Places are dense; a key chooses its partition, a partition wins over it."""
        placed = self.do(self.bus.append([Outgoing(TOPIC.name, value, key, partition) for value, key, partition in sent]))
        for (value, key, partition), (got, offset) in zip(sent, placed, strict=True):
            if partition is not None or key:
                assert got == (partition_of(key, PARTITIONS) if partition is None else partition)
            assert offset == len(self.log[got])
            self.log[got].append((value, key))

    @rule(sizes=st.lists(st.integers(1, 3), min_size=2, max_size=6), bad=st.integers(0, 5))
    def append_together(self, sizes: list[int], bad: int) -> None:
        """Of calls that are committed together only the impossible one fails, and nothing of it is kept."""

        async def act() -> list[list[tuple[int, int]] | BaseException]:
            return await asyncio.gather(
                *(
                    self.bus.append([Outgoing(TOPIC.name, f"{n}/{i}".encode(), partition=0) for i in range(size)] + wrong * (n == bad))
                    for n, size in enumerate(sizes)
                ),
                return_exceptions=True,
            )

        wrong = [Outgoing(TOPIC.name, b"nowhere", partition=PARTITIONS)]
        outcomes = self.do(act())
        for n, (size, placed) in enumerate(zip(sizes, outcomes, strict=True)):
            if n == bad:
                assert isinstance(placed, ConfigError)
                continue
            assert not isinstance(placed, BaseException)
            assert placed == [(0, len(self.log[0]) + i) for i in range(size)]
            self.log[0] += [(f"{n}/{i}".encode(), "") for i in range(size)]

    @rule(limit=st.integers(1, 20))
    def poll(self, limit: int) -> None:
        """What comes is what was appended, in order, without a gap but for what retention took away."""
        waits = any(max(self.at[p], self.oldest[p]) < len(log) for p, log in self.log.items())
        records = self.do(self.consumer.poll(max_records=limit, timeout_s=2.0 if waits else 0.0))
        assert bool(records) == waits
        assert len(records) <= limit
        assert self.consumer.owned() == {Claim(TOPIC.name, p) for p in range(PARTITIONS)}
        for record in records:
            assert record.offset == max(self.at[record.partition], self.oldest[record.partition])
            assert (record.value, record.key) == self.log[record.partition][record.offset]
            self.at[record.partition] = record.offset + 1

    @precondition(lambda self: self.consumer.owned())
    @rule(partition=st.integers(0, PARTITIONS - 1))
    def commit(self, partition: int) -> None:
        """What was read is done."""
        self.do(self.consumer.commit(Claim(TOPIC.name, partition), self.at[partition]))
        self.committed[partition] = self.at[partition]

    @precondition(lambda self: self.consumer.owned())
    @rule(partition=st.integers(0, PARTITIONS - 1), back=st.integers(0, 50))
    def seek(self, partition: int, back: int) -> None:
        """Read again; what is gone cannot be."""
        self.at[partition] = max(self.oldest[partition], self.at[partition] - back)
        self.do(self.consumer.seek(Claim(TOPIC.name, partition), self.at[partition]))

    @rule()
    def crash(self) -> None:
        """The process is gone without a word; its lease ends, another begins."""
        self.crashed.append(self.bus)
        self.now += LEASE_S + 1
        self.open()

    @rule(minutes=st.integers(1, 90))
    def retain(self, minutes: int) -> None:
        """Whole segments go when they are past their time; how many records, and how many of them unread, is told."""
        self.now += minutes * 60
        before = dict(self.oldest)
        dropped = self.do(self.bus.retain(datetime.fromtimestamp(self.now, UTC)))
        self.oldest = self.bus.log(TOPIC.name).starts()
        unread = {p: max(0, self.oldest[p] - max(before[p], self.committed[p])) for p in range(PARTITIONS)}
        assert sum(one.records for one in dropped) == sum(self.oldest[p] - before[p] for p in range(PARTITIONS))
        if self.bus.groups().passed(TOPIC.name):
            assert sum(one.unread for one in dropped) == sum(unread.values())

    @invariant()
    def nothing_is_lost(self) -> None:
        """Ends, commits and lag are those of the model, whatever happened."""
        if not hasattr(self, "bus"):
            return
        assert self.do(self.bus.ends(TOPIC.name)) == {p: len(log) for p, log in self.log.items()}
        lag = {p: len(log) - max(self.committed[p], self.oldest[p]) for p, log in self.log.items()}
        assert self.do(self.bus.lag("g", TOPIC.name)) == lag
        for p in range(PARTITIONS):
            assert self.do(self.consumer.committed(Claim(TOPIC.name, p))) == max(self.committed[p], self.oldest[p])

    def teardown(self) -> None:
        """A last reader finds everything that is kept."""
        if hasattr(self, "bus"):
            kept = [record for p in self.log for record in self.bus.log(TOPIC.name).read(p, 0, 10**6)]
            for p, log in self.log.items():
                assert [(record.value, record.key) for record in kept if record.partition == p] == log[self.oldest[p] :]
            held = self.do(self.bus.describe())[TOPIC.name]
            assert (held.records, held.oldest) == (len(kept), min((record.appended_at for record in kept), default=None))
            assert held.bytes > sum(len(record.value) for record in kept)
            for bus in (self.bus, *self.crashed):
                self.do(bus.close())
        self.loop.close()
        shutil.rmtree(self.folder)


Log.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
TestLog = pytest.mark.slow(Log.TestCase)


members = st.dictionaries(st.text("abcdef", min_size=1), st.sets(st.sampled_from(["s", "t", "u"]), min_size=1).map(sorted), max_size=6)


@given(alive=members, counts=st.fixed_dictionaries({name: st.integers(1, 9) for name in "stu"}))
def test_every_partition_has_one_reader_and_shares_are_even(alive: dict[str, list[str]], counts: dict[str, int]) -> None:
    """Whoever computes the assignment of the same members gets the same: no coordinator is needed."""
    dealt = assignment(alive, counts)
    claims = [claim for mine in dealt.values() for claim in mine]
    assert len(claims) == len(set(claims))
    for topic, count in counts.items():
        readers = [name for name, topics in alive.items() if topic in topics]
        shares = [sum(claim.topic == topic for claim in dealt[name]) for name in readers]
        assert sum(shares) == (count if readers else 0)
        assert not shares or max(shares) - min(shares) <= 1
    assert dealt == assignment(dict(reversed(alive.items())), counts)
