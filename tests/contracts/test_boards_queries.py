"""Every query of every board runs as Grafana would run it, and what comes back can be drawn: full, empty, lonely and hostile."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from boards_data import World
from boards_names import HOSTILE, INTRUDER, PLAIN, Names
from boards_visit import Answer, Asked, Board, Mode, Reader, Refused, Visit, alerts, boards, empty_panels, faults
from driftwheel.store.migrate import migrate
from grafana_macros import All, Chosen
from stores import RunningStore, running_store

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
RANGES = {"5 minutes": timedelta(minutes=5), "24 hours": timedelta(days=1), "30 days": timedelta(days=30)}
BOARDS = boards()


@contextmanager
def a_store(folder: Path, *worlds: World) -> Iterator[RunningStore]:
    """A migrated store with *worlds* in it; the meters, which know no tenant, of the first."""
    with running_store(folder / "store") as store:
        client = store.client()
        migrate(client)
        client.command("SYSTEM STOP MERGES")  # what comes again with a higher revision stays beside the lower one
        for world in worlds:
            world.put(client, without=() if world is worlds[0] else ("meters",))
        yield store


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """Three tenants: a plain one, a neighbour, and one whose every name is an attack."""
    worlds = World(NOW), World(NOW, INTRUDER, size=600, seed=8), World(NOW, HOSTILE, size=300, seed=9)
    with a_store(tmp_path_factory.mktemp("full"), *worlds) as store:
        yield store


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """Nothing but tables."""
    with a_store(tmp_path_factory.mktemp("empty")) as store:
        yield store


def tenant(reader: Reader, board: Board, names: Names) -> dict[str, Chosen]:
    """The tenant as somebody picks it from the list: the value that its variable gives to that name."""
    question = dict(board.questions()).get("tenant")
    if not question:
        return {}
    visit = Visit(board, reader, NOW - timedelta(days=30), NOW)
    listed = visit.ask_alone(question)
    return {"tenant": next(str(row[0]) for row in listed.rows if str(row[-1]) == names.tenant)}


def problems(visit: Visit, *more: Asked) -> list[str]:
    """What does not run or cannot be drawn, of the board's panels, variables and annotations and of *more*."""
    found = []
    for asked in [*visit.board.asked(), *(one for _, one in visit.board.questions()), *more]:
        try:
            found += [f"{asked}: {fault}" for fault in faults(asked, visit.ask(asked))]
        except Refused as refused:
            found.append(f"{asked}: {refused}")
    return found


by_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


@pytest.mark.parametrize(
    ("back", "mode"), [("5 minutes", "all"), ("24 hours", "all"), ("30 days", "all"), ("30 days", "one"), ("24 hours", "several")]
)
@by_board
def test_every_query_runs_and_can_be_drawn(full: RunningStore, board: Board, back: str, mode: Mode) -> None:
    """As the user that may only read, over minutes, a day and a month, with one, several and all values of every variable."""
    reader = Reader(full.settings)
    assert problems(Visit(board, reader, NOW - RANGES[back], NOW, mode, tenant(reader, board, PLAIN))) == []


@pytest.mark.parametrize("mode", ["one", "several"])
def test_what_is_chosen_is_what_is_counted(full: RunningStore, mode: Mode) -> None:
    """Each variable reaches the column it is named after, on every board: the requests of panels are those of the chosen calls."""
    reader, counted = Reader(full.settings), 0
    for board in BOARDS:
        visit = Visit(board, reader, NOW - timedelta(days=1), NOW, mode, tenant(reader, board, PLAIN))
        chosen = {name: value for name, value in visit.chosen.items() if name in ("app", "environment", "model", "prompt_version")}
        calls = World(NOW).calls(NOW - timedelta(days=1), NOW)
        wanted = sum(all(row[name] in value for name, value in chosen.items() if isinstance(value, tuple)) for row in calls)
        assert 0 < wanted < len(calls) or not chosen
        for asked in board.asked():
            whole = ".traffic(" in asked.sql or (".parts_over_time(" in asked.sql and "by='error_type'" not in asked.sql)
            if whole and " requests" in asked.sql.partition(" FROM ")[0].replace(",", " "):
                answer = visit.ask(asked)
                assert sum(answer.column("requests")) == wanted, f"{asked}: {chosen}"
                counted += 1
    assert counted >= 5


