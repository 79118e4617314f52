"""Detection on Kafka acks only what is in a snapshot: killed at any moment, it has seen every observation once."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from driftwheel.bus import Claim, Record
from driftwheel.detectors.settings import DetectionSettings
from driftwheel.pipeline import Batch
from driftwheel.pipeline.detection import Detection
from driftwheel.pipeline.detection_series import restored
from driftwheel.pipeline.envelope import pack
from driftwheel_schemas import Observation, Verdict, derived_id
from driftwheel_schemas.topics import OBSERVATIONS, VERDICTS
from kafka_broker import Broker
from kafka_gate import How, gate_to
from kafka_system import TOPICS, Place, a_place

SERIES, UNITS = 12, 900
START = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = DetectionSettings(references={"number": 100, "flag": 100, "vector": 400})


def observations() -> list[Observation]:
    """Twelve series of 900 units an hour apart; the values of the last four series are higher from unit 500 on."""
    draw = random.Random(7)
    return [
        Observation(
            id=derived_id("seen", series, unit),
            app="shop",
            signal="latency.seconds",
            segment=f"s{series}",
            kind="number",
            unit=f"u{unit}",
            at=START + timedelta(hours=unit),
            accepted_at=START + timedelta(hours=unit),
            inference_id=derived_id("call", unit),
            value=draw.lognormvariate(1.5 if series >= SERIES - 4 and unit >= 500 else 0, 0.3),
        )
        for unit in range(UNITS)
        for series in range(SERIES)
    ]


def undisturbed(records: Sequence[Record]) -> tuple[dict[str, tuple[bytes, bytes]], set[tuple[str, int]]]:
    """What a core that reads *records* in one go knows of each series (its units and its state), and what it says."""
    core = Detection(TOPICS[VERDICTS].partitions, SETTINGS)
    for partition in range(TOPICS[OBSERVATIONS].partitions):
        core.assigned(Claim(OBSERVATIONS, partition), [[]])
    outcome = core.process(Batch(sorted(records, key=lambda one: (one.partition, one.offset)), START), [])
    said = {(one.id, one.revision) for record in outcome.publish for one in msgspec.json.decode(record.value, type=list[Verdict])}
    return {name: (bytes(one.units), one.detector.state()) for name, one in core.series.items()}, said


def stored(place: Place) -> dict[str, tuple[bytes, bytes]]:
    """The same, as the last snapshots hold it."""
    found = {}
    for partition in range(TOPICS[OBSERVATIONS].partitions):
        rows = place.store.client().ask("detector_state", {"partition": partition})
        parts = {(row["series"], row["part"]): row for row in rows}
        for (name, part), row in parts.items():
            if part == "state":
                series = restored(row, parts.get((name, "reference")), SETTINGS)
                assert series
                found[name] = bytes(series.units), series.detector.state()
    return found


@pytest.mark.slow
def test_killed_detection_has_seen_every_observation_once(broker: Broker, tmp_path: Path) -> None:
    """
    Three kills: with a snapshot on its way, with one that landed unknown to it, and at any moment; a third of the records come twice.

    What its snapshots hold in the end is, to the byte, what a core holds that read the same log in one go; what it said
    is the same, too.
    """
    seen, partitions = observations(), TOPICS[OBSERVATIONS].partitions
    slices = [list(pack(OBSERVATIONS, partitions, ((one.series, one) for one in seen[n : n + 120]))) for n in range(0, len(seen), 120)]
    settings = {
        "DETECTION__SNAPSHOT_EVERY_S": "0.2",
        "DETECTION__SNAPSHOT_BYTES": "8000",  # some series at a time: what is acked waits for the others
        "DETECTION__REFERENCES": "{number = 100, flag = 100, vector = 400}",
        "SHELL__MAX_RECORDS": "20",
        "BUS__KAFKA__SLOT": "one",
    }
    with a_place(broker, tmp_path) as place, gate_to(place.store.port) as gate:
        place.store_port = gate.port
        worker = place.worker("detection", **settings).ready()
        moments: tuple[How | None, ...] = ("hold", "keep", None)
        for number, how in enumerate(moments):
            if how:
                gate.catch("detector_state", how)
            third = slices[number * 30 : number * 30 + 30]
            for part in [*third, *third[:10]]:
                place.put(part)
            if how:
                assert gate.caught.wait(60), worker.text
            worker.kill()
            gate.free()
            worker = place.worker("detection", **settings).ready()
        place.done("detection", OBSERVATIONS)
        log = place.records(OBSERVATIONS)
        expected, said = undisturbed(log)

        assert len(expected) == SERIES
        assert all(len(units) == 4 * UNITS for units, _ in expected.values()), "the test's own core has not seen all"
        assert stored(place) == expected
        heard = [one for record in place.records(VERDICTS) for one in msgspec.json.decode(record.value, type=list[Verdict])]
        assert {(one.id, one.revision) for one in heard} == said
        assert len({one.series for one in heard if one.drifted}) == 4
