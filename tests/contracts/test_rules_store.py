"""What rules ask of a real store: the same counts, sums and quantiles as counted by hand; and a preview is the worker's own judgement."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftwheel.cli.verdicts import past
from driftwheel.pipeline.rules import judge, question_of
from driftwheel.pipeline.series import instant
from driftwheel.policies.rules import Rule
from driftwheel.store.clickhouse import ClickHouse
from driftwheel.store.migrate import migrate
from driftwheel_schemas import new_id
from stores import running_store

NOW = datetime.now(UTC).replace(microsecond=0)
RANDOM = random.Random(11)
HOSTILE = 'o\'brien\\ "x" <b>\n,model=evil'


def inference(minutes: float, **changes: Any) -> dict[str, Any]:
    """A row accepted some minutes before NOW."""
    at = instant(NOW - timedelta(minutes=minutes))
    row = {"tenant": "default", "id": new_id(), "app": "shop", "model": "m1", "environment": "prod", "started_at": at, "accepted_at": at}
    return row | {"latency_s": 1.0, "readings": {}, "error_type": ""} | changes


def world() -> list[dict[str, Any]]:
    """Two hours of the shop, one inference every six seconds, and some others."""
    rows = [
        inference(
            n / 10,
            latency_s=RANDOM.lognormvariate(0, 1),
            error_type="Timeout" if n < 200 and n % 2 else "",
            readings={"refusal.flag": n % 4 == 0},
        )
        for n in range(1200)
    ]
    rows += [inference(n, app="bank", model="m2", cost_usd="2.5") for n in range(40, 100)]
    rows += [inference(n, tenant="other", latency_s=50.0) for n in range(60)]
    rows += [inference(n, app=HOSTILE, environment="test") for n in range(30)]
    return rows


ROWS = world()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with running_store(tmp_path_factory.mktemp("rules") / "store") as running:
        client = running.client()
        migrate(client)
        client.insert("inferences", ROWS)
        at = instant(NOW - timedelta(minutes=3))
        client.insert(
            "feedback",
            [
                {
                    "tenant": "default",
                    "id": new_id(),
                    "revision": 1,
                    "matched": 1,
                    "app": "shop",
                    "model": "m1",
                    "name": "thumbs",
                    "value": n % 5 == 0,
                    "at": at,
                    "accepted_at": at,
                }
                for n in range(50)
            ],
        )
        yield client


def shop(minutes: float, field: str) -> list[Any]:
    """What the shop of the first tenant shows in the last *minutes*."""
    since = instant(NOW - timedelta(minutes=minutes))
    return [row[field] for row in ROWS if (row["tenant"], row["app"]) == ("default", "shop") and since < row["accepted_at"]]


def of(store: ClickHouse, rule: Rule) -> dict[tuple[str, str], Any]:
    """What the rule says now, by tenant and segment."""
    windows = rule.windows(NOW)
    question = question_of(rule, windows)
    return {(group.tenant, group.segment): one for group, one in judge(rule, windows, store.ask(question.name, question.params)).items()}


def test_means_counts_and_shares_are_those_counted_by_hand(store: ClickHouse) -> None:
    """A column, a reading of the map, and the bare number."""
    ten = timedelta(minutes=10)
    latency = of(store, Rule(name="l", kind="limit", signal="latency.seconds", above=9.0, window=ten))[("default", "app=shop")]
    errors = of(store, Rule(name="e", kind="limit", signal="error.flag", above=0.3, window=ten))[("default", "app=shop")]
    refused = of(store, Rule(name="r", kind="limit", signal="refusal.flag", above=0.9, window=ten))[("default", "app=shop")]
    number = of(store, Rule(name="n", kind="limit", statistic="count", above=1.0, window=ten))[("default", "app=shop")]

    values = shop(10, "latency_s")
    assert (latency.count, latency.value) == (100, pytest.approx(sum(values) / len(values), rel=1e-5))
    assert (errors.value, errors.broken) == (0.5, True)
    assert (refused.value, number.value) == (0.25, 100.0)


def test_a_quantile_is_within_a_percent_of_the_exact_one(store: ClickHouse) -> None:
    """The sketch is a t-digest."""
    rule = Rule(name="q", kind="limit", signal="latency.seconds", statistic="quantile", quantile=0.9, above=1.0, window=timedelta(hours=1))
    exact = sorted(shop(60, "latency_s"))
    value = of(store, rule)[("default", "app=shop")].value

    assert exact[int(0.88 * len(exact))] < value < exact[int(0.92 * len(exact))]


def test_groups_are_tenants_and_the_fields_that_a_rule_names(store: ClickHouse) -> None:
    """Names of apps are untrusted: a comma in one is no second field; a filter leaves others out."""
    rule = Rule(name="g", kind="limit", statistic="count", above=1.0, window=timedelta(hours=2), by=("app", "model"))
    groups = set(of(store, rule))

    assert {("default", "app=shop,model=m1"), ("default", "app=bank,model=m2"), ("other", "app=shop,model=m1")} < groups
    assert len(groups) == 4
    assert all(segment.count("model=") <= 2 for _, segment in groups)
    only = Rule(name="f", kind="limit", statistic="count", above=1.0, window=timedelta(hours=2), environments=("test",))
    assert len(of(store, only)) == 1
    everything = Rule(name="a", kind="limit", statistic="count", above=1.0, window=timedelta(hours=2), by=())
    assert {key: one.value for key, one in of(store, everything).items()} == {("default", ""): 1290.0, ("other", ""): 60.0}


def test_feedback_is_a_signal_too(store: ClickHouse) -> None:
    """By the name that detection gives it."""
    rule = Rule(name="t", kind="limit", signal="feedback.thumbs.flag", below=0.5)

    assert of(store, rule)[("default", "app=shop")].value == pytest.approx(0.2)


def test_silence_ratio_burn_and_budget_judge_what_is_stored(store: ClickHouse) -> None:
    """The bank fell silent forty minutes ago; the shop's errors of the last twenty minutes burn."""
    hour = timedelta(hours=1)
    silent = of(store, Rule(name="s", kind="silence", window=timedelta(minutes=30), baseline=hour))
    ratio = of(
        store, Rule(name="r", kind="ratio", signal="error.flag", window=timedelta(minutes=10), baseline=timedelta(minutes=100), above=3.0)
    )
    burn = of(store, Rule(name="b", kind="burn", signal="error.flag", objective=0.99))[("default", "app=shop")]
    budget = of(store, Rule(name="m", kind="budget", signal="cost.usd", above=100.0, period="month"))

    assert {key[1]: one.broken for key, one in silent.items() if one and key[0] == "default"}["app=bank"]
    assert not silent[("default", "app=shop")].broken
    errors, before = shop(10, "error_type").count("Timeout") / 100, (shop(110, "error_type").count("Timeout") - 50) / 1000
    assert (ratio[("default", "app=shop")].value, ratio[("default", "app=shop")].baseline) == (errors, pytest.approx(before))
    assert (burn.broken, burn.severity) == (True, "page")
    in_month = NOW - timedelta(minutes=100) >= NOW.replace(day=1, hour=0, minute=0, second=0)
    assert not in_month or (budget[("default", "app=bank")].broken, budget[("default", "app=bank")].value) == (True, 150.0)