@by_board
def test_an_empty_store_is_no_error(empty: RunningStore, board: Board) -> None:
    """On the first day a board is empty, not broken: no refusal, nothing that is no number."""
    assert problems(Visit(board, Reader(empty.settings), NOW - timedelta(days=1), NOW)) == []


@pytest.mark.slow
def test_one_single_event_is_enough(tmp_path: Path) -> None:
    """No division by the count of something else."""
    with a_store(tmp_path) as store:
        store.client().insert("inferences", World(NOW, size=90).inferences[-1:])
        for board in BOARDS:
            assert problems(Visit(board, Reader(store.settings), NOW - timedelta(days=1), NOW, pinned={"tenant": "default"})) == []


@by_board
def test_no_name_is_an_attack(full: RunningStore, board: Board) -> None:
    """Quotes, backslashes, brackets, macros, HTML and line breaks in names, chosen from the variables' own lists: each finds its rows."""
    reader = Reader(full.settings)
    visit = Visit(board, reader, NOW - timedelta(days=30), NOW, "several", tenant(reader, board, HOSTILE))

    assert problems(visit) == []
    if apps := visit.chosen.get("app"):
        assert not isinstance(apps, All)
        assert all(visit.ask(asked).rows for asked in board.asked() if "app='" not in asked.sql and ".traffic(" in asked.sql), (
            f"nothing of {apps}"
        )


@by_board
def test_hostile_texts_are_drawn_short_and_annotations_are_no_html(full: RunningStore, board: Board) -> None:
    """A text of 10 kB would fill the page; and the text of an annotation is drawn as HTML."""
    reader = Reader(full.settings)
    visit = Visit(board, reader, NOW - timedelta(days=30), NOW, pinned=tenant(reader, board, HOSTILE))

    for asked in board.asked():
        answer = visit.ask(asked)
        assert faults(asked, answer) == [], str(asked)
        assert max((len(cell) for row in answer.rows for cell in row if isinstance(cell, str)), default=0) <= 400, str(asked)
        assert asked.kind != "annotation" or "<" not in str(answer.rows), str(asked)


@pytest.mark.slow
def test_another_tenants_rows_never_appear(full: RunningStore, tmp_path: Path) -> None:
    """A tenant's boards say the same beside its neighbours as alone, to the last number."""
    with a_store(tmp_path, World(NOW)) as alone:
        here, there = Reader(full.settings), Reader(alone.settings)
        for board in BOARDS:
            beside, by_itself = (
                Visit(board, reader, NOW - timedelta(days=30), NOW, pinned=tenant(reader, board, PLAIN)) for reader in (here, there)
            )
            for asked in [*board.asked(), *(one for name, one in board.questions() if name != "tenant")]:
                found = beside.ask(asked)
                assert "intruder" not in str(found.rows), str(asked)
                assert alike(found, by_itself.ask(asked)), str(asked)


def test_a_server_in_another_zone_shows_the_same(full: RunningStore) -> None:
    """A range is a moment to a moment, wherever the server stands: asked of one panel of every view."""
    reader, seen = Reader(full.settings), set()
    for board in BOARDS:
        here, there = (
            Visit(board, reader, NOW - timedelta(days=1), NOW, pinned=tenant(reader, board, PLAIN), session={"session_timezone": zone})
            for zone in ("UTC", "Asia/Kolkata")
        )
        for asked in board.asked():
            view = asked.sql.partition(" FROM ")[2].partition("(")[0]
            if view not in seen:
                seen.add(view)
                assert alike(here.ask(asked), there.ask(asked)), str(asked)
    assert len(seen) > 20


def test_every_panel_has_something_to_show(full: RunningStore) -> None:
    """Of a month in which everything happened at least once."""
    assert empty_panels(full.settings) == []


def test_alert_queries_return_one_number_a_row(full: RunningStore, empty: RunningStore) -> None:
    """Without template variables, of every tenant; an empty store is no error, and the day of the plain world is told by some."""
    silent = []
    for asked in alerts():
        for store in (full, empty):
            visit = Visit(BOARDS[0], Reader(store.settings), NOW - timedelta(seconds=asked.back_s), NOW)
            answer = visit.ask(asked)
            assert faults(asked, answer) == [], f"{asked}\n{answer.columns}"
            assert len(answer.rows) <= 1_000
            if store is full and not answer.rows:
                silent.append(str(asked))
            day = visit.ask(asked) if asked.back_s else answer
            assert day.columns == answer.columns
    assert len(silent) <= len(alerts()) / 2, silent


