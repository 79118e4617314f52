"""The questions behind the boards give the numbers that Python counts in the same rows; nothing is counted twice, nothing is left out."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from boards_data import World, quantile, wilson
from boards_names import INTRUDER, Row
from boards_visit import Answer, Reader
from driftwheel.store.migrate import migrate
from stores import running_store

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
WORLD = World(NOW)
DAY, MONTH = NOW - timedelta(days=1), NOW - timedelta(days=30)
VIEWS = files("driftwheel_schemas").joinpath("views")
USUAL = {"tenant": "'default'", "apps": "['*']", "environments": "['*']", "models": "['*']", "versions": "['*']", "step": "3600"}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A store with the world and a neighbour in it, asked as the plugin asks."""
    with running_store(tmp_path_factory.mktemp("numbers") / "store") as store:
        client = store.client()
        migrate(client)
        client.command("SYSTEM STOP MERGES")  # what comes again with a higher revision stays beside the lower one
        WORLD.put(client)
        World(NOW, INTRUDER, size=600, seed=8).put(client, without=["meters"])
        yield Reader(store.settings)


def ask(reader: Reader, view: str, since: datetime = DAY, session: str = "", **given: str) -> Answer:
    """The answer of *view*, with the usual parameters that it has; *given* are SQL."""
    wanted = sorted(set(re.findall(r"\{(\w+):", VIEWS.joinpath(f"{view}.sql").read_text("utf-8"))))
    known = USUAL | {"since": str(int(since.timestamp())), "until": str(int(NOW.timestamp()))} | given
    settings = {"session_timezone": session} if session else {}
    return reader.ask(f"SELECT * FROM driftwheel.{view}({', '.join(f'{name}={known[name]}' for name in wanted)})", **settings)


def total(answer: Answer, name: str) -> float:
    return sum(float(value) for value in answer.column(name) if value is not None)


def summed(rows: Sequence[Row], name: str) -> float:
    return sum(float(str(row[name])) for row in rows if row[name] is not None)


CHOICES: list[dict[str, str]] = [
    {},
    {"app": "support"},
    {"app": "search", "model": "llama-3.1-8b"},
    {"environment": "staging", "prompt_version": "v2"},
    {"app": "writer", "environment": "production", "model": "gpt-4o-mini", "prompt_version": "v1"},
]
PARAMETER = {"app": "apps", "environment": "environments", "model": "models", "prompt_version": "versions"}


@pytest.mark.parametrize("since", [NOW - timedelta(minutes=5), DAY, MONTH], ids=["5 minutes", "24 hours", "30 days"])
@pytest.mark.parametrize("where", CHOICES, ids=lambda where: " ".join(where.values()) or "all")
def test_traffic_is_what_was_called(reader: Reader, where: dict[str, str], since: datetime) -> None:
    """Requests, errors, tokens and cost over all intervals, whatever is chosen; a call without a price costs nothing and is not priced."""
    calls = WORLD.calls(since, NOW, **where)
    answer = ask(reader, "traffic", since, **{PARAMETER[name]: f"['{value}']" for name, value in where.items()})

    assert total(answer, "requests") == len(calls)
    assert total(answer, "errors") == sum(row["error_type"] != "" for row in calls)
    assert total(answer, "cost_usd") == pytest.approx(summed(calls, "cost_usd"))
    assert total(answer, "input_tokens") == summed(calls, "input_tokens")
    assert total(answer, "output_tokens") == summed(calls, "output_tokens")
    priced = sum(float(share or 0) * n for share, n in zip(answer.column("priced_share"), answer.column("requests"), strict=True))
    assert priced == pytest.approx(sum(row["cost_usd"] is not None for row in calls))


def test_several_values_of_a_variable_are_any_of_them(reader: Reader) -> None:
    """And an unknown one is none."""
    two = ask(reader, "traffic", apps="['support','search']")

    assert total(two, "requests") == len(WORLD.calls(DAY, NOW)) - len(WORLD.calls(DAY, NOW, app="writer"))
    assert ask(reader, "traffic", apps="['nobody']").rows == []


def test_the_percentiles_are_near_those_of_all_values(reader: Reader) -> None:
    """A sketch of some thousand values is off by less than 3 %."""
    answer = ask(reader, "parts", MONTH, by="'app'", weight="'requests'")
    apps = dict(zip(answer.column("name"), answer.column("latency_p95_s"), strict=True))

    assert set(apps) == {"support", "search", "writer"}
    for app, p95 in apps.items():
        latencies = [float(str(row["latency_s"])) for row in WORLD.calls(MONTH, NOW, app=app)]
        assert quantile(latencies, 0.93) <= p95 <= quantile(latencies, 0.97)
        assert p95 == pytest.approx(quantile(latencies, 0.95), rel=0.03 if len(latencies) > 500 else 0.1)


