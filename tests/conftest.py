"""One real Kafka for all tests of a run. CI sets DRIFTWHEEL_KAFKA=required, so that it cannot be left out unnoticed."""

import os
from collections.abc import Iterator

import pytest

from kafka_broker import Broker, missing


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker; a test that kills it starts it again."""
    if lacks := missing():
        if os.environ.get("DRIFTWHEEL_KAFKA") == "required":
            pytest.fail(lacks)
        pytest.skip(lacks)
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()
