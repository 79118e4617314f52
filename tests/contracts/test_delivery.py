"""The outbox on a real store: told once, in order, again until it lands; snoozed, skipped or given up with a reason."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from driftwheel.actions import ActionUse, Notice
from driftwheel.actions.delivery import Delivery, NotifySettings
from driftwheel.actions.notices import of_incident, outbox
from driftwheel.answers import Snooze, resolve, snooze
from driftwheel.errors import ActionFailed, Busy, DriftwheelError, Reject
from driftwheel.store.clickhouse import ClickHouse
from driftwheel.store.migrate import migrate
from driftwheel.testing_bus import MemoryBus
from driftwheel_schemas import Incident, Verdict, new_id, topics
from driftwheel_schemas.topics import VERDICTS
from stores import running_store

START = datetime.now(UTC).replace(microsecond=0)  # the tables have a TTL


@dataclass(slots=True)
class Receiver:
    """An action that notes what it gets; `fails` are raised one after the other first."""

    fails: list[Exception] = field(default_factory=list)
    got: list[Notice] = field(default_factory=list)

    def send(self, notice: Notice) -> str:
        if self.fails:
            raise self.fails.pop(0)
        self.got.append(notice)
        return "202"

    @property
    def kinds(self) -> list[str]:
        return [one.kind for one in self.got]


@dataclass(slots=True)
class World:
    """A store, one action of its own, and a clock that the test moves."""

    store: ClickHouse
    receiver: Receiver = field(default_factory=Receiver)
    action: str = field(default_factory=new_id)
    now: datetime = START

    def delivery(self) -> Delivery:
        settings = NotifySettings(retry_for=timedelta(hours=1))
        return Delivery(self.store, {self.action: self.receiver}, settings, lambda: self.now, lambda: True)

    def decide(self, incident: Incident) -> None:
        """What the triggers worker stores."""
        self.store.insert("outbox", list(outbox(of_incident(incident), [ActionUse(name=self.action, use="webhook")])))
        self.store.insert("incidents", [msgspec.to_builtins(incident)])

    def run(self, minutes: float = 0.0) -> list[str]:
        """Deliver until nothing is due, *minutes* later; what the receiver got by then."""
        self.now += timedelta(minutes=minutes)
        while self.delivery().deliver(self.action):
            pass
        return self.receiver.kinds

    def states(self) -> list[tuple[str, str, int]]:
        sql = "SELECT kind, state, attempts FROM driftwheel.outbox FINAL WHERE action = {action:String} ORDER BY decided_at, kind"
        return [(row["kind"], row["state"], row["attempts"]) for row in self.store.query(sql, {"action": self.action})]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with running_store(tmp_path_factory.mktemp("outbox") / "store") as running:
        client = running.client()
        migrate(client)
        yield client


@pytest.fixture
def world(store: ClickHouse) -> World:
    return World(store)


def incident(**changes: Any) -> Incident:
    known = Incident(
        id=new_id(),
        app="shop",
        state="open",
        severity="page",
        title="shop: error.flag is up",
        reason="errors rose",
        signals=("error.flag",),
        segments=("app=shop",),
        verdicts=(new_id(),),
        detector="rule.limit",
        onset=START,
        opened_at=START,
        changed_at=START,
    )
    return replace(known, **changes)


def over(known: Incident, minutes: float = 10.0) -> Incident:
    at = START + timedelta(minutes=minutes)
    return replace(known, state="resolved", revision=known.revision + 1, changed_at=at, resolved_at=at, resolution="it holds again")


def test_an_opening_and_its_end_are_told_once_each(world: World) -> None:
    """One open incident is one notification, then its resolve; a replay of the decision tells nothing twice."""
    known = incident()
    world.decide(known)
    assert world.run() == ["incident.opened"]
    world.decide(known)
    assert world.run(1) == ["incident.opened"]
    world.decide(over(known))
    assert world.run(10) == ["incident.opened", "incident.resolved"]

    opened, ended = world.receiver.got
    assert (opened.subject, ended.subject, opened.id != ended.id) == (known.id, known.id, True)
    assert world.states() == [("incident.opened", "sent", 1), ("incident.resolved", "sent", 1)]


def test_what_fails_is_tried_again_with_longer_waits_under_the_same_id(world: World) -> None:
    """Two seconds, four, eight: a channel that is away for a moment costs seconds."""
    world.receiver.fails = [ActionFailed("no answer")] * 3
    world.decide(incident())
    assert world.run() == []
    assert world.run(1 / 60) == []
    assert world.run(1 / 60) == []
    for _ in range(3):
        world.run(0.2)

    assert world.receiver.kinds == ["incident.opened"]
    assert world.states() == [("incident.opened", "sent", 4)]


def test_the_end_waits_for_its_opening(world: World) -> None:
    """A channel that was away for the whole incident hears of it, in order."""
    known = incident()
    world.receiver.fails = [ActionFailed("no answer")]
    world.decide(known)
    world.run()
    world.decide(over(known, 0.01))

    assert world.run(0.02) == []
    assert world.run(1) == ["incident.opened", "incident.resolved"]


def test_a_refusal_is_final_and_its_end_is_not_told(world: World) -> None:
    """A wrong key stays wrong; who did not hear of the beginning need not hear of the end."""
    known = incident()
    world.receiver.fails = [Reject("refused", "401 from the channel")]
    world.decide(known)
    world.decide(over(known))

    assert world.run(11) == []
    assert world.states() == [("incident.opened", "failed", 1), ("incident.resolved", "skipped", 0)]


def test_what_fails_for_too_long_is_given_up_and_stays_visible(world: World) -> None:
    """After `retry_for` it is a row that says failed, with the last reason."""
    world.receiver.fails = [ActionFailed("connection refused")] * 99
    world.decide(incident())
    for _ in range(20):
        world.run(5)

    (row,) = world.store.query("SELECT state, detail FROM driftwheel.outbox FINAL WHERE action = {action:String}", {"action": world.action})
    assert row == {"state": "failed", "detail": "connection refused"}


def test_a_bug_of_an_action_is_a_failure_like_others(world: World) -> None:
    """One action's bug does not stop the others."""
    world.receiver.fails = [ZeroDivisionError("oops")]
    world.decide(incident())
    world.run()

    assert world.run(1) == ["incident.opened"]


