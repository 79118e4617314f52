"""One real Kafka for all tests of a run. CI sets KAFKA_TESTS=required, so that it cannot be left out unnoticed."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from kafka_broker import Broker, missing


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker; a test that kills it starts it again."""
    if lacks := missing():
        if os.environ.get("KAFKA_TESTS") == "required":
            pytest.fail(lacks)
        pytest.skip(lacks)
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(params=["local", pytest.param("kafka", marks=pytest.mark.kafka)])
def on_bus(request: pytest.FixtureRequest) -> str:
    """What makes a system run on each bus, for its settings: a test that takes this holds for both."""
    if request.param == "local":
        return ""
    broker: Broker = request.getfixturevalue("broker")
    return f'\n[bus.kafka]\nservers = "{broker.servers}"\nnamespace = "test-{uuid4().hex[:8]}."\nsession_timeout_s = 6.0\n'
