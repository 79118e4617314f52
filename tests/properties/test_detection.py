"""Laws of the detection worker: kills, repeats, rebalances and bounds (docs/architecture.md)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftwheel.bus import Claim, Record
from driftwheel.detectors.settings import DetectionSettings
from driftwheel.errors import TooManyRejects
from driftwheel.pipeline import Batch, Outcome, Row
from driftwheel.pipeline.detection import Detection
from driftwheel_schemas import Observation, Verdict
from driftwheel_schemas.topics import OBSERVATIONS

START = datetime(2026, 1, 5, tzinfo=UTC)
SELECTED = ("series", "part", "digest", "offset", "data")
"""What the question `detector_state` answers with."""
CLAIM = Claim(OBSERVATIONS, 0)
SETTINGS = DetectionSettings(
    references={"number": 64, "flag": 64, "vector": 96},
    cap=400,
    keep=200,
)


def observation(i: int, signal: str = "latency.seconds", value: float | None = 1.0, **changes: object) -> Observation:
    """Unit *i* of *signal*, one every 20 seconds."""
    at = START + timedelta(seconds=20 * i)
    base = Observation(
        id=f"{signal} {i}",
        app="shop",
        signal=signal,
        segment="app=shop",
        kind="flag" if signal.endswith("flag") else "number",
        unit=f"session:{i}",
        at=at,
        accepted_at=at,
        inference_id=f"i{i}",
        value=value,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def log_of(seen: Iterable[Observation], per_record: int = 5, partition: int = 0) -> list[Record]:
    """Records as a bus would hold them, with times that grow by a second."""
    waiting, records = list(seen), []
    for offset, first in enumerate(range(0, len(waiting), per_record)):
        value = msgspec.json.encode(waiting[first : first + per_record])
        records.append(Record(OBSERVATIONS, partition, offset, "", value, {}, START + timedelta(seconds=offset)))
    return records


def traffic(n: int = 700, change: int = 450) -> list[Observation]:
    """Three series whose level changes at *change*, interleaved; with repeats and late units among them."""
    random, seen = np.random.default_rng(5), []
    for i in range(n):
        changed = i >= change
        seen.append(observation(i, value=float(random.lognormal(1.4 if changed else 0, 0.4))))
        seen.append(observation(i, "refusal.flag", float(random.random() < (0.6 if changed else 0.1))))
        seen.append(observation(i, "length.chars", float(random.normal(100, 10))))
        if i % 7 == 0:
            seen.append(seen[max(0, len(seen) - 40)])
    return seen


@dataclass
class World:
    """A shell and its store, by hand: what is stored, said and acked survives; a kill may strike after any of the steps."""

    settings: DetectionSettings
    records: Sequence[Record]
    states: dict[tuple[str, int], Row] = field(default_factory=dict)
    verdicts: dict[tuple[str, int], Row] = field(default_factory=dict)
    said: list[Verdict] = field(default_factory=list)
    acked: int = 0
    now: datetime = START

    def start(self) -> tuple[Detection, int]:
        """A new owner: seeded from the store, it reads from the committed offset."""
        core = Detection(1, self.settings)
        (question,) = core.seeds(CLAIM, 1)
        assert (question.name, question.params) == ("detector_state", {"partition": 0})
        newest: dict[tuple[str, str], Row] = {}
        for row in sorted(self.states.values(), key=lambda row: row["revision"]):
            newest[row["series"], row["part"]] = {column: row[column] for column in SELECTED}
        core.assigned(CLAIM, [list(newest.values())])
        return core, self.acked

    def step(self, core: Detection, records: Sequence[Record], stop_after: int = 9) -> Outcome:
        """Carry out a batch in the shell's order, up to *stop_after* steps of it."""
        self.now += timedelta(seconds=1)
        outcome = core.process(Batch(records, self.now), [])
        do: list[Callable[[], object]] = [
            *(partial(self.insert, insert.table, insert.rows) for insert in outcome.inserts),
            lambda: self.publish(outcome),
            lambda: setattr(self, "acked", outcome.acks.get(CLAIM, self.acked)),
            lambda: core.landed(outcome),
        ]
        for one in do[:stop_after]:
            one()
        return outcome

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        stored = self.states if table == "detector_state" else self.verdicts
        for row in rows:
            stored.setdefault((row["id"], row["revision"]), row)

    def publish(self, outcome: Outcome) -> None:
        for record in outcome.publish:
            self.said += msgspec.json.decode(record.value, type=list[Verdict])

    def run(self, sizes: Sequence[int], kills: dict[int, int] | None = None) -> None:
        """Read everything in batches of *sizes* records, in turn; at the steps in *kills* the worker dies after so many actions."""
        core, at = self.start()
        for step in range(10_000):
            if at >= len(self.records):
                break
            size, dies = sizes[step % len(sizes)], (kills or {}).get(step)
            self.step(core, self.records[at : at + size], 9 if dies is None else dies)
            core, at = self.start() if dies is not None else (core, at + size)
        for _ in range(3):
            self.now += self.settings.snapshot_every_s * timedelta(seconds=1)
            self.step(core, [])


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return log_of(traffic())


