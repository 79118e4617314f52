"""
Replay: dead letters back on the topic they came from, as they were; a row in `replays` says where each lies now.

A kill between the two leaves a letter open that was put back. Putting an event back again changes nothing: its identity
is its id.
"""

import enum
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

import msgspec

from driftwheel.bus import Bus, Record
from driftwheel.pipeline.envelope import MAX_BYTES, Opened, open_envelopes
from driftwheel.pipeline.letters import replayed
from driftwheel.store import Row, Store
from driftwheel_schemas import EVENTS, DeadLetter, Observation, derived_id, partition_of, topics

PAGE_LETTERS, PAGE_BYTES = 200, 8 * 1024**2
"""How many letters are in memory at a time, and how many of their bytes."""


class Fault(enum.Enum):
    """Why a letter is not put back, in words. The last two are a matter of opinion: `--force` overrules them."""

    CUT = "bytes are missing, only the first 900 KiB were kept; send the event again from where it was made"
    ALTERED = "the bytes do not match their digest"
    CONFLICT = "the id is stored with other content and the first content wins; give the event an id of its own, or --force"
    UNUSABLE = "this release cannot use it either, it would be the next dead letter; mend the release first, or --force"

    @property
    def final(self) -> bool:
        """Whether force does not help."""
        return self in (Fault.CUT, Fault.ALTERED)


@dataclass(slots=True)
class Plan:
    """Which letters can be put back (rows of the question `dead_letters`), and how many cannot, by why."""

    fit: list[Row] = field(default_factory=list)
    refused: Counter[Fault] = field(default_factory=Counter)


def plan(store: Store, found: Sequence[Row], now: datetime, *, force: bool = False) -> Plan:
    """Look at the bytes of every letter in *found*."""
    made, rows = Plan(), {row["id"]: row for row in found}
    for page in pages(store, found):
        for letter in page:
            fault = fault_of(letter, now)
            if fault and (fault.final or not force):
                made.refused[fault] += 1
            else:
                made.fit.append(rows[letter.id])
    return made


async def put_back(bus: Bus, store: Store, fit: Sequence[Row], clock: Callable[[], datetime]) -> list[Row]:
    """Append the letters of *fit* to their topics, then mark them; the rows of `replays`. Raises `Busy` as bus and store do."""
    marks: list[Row] = []
    for page in pages(store, fit):
        for topic, group in groupby(sorted(page, key=lambda letter: letter.topic), lambda letter: letter.topic):
            letters, partitions, now = list(group), await bus.partitions(topic), clock()
            places = await bus.append([replayed(letter, partition_for(letter, partitions, now)) for letter in letters])
            rows = [mark_of(letter, place, now) for letter, place in zip(letters, places, strict=True)]
            store.insert("replays", rows)
            marks += rows
    return marks


def fault_of(letter: DeadLetter, now: datetime) -> Fault | None:
    """Why *letter* should not be put back at *now*; None where nothing speaks against it."""
    if letter.size_bytes != len(letter.payload):
        return Fault.CUT
    if letter.sha256 != hashlib.sha256(letter.payload).hexdigest():
        return Fault.ALTERED
    if letter.reason == "id_conflict":
        return Fault.CONFLICT
    return None if _is_usable(letter, now) else Fault.UNUSABLE


def partition_for(letter: DeadLetter, partitions: int, now: datetime) -> int:
    """Of *partitions* the one that its event's key names, as everyone who writes to the topic does; else the one it had."""
    keys = {getattr(one.event, topics()[letter.topic].key) for one in _read(letter, now).events}
    return partition_of(keys.pop(), partitions) if len(keys) == 1 else letter.partition % partitions


def mark_of(letter: DeadLetter, place: tuple[int, int], now: datetime) -> Row:
    """The row of `replays` for *letter*, put back to *place*, a partition and an offset."""
    return {
        "tenant": letter.tenant,
        "id": derived_id("replay", letter.id, *place),
        "letter_id": letter.id,
        "topic": letter.topic,
        "partition": place[0],
        "offset": place[1],
        "at": now.isoformat(),
    }


def pages(store: Store, found: Sequence[Row]) -> Iterator[list[DeadLetter]]:
    """The letters of *found*, whole, in its order, a bounded number of bytes at a time; what has expired since is left out."""
    ids: list[str] = []
    size = 0
    for row in found:
        held = min(row["size_bytes"], MAX_BYTES)
        if ids and (len(ids) == PAGE_LETTERS or size + held > PAGE_BYTES):
            yield _page(store, ids)
            ids, size = [], 0
        ids.append(row["id"])
        size += held
    if ids:
        yield _page(store, ids)


def _page(store: Store, ids: list[str]) -> list[DeadLetter]:
    letters = {row["id"]: msgspec.convert(row, DeadLetter) for row in store.ask("dead_letter_bytes", {"ids": ids})}
    return [letters[id_] for id_ in ids if id_ in letters]


def _is_usable(letter: DeadLetter, now: datetime) -> bool:
    from driftwheel.pipeline.detection_series import fault_of as fault_of_observation  # brings numpy and every detector

    opened = _read(letter, now)
    return not opened.letters and not any(isinstance(one.event, Observation) and fault_of_observation(one.event) for one in opened.events)


def _read(letter: DeadLetter, now: datetime) -> Opened[object]:
    """What a worker would find in *letter*; nothing where its topic carries no event of the contract."""
    topic = topics().get(letter.topic)
    if topic is None or not topic.event:
        return Opened()
    record = Record(letter.topic, letter.partition, letter.offset, "", letter.payload, {}, now)
    return open_envelopes([record], EVENTS[topic.event])