def test_a_preview_says_when_it_broke_and_when_it_was_over(store: ClickHouse) -> None:
    """The errors began twenty minutes ago; judged every half minute the rule breaks a little later, and still stands."""
    rule = Rule(name="e", kind="limit", signal="error.flag", above=0.3, window=timedelta(minutes=5))
    moments = [NOW - timedelta(minutes=60) + n * timedelta(seconds=30) for n in range(121)]
    (broke,) = past(rule, store, moments)

    assert timedelta(minutes=15) < NOW - broke.accepted_at < timedelta(minutes=20)
    earlier = [*moments, NOW + timedelta(minutes=30), NOW + timedelta(minutes=40)]
    assert [one.resolved_at is None for one in past(rule, store, earlier)] == [True, False]


def test_a_rule_over_an_empty_store_says_nothing(tmp_path: Any) -> None:
    """No rows, no division by zero."""
    with running_store(tmp_path / "store") as running:
        client = running.client()
        migrate(client)
        for kind, more in (
            ("limit", {"above": 1.0}),
            ("ratio", {"above": 2.0}),
            ("silence", {}),
            ("burn", {"objective": 0.9}),
            ("budget", {"above": 1.0}),
        ):
            assert of(client, Rule(name="x", kind=kind, signal="error.flag", **more)) == {}  # type: ignore[arg-type]
