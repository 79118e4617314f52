"""Rules beside drift: what each kind says of numbers, when it is over, and that a preview is the very judgement of the worker."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftwheel.bus import Claim
from driftwheel.pipeline import Batch, Outcome, Row
from driftwheel.pipeline.rules import Book, Group, Rules
from driftwheel.policies.rules import BURNS, FIELDS, Judgement, Rule, Seen
from driftwheel_schemas import Verdict
from driftwheel_schemas.topics import VERDICTS

NOW = datetime(2026, 3, 18, 12, 30, tzinfo=UTC)
CLAIM = Claim(VERDICTS, 0)
SLOW = Rule(name="slow", kind="limit", signal="latency.seconds", above=2.0, window=timedelta(minutes=1), severity="page")


def said(rule: Rule, *seen: Seen) -> Judgement | None:
    return rule.judge(rule.windows(NOW), seen)


@pytest.mark.parametrize(
    ("rule", "seen", "broken", "words"),
    [
        (SLOW, [Seen(count=20, total=50.0)], True, "the mean of latency.seconds over 1 min is 2.5, above the limit of 2 (20 inferences)"),
        (SLOW, [Seen(count=20, total=40.0)], False, "within 2"),
        (SLOW, [Seen(count=19, total=500.0)], None, ""),
        (replace(SLOW, statistic="quantile"), [Seen(count=20, total=0.0, quantile=2.1)], True, "the 0.95 quantile of latency.seconds"),
        (replace(SLOW, above=None, below=0.5), [Seen(count=20, total=5.0)], True, "below the limit of 0.5"),
        (replace(SLOW, signal="", statistic="count", above=100.0), [Seen(count=101, total=101.0)], True, "the number of inferences"),
        (
            Rule(name="spike", kind="ratio", signal="cost.usd", statistic="sum", window=timedelta(hours=1), above=3.0),
            [Seen(count=50, total=40.0), Seen(count=2400, total=240.0)],
            True,
            "the sum of cost.usd over 1 h is 40, 4 times the 10 of the 1 d before; the limit is 3 times",
        ),
        (
            Rule(name="spike", kind="ratio", signal="cost.usd", statistic="sum", window=timedelta(hours=1), above=3.0),
            [Seen(count=50, total=40.0), Seen(count=0, total=0.0)],
            None,
            "",
        ),
        (
            Rule(name="gone", kind="silence", window=timedelta(minutes=10)),
            [Seen(count=0, total=0.0), Seen(count=1440, total=1440.0)],
            True,
            "0 came within 10 min; the 1 d before had 10 in as long",
        ),
        (Rule(name="gone", kind="silence"), [Seen(count=1, total=1.0), Seen(count=1440, total=1440.0)], False, "1 came"),
        (Rule(name="gone", kind="silence"), [Seen(count=0, total=0.0), Seen(count=3, total=3.0)], None, ""),
        (
            Rule(name="month", kind="budget", signal="cost.usd", above=100.0),
            [Seen(count=9, total=100.5)],
            True,
            "the sum of cost.usd since 2026-03-01 UTC is 100.5, above the limit of 100",
        ),
    ],
)
def test_each_kind_says_what_it_sees(rule: Rule, seen: list[Seen], *, broken: bool | None, words: str) -> None:
    """A sentence with the value, the bound, the stretch and the sample; nothing where too little came."""
    judged = said(rule, *seen)

    assert (judged.broken if judged else None) is broken
    assert words in (judged.reason if judged else "")


def test_a_burn_rate_needs_the_long_and_the_short_window() -> None:
    """2 % of the month's error budget in an hour pages; so many errors that are over do not."""
    rule = Rule(name="slo", kind="burn", signal="error.flag", objective=0.99)
    calm = Seen(count=10_000, total=100.0)
    hour, five, six, half, days, quarter = (Seen(count=1000, total=200.0), Seen(count=100, total=20.0), calm, calm, calm, calm)
    page = said(rule, hour, five, six, half, days, quarter)
    ended = said(rule, hour, replace(five, total=0.0), six, half, days, quarter)
    slow = said(rule, calm, calm, calm, calm, replace(calm, total=150.0), replace(calm, total=120.0))

    assert page is not None
    assert (page.broken, page.severity, "20 times as fast as it may over 1 h and 20 times over 5 min" in page.reason) == (
        True,
        "page",
        True,
    )
    assert ended is not None
    assert not ended.broken
    assert slow is not None
    assert (slow.broken, slow.severity) == (True, "ticket")
    assert [rate * window.total_seconds() / 86400 / 30 for window, _, rate, _ in BURNS] == pytest.approx([0.02, 0.05, 0.1])


@pytest.mark.parametrize(("period", "since"), [("day", (3, 18)), ("week", (3, 16)), ("month", (3, 1))])
def test_a_budget_begins_with_its_period(period: Any, since: tuple[int, int]) -> None:
    """Days, weeks from Monday, and months, in UTC."""
    (window,) = Rule(name="b", kind="budget", above=1.0, period=period).windows(NOW)

    assert (window.since.month, window.since.day, window.since.hour, window.until) == (*since, 0, NOW)


def row(app: str, count: int, total: float) -> Row:
    """An answer of the store for one window."""
    fields = dict.fromkeys((f"{name}_" for name in FIELDS), "") | {"app_": app}
    return {"tenant": "default", **fields, "counts": [count], "totals": [total], "recent": None, "before": None}


