"""Two workers of one role: one joins, leaves, is killed, is paused; the partitions move, and no event is lost or doubled."""

import signal
from pathlib import Path

import pytest

from kafka_broker import Broker
from kafka_gate import gate_to
from kafka_system import SESSION_S, Place, Producer, Stalls, a_place, exactly, until

SLACK_S = 6.0
"""Other tests use the same two cores."""


@pytest.mark.slow
def test_a_worker_joins_and_leaves_under_load(broker: Broker, tmp_path: Path) -> None:
    """No partition stands still for 10 s, both work meanwhile, and nothing is doubled even without FINAL: a rebalance hands over in order."""
    with a_place(broker, tmp_path) as place:
        with Producer(place) as producer:
            first = place.worker("signals").ready()
            producer.until(500)
            with Stalls(place) as stalls:
                second = place.worker("signals").ready()
                until(lambda: second.counts("stored") > 500)
                before = first.counts("stored")
                until(lambda: first.counts("stored") > before + 300)
                repeated = second.counts("repeated") + second.counts("skipped")
                assert second.stop() == 0
                before = first.counts("stored")
                until(lambda: first.counts("stored") > before + 1000)
        place.done()

        exactly(place, producer.accepted)
        assert stalls.longest < 10 + SLACK_S, stalls.longest
        assert first.process.poll() is None
        assert repeated + first.counts("repeated") + first.counts("skipped") == 0, "a batch was not finished before it was handed over"


@pytest.mark.slow
def test_what_a_killed_worker_had_is_taken_over(broker: Broker, tmp_path: Path) -> None:
    """Kill -9 of one of two: the other has everything within the session timeout and 3 s."""
    with a_place(broker, tmp_path) as place:
        with Producer(place) as producer:
            one, other = place.worker("signals"), place.worker("signals")
            until(lambda: min(one.counts("stored"), other.counts("stored")) > 300)
            with Stalls(place) as stalls:
                one.kill()
                producer.until(len(producer.accepted) + 1000)
                accepted = set(producer.accepted)
                until(lambda: ids_of(place) >= accepted)
        place.done()

        exactly(place, producer.accepted)
        assert SESSION_S - 3 < stalls.longest < SESSION_S + 3 + SLACK_S, stalls.longest
        assert other.process.poll() is None


@pytest.mark.slow
def test_an_owner_that_sleeps_through_its_session_harms_nothing(broker: Broker, tmp_path: Path) -> None:
    """
    SIGSTOP in the middle of an insert; another takes over and does the batch again; then the first insert lands, and SIGCONT.

    Its rows are there twice until a merge, and once in FINAL. The old owner notices, and works on what it is given then.
    """
    with a_place(broker, tmp_path) as place, gate_to(place.store.port) as gate:
        behind, place.store_port = place.store_port, gate.port
        sleeper = place.worker("signals", SHELL__MAX_RECORDS="5").ready()
        with Producer(place) as producer:
            until(
                lambda: sleeper.counts("stored") > 1000
            )  # behind the first five records of a partition, it trusts that nobody else has stored them
            gate.catch("payloads", "delay")
            assert gate.caught.wait(60)
            sleeper.send(signal.SIGSTOP)
            accepted = set(producer.accepted)
            place.store_port = behind
            other = place.worker("signals").ready()
            until(lambda: ids_of(place) >= accepted, 90)
            gate.release()
            sleeper.send(signal.SIGCONT)
            until(lambda: sleeper.counts("stored") > 0 and sleeper.health()[0] == 200, 90, lambda: sleeper.text[-3000:])
            before = sleeper.counts("stored"), other.counts("stored")
            producer.until(len(producer.accepted) + 1000)
            until(lambda: sleeper.counts("stored") > before[0] + 200 and other.counts("stored") > before[1] + 200, 90)
        place.done()

        extra = exactly(place, producer.accepted, also_without_final=False)
        assert min(extra.values()) > 0, "the late insert has not landed: this test shows nothing"


def ids_of(place: Place) -> set[str]:
    """The inferences that are stored."""
    return {str(row["id"]) for row in place.ask("SELECT toString(id) AS id FROM driftwheel.inferences")}