def test_a_snooze_holds_back_and_what_is_over_by_then_is_skipped(world: World) -> None:
    """Nobody is woken for what ended by itself; what still stands is told afterwards."""
    short, long = incident(app=new_id()), incident(app=new_id())
    for one in (short, long):
        snooze(world.store, Snooze(until=START + timedelta(hours=1), reason="maintenance", app=one.app), START)
        world.decide(one)
    world.decide(over(short))
    assert world.run(30) == []
    assert world.run(31) == ["incident.opened"]

    assert world.receiver.got[0].app == long.app
    assert sorted(world.states()) == [
        ("incident.opened", "sent", 1),
        ("incident.opened", "skipped", 0),
        ("incident.resolved", "skipped", 0),
    ]


def test_a_snooze_of_one_incident_or_signal_silences_no_other(world: World) -> None:
    """Patterns and ids are exact; a snooze that is ended holds nothing."""
    quiet, loud = incident(), incident()
    snooze(world.store, Snooze(until=START + timedelta(hours=1), reason="known", incident_id=quiet.id), START)
    snooze(world.store, Snooze(until=START + timedelta(hours=1), reason="known", app=loud.app, signal="latency.*"), START)
    for one in (quiet, loud):
        world.decide(one)
    assert [world.run(), [one.subject for one in world.receiver.got]] == [["incident.opened"], [loud.id]]
    snooze(world.store, Snooze(until=START, reason="known", incident_id=quiet.id), START + timedelta(minutes=1))

    assert world.run(61) == ["incident.opened", "incident.opened"]