@pytest.fixture(scope="module")
def straight(records: list[Record]) -> World:
    """The run that nothing disturbs."""
    world = World(SETTINGS, records)
    world.run([10])
    return world


def test_the_traffic_has_what_the_laws_are_about(straight: World, records: list[Record]) -> None:
    """Two detectors find the change, each alarm is said several times, the third series is quiet, all is acked."""
    assert {verdict.signal for verdict in straight.said} == {"latency.seconds", "refusal.flag"}
    assert {verdict.detector for verdict in straight.said} == {"conformal", "rate"}
    assert max(verdict.revision for verdict in straight.said) >= 2
    assert all(verdict.drifted for verdict in straight.said)
    assert straight.acked == len(records)
    quiet = [row for row in straight.verdicts.values() if row["signal"] == "length.chars"]
    assert quiet
    assert not any(row["drifted"] for row in quiet)
    assert "No change: evidence 10^" in quiet[-1]["reason"]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    kills=st.dictionaries(st.integers(0, 60), st.integers(0, 5), max_size=6),
    every=st.sampled_from([1.0, 3.0, 10.0]),
    room=st.sampled_from([1, 32 * 1024 * 1024]),
)
def test_a_kill_anywhere_changes_nothing(
    records: list[Record], straight: World, sizes: list[int], kills: dict[int, int], every: float, room: int
) -> None:
    """However batches are cut and wherever workers die, the same verdicts are said: ids, revisions and evidence to the last bit."""
    world = World(replace(SETTINGS, snapshot_every_s=every, snapshot_bytes=room), records)
    world.run(sizes, kills)

    assert {(v.id, v.revision): v for v in world.said} == {(v.id, v.revision): v for v in straight.said}
    assert {key for key, row in world.verdicts.items() if row["drifted"]} == {(v.id, v.revision) for v in straight.said}
    assert world.acked == len(records) or room == 1


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_repeated_observations_change_nothing(straight: World, seed: int) -> None:
    """An observation that comes again, at once or hundreds later, is not counted again."""
    random = np.random.default_rng(seed)
    seen: list[Observation] = []
    for one in traffic():
        seen.append(one)
        if random.random() < 0.3:
            seen.append(seen[int(random.integers(max(0, len(seen) - 600), len(seen)))])
    world = World(SETTINGS, log_of(seen))
    world.run([20])

    assert {(v.id, v.revision, v.evidence) for v in world.said} == {(v.id, v.revision, v.evidence) for v in straight.said}


def test_of_one_unit_only_the_first_observation_counts() -> None:
    """The second call of a session is not a second draw from the traffic; it is counted as seen."""
    world = World(SETTINGS, log_of([observation(1), observation(2, unit="session:1", value=5.0)]))
    core, _ = world.start()
    outcome = world.step(core, world.records)

    assert outcome.counts["observed"] == 1
    assert outcome.counts["unit_seen"] == 1


