"""SASL: the bus and the workers log in with SCRAM-SHA-512, and a wrong password is told without showing one."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel.errors import ConfigError
from driftwheel_schemas.topics import INFERENCES
from kafka_broker import PASSWORD, USER, Broker
from kafka_system import a_place, envelopes, exactly, inference

WRONG = "not-the-password"


def secured(broker: Broker, password: str) -> dict[str, str]:
    """The settings of a worker, as variables."""
    at = {"SERVERS": f"127.0.0.1:{broker.sasl}", "SECURITY": "SASL_PLAINTEXT", "USER": USER, "PASSWORD": password}
    return {f"BUS__KAFKA__{name}": value for name, value in at.items()}


@pytest.mark.slow
def test_bus_and_worker_log_in_with_scram(broker: Broker, tmp_path: Path) -> None:
    """Append, consume, and a Faust worker, all through the listener that asks for a password."""
    events = [inference() for _ in range(200)]
    with a_place(broker, tmp_path) as place:
        plain = place.settings
        place.settings = replace(
            plain, servers=f"127.0.0.1:{broker.sasl}", security="SASL_PLAINTEXT", mechanism="SCRAM-SHA-512", user=USER, password=PASSWORD
        )
        place.run(lambda bus: bus.append(envelopes(events)))
        assert sum(len(json.loads(record.value)) for record in place.records(INFERENCES)) == len(events)
        worker = place.worker("signals", **secured(broker, PASSWORD)).ready()
        place.done()
        exactly(place, [event.id for event in events])
        assert PASSWORD not in worker.text


def test_a_wrong_password_is_told_and_never_shown(broker: Broker) -> None:
    """The place, what is wrong, the cure."""
    settings = KafkaSettings(servers=f"127.0.0.1:{broker.sasl}", security="SASL_PLAINTEXT", user=USER, password=WRONG)

    async def act() -> None:
        bus = KafkaBus(settings)
        try:
            await bus.partitions(INFERENCES)
        finally:
            await bus.close()

    with pytest.raises(ConfigError, match=f"bus.kafka.user: .*{broker.sasl} does not let 'driftwheel' in .*mend user and password") as told:
        asyncio.run(act())
    assert WRONG not in f"{told.value!r} {told.value.__cause__!r} {settings!r}"


@pytest.mark.slow
def test_a_worker_with_a_wrong_password_says_so(broker: Broker, tmp_path: Path) -> None:
    """It ends at once, with the sentence and without the password: waiting would not help."""
    with a_place(broker, tmp_path) as place:
        worker = place.worker("signals", **secured(broker, WRONG))
        assert worker.process.wait(60) == 2
        assert "driftwheel: bus.kafka.user: " in worker.text
        assert "mend user and password" in worker.text
        assert "Traceback" not in worker.text
        assert WRONG not in worker.text
