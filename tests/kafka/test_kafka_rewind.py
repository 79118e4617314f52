"""A group reads its topic again from a time or an offset; while it has members, it does not."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from driftwheel.bus import Claim, Outgoing
from driftwheel.bus.kafka import KafkaBus
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel.errors import ConfigError
from driftwheel_schemas.topics import JOBS, topics
from kafka_broker import Broker


def test_a_group_reads_again_from_a_time_or_an_offset(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """From a moment between two records, from an offset, from beyond the end; not with members. What retention took is told."""

    async def act() -> None:
        bus = KafkaBus(KafkaSettings(servers=broker.servers, namespace=f"test-{uuid4().hex[:8]}.", session_timeout_s=6))
        try:
            await bus.ensure([topics()[JOBS]])
            await bus.append([Outgoing(JOBS, b"old")] * 3)
            await asyncio.sleep(0.05)
            between = datetime.now(UTC)
            await asyncio.sleep(0.05)
            await bus.append([Outgoing(JOBS, b"new")] * 2)
            consumer = await bus.consumer("jobs", [JOBS])
            while not consumer.owned():
                await consumer.poll(timeout_s=0.2)
            await consumer.commit(Claim(JOBS, 0), 5)
            with pytest.raises(ConfigError, match="driftwheel-jobs has members; stop its workers first"):
                await bus.rewind("jobs", JOBS, 0)
            await consumer.close()

            assert await bus.rewind("jobs", JOBS, between) == {0: 3}
            assert await bus.lag("jobs", JOBS) == {0: 2}
            assert await bus.rewind("jobs", JOBS, 1) == {0: 1}
            assert await bus.rewind("jobs", JOBS, between + timedelta(days=1)) == {0: 5}
            assert await bus.rewind("jobs", JOBS, 99) == {0: 5}

            await bus.rewind("jobs", JOBS, 1)
            async with bus.admin() as admin:
                await admin.delete_records({TopicPartition(bus.settings.physical(JOBS), 0): RecordsToDelete(4)})
            assert await bus.lag("jobs", JOBS) == {0: 1}
        finally:
            await bus.close()

    asyncio.run(act())
    assert "retention dropped 3 records that jobs had not read" in caplog.text
