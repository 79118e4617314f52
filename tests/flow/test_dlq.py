"""Dead letters on the running system: what is broken is shown, what can be mended goes back, what cannot stays and says why."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner, Result

from driftwheel.bus import Outgoing, Record
from driftwheel.bus.local import LocalBus
from driftwheel.cli import app
from driftwheel.pipeline.letters import letter_of
from driftwheel_schemas import dead_letters_of, new_id, partition_of
from driftwheel_schemas.topics import INFERENCES
from system import CHEAP, SETTINGS, System, count, running_system, until

T = TypeVar("T")

AHEAD = timedelta(days=1, seconds=12)
"""A clock that runs ahead by more than a day is refused; twelve seconds later the same event is fine."""


def dlq(system: System, *arguments: str, answer: str = "") -> Result:
    """`driftwheel dlq …`, with *answer* typed in."""
    return CliRunner().invoke(app, ["dlq", *arguments, "--data", str(system.folder)], input=answer, env={"COLUMNS": "250"})


def listed(system: System, *arguments: str) -> list[dict[str, Any]]:
    """Letters, newest first."""
    done = dlq(system, "ls", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def on_bus(system: System, do: Callable[[LocalBus], Awaitable[T]]) -> T:
    """What *do* says of the bus."""

    async def act() -> T:
        bus = LocalBus(system.folder / "bus")
        try:
            return await do(bus)
        finally:
            await bus.close()

    return asyncio.run(act())


async def read(bus: LocalBus, topic: str) -> list[Record]:
    consumer = await bus.consumer("test", [topic])
    records: list[Record] = []
    while len(records) < sum((await bus.ends(topic)).values()):
        records += await consumer.poll()
    return records


def event(**fields: object) -> dict[str, object]:
    return {"id": new_id(), "app": "shop", "model": "m", "started_at": datetime.now(UTC).isoformat(), "response": "There."} | fields


@dataclass(frozen=True, slots=True)
class Scene:
    """A running system into which somebody has put, past the collector, what no worker can use."""

    system: System
    stored: str
    early: str
    broken: bytes
    big: bytes

    def letter(self, detail: str) -> dict[str, Any]:
        """The letter whose reason reads like *detail*, the oldest of them."""
        return next(row for row in reversed(listed(self.system)) if detail in row["detail"])

    def done(self) -> bool:
        """Whether the workers have read all there is."""
        return not any(on_bus(self.system, lambda bus: bus.lag("signals", INFERENCES)).values())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    processes = {name: CHEAP[name] for name in ("store", "collector", "workers")}
    with running_system(tmp_path_factory.mktemp("dlq"), SETTINGS, processes) as system:
        stored, early = event(), event(started_at=(datetime.now(UTC) + AHEAD).isoformat(), app="ahead")
        scene = Scene(
            system, str(stored["id"]), str(early["id"]), b'{"id": "\xff", "app": "\x1b[2J"}', b'{"id": 1, "x": "%b"}' % (b"x" * 1_200_000)
        )
        system.post("/v1/inferences", [stored])
        until(lambda: count(system, "inferences") == 1, 30)
        at = partition_of(scene.stored, 4)
        values = [
            (scene.broken, 0),
            (json.dumps([event(), early]).encode(), (partition_of(scene.early, 4) + 1) % 4),  # where no writer would put it
            (json.dumps(stored | {"response": "Elsewhere."}).encode(), at),
            (scene.big, 3),
        ]
        on_bus(system, lambda bus: bus.append([Outgoing(INFERENCES, value, partition=partition) for value, partition in values]))
        until(lambda: count(system, "dead_letters") == 4, 30)
        yield scene


@pytest.mark.slow
def test_letters_are_listed_and_shown(scene: Scene) -> None:
    """By topic and reason with counts, each with its place and its reason; the bytes escaped, dumped, or as they are."""
    said = dlq(scene.system, "ls").stdout
    assert f"{INFERENCES} undecodable: 3 letters, " in said
    assert f"{INFERENCES} id_conflict: 1 letters, " in said
    assert {row["reason"] for row in listed(scene.system, "--reason", "id_conflict")} == {"id_conflict"}
    assert listed(scene.system, "--topic", "driftwheel.feedback.v1") == []

    broken = scene.letter("can't decode byte 0xff")
    assert f"{INFERENCES}[0]@{broken['offset']}#0" in said
    shown = dlq(scene.system, "show", broken["id"][:8]).stdout
    assert broken["sha256"] in shown
    assert "00000000  7b 22 69 64" in shown
    assert "\x1b" not in shown
    assert dlq(scene.system, "show", broken["id"], "--raw").stdout_bytes == scene.broken

    early = scene.letter("a day ahead")
    assert early["index"] == 1
    assert scene.early in dlq(scene.system, "show", early["id"]).stdout
    big = scene.letter("got `int`")
    assert big["size_bytes"] == len(scene.big)
    assert "more bytes, of which --raw writes those that were kept" in dlq(scene.system, "show", big["id"]).stdout
    assert dlq(scene.system, "show", big["id"], "--raw").stdout_bytes == scene.big[: 900 * 1024]

    sent = [letter_of(record) for record in on_bus(scene.system, lambda bus: read(bus, dead_letters_of(INFERENCES)))]
    assert {(one.id, one.offset, one.payload[:50]) for one in sent} >= {(broken["id"], broken["offset"], scene.broken[:50])}


@pytest.mark.slow
def test_an_event_that_was_mended_goes_back_and_counts_once(scene: Scene) -> None:
    """Asked for, marked, stored where its id belongs; a second replay of it changes nothing."""
    letter = scene.letter("a day ahead")
    began = datetime.now(UTC)
    until(lambda: datetime.now(UTC) > datetime.fromisoformat(letter["at"]) + timedelta(seconds=12), 30)
    chosen = ("--topic", INFERENCES, "--reason", "undecodable", "--since", "1h")

    planned = dlq(scene.system, "replay", *chosen, "--dry-run")
    assert planned.exit_code == 0
    assert f"1 of 3 can be put back on {INFERENCES}" in planned.stdout
    assert "1 of 3 left: bytes are missing" in planned.stdout
    assert "1 of 3 left: this release cannot use it either" in planned.stdout
    refused = dlq(scene.system, "replay", *chosen, answer="n\n")
    assert refused.exit_code == 1
    assert "Put 1 letters back" in refused.stdout
    assert count(scene.system, "replays", f"letter_id = '{letter['id']}'") == 0

    done = dlq(scene.system, "replay", *chosen, answer="y\n")
    assert "1 put back" in done.stdout, done.output
    until(lambda: count(scene.system, "inferences", "app = 'ahead'") == 1, 30)
    again = dlq(scene.system, "replay", letter["id"][:10], "--yes")
    assert again.exit_code == 0, again.output
    until(scene.done, 30)

    rows = scene.system.store.query("SELECT toString(id) AS id, partition FROM driftwheel.inferences WHERE app = 'ahead'")
    assert rows == [{"id": scene.early, "partition": partition_of(scene.early, 4)}]
    row = next(row for row in listed(scene.system) if row["id"] == letter["id"])
    assert datetime.fromisoformat(row["replayed_at"]) > began
    assert letter["id"] not in {row["id"] for row in listed(scene.system, "--open")}
    assert count(scene.system, "replays", f"letter_id = '{letter['id']}'") == 2
    records = on_bus(scene.system, lambda bus: read(bus, INFERENCES))
    marked = [record for record in records if record.headers.get("__dlq.replayed.id") == letter["id"].encode()]
    assert {record.headers["__dlq.replayed.from"].decode() for record in marked} == {
        f"{INFERENCES}[{letter['partition']}]@{letter['offset']}#1"
    }
    assert len(marked) == 2


@pytest.mark.slow
def test_a_conflict_stays_unless_it_is_forced_and_then_fails_again_as_a_new_letter(scene: Scene) -> None:
    """The first content of an id wins, so the same again is no cure; who insists gets a letter that names the old one."""
    letter = scene.letter("is stored with other content")
    held = dlq(scene.system, "replay", letter["id"], "--yes")
    assert held.exit_code == 1
    assert "give the event an id of its own, or --force" in held.stdout
    opened = sum(row["letters"] for row in scene.system.store.ask("dead_letters_by_reason") if row["reason"] == "id_conflict")

    assert dlq(scene.system, "replay", letter["id"], "--yes", "--force").exit_code == 0
    until(lambda: count(scene.system, "dead_letters", "reason = 'id_conflict'") == 2, 30)

    (new,) = [row for row in listed(scene.system, "--reason", "id_conflict") if row["id"] != letter["id"]]
    assert new["replay_of"] == letter["id"]
    assert new["offset"] > letter["offset"]
    assert new["id"] in dlq(scene.system, "show", letter["id"]).stdout
    assert [row["id"] for row in listed(scene.system, "--open", "--reason", "id_conflict")] == [new["id"]]
    assert f"{INFERENCES} id_conflict: 2 letters, 1 open" in dlq(scene.system, "ls").stdout
    by_reason = {row["reason"]: row["letters"] for row in scene.system.store.ask("dead_letters_by_reason")}
    assert by_reason["id_conflict"] == opened == 1
    doctor = CliRunner().invoke(app, ["doctor", "--data", str(scene.system.folder)], env={"COLUMNS": "250"})
    assert doctor.exit_code == 1
    assert "1 for id_conflict" in doctor.stdout


@pytest.mark.slow
def test_what_was_cut_or_misnamed_is_told_in_a_sentence(scene: Scene) -> None:
    """Force brings no bytes back; ids that name nothing or several, and a replay of everything, are refused."""
    cut = dlq(scene.system, "replay", scene.letter("got `int`")["id"], "--yes", "--force")
    assert cut.exit_code == 1
    assert "1 of 1 left: bytes are missing" in cut.stdout
    for arguments, said in (
        (["show", "nothing"], "no dead letter begins with 'nothing'"),
        (["show", ""], "more than one dead letter begins with ''"),
        (["replay", "--yes"], "give IDs, or --topic, --reason or both"),
        (["ls", "--since", "soon"], "'soon' is no duration"),
    ):
        assert said in str(dlq(scene.system, *arguments).exception)
