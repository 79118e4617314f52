"""Faults of one signals worker on a real Kafka: killed, stopped, in mid-batch; rows equal events accepted, by id."""

import json
import time
from pathlib import Path

import pytest

from driftwheel_schemas.topics import INFERENCES
from kafka_broker import Broker
from kafka_gate import How, gate_to
from kafka_system import Producer, a_place, exactly


@pytest.mark.slow
def test_a_worker_killed_in_mid_batch_loses_nothing_and_doubles_nothing(broker: Broker, tmp_path: Path) -> None:
    """
    Kill -9 with the text stored and the facts not; with both stored and nothing published; and at any moment under load.

    Also without FINAL: the next owner asks what is there before it inserts. The worker has a slot, so that it is back long
    before its session of 30 s is over.
    """
    static = {"BUS__KAFKA__SLOT": "one", "BUS__KAFKA__SESSION_TIMEOUT_S": "30"}
    with a_place(broker, tmp_path) as place, gate_to(place.store.port) as gate:
        place.store_port = gate.port
        with Producer(place) as producer:
            worker = place.worker("signals", **static).ready()
            moments: tuple[How, ...] = ("hold", "keep")
            for how in moments:
                gate.catch("inferences", how)
                assert gate.caught.wait(60), worker.text
                worker.kill()
                gate.free()
                worker = place.worker("signals", **static).ready(25)
            time.sleep(0.5)
            worker.kill()
            last = place.worker("signals", **static).ready(25)
            producer.until(len(producer.accepted) + 500)
        place.done()

        exactly(place, producer.accepted)
        assert last.health("live")[0] == 200
        assert place.ask("SELECT count() AS n FROM driftwheel.dead_letters") == [{"n": 0}]


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_finishes_its_batch_and_no_more(broker: Broker, tmp_path: Path) -> None:
    """SIGTERM under load: exit code 0 within 10 s, and what is stored is what is acked, to the event: nothing has to be mended."""
    with a_place(broker, tmp_path) as place:
        with Producer(place) as producer:
            worker = place.worker("signals").ready()
            producer.until(len(producer.accepted) + 1000)
            began = time.monotonic()
            code = worker.stop()
            took = time.monotonic() - began
        assert (code, took < 10) == (0, True), f"{code} after {took:.1f} s: {worker.text[-2000:]}"

        left = place.run(lambda bus: bus.lag("signals", INFERENCES))
        ends = place.run(lambda bus: bus.ends(INFERENCES))
        acked = {
            event["id"]
            for record in place.records(INFERENCES)
            if record.offset < ends[record.partition] - left[record.partition]
            for event in json.loads(record.value)
        }
        assert acked
        assert {row["id"] for row in place.ask("SELECT toString(id) AS id FROM driftwheel.inferences")} == acked

        second = place.worker("signals").ready()
        place.done()
        exactly(place, producer.accepted)
        assert second.counts("skipped") == second.counts("repeated") == 0