@pytest.mark.parametrize(("by", "field"), [("app", "app"), ("model", "model"), ("user", "user_id"), ("error_type", "error_type")])
def test_parts_add_up_to_the_whole(reader: Reader, by: str, field: str) -> None:
    """By app, by model, by user (forty of them), and failures by what failed."""
    answer = ask(reader, "parts", MONTH, by=f"'{by}'", weight="'requests'")
    calls = [row for row in WORLD.calls(MONTH, NOW) if by != "error_type" or row["error_type"]]

    for name, requests, cost in zip(answer.column("name"), answer.column("requests"), answer.column("cost_usd"), strict=True):
        mine = [row for row in calls if row[field] == name]
        assert (requests, cost) == (len(mine), pytest.approx(summed(mine, "cost_usd")))
    assert total(answer, "requests") == len(calls)


def test_parts_over_time_add_up_too(reader: Reader) -> None:
    """With the eleventh part and more as one."""
    answer = ask(reader, "parts_over_time", MONTH, by="'model'", weight="'cost_usd'", step="86400")

    assert total(answer, "cost_usd") == pytest.approx(summed(WORLD.calls(MONTH, NOW), "cost_usd"))


def test_thumbs_come_with_the_interval_of_wilson(reader: Reader) -> None:
    """By app and prompt version; feedback that was stored twice, before and after it was joined, counts once."""
    answer = ask(reader, "versions_judged", MONTH)
    columns = ("app", "prompt_version", "requests", "thumbs", "thumbs_share", "thumbs_low_share", "thumbs_high_share")

    assert len(answer.rows) == 6
    for app, version, requests, thumbs, share, low, high in zip(*(answer.column(name) for name in columns), strict=True):
        said = WORLD.said(MONTH, NOW, app=app, prompt_version=version, name="thumbs")
        liked = sum(row["value"] == 1.0 for row in said)
        assert (requests, thumbs) == (len(WORLD.calls(MONTH, NOW, app=app, prompt_version=version)), len(said))
        assert share == pytest.approx(liked / len(said))
        assert (low, high) == pytest.approx(wilson(liked, len(said)), abs=1e-3)


def test_feedback_over_time_counts_what_found_its_inference(reader: Reader) -> None:
    """Once each."""
    answer = ask(reader, "feedback_over_time", MONTH)
    said = WORLD.said(MONTH, NOW)

    assert total(answer, "feedback") == len(said)
    assert total(answer, "thumbs") == sum(row["name"] == "thumbs" for row in said)
    assert total(answer, "corrections") == sum(row["name"] == "correction" for row in said)
    for low, share, high in zip(*(answer.column(f"thumbs_{name}share") for name in ("low_", "", "high_")), strict=True):
        assert share is None or 0 <= low <= share <= high <= 1


def test_coverage_is_of_how_many_inferences_anything_was_said(reader: Reader) -> None:
    """By when the inference started."""
    answer = ask(reader, "feedback_coverage", MONTH)

    assert total(answer, "requests") == len(WORLD.calls(MONTH, NOW))
    assert total(answer, "judged") == len({row["inference_id"] for row in WORLD.said(MONTH, NOW)})


@pytest.mark.parametrize("since", [DAY, MONTH], ids=["24 hours", "30 days"])
@pytest.mark.parametrize("step", [60, 900, 21_600])
def test_a_counter_grows_by_what_it_counted_also_over_a_restart(reader: Reader, since: datetime, step: int) -> None:
    """As `increase` of Prometheus does: a counter that begins again counts from 0, wherever its restart falls."""
    name, worker = "driftwheel_collector_accepted_total", "driftwheel_worker_events_total"
    given = {"by": "['event']", "only": "['*']", "step": str(step)}
    accepted = ask(reader, "counters", since, names=f"['{name}']", **given)
    kept = ask(reader, "counters", since, names=f"['{worker}']", **(given | {"by": "['role','what']", "only": "['matched']"}))

    assert total(accepted, "increase") == WORLD.increase(name, since, NOW - timedelta(seconds=1))
    assert total(kept, "increase") == WORLD.increase(worker, since, NOW - timedelta(seconds=1), role="feedback", what="matched")
    assert set(accepted.column("name")) == {"inference", "feedback"}


def test_drift_is_what_was_said_last(reader: Reader) -> None:
    """Revisions are one incident; an open incident counts whatever the range."""
    row = ask(reader, "drift_totals", MONTH)

    assert [row.column(name) for name in ("open_incidents", "open_pages", "opened", "resolved")] == [[1], [1], [2], [1]]
    assert row.column("drifting_series") == [1]
    assert row.column("watched_series") == [4]
    told = ask(reader, "incidents_told", MONTH, states="['*']")
    assert told.column("state") == ["open", "resolved"]
    assert ask(reader, "incidents_told", DAY, states="['*']").column("state") == ["open"]
    assert ask(reader, "verdicts_told", MONTH).column("state") == ["drifting", "over"]