class World:
    """A rules worker with its store, by hand: what is stored and published survives a kill at any step."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules, self.now = rules, NOW
        self.rows: dict[tuple[str, int], Row] = {}
        self.said: list[Verdict] = []
        self.start()

    def start(self) -> None:
        """A new owner, seeded from the store as `standing_rules` answers."""
        self.core = Rules(self.rules, 1)
        newest = {id_: self.rows[id_, revision] for id_, revision in sorted(self.rows)}
        day_ago = self.now - timedelta(days=1)
        known = [one for one in newest.values() if not one["resolved_at"] or datetime.fromisoformat(one["resolved_at"]) > day_ago]
        self.core.assigned(CLAIM, [known])

    def tick(self, answer: list[Row], die_after: int = 9, seconds: float = 2.0) -> Outcome:
        """A tick at which every rule that is due gets *answer*."""
        self.now += timedelta(seconds=seconds)
        asked = self.core.wants(Batch([], self.now))
        outcome = self.core.process(Batch([], self.now), [answer for _ in asked])
        if die_after >= 1:
            for one in outcome.inserts[0].rows:
                self.rows.setdefault((one["id"], one["revision"]), one)
        if die_after >= 2:
            for record in outcome.publish:
                self.said += msgspec.json.decode(record.value, type=list[Verdict])
        if die_after >= 3:
            self.core.landed(outcome)
        return outcome


def test_what_breaks_is_said_once_and_is_over_after_it_was_kept_for_a_window() -> None:
    """A rule that is broken for an hour is one verdict and its end; a flicker in between is no end."""
    world = World([SLOW])
    for total in [50.0] * 5 + [10.0] * 20 + [50.0] * 3 + [10.0] * 40:
        world.tick([row("shop", 20, total)])

    broke, ended = world.said
    assert (broke.id, broke.resolved_at, broke.severity, broke.segment) == (ended.id, None, "page", "app=shop")
    assert ended.resolved_at is not None
    assert ended.resolved_at - broke.accepted_at == timedelta(seconds=2 * 28 + 60)
    assert (broke.detector, broke.current, broke.level, broke.app) == ("rule.limit", 2.5, 2.0, "shop")


def test_a_group_that_vanished_is_over_and_a_rule_that_was_removed_too() -> None:
    """Nothing stands for ever because nobody comes any more."""
    world = World([SLOW])
    world.tick([row("shop", 20, 50.0)])
    for _ in range(40):
        world.tick([])
    assert [one.resolved_at is None for one in world.said] == [True, False]

    world.tick([row("shop", 20, 50.0)])
    world.rules = []
    world.start()
    world.tick([])
    assert "changed or removed" in world.said[-1].reason


def test_a_verdict_that_gets_graver_is_said_again() -> None:
    """An error budget that burns slowly is a ticket; once it burns fast it may wake somebody."""
    book, group = Book(), Group(SLOW.version, "default", "shop", "app=shop")
    judged = Judgement(broken=True, value=1.0, level=1.0, count=20, reason="slowly")
    (ticket,) = book.enter(SLOW, {group: judged}, NOW)
    (page,) = book.enter(SLOW, {group: replace(judged, severity="page", reason="fast")}, NOW)

    assert (ticket.severity, page.severity, page.id == ticket.id, page.revision) == ("ticket", "page", True, 1)
    assert not list(book.enter(SLOW, {group: judged}, NOW))


@given(
    totals=st.lists(st.sampled_from([10.0, 50.0]), min_size=1, max_size=60),
    kills=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 2)), max_size=6),
)
def test_whatever_is_killed_no_breach_is_lost_and_each_that_was_told_ends(totals: list[float], kills: list[tuple[int, int]]) -> None:
    """Killed between the store and the bus: the next owner says again what stands, so every breach that was stored is published."""
    world, dies = World([SLOW]), dict(kills)
    for place, total in enumerate(totals):
        world.tick([row("shop", 20, total)], dies.get(place, 9))
        if place in dies:
            world.start()
    for _ in range(35):
        world.tick([row("shop", 20, 10.0)])
    world.start()
    world.tick([])

    stored = {(id_, revision) for id_, revision in world.rows}
    assert {(one.id, one.revision) for one in world.said} == stored
    assert {id_ for id_, revision in stored if revision == 0} == {id_ for id_, revision in stored if revision > 0}
    assert bool(stored) == (50.0 in [total for place, total in enumerate(totals) if dies.get(place, 9) >= 1])


def test_only_the_owner_of_the_first_partition_judges() -> None:
    """Two workers of the group: one is on duty."""
    core = Rules([SLOW], 2)
    other = Claim(VERDICTS, 1)
    core.assigned(other, [])
    assert core.seeds(other, 2) == []
    assert core.wants(Batch([], NOW)) == []
    core.assigned(CLAIM, [[]])
    assert [question.name for question in core.wants(Batch([], NOW))] == ["rule_values"]
    core.revoked(CLAIM)
    assert core.wants(Batch([], NOW + timedelta(hours=1))) == []


def test_each_rule_is_asked_as_often_as_its_window_needs() -> None:
    """A minute every two seconds, an hour every minute."""
    minute, hour = SLOW, replace(SLOW, name="hourly", window=timedelta(hours=1))
    core = Rules([minute, hour], 1)
    core.assigned(CLAIM, [[]])
    asked = [len(core.wants(Batch([], NOW + timedelta(seconds=n)))) for n in range(121)]

    assert (sum(asked), asked[:3]) == (61 + 3, [2, 0, 1])
