"""What should not be on a topic: it is set aside to the byte, its neighbours are stored, and a flood of it stops the worker."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from driftwheel.bus import Outgoing
from driftwheel.bus.kafka import KafkaBus
from driftwheel.pipeline.envelope import MAX_BYTES
from driftwheel.pipeline.letters import letter_of
from driftwheel_schemas import dead_letters_of
from driftwheel_schemas.topics import INFERENCES
from kafka_broker import Broker
from kafka_system import a_place, envelopes, exactly, inference, until

LETTERS = dead_letters_of(INFERENCES)
HUGE = b'{"id": "' + b"x" * 5_000_000 + b'"}'


@pytest.mark.slow
def test_bad_records_are_set_aside_to_the_byte_and_their_neighbours_are_stored(broker: Broker, tmp_path: Path) -> None:
    """No JSON, 5 MB of one event, an empty value, a tombstone, another event: each is a dead letter; a plain object is an event."""
    good = [inference() for _ in range(200)]
    encode = msgspec.json.encode
    plain, neighbours = good[0], [encode(event) for event in good[1:4]]
    bad = {
        b"no json at all \xff\xfe": "malformed",
        HUGE: "missing required field",
        b"": "truncated",
        b'{"kind": "unknown", "id": "1"}': "missing required field",
        b'{"id": "not-a-uuid", "app": "a", "model": "m", "started_at": "2026-01-01T00:00:00Z"}': "UUID",
        b'{"id": 7}': "$.id",
    }
    lone, among = list(bad)[:-1], list(bad)[-1]

    async def produce(bus: KafkaBus) -> None:
        await bus.append(envelopes(good[4:100]))
        await bus.append([Outgoing(INFERENCES, value, headers={"theirs": b"\x00"}) for value in lone])
        await bus.append([Outgoing(INFERENCES, b"[" + b", ".join([neighbours[0], among, *neighbours[1:]]) + b"]")])
        producer = AIOKafkaProducer(bootstrap_servers=broker.servers)  # another program: its own partitioner, no envelope, a tombstone
        await producer.start()
        await producer.send_and_wait(INFERENCES, encode(plain), key=b"theirs")
        await producer.send_and_wait(INFERENCES, None, key=b"gone")
        await producer.stop()
        await bus.append(envelopes(good[100:]))

    with a_place(broker, tmp_path) as place:
        place.run(produce)
        worker = place.worker("signals").ready()
        place.done()
        exactly(place, [event.id for event in good])
        rows = place.ask("SELECT * FROM driftwheel.dead_letters FINAL")
        letters = [letter_of(record) for record in place.records(LETTERS)]
        headers = [record.headers for record in place.records(LETTERS)]
        assert worker.process.poll() is None

    expected = sorted([*bad, b""])  # a tombstone is an empty value
    sources = {(letter.partition, letter.offset, letter.index) for letter in letters}
    assert sorted(letter.payload for letter in letters) == sorted(value[:MAX_BYTES] for value in expected)
    assert sorted(letter.sha256 for letter in letters) == sorted(hashlib.sha256(value).hexdigest() for value in expected)
    assert {(letter.sha256, letter.size_bytes) for letter in letters} == {
        (hashlib.sha256(value).hexdigest(), len(value)) for value in expected
    }
    assert len(sources) == len(expected)
    assert {letter.index for letter in letters if letter.payload == among} == {1}
    for letter in letters:
        assert letter.reason == "undecodable"
        said = next(words for value, words in bad.items() if value[:MAX_BYTES] == letter.payload)
        assert said in letter.detail, letter.detail
    for one in headers:
        assert one["__dlq.errors.topic"] == INFERENCES.encode()
        assert {"__dlq.errors.partition", "__dlq.errors.offset", "__dlq.errors.message"} <= one.keys()
    assert {str(row["id"]) for row in rows} == {letter.id for letter in letters}
    assert sorted(base64.b64decode(str(row["payload"])) for row in rows) == sorted(value[:MAX_BYTES] for value in expected)


@pytest.mark.slow
def test_a_topic_that_is_mostly_bad_stops_the_worker(broker: Broker, tmp_path: Path) -> None:
    """Not ready with the reason, alive, nothing acked and nothing stored, and it can be stopped."""
    good = [inference() for _ in range(10)]
    with a_place(broker, tmp_path) as place:
        place.append(INFERENCES, [b"[" + b",".join([*(msgspec.json.encode(event) for event in good), *([b"7"] * 40)]) + b"]"])
        worker = place.worker("signals")
        until(lambda: worker.health()[0] == 503 and "cannot be used" in worker.health()[1])

        paused = json.loads(worker.health()[1])["paused"]["signals"]
        assert worker.health("live")[0] == 200
        assert INFERENCES in paused
        assert "40 of 50" in paused
        assert "nothing is acknowledged" in paused
        assert place.ask("SELECT count() AS n FROM driftwheel.inferences") == [{"n": 0}]
        assert place.ask("SELECT count() AS n FROM driftwheel.dead_letters") == [{"n": 0}]
        assert worker.stop() == 0
        assert place.lag("signals", INFERENCES) == 1


@pytest.mark.slow
def test_events_of_any_sane_time_are_stored_and_others_are_letters(broker: Broker, tmp_path: Path) -> None:
    """Of the year 2001 and of tomorrow: stored, by the bus's clock. Of 1970 or next year: letters that say what is allowed."""
    now = datetime.now(UTC)
    fine = [inference(started_at=datetime(2001, 1, 1, tzinfo=UTC)), inference(started_at=now + timedelta(hours=23))]
    wrong = [inference(started_at=datetime(1970, 1, 1, tzinfo=UTC)), inference(started_at=now + timedelta(days=365))]
    with a_place(broker, tmp_path) as place:
        place.run(lambda bus: bus.append(envelopes([*fine, *wrong])))
        place.worker("signals").ready()
        place.done()

        exactly(place, [event.id for event in fine])
        accepted = place.ask("SELECT max(abs(dateDiff('second', accepted_at, now64(6)))) AS off FROM driftwheel.inferences")
        letters = place.ask("SELECT detail FROM driftwheel.dead_letters FINAL")
        assert int(str(accepted[0]["off"])) < 120
        assert len(letters) == len(wrong)
        assert all("must be after the year 2000" in str(letter["detail"]) for letter in letters)


@pytest.mark.slow
def test_a_producers_own_clock_decides_nothing(broker: Broker, tmp_path: Path) -> None:
    """A record that claims to be of 1970, or 100 days old, is accepted when the bus takes it: it is stored, and no TTL drops it."""
    now = datetime.now(UTC)
    events = [inference(started_at=now), inference(started_at=now - timedelta(days=101))]
    claims = (0, int((now - timedelta(days=100)).timestamp() * 1000))

    async def produce(bus: KafkaBus) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker.servers)
        await producer.start()
        for event, claimed_ms in zip(events, claims, strict=True):
            await producer.send_and_wait(INFERENCES, msgspec.json.encode(event), timestamp_ms=claimed_ms)
        await producer.stop()

    with a_place(broker, tmp_path) as place:
        place.run(produce)
        place.worker("signals").ready()
        place.done()
        for table in ("inferences", "payloads"):
            place.store.client().command(f"OPTIMIZE TABLE driftwheel.{table} FINAL")
        exactly(place, [event.id for event in events])