def test_alerts_see_every_tenant_and_open_incidents_only(reader: Reader) -> None:
    """One row a tenant and app."""
    pages = ask(reader, "alert_incidents", tenants="['*']", severity="'page'")
    assert sorted(zip(pages.column("tenant"), pages.column("incidents"), strict=True)) == [("default", 1), ("intruder", 1)]
    assert ask(reader, "alert_incidents", tenants="['*']", severity="'ticket'").rows == []
    apps = ask(reader, "alert_apps", tenants="['default']", least="1")
    assert total(apps, "requests") == len(WORLD.calls(DAY, NOW))
    letters = ask(reader, "alert_letters", MONTH, tenants="['default']")
    assert total(letters, "letters") == 12


def test_retraining_is_where_its_revisions_left_it(reader: Reader) -> None:
    """Held, then pending, then approved is approved."""
    row = ask(reader, "retraining_totals", MONTH)
    names = ("pending_triggers", "held", "approved", "running_jobs", "failed_jobs", "promoted", "rejected")

    assert [row.column(name)[0] for name in names] == [1, 0, 1, 1, 1, 1, 2]
    assert ask(reader, "champions").column("champion") == ["llama-3.1-8b-2"]
    assert sorted(ask(reader, "gates", MONTH).column("decision")) == ["hold", "promote", "reject"]


def test_dead_letters_are_open_until_they_are_put_back(reader: Reader) -> None:
    """Twelve came, three were put back."""
    assert total(ask(reader, "letters_open", MONTH), "letters") == 9
    assert total(ask(reader, "letters_over_time", MONTH), "letters") == 12


def test_notices_stand_where_their_last_revision_says(reader: Reader) -> None:
    """Told to three each, at the opening of two incidents; nothing is counted at its earlier revisions."""
    answer = ask(reader, "notices_over_time", MONTH)
    found = dict.fromkeys(answer.column("name"), 0)
    for name, notices in zip(answer.column("name"), answer.column("notices"), strict=True):
        found[name] += notices

    assert found == {"sent": 2, "failed": 2, "pending": 2}


def test_good_is_what_neither_failed_nor_took_too_long(reader: Reader) -> None:
    """Over the whole range."""
    answer = ask(reader, "slo_burn", MONTH, objective="0.99", slow_s="2")
    calls = WORLD.calls(MONTH, NOW)
    bad = sum(row["error_type"] != "" or float(str(row["latency_s"])) > 2 for row in calls)

    assert answer.column("good_share")[0] == pytest.approx(1 - bad / len(calls), abs=0.001)
    assert answer.column("budget_left_share")[0] == pytest.approx(1 - bad / len(calls) / 0.01, abs=0.1)


def test_scores_of_judges_are_means(reader: Reader) -> None:
    """Of feedback by judges and of late readings."""
    answer = ask(reader, "judgements", MONTH, step=str(60 * 86_400))
    found: dict[str, list[float]] = {}
    for name, value in zip(answer.column("name"), answer.column("value"), strict=True):
        found.setdefault(name, []).append(value)
    rated = [float(str(row["value"])) for row in WORLD.said(MONTH, NOW, name="rating")]
    scores = [float(str(row["value"])) for row in WORLD.late_readings if row["signal"] == "faithfulness.score"]

    assert set(found) == {"rating", "faithfulness.score", "grounded.flag"}
    if len(found["rating"]) == 1:  # else the range touches two intervals
        assert found["rating"][0] == pytest.approx(sum(rated) / len(rated))
        assert found["faithfulness.score"][0] == pytest.approx(sum(scores) / len(scores), rel=1e-3)


def test_the_zone_of_the_session_changes_no_number(reader: Reader) -> None:
    """Seconds since 1970 are a moment everywhere; a `DateTime` given to a view travels as text in the zone of the session."""
    for view, given in (("traffic", {}), ("parts_over_time", {"by": "'app'", "weight": "'requests'"})):
        here, there = (ask(reader, view, DAY, zone, **given) for zone in ("UTC", "Asia/Kolkata"))
        assert total(here, "requests") == total(there, "requests") == len(WORLD.calls(DAY, NOW))
        assert here.column("time") == there.column("time")


def test_boards_never_read_texts() -> None:
    """Grafana's user has no right to prompts and responses, and nobody else's rights are lent to a view."""
    for one in VIEWS.iterdir():
        sql = re.sub(r"--.*", "", one.read_text("utf-8"))
        assert "driftwheel.payloads" not in sql
        assert "DEFINER" not in sql.upper()
