"""Dead letters: nothing of them is lost on the bus, and what goes back on its topic goes where its event belongs."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftwheel.bus import Outgoing, Record
from driftwheel.errors import StoreUnavailable
from driftwheel.pipeline.envelope import MAX_BYTES, letter, open_envelopes, pack
from driftwheel.pipeline.letters import letter_of, outgoing, place_of, replayed
from driftwheel.replay import PAGE_BYTES, Fault, fault_of, pages, partition_for, plan, put_back
from driftwheel.store import Row
from driftwheel.testing_bus import MemoryBus
from driftwheel_schemas import DeadLetter, Feedback, Inference, Observation, Verdict, dead_letters_of, new_id, topics
from driftwheel_schemas.topics import FEEDBACK, INFERENCES, OBSERVATIONS, SPANS, TRIGGERS, VERDICTS
from strategies import ids, instants

NOW = datetime(2026, 3, 2, 9, 20, tzinfo=UTC)
EVENT = Inference(id="0198a4f0-7b1c-7000-8000-000000000001", app="shop", model="m", started_at=NOW)
VERDICT = Verdict(
    id=new_id(), app="shop", signal="s", segment="g", series="default/s{g}", detector="d", reference_version="1", epoch=0,
    drifted=False, evidence=0.0, level=2.0, promise="", at=NOW, accepted_at=NOW,
)  # fmt: skip
SEEN = Observation(
    id=new_id(), app="shop", signal="s", segment="g", kind="number", unit="u", at=NOW, accepted_at=NOW, inference_id=EVENT.id, value=1.0
)
THUMB = Feedback(id=new_id(), at=NOW, name="thumbs", value=1.0, session_id="s")


def buried(payload: bytes, topic: str = INFERENCES, reason: str = "undecodable", *, partition: int = 1, offset: int = 7) -> DeadLetter:
    """The letter that a worker makes of *payload*."""
    return letter(Record(topic, partition, offset, "", payload, {}, NOW), 0, payload, reason=reason, detail="it says why")


def read_back(sent: Outgoing, at: datetime = NOW) -> Record:
    """*sent* as somebody reads it, who takes the bus's clock from the bus."""
    return Record(sent.topic, sent.partition or 0, 0, sent.key, sent.value, sent.headers, at)


letters = st.builds(
    DeadLetter,
    id=ids,
    tenant=st.text(max_size=8),
    topic=st.sampled_from([INFERENCES, FEEDBACK, SPANS]),
    partition=st.integers(0, 2**16 - 1),
    offset=st.integers(0, 2**63 - 1),
    index=st.integers(0, 2**32 - 1),
    reason=st.text(max_size=12),
    detail=st.text(max_size=2_000),
    event_id=st.text(max_size=40),
    size_bytes=st.integers(0, 2**40),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    payload=st.binary(max_size=400),
    at=instants,
)


@given(letters)
def test_a_letter_survives_the_bus_and_the_store(one: DeadLetter) -> None:
    """Every field, whatever the bytes are: as a record with headers, and as a row of JSON."""
    sent = outgoing(one)

    assert (sent.topic, sent.key, sent.value) == (dead_letters_of(one.topic), one.id, one.payload)
    assert letter_of(read_back(sent, one.at + timedelta(hours=1))) == one
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(one))), DeadLetter) == one


def test_of_a_big_letter_the_head_travels_with_the_size_and_the_digest_of_all() -> None:
    """A record of the dead letters stays below Kafka's 1 MiB, and says that it is cut."""
    payload = b"\xff{" * MAX_BYTES
    one = buried(payload)
    again = letter_of(read_back(outgoing(one)))

    assert again == one
    assert again.payload == payload[: 900 * 1024]
    assert (again.size_bytes, again.sha256) == (len(payload), hashlib.sha256(payload).hexdigest())
    assert fault_of(again, NOW) is Fault.CUT
    assert len(outgoing(one).value) + sum(len(name) + len(value) for name, value in outgoing(one).headers.items()) < 1024**2


@pytest.mark.parametrize("broken", [b"\xff\xfe", b'{"id": "\xff"}', b'{"a":' * 100_000, b"", b'{"id": 3}'], ids=lambda one: repr(one[:9]))
def test_bytes_that_cannot_be_read_are_a_letter_and_stop_nobody(broken: bytes) -> None:
    """Strings that are no UTF-8 and brackets without end too: alone, and beside a good event where an array can hold them."""
    good = msgspec.json.encode(EVENT)
    alone, after = (Record(INFERENCES, 0, offset, "", value, {}, NOW) for offset, value in enumerate([broken, good]))
    opened = open_envelopes([alone, after], Inference)

    assert [placed.event for placed in opened.events] == [EVENT]
    assert [one.payload for one in opened.letters] == [broken]
    if broken in {b'{"id": "\xff"}', b'{"id": 3}'}:
        beside = open_envelopes([Record(INFERENCES, 0, 0, "", b"[%b,%b]" % (broken, good), {}, NOW)], Inference)
        assert [(placed.event, placed.index) for placed in beside.events] == [(EVENT, 1)]
        assert [(one.payload, one.index) for one in beside.letters] == [(broken, 0)]


