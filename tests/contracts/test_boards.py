"""The boards as they are written in Python, and the files that are made of them: complete, bounded, linked, and of no tenant in particular."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from deploying import compose
from driftwheel_boards import BOARDS, Board, Panel, view
from driftwheel_boards.__main__ import ROOT, differing, main, written
from driftwheel_boards.board import MARKS, VARIABLES, Unit, unit_of
from driftwheel_boards.grafana import DRAWN, LINKS, POINTS, SOURCE, UNITS, literal, panel_id, select, text_of
from driftwheel_boards.provision import DATASOURCE, MOUNTED, alerts

Tree = dict[str, Any]

PANELS = [pytest.param(board, panel, id=f"{board.title}: {panel.title}") for board in BOARDS for panel in board.panels]
VIEWS = sorted(
    one.name.removesuffix(".sql") for one in files("driftwheel_schemas").joinpath("views").iterdir() if one.name.endswith(".sql")
)
OTHERS = {"readings", "measures"}
"""Views that are asked by others than the boards."""

each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.title)
each_panel = pytest.mark.parametrize(("board", "panel"), PANELS)


def tree(board: Board) -> Tree:
    made: Tree = json.loads(text_of(board))
    return made


def drawn(board: Board) -> list[Tree]:
    return [one for one in tree(board)["panels"] if one["type"] != "row"]


def sql_of(name: str) -> str:
    return files("driftwheel_schemas").joinpath("views", f"{name}.sql").read_text("utf-8")


def queries(node: object) -> Iterator[str]:
    """Every rawSql in a tree of JSON."""
    for name, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if name == "rawSql":
            yield str(value)
        else:
            yield from queries(value)


def test_the_files_are_what_the_definitions_make() -> None:
    """Whoever changes a board runs `python -m driftwheel_boards`; a file of no board is found, too."""
    assert differing(ROOT) == []


def test_writing_twice_writes_the_same_bytes_and_check_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also in another process, where hashes of texts are others."""
    assert main([], tmp_path) == 2, "an installed package is no place for them"
    (tmp_path / "deploy").mkdir()
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    assert capsys.readouterr().out.count("(changed)") == len(written())

    (tmp_path / "dashboards/grafana/of-no-board.json").write_text("{}")
    (tmp_path / "dashboards/grafana/drift.json").write_text("{}")
    assert main(["--check"], tmp_path) == 1
    assert re.findall(r"(\w[\w-]+\.\w+) is not", capsys.readouterr().out) == ["drift.json", "of-no-board.json"]
    assert main([], tmp_path) == 0
    asked = [sys.executable, "-m", "driftwheel_boards", "--check"]
    env = {"PYTHONPATH": "dashboards:schemas", "PYTHONHASHSEED": "7"}
    done = subprocess.run(asked, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert differing(tmp_path) == []


def test_a_console_can_read_the_definitions_without_grafana() -> None:
    """The SDK is imported where JSON is made, and nowhere else."""
    code = "import sys, driftwheel_boards; print([name for name in sys.modules if 'grafana' in name])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": "dashboards:schemas"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == "[]"


def test_the_boards_are_those_that_were_promised() -> None:
    """Titles are promises; uids are links."""
    assert [board.title for board in BOARDS] == [
        *("Overview", "Latency & streaming", "Cost & tokens", "Quality & feedback", "Usage"),
        *("Drift & incidents", "Retraining", "Pipeline health"),
    ]
    assert len({board.uid for board in BOARDS}) == len(BOARDS)


@each_board
def test_a_board_fits_its_page_and_its_budget(board: Board) -> None:
    """At most 14 panels; whole rows of 24 columns, nothing on top of another, ids and titles of their own."""
    panels = drawn(board)
    cells = [
        (place["x"] + dx, place["y"] + dy)
        for place in (one["gridPos"] for one in panels)
        for dx in range(place["w"])
        for dy in range(place["h"])
    ]
    ids = [one["id"] for one in tree(board)["panels"]]

    assert 8 <= len(panels) <= 14
    assert len(cells) == len(set(cells))
    assert all(0 <= x < 24 for x, _ in cells)
    for row in board.rows.values():
        assert sum(panel.width * panel.height for panel in row) % 24 == 0
    assert ids == list(range(1, len(ids) + 1))
    assert len({panel.title for panel in board.panels}) == len(panels)


@each_panel
def test_a_panel_asks_a_view_for_columns_that_it_has(board: Board, panel: Panel) -> None:
    """With every parameter supplied once: by a variable, the time range, or the definition."""
    asked = view(panel.view)
    supplied = {*VARIABLES, "since", "until", "step", *panel.given}

    assert set(panel.shown) <= set(asked.columns)
    assert set(asked.parameters) <= supplied
    assert set(panel.given) <= set(asked.parameters)
    assert "tenant" in asked.parameters or panel.view in {"counters", "gauges", "histograms", "workers"}, "meters alone know no tenant"
    if "step" in asked.parameters and panel.kind in POINTS:
        assert panel.shown[0] == "time"


@each_panel
def test_a_panel_says_what_it_shows_in_which_unit_and_why_it_may_be_empty(board: Board, panel: Panel) -> None:
    """A number without a unit is a riddle; so is an empty panel."""
    assert re.search(r"\w{3}.*[.?]$", panel.description)
    assert panel.empty.endswith(".")
    mixed = {unit_of(column) for column in panel.shown} - {None}
    assert len(mixed) <= 1 or panel.unit == "mixed" or panel.kind == "table", "columns of several units on one axis"
    if panel.kind not in ("stat", "table"):
        assert mixed <= {panel.unit}


@each_board
def test_what_grafana_gets_of_a_panel(board: Board) -> None:
    """The chosen data source, a description, the sentence of the empty panel, a unit, one bounded query, a known kind."""
    for one, panel in zip(drawn(board), board.panels, strict=True):
        defaults = one["fieldConfig"]["defaults"]
        assert one["datasource"] == {"type": SOURCE, "uid": "${ds}"} == one["targets"][0]["datasource"]
        assert one["type"] == DRAWN[panel.kind][0]
        assert one["type"] not in {"text", "news"}, "untrusted text would be HTML there"
        assert (one["description"], defaults["noValue"], defaults["unit"]) == (panel.description, panel.empty, UNITS[panel.unit])
        assert [target["format"] for target in one["targets"]] == [1 if panel.kind in ("stat", "table") else 0]
        assert one.get("maxDataPoints") == POINTS.get(panel.kind)
        named = {override["matcher"]["options"] for override in one["fieldConfig"]["overrides"]} - {"/.*/", "string"}
        assert named <= set(panel.shown)
        texts = [override["properties"] for override in one["fieldConfig"]["overrides"] if override["matcher"]["id"] == "byType"]
        assert texts == ([[{"id": "unit", "value": "string"}]] if panel.kind == "table" else []), 'a version called "1000" is not 1 K'


@each_board
def test_variables_are_all_used_and_all_defined(board: Board) -> None:
    """A variable that no query takes would be a filter that does nothing; those that a chooser takes come before it."""
    made = tree(board)
    defined = [one["name"] for one in made["templating"]["list"]]
    of_panels = " ".join(queries(made["panels"]))
    used = set(re.findall(r"\$\{(\w+):singlequote\}", of_panels)) | {"ds", "tenant", "app"}  # marks take tenant and app on every board

    assert set(defined) == used == {"ds", *board.variables}
    for at, one in enumerate(made["templating"]["list"]):
        assert set(re.findall(r"\$\{(\w+)", json.dumps(one.get("query")))) <= set(defined[:at])
        if one["name"] not in ("ds", "tenant"):
            assert (one["allValue"], one["includeAll"], one["multi"]) == ("'*'", True, True)
    assert not one_tenant(made)


def one_tenant(made: Tree) -> list[str]:
    """Queries that name a tenant."""
    return [sql for sql in queries(made) if re.search(r"tenants?=(?!\$\{tenant:singlequote\})", sql)]


@each_board
def test_every_board_shows_incidents_and_promotions_and_leads_to_the_others(board: Board) -> None:
    """The marks can be switched off; links keep variables and time."""
    made = tree(board)

    assert [one["name"] for one in made["annotations"]["list"]] == list(MARKS)
    assert all(one["enable"] and "placement" not in one for one in made["annotations"]["list"])
    (link,) = made["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == ("dashboards", list(board.tags), True, True)
    assert {uid for uid, _ in LINKS.values()} <= {one.uid for one in BOARDS}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_a_named_question_that_is_bounded_and_used(name: str) -> None:
    """Question, what no answer means, one statement, a LIMIT on every list, columns whose meanings are told are there."""
    sql, asked = sql_of(name), view(name)
    if name in OTHERS:
        return
    body = "\n".join(line for line in sql.splitlines() if not line.startswith("-- "))

    assert asked.question.count("?") >= 1
    assert asked.empty.endswith(".")
    assert body.startswith(f"CREATE OR REPLACE VIEW driftwheel.{name} AS\nSELECT ")
    assert ";" not in body
    assert "payloads" not in body
    assert re.search(r"\nLIMIT \d+\n$", sql) or name in {"drift_totals", "retraining_totals", "freshness"}, "one row, or a limit"
    assert set(asked.meanings) <= set(asked.columns)
    assert not re.search(r"\bnow(64)?\(", body), "an answer must be the same for the same time range"
    used = (
        {panel.view for board in BOARDS for panel in board.panels}
        | {one.view for one in alerts().values()}
        | {*MARKS.values(), "choices", "tenants"}
    )
    assert name in used


BIG = re.compile(r"driftwheel\.(?:inferences|feedback|late_readings|meters|verdicts|dead_letters)(?: AS \w+)? FINAL")
REVISED = re.compile(r"FROM driftwheel\.(?:triggers|jobs|incidents|outbox|snoozes|promotions|datasets)\b(?! FINAL)")


@pytest.mark.parametrize("name", sorted({*VIEWS} - OTHERS))
def test_views_merge_what_is_said_again_and_nothing_big(name: str) -> None:
    """FINAL on tables of revisions, which are small; never on what grows with the traffic."""
    assert not BIG.search(sql_of(name))
    assert not REVISED.search(sql_of(name))


def test_a_value_of_ours_cannot_end_its_quotes() -> None:
    """Definitions are trusted, yet a quote in one must not break the query."""
    assert select("choices", ["text"], {"by": "it's \\", "apps": ("a'",), "tenant": "t", "since": 1}).endswith(
        "(apps=['a\\''], by='it\\'s \\\\', since=1, tenant='t')"
    )
    assert literal(2) == "2"


def test_a_missing_panel_is_an_error() -> None:
    """An alert that leads nowhere would be found by nobody."""
    with pytest.raises(ValueError, match="no such"):
        panel_id(BOARDS[0], "no such panel")


@pytest.mark.parametrize("name", alerts())
def test_an_alert_is_literal_and_leads_to_a_panel(name: str) -> None:
    """The server knows no variables of boards; every tenant is looked at unless the numbers know none."""
    one = alerts()[name]

    assert "${" not in one.sql
    assert set(re.findall(r"\$__\w+", one.sql)) <= {"$__fromTime", "$__toTime"}
    assert set(view(one.view).parameters) <= {"since", "until", *one.given}
    assert one.view == "workers" or one.given["tenants"] == ("*",)
    assert one.panel[1] in {panel.title for board in BOARDS if board.uid == one.panel[0] for panel in board.panels}
    labels = set(re.findall(r"\$labels\.(\w+)", one.summary + one.description))
    assert labels <= set(re.findall(r"\w+", one.columns))
    assert one.missing != "OK" or one.view != "workers" or name == "lag", "no sign of life is no good sign"


def test_every_unit_of_ours_has_one_of_grafanas() -> None:
    """And every kind a way to be drawn."""
    assert set(UNITS) == set(get_args(Unit))
    assert set(POINTS) | {"stat", "table"} == set(DRAWN)


def test_the_container_finds_what_was_written() -> None:
    """Provider, rules, boards and data source meet: mounts, folders, uids."""
    mounted = dict(text.removesuffix(":ro").split(":") for text in compose()["services"]["grafana"]["volumes"])
    provider = yaml.safe_load(written()[Path("deploy/grafana/dashboards/driftwheel.yaml")])["providers"][0]
    sources = yaml.safe_load((ROOT / "deploy/grafana/datasources/clickhouse.yaml").read_text("utf-8"))["datasources"]

    assert mounted["./dashboards/grafana"] == MOUNTED == provider["options"]["path"]
    assert mounted["./deploy/grafana/dashboards"] == "/etc/grafana/provisioning/dashboards"
    assert mounted["./deploy/grafana/alerting"] == "/etc/grafana/provisioning/alerting"
    assert not any("examples" in source for source in mounted), "policies would replace those of the installation"
    assert [(one["uid"], one["type"]) for one in sources] == [(DATASOURCE, SOURCE)]
    home = compose()["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path("dashboards/grafana", Path(home).name) in written()


def test_the_example_of_a_contact_point_leads_to_our_hook_and_leaves_our_own_incidents_out() -> None:
    """Else each incident would open another one."""
    example = yaml.safe_load((ROOT / "deploy/grafana/examples/alerting.yaml").read_text("utf-8"))
    (point,), (policy,) = example["contactPoints"], example["policies"]
    (route,) = policy["routes"]
    ((label, operator, pattern),) = route["object_matchers"]

    assert point["receivers"][0]["settings"]["url"] == "http://collector:4318/v1/hooks/alertmanager"
    assert "collector" in compose()["services"]
    assert (route["receiver"], label, operator) == (point["name"], "alertname", "!~")
    told = {one.title for one in alerts().values() if not re.fullmatch(pattern, one.title)}
    assert told == {one.title for name, one in alerts().items() if not name.startswith("incident")}