def test_acks_go_no_further_than_the_snapshot(records: list[Record]) -> None:
    """Nothing is acked in the batch that reads it: the snapshot that holds it comes with a later one."""
    world = World(SETTINGS, records)
    core, _ = world.start()
    assert dict(world.step(core, records[:10]).acks) == {}
    world.now += timedelta(seconds=6)
    outcome = world.step(core, records[10:20])

    assert dict(outcome.acks) == {CLAIM: 10}
    assert {row["offset"] for row in outcome.inserts[0].rows} == {10}


def test_no_snapshot_holds_a_verdict_that_was_not_said(records: list[Record]) -> None:
    """While an outcome has not landed no snapshot is taken, and its verdicts are said again with the next one."""
    world = World(SETTINGS, records)
    core, _ = world.start()
    while not (outcome := core.process(Batch(records[:1], world.now), [])).publish:
        core.landed(outcome)
        records = records[1:]
        world.now += timedelta(seconds=1)
    world.now += timedelta(seconds=60)
    again = core.process(Batch([], world.now), [])

    assert again.publish == outcome.publish
    assert again.inserts[0].rows == []
    core.landed(again)
    third = core.process(Batch([], world.now), [])
    assert third.inserts[0].rows
    assert not third.publish


def test_a_snapshot_that_did_not_land_is_taken_again(records: list[Record]) -> None:
    """Else its records would be acked though no snapshot holds them."""
    world = World(SETTINGS, records)
    core, _ = world.start()
    world.step(core, records[:10])
    world.now += timedelta(seconds=6)
    lost = core.process(Batch([], world.now), [])
    world.now += timedelta(seconds=6)
    again = world.step(core, [])

    assert {row["series"] for row in again.inserts[0].rows} == {row["series"] for row in lost.inserts[0].rows} != set()
    assert {row["part"] for row in again.inserts[0].rows} == {row["part"] for row in lost.inserts[0].rows}


def test_a_snapshot_is_a_reference_written_once_and_a_small_moving_part(straight: World) -> None:
    """Per series and version one reference row; the states come as often as they are due and stay small."""
    rows = list(straight.states.values())
    references = [(row["series"], row["digest"]) for row in rows if row["part"] == "reference"]

    assert len(references) == len(set(references)) >= 3
    assert max(len(row["data"]) for row in rows if row["part"] == "state") < 20_000
    assert all(row["digest"] in {digest for _, digest in references} | {""} for row in rows)


def test_a_topic_that_was_created_anew_is_read_from_its_start(straight: World) -> None:
    """Its offsets are low again, yet its times are later: nothing is skipped, and newer snapshots replace the older ones."""
    world = World(SETTINGS, [], states=dict(straight.states))
    newer = [
        replace(one, appended_at=one.appended_at + timedelta(days=1))
        for one in log_of([observation(10_000 + i, "length.chars", 100.0 + i % 9) for i in range(50)])
    ]
    core, _ = world.start()
    outcome = world.step(core, newer)
    world.now += timedelta(seconds=6)
    highest = max(row["revision"] for row in world.states.values())
    world.step(core, [])

    assert outcome.counts["observed"] == 50
    assert max(row["revision"] for row in world.states.values()) > highest


def test_what_a_snapshot_holds_is_skipped(records: list[Record], straight: World) -> None:
    """When the commit after a snapshot was lost, its records come again and are left out, whatever was forgotten of their units."""
    world = World(replace(SETTINGS, units=1), records, states=dict(straight.states))
    core, at = world.start()
    outcome = world.step(core, records)

    assert at == 0
    assert outcome.counts["in_snapshot"] == sum(len(msgspec.json.decode(record.value)) for record in records)
    assert not outcome.publish


def test_memory_is_bounded_in_series_and_bytes() -> None:
    """Beyond its bounds a partition takes no new series, and counts every observation that it refused."""
    many = log_of(observation(i, segment=f"app=shop,model={i}") for i in range(50))
    by_items, by_bytes = (World(replace(SETTINGS, **bound), many) for bound in ({"max_series": 10}, {"max_bytes": 100_000}))  # type: ignore[arg-type]
    for world, most in ((by_items, 10), (by_bytes, 13)):
        core, _ = world.start()
        outcome = world.step(core, many)
        assert len(core.series) == most
        assert outcome.counts["series_refused"] == 50 - most