@pytest.mark.parametrize(
    ("one", "fault"),
    [
        (buried(msgspec.json.encode(EVENT)), None),
        (buried(b"anything", SPANS), None),
        (buried(b'{"id": 3}'), Fault.UNUSABLE),
        (buried(b'{"id": "\xff"}'), Fault.UNUSABLE),
        (buried(b"[]x"), Fault.UNUSABLE),
        (buried(msgspec.json.encode(SEEN), OBSERVATIONS, "unusable"), None),
        (buried(msgspec.json.encode(SEEN).replace(b'"value":1.0', b'"value":null'), OBSERVATIONS, "unusable"), Fault.UNUSABLE),
        (buried(msgspec.json.encode(EVENT), reason="id_conflict"), Fault.CONFLICT),
        (buried(b"x" * (MAX_BYTES + 1)), Fault.CUT),
        (msgspec.convert(msgspec.to_builtins(buried(b"abc")) | {"sha256": "0" * 64}, DeadLetter), Fault.ALTERED),
    ],
    ids=lambda one: one.name if isinstance(one, Fault) else f"{one.topic} {one.payload[:12]!r}" if isinstance(one, DeadLetter) else None,
)
def test_what_would_fail_again_is_known_before(one: DeadLetter, fault: Fault | None) -> None:
    """It is read as the workers read it, so that a replay does not make them stand still."""
    assert fault_of(one, NOW) is fault


def test_an_event_that_was_early_fits_once_its_time_has_come() -> None:
    """What speaks against a letter is asked anew: a clock that ran ahead mends itself."""
    one = buried(b'{"id": "%b", "app": "a", "model": "m", "started_at": "2026-03-03T10:00:00Z"}' % EVENT.id.encode())

    assert fault_of(one, NOW) is Fault.UNUSABLE
    assert fault_of(one, NOW + timedelta(hours=1)) is None


@pytest.mark.parametrize(
    ("topic", "event", "key"),
    [
        (INFERENCES, EVENT, EVENT.id),
        (FEEDBACK, THUMB, THUMB.id),
        (OBSERVATIONS, SEEN, SEEN.series),
        (VERDICTS, VERDICT, VERDICT.app),
    ],
)
@pytest.mark.parametrize("partitions", [1, 4, 7])
def test_an_event_goes_back_where_its_writer_would_have_put_it(topic: str, event: object, key: str, partitions: int) -> None:
    """Also when it lay elsewhere, and when the topic has other partitions by now: its ledger or its series is there."""
    (packed,) = pack(topic, partitions, [(key, event)])

    assert partition_for(buried(msgspec.json.encode(event), topic, partition=9), partitions, NOW) == packed.partition


def test_an_id_is_written_in_one_way_only() -> None:
    """The partition of an id in capitals is that of the id that is stored."""
    shouted = msgspec.json.encode(EVENT).replace(EVENT.id.encode(), EVENT.id.upper().encode())

    assert partition_for(buried(shouted), 4, NOW) == partition_for(buried(msgspec.json.encode(EVENT)), 4, NOW)


@pytest.mark.parametrize(("topic", "payload"), [(INFERENCES, b"no event"), (SPANS, b'{"trace_id": "t"}')])
def test_what_is_no_event_goes_back_to_the_partition_that_it_had(topic: str, payload: bytes) -> None:
    """As far as the topic still has it."""
    assert partition_for(buried(payload, topic, partition=3), 4, NOW) == 3
    assert partition_for(buried(payload, topic, partition=3), 2, NOW) == 1


def test_a_replayed_record_holds_the_same_bytes_and_says_which_letter_it_was() -> None:
    """Whoever reads it reads the event; whoever wonders finds the letter."""
    one = buried(msgspec.json.encode(EVENT))
    sent = replayed(one, 2)

    assert (sent.topic, sent.partition, sent.value) == (INFERENCES, 2, one.payload)
    assert sent.headers == {"__dlq.replayed.id": one.id.encode(), "__dlq.replayed.from": b"driftwheel.inferences.v1[1]@7#0"}
    assert place_of(one) == "driftwheel.inferences.v1[1]@7#0"
    assert [placed.event for placed in open_envelopes([read_back(sent)], Inference).events] == [EVENT]