def test_a_kill_between_delivery_and_note_delivers_again_under_the_same_id(world: World) -> None:
    """A receiver that minds ids sees it once."""

    class Dies(ClickHouse):
        def insert(self, table: str, rows: Any) -> None:
            raise SystemExit(f"killed before {table}")

    world.decide(incident())
    died = replace(world.delivery(), store=Dies(world.store.settings))
    with pytest.raises(SystemExit):
        died.deliver(world.action)
    world.run()

    assert len(world.receiver.got) == 2
    assert len({one.id for one in world.receiver.got}) == 1


def test_a_ticket_that_becomes_a_page_is_told_once_more_and_ends_once(world: World) -> None:
    """Who routes by severity must hear of it."""
    known = incident(severity="ticket")
    world.decide(known)
    world.run()
    world.decide(replace(known, severity="page", revision=1, changed_at=START + timedelta(minutes=1)))
    world.run(1)
    world.decide(over(replace(known, severity="page", revision=1)))
    world.run(10)

    assert [(one.kind, one.severity) for one in world.receiver.got] == [
        ("incident.opened", "ticket"),
        ("incident.opened", "page"),
        ("incident.resolved", "page"),
    ]


def test_a_receiver_that_forgets_is_told_again_what_stands(world: World) -> None:
    """Alertmanager has no alerts after a restart; what is over is not told again."""
    standing, ended = incident(), incident()
    for one in (standing, ended):
        world.decide(one)
    world.decide(over(ended))
    world.run(11)
    before = len(world.receiver.got)

    assert world.delivery().renew(world.action) == 1
    assert [one.subject for one in world.receiver.got[before:]] == [standing.id]
    world.receiver.fails = [ActionFailed("away")]
    assert world.delivery().renew(world.action) == 0


def test_what_was_snoozed_for_long_is_tried_as_often_as_any_other(world: World) -> None:
    """The time of trying counts, not the time since the decision; and no snooze outlasts the outbox."""
    known = incident(app=new_id())
    snooze(world.store, Snooze(until=START + timedelta(days=2), reason="holidays", app=known.app), START)
    world.decide(known)
    world.run()
    world.receiver.fails = [ActionFailed("no answer")]
    world.run(2 * 24 * 60 + 1)

    assert world.states() == [("incident.opened", "pending", 1)]
    assert world.run(1) == ["incident.opened"]
    with pytest.raises(DriftwheelError, match="30 days at most"):
        snooze(world.store, Snooze(until=START + timedelta(days=31), reason="never"), START)


def test_a_persons_answer_that_was_stored_but_not_published_is_published_by_the_next(world: World) -> None:
    """The bus was away in between: without it the incident would stay open for ever."""
    known, bus, at = incident(), MemoryBus(), START.isoformat()
    row = {"tenant": "default", "id": known.verdicts[0], "revision": 0, "app": "shop", "signal": "error.flag", "series": "s", "epoch": 0}
    words = {"segment": "app=shop", "detector": "rate", "reference_version": "v", "direction": "up", "promise": "", "reason": "rose"}
    world.store.insert("verdicts", [row | words | {"drifted": True, "evidence": 1.0, "level": 0.0, "at": at, "accepted_at": at}])

    async def act() -> int:
        await bus.ensure(list(topics().values()))
        bus.failure = Busy("away")
        with pytest.raises(Busy):
            await resolve(bus, world.store, known, "fixed", START)
        bus.failure = None
        return len(await resolve(bus, world.store, known, "fixed", START))

    assert asyncio.run(act()) == 1
    (said,) = [one for log in bus.logs[VERDICTS] for record in log for one in msgspec.json.decode(record.value, type=list[Verdict])]
    assert (said.id, said.revision, said.resolved_at) == (known.verdicts[0], 1, START)