def alike(one: Answer, other: Answer) -> bool:
    """Whether two answers show the same in whatever order; percentiles are of sketches, which depend on the order of rows."""
    if one.columns != other.columns or len(one.rows) != len(other.rows):
        return False
    ages = [name.endswith("_s") for name, _ in one.columns]  # some are as of now
    rows = zip(sorted(one.rows, key=_words), sorted(other.rows, key=_words), strict=True)
    return all(_alike(*cells) for row in rows for cells in zip(*row, ages, strict=True))


def _words(row: Sequence[object]) -> list[str]:
    return [cell for cell in row if isinstance(cell, str)]


def _alike(one: object, other: object, age: bool) -> bool:  # noqa: FBT001
    if isinstance(one, int | float) and isinstance(other, int | float):
        near = {"rel_tol": 0.02, "abs_tol": 1e-9} if isinstance(one, float) else {"rel_tol": 0, "abs_tol": 60 if age else 0}
        return math.isclose(one, other, **near)
    return one == other


A_SERIES = Asked(board="b", place="p", kind="panel", drawn="timeseries", sql="", format=0)
A_VARIABLE = Asked(board="b", place="v", kind="variable", drawn="variable", sql="")
AN_ALERT = Asked(board="b", place="a", kind="alert", drawn="alert", sql="")
FINE = Answer([("time", "DateTime('UTC')"), ("name", "String"), ("n", "UInt64")], [["1", "a", 1], ["1", "b", 1], ["2", "a", 1]])


@pytest.mark.parametrize(
    ("asked", "columns", "rows", "fault"),
    [
        (A_SERIES, FINE.columns, [["1", "a", "nan"]], "not finite"),
        (A_SERIES, FINE.columns, [["1", "a", "-inf"]], "not finite"),
        (A_SERIES, FINE.columns, [["2", "a", 1], ["1", "a", 1]], "ascend"),
        (A_SERIES, FINE.columns, [["1", "a", 1], ["1", "a", 2]], "same labels"),
        (A_SERIES, FINE.columns, [[None, "a", 1]], "without a time"),
        (A_SERIES, [("n", "UInt64"), ("time", "DateTime")], [], "first column"),
        (A_SERIES, [("time", "DateTime"), ("name", "String")], [], "no number"),
        (A_SERIES, [("time", "DateTime"), ("n", "Float64"), ("id", "UUID")], [], "cannot read"),
        (A_SERIES, FINE.columns, [[str(n).zfill(6), "a", 1] for n in range(20_001)], "at most 20000"),
        (A_VARIABLE, [("value", "String"), ("text", "String"), ("more", "String")], [], "one column"),
        (A_VARIABLE, [("value", "String")], [["a"], ["a"]], "repeat"),
        (A_VARIABLE, [("value", "UInt64")], [[1]], "no text"),
        (AN_ALERT, [("app", "String"), ("n", "Float64"), ("m", "Float64")], [], "one number"),
        (AN_ALERT, [("app", "String"), ("n", "Float64")], [["a", 1], ["a", 2]], "same labels"),
        (AN_ALERT, [("app", "String"), ("n", "Nullable(Float64)")], [["a", None]], "no number"),
    ],
)
def test_what_could_not_be_drawn_is_found(asked: Asked, columns: list[tuple[str, str]], rows: list[list[object]], fault: str) -> None:
    """A check that lets these through would prove nothing."""
    assert faults(A_SERIES, FINE) == []
    assert any(fault in told for told in faults(asked, Answer(columns, rows)))


def test_the_reader_may_not_write(full: RunningStore) -> None:
    """So what runs above needs no more rights than Grafana's user has."""
    for sql in (
        "INSERT INTO driftwheel.snoozes (tenant) VALUES ('x')",
        "DROP TABLE driftwheel.inferences",
        "CREATE TABLE x (a Int8) ENGINE = Memory",
    ):
        with pytest.raises(Refused):
            Reader(full.settings).ask(sql)