class Shelf:
    """A store that holds letters and keeps what it is given; `away` makes it unreachable for inserts."""

    def __init__(self, held: Sequence[DeadLetter]) -> None:
        self.held = {one.id: one for one in held}
        self.rows: list[Row] = []
        self.asked: list[int] = []
        self.away = False

    @property
    def found(self) -> list[Row]:
        return [{"id": one.id, "topic": one.topic, "size_bytes": one.size_bytes} for one in self.held.values()]

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        if self.away:
            raise StoreUnavailable("it is away")
        self.rows += [row | {"table": table} for row in rows]

    def missing(self, table: str, rows: Sequence[Row]) -> list[Row]:
        raise AssertionError(table, rows)

    def ask(self, question: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        assert question == "dead_letter_bytes"
        held = [self.held[id_] for id_ in (params or {})["ids"] if id_ in self.held]
        self.asked.append(sum(len(one.payload) for one in held))
        return [msgspec.to_builtins(one) for one in reversed(held)]


def bus_of_all() -> MemoryBus:
    bus = MemoryBus()
    asyncio.run(bus.ensure(list(topics().values())))
    return bus


def test_letters_go_back_to_their_topics_and_are_marked_with_where_they_lie() -> None:
    """Two topics, one of them with two letters; the mark's place is the record's."""
    events: list[tuple[str, object]] = [
        (INFERENCES, EVENT),
        (FEEDBACK, THUMB),
        (INFERENCES, Inference(id=new_id(), app="a", model="m", started_at=NOW)),
    ]
    shelf = Shelf([buried(msgspec.json.encode(event), topic, offset=offset) for offset, (topic, event) in enumerate(events)])
    bus = bus_of_all()

    marks = asyncio.run(put_back(bus, shelf, plan(shelf, shelf.found, NOW).fit, lambda: NOW))

    assert [row | {"table": "replays"} for row in marks] == shelf.rows
    assert {row["letter_id"] for row in marks} == shelf.held.keys()
    assert len({row["id"] for row in marks}) == 3
    for row in marks:
        record = bus.logs[row["topic"]][row["partition"]][row["offset"]]
        assert record.value == shelf.held[row["letter_id"]].payload
        assert record.headers["__dlq.replayed.id"].decode() == row["letter_id"]


def test_a_letter_is_marked_only_when_it_is_on_its_topic() -> None:
    """Killed in between, it stays open and is put back again: a second record of an event that is known by its id."""
    shelf, bus = Shelf([buried(msgspec.json.encode(EVENT))]), bus_of_all()
    bus.failure = StoreUnavailable("the bus is full")
    with pytest.raises(StoreUnavailable):
        asyncio.run(put_back(bus, shelf, shelf.found, lambda: NOW))
    assert (bus.records(INFERENCES), shelf.rows) == ([], [])

    bus.failure, shelf.away = None, True
    with pytest.raises(StoreUnavailable):
        asyncio.run(put_back(bus, shelf, shelf.found, lambda: NOW))
    assert shelf.rows == []
    shelf.away = False
    asyncio.run(put_back(bus, shelf, shelf.found, lambda: NOW))

    assert {placed.event.id for placed in open_envelopes(bus.records(INFERENCES), Inference).events} == {EVENT.id}
    assert [row["offset"] for row in shelf.rows] == [1]


def test_force_overrules_an_opinion_but_brings_no_bytes_back() -> None:
    """Conflicts and what cannot be read go back when somebody insists; what is cut or altered never does."""
    altered = msgspec.convert(msgspec.to_builtins(buried(b"abc", offset=9)) | {"sha256": "0" * 64}, DeadLetter)
    conflict, broken = buried(msgspec.json.encode(EVENT), reason="id_conflict"), buried(b'{"id": 3}')
    shelf = Shelf([conflict, broken, buried(b"x" * (MAX_BYTES + 1)), altered])

    careful, forced = plan(shelf, shelf.found, NOW), plan(shelf, shelf.found, NOW, force=True)

    assert (careful.fit, careful.refused) == ([], dict.fromkeys(Fault, 1))
    assert [row["id"] for row in forced.fit] == [conflict.id, broken.id]
    assert forced.refused == {Fault.CUT: 1, Fault.ALTERED: 1}


def test_few_bytes_are_in_memory_at_a_time_and_none_are_left_out() -> None:
    """Letters of 900 KiB come nine at a time, small ones two hundred; the order stays; what has expired since is left out."""
    big = [buried(bytes([n]) * MAX_BYTES * 2, TRIGGERS, offset=n) for n in range(20)]
    shelf = Shelf([*big, *(buried(b"%d" % n, offset=n) for n in range(450))])
    found = shelf.found
    gone = found[3]["id"]
    del shelf.held[gone]

    came = [[one.id for one in page] for page in pages(shelf, found)]

    assert [id_ for page in came for id_ in page] == [row["id"] for row in found if row["id"] != gone]
    assert max(shelf.asked) <= PAGE_BYTES
    assert max(map(len, came)) <= 200