def test_what_does_not_fit_its_kind_goes_to_the_dead_letters() -> None:
    """A flag of 0.5, a vector of odd bytes, a time without a zone, a number for a series of flags: each is told with its reason, its neighbours go on."""
    good = [observation(i, "refusal.flag", 0.0) for i in range(20)]
    bad = [
        observation(100, "refusal.flag", 0.5),
        observation(101, "embedding.prompt", kind="vector", value=None, vector=b"abc"),
        observation(102, "embedding.prompt", kind="vector", value=None, vector=b"\x80\x7f"),
        observation(103, value=None),
        observation(105, accepted_at=datetime(2026, 1, 5)),  # noqa: DTZ001  the fault
        observation(104, "refusal.flag", 3.0, kind="number"),
    ]
    world = World(SETTINGS, log_of([*good, *bad]))
    core, _ = world.start()
    outcome = world.step(core, world.records)

    assert outcome.counts["observed"] == 20
    assert {letter.event_id for letter in outcome.letters} == {one.id for one in bad}
    assert {letter.reason for letter in outcome.letters} == {"unusable"}


def test_a_batch_that_is_mostly_bad_changes_nothing() -> None:
    """Then the worker stands still: that is a bad deploy, and no series has moved."""
    world = World(SETTINGS, log_of([observation(i, value=None if i % 4 else 1.0) for i in range(40)]))
    core, _ = world.start()

    with pytest.raises(TooManyRejects):
        world.step(core, world.records)
    assert core.series == {}


def test_an_accepted_baseline_is_an_event_that_survives_a_restart(straight: World) -> None:
    """An `accept` begins a new epoch of its series alone, is part of the next snapshot, and is not taken twice from one record."""
    accept = observation(0, kind="accept", value=None)
    last = Record(OBSERVATIONS, 0, straight.acked, "", msgspec.json.encode(accept), {}, START + timedelta(hours=1))
    unknown = replace(last, offset=last.offset + 1, value=msgspec.json.encode(replace(accept, signal="unknown.number")))
    world, name = World(SETTINGS, [], states=dict(straight.states)), "default/latency.seconds{app=shop}"
    core, _ = world.start()
    before = {series: one.detector.finding().epoch for series, one in core.series.items()}
    assert world.step(core, [last, unknown]).counts["accepted"] == 1
    for _ in range(8):
        world.step(core, [])
    again, _ = world.start()
    assert "accepted" not in world.step(again, [last]).counts

    assert {series: one.detector.finding().epoch - before[series] for series, one in again.series.items()} == {
        series: int(series == name) for series in before
    }
    assert again.series.keys() == before.keys()


def test_a_state_that_cannot_be_read_is_counted_and_learned_anew(straight: World) -> None:
    """A snapshot of another layout, or one whose reference is gone, is no silent loss."""
    rows = [row for row in straight.states.values() if row["part"] == "state"]
    world = World(SETTINGS, [], states={(row["id"], row["revision"]): row for row in rows})
    core, _ = world.start()

    assert core.series == {}
    assert world.step(core, []).counts["series_unreadable"] == 3

    torn = [row | {"data": row["data"][: len(row["data"]) // 8 * 4]} for row in straight.states.values()]
    world = World(SETTINGS, [], states={(row["id"], row["revision"]): row for row in torn})
    assert world.start()[0].series == {}


def test_values_at_the_edge_of_floating_point_are_ranked_like_any_other() -> None:
    """Numbers beyond single precision and means beyond double are no reason to stop: the change is found and said."""
    values = [float(i % 5) for i in range(200)] + [1.7e308, -1.7e308, 5e-324] * 3 + [1e300 * (1 + i % 3) for i in range(60)]
    world = World(SETTINGS, log_of([observation(i, value=value) for i, value in enumerate(values)]))
    world.run([5])

    assert {verdict.detector for verdict in world.said} >= {"conformal"}
    assert world.acked == len(world.records)
