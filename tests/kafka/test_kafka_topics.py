"""`admin topics apply|check` on a real cluster: what is missing is created, what differs is mended, what re-keys is refused."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel.bus.kafka_topics import Found, read
from driftwheel_schemas import topics
from driftwheel_schemas.topics import JOBS, OBSERVATIONS, SPANS
from kafka_broker import Broker
from kafka_system import until, with_bus

RETENTION_MS = str(topics()[JOBS].retention_hours * 3_600_000)


@pytest.fixture
def own(broker: Broker, tmp_path: Path) -> Iterator[Broker]:
    """A broker whose topics are this test's alone."""
    own = Broker(tmp_path / "kafka")
    own.start()
    yield own
    own.stop()


def admin(broker: Broker, *arguments: str) -> tuple[int, str]:
    """`driftwheel admin topics …` as a person runs it: exit code, and what it said."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTWHEEL_")}
    environ |= {"DRIFTWHEEL_BUS__KAFKA__SERVERS": broker.servers, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "driftwheel", "admin", "topics", *arguments]
    done = subprocess.run(command, cwd=broker.folder, env=environ, capture_output=True, text=True, timeout=90, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def with_admin(broker: Broker, act: Callable[[AIOKafkaAdminClient], Awaitable[object]]) -> None:
    """Do *act* behind our back."""

    async def run(bus: KafkaBus) -> None:
        async with bus.admin() as client:
            await act(client)

    asyncio.run(with_bus(KafkaSettings(servers=broker.servers), run))


def found(broker: Broker) -> dict[str, Found]:
    """The topics of the cluster."""

    async def run(bus: KafkaBus) -> dict[str, Found]:
        async with bus.admin() as client:
            return await read(client, list(topics().values()))

    return asyncio.run(with_bus(KafkaSettings(servers=broker.servers), run))


@pytest.mark.slow
def test_the_clusters_topics_become_what_the_file_says(own: Broker) -> None:
    """Created, then mended; partitions are added only with --accept-rekey, and then nothing else was done before; unknown ones are told."""
    code, said = admin(own, "check")
    assert code == 1
    assert said.count("is missing; should have") == len(topics())
    code, said = admin(own, "apply")
    assert (code, said.count("mended: ")) == (0, len(topics()))
    code, said = admin(own, "check")
    assert (code, "is as topics.toml says" in said) == (0, True)
    assert {name: (one.partitions, one.settings["cleanup.policy"]) for name, one in found(own).items()} == {
        name: (one.partitions, "delete") for name, one in topics().items()
    }
    code, said = admin(own, "apply")
    assert (code, "mended" in said) == (0, False)

    theirs = {"retention.ms": "60000", "max.message.bytes": "2000000"}
    with_admin(own, lambda client: client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, JOBS, theirs)]))
    with_admin(own, lambda client: client.delete_topics([OBSERVATIONS]))
    until(lambda: OBSERVATIONS not in found(own))
    fewer = NewTopic(OBSERVATIONS, 2, 1)
    with_admin(own, lambda client: client.create_topics([fewer, NewTopic("driftwheel.old.v0", 1, 1), NewTopic("other", 1, 1)]))
    code, said = admin(own, "check")
    assert code == 1
    assert f"{JOBS}: config is retention.ms=60000, should be retention.ms={RETENTION_MS}" in said
    assert f"{OBSERVATIONS}: partitions is 2, should be 4" in said
    assert "driftwheel.old.v0: is on the cluster and not in topics.toml" in said
    assert "other" not in said

    code, said = admin(own, "apply")
    assert code == 2
    assert "--accept-rekey" in said
    assert found(own)[OBSERVATIONS].partitions == 2
    assert found(own)[JOBS].settings["retention.ms"] == "60000", "something was changed before the refusal"

    code, said = admin(own, "apply", "--accept-rekey")
    assert code == 0
    assert "left as it is: driftwheel.old.v0" in said
    now = found(own)
    assert now[OBSERVATIONS].partitions == 4
    assert now[JOBS].settings["retention.ms"] == RETENTION_MS
    assert now[JOBS].settings["max.message.bytes"] == "2000000", "what somebody else set was taken away"
    code, said = admin(own, "check")
    assert (code, said.strip()) == (1, "driftwheel.old.v0: is on the cluster and not in topics.toml")


@pytest.mark.slow
def test_a_worker_without_its_topics_names_the_command_that_makes_them(own: Broker) -> None:
    """No topic is made in passing."""
    environ = os.environ | {"DRIFTWHEEL_BUS__KAFKA__SERVERS": own.servers, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "driftwheel", "run", "signals"]
    done = subprocess.run(command, cwd=own.folder, env=environ, capture_output=True, text=True, timeout=90, check=False)

    assert done.returncode == 2
    assert "driftwheel admin topics apply" in done.stderr
    assert "Traceback" not in done.stderr
    assert SPANS not in found(own)
