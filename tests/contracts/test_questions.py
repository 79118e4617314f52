"""Every named question is understood by the schema that the migrations make, on a real store."""

from collections.abc import Iterator
from importlib.resources import files

import pytest

from driftwheel.store.clickhouse import ClickHouse, question_text
from driftwheel.store.migrate import migrate, migrations
from stores import running_store

QUESTIONS = sorted(
    one.name.removesuffix(".sql") for one in files("driftwheel.store").joinpath("questions").iterdir() if one.name.endswith(".sql")
)
SOME = "0198a4f0-7b1c-7000-8000-000000000001"
PARAMS = {
    "partition": 0,
    "partitions": 4,
    "limit": 10,
    "ids": [SOME],
    "names": ["support"],
    "tenant": "default",
    "app": "support",
    "days": 7,
    "horizon_s": 3600,
    "group_by": "model",
    "id": SOME,
    "encoder": "minilm",
    "topic": "driftwheel.inferences.v1",
    "reason": "undecodable",
    "since_s": 86_400,
    "open": 1,
    "action": "oncall",
    "now": "2026-11-20 10:00:00.000000",
    "signal": "latency.seconds",
    "by": ["app"],
    "apps": ["*"],
    "environments": ["*"],
    "quantile": 0.95,
    "since": ["2026-11-20 09:00:00.000000", "2026-11-20 08:00:00.000000"],
    "until": ["2026-11-20 10:00:00.000000", "2026-11-20 09:00:00.000000"],
}
"""What the questions may ask for; a new name has to be added here with an example."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with running_store(tmp_path_factory.mktemp("questions") / "store") as running:
        client = running.client()
        assert migrate(client) == [one.name for one in migrations()]
        yield client


def test_migrating_again_does_nothing(store: ClickHouse) -> None:
    """The ledger knows what was applied."""
    assert migrate(store) == []
    assert {row["number"] for row in store.query("SELECT number FROM driftwheel.migrations")} == {one.number for one in migrations()}


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_runs_on_the_migrated_schema(store: ClickHouse, question: str) -> None:
    """On empty tables nothing is known: no rows, or one row of counts that are zero."""
    wanted = {name: value for name, value in PARAMS.items() if f"{{{name}:" in question_text(question)}
    answer = store.ask(question, wanted)

    assert len(answer) <= 1
    assert all(not value for row in answer for value in row.values())


def test_an_inserted_row_is_found_by_its_id_and_not_missing_any_more(store: ClickHouse) -> None:
    """Insert, then ask: durable on return."""
    row = {"id": SOME, "tenant": "default", "app": "support", "topic": "driftwheel.inferences.v1", "partition": 0, "offset": 7}
    other = row | {"id": "0198a4f0-7b1c-7000-8000-000000000002"}
    times = {"started_at": "2026-11-20T10:00:00Z", "accepted_at": "2026-11-20T10:00:00Z"}
    assert store.missing("inferences", [row, other]) == [row, other]

    store.insert("inferences", [row | times])

    assert store.missing("inferences", [row, other]) == [other]
    assert store.query("SELECT toString(id) AS id, offset, started_at FROM driftwheel.inferences FINAL") == [
        {"id": SOME, "offset": 7, "started_at": "2026-11-20T10:00:00.000000Z"}
    ]
