"""Every board is what Grafana 13 calls a dashboard, and the provisioning files have the shape that its provisioning reads."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.builders import dashboard, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana_schema import errors, panels

ROOT = Path(__file__).resolve().parents[2]
BOARDS = sorted((ROOT / "dashboards" / "grafana").glob("*.json"))
DEPLOY = ROOT / "deploy" / "grafana"
ALERTING = sorted((DEPLOY / "alerting").glob("*.yaml"))

Tree = dict[str, Any]


def a_board() -> Tree:
    """A small board, made by the SDK that makes ours."""
    built = (
        dashboard.Dashboard("A board").uid("a-board").time("now-24h", "now").with_variable(dashboard.QueryVariable("app").multi(multi=True))
    )
    built = built.with_panel(timeseries.Panel().title("Calls").unit("reqps"))
    made: Tree = json.loads(JSONEncoder().encode(built.build()))
    return made


def test_there_are_boards() -> None:
    """The tests below read them."""
    assert BOARDS
    assert ALERTING


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_board_is_a_dashboard_of_grafana(path: Path) -> None:
    """Types, values and names of fields, the options of each kind of panel too."""
    assert errors(json.loads(path.read_text("utf-8"))) == []


def test_what_the_sdk_makes_is_a_dashboard() -> None:
    """Else the schema would be wrong, not the boards."""
    assert errors(a_board()) == []


def _set(*path: str | int) -> Callable[[Any], Callable[[Tree], None]]:
    def to(value: Any) -> Callable[[Tree], None]:
        def change(board: Tree) -> None:
            at: Any = board
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value

        return change

    return to


BROKEN: dict[str, Callable[[Tree], None]] = {
    "no schema version": lambda board: board.pop("schemaVersion"),
    "panels are no list": _set("panels")({}),
    "a title is no text": _set("title")(7),
    "a board's field misspelt": _set("refrehs")("1m"),
    "a panel without a type": lambda board: board["panels"][0].pop("type"),
    "a panel's field misspelt": _set("panels", 0, "fieldConfg")({}),
    "a place without a width": lambda board: board["panels"][0]["gridPos"].pop("w"),
    "a place in words": _set("panels", 0, "gridPos", "x")("left"),
    "an unknown unit of thresholds": _set("panels", 0, "fieldConfig", "defaults", "thresholds")({"mode": "relative", "steps": []}),
    "a unit that is a number": _set("panels", 0, "fieldConfig", "defaults", "unit")(1),
    "an option misspelt": _set("panels", 0, "options", "legnd")({}),
    "an option of another type": _set("panels", 0, "options", "legend")({"showLegend": "yes"}),
    "an unknown way of drawing": _set("panels", 0, "fieldConfig", "defaults", "custom")({"drawStyle": "scribble"}),
    "an unknown kind of variable": _set("templating", "list", 0, "type")("querry"),
    "a variable without a name": lambda board: board["templating"]["list"][0].pop("name"),
    "several in words": _set("templating", "list", 0, "multi")("yes"),
    "a link without a kind": _set("links")([{"title": "x"}]),
    "a time range that is no pair": _set("time")("now-1h"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_board_is_refused(what: str) -> None:
    """A check that lets these through would prove nothing."""
    board = a_board()
    BROKEN[what](board)

    assert errors(board)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_panel_and_board_can_be_told_apart(path: Path) -> None:
    """Ids and places are unique, nothing lies outside the 24 columns, every panel says what it shows and reads the chosen source."""
    board = json.loads(path.read_text("utf-8"))
    drawn = list(panels(board))
    ids = [panel["id"] for panel in [*drawn, *(one for one in board["panels"] if one["type"] == "row")]]
    cells = [(x, y) for panel in drawn for x, y in _cells(panel["gridPos"])]

    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", board["uid"])
    assert board.get("id") is None, "an id is given by Grafana; a file that has one collides"
    assert len(set(ids)) == len(ids)
    assert len(set(cells)) == len(cells), "panels lie on one another"
    assert all(0 <= x < 24 for x, _ in cells)
    for panel in drawn:
        assert panel.get("title") is not None
        assert panel["type"] == "text" or panel.get("description"), f"{panel['title']}: no description"
        refs = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(refs)) == len(refs)


def _cells(place: Tree) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def test_boards_have_uids_of_their_own() -> None:
    """And links between them lead to one that exists."""
    boards = [json.loads(path.read_text("utf-8")) for path in BOARDS]
    uids = [board["uid"] for board in boards]

    assert len(set(uids)) == len(uids)
    for board in boards:
        for linked in re.findall(r"/d/([A-Za-z0-9_-]+)", json.dumps(board)):
            assert linked in uids, f"{board['uid']} links to {linked}"


def rules(path: Path) -> list[Tree]:
    """The alert rules of a provisioning file, each with the name of its group."""
    groups = yaml.safe_load(path.read_text("utf-8")).get("groups", [])
    return [rule | {"group": group["name"]} for group in groups for rule in group["rules"]]


def faults(rule: Tree) -> list[str]:
    """What is wrong with the shape of an alert rule."""
    found = [f"no {name}" for name in ("uid", "title", "condition", "data", "noDataState", "execErrState", "for") if name not in rule]
    if found:
        return found
    refs = [query.get("refId") for query in rule["data"]]
    found += [] if len(set(refs)) == len(refs) and all(refs) else ["refIds repeat or are missing"]
    found += [] if rule["condition"] in refs else [f"condition {rule['condition']} is no refId"]
    found += [] if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", rule["uid"]) else ["uid"]
    found += [] if re.fullmatch(r"\d+[smhd]", str(rule["for"])) else ["for"]
    found += [] if rule["noDataState"] in ("NoData", "Alerting", "OK", "KeepLast") else ["noDataState"]
    found += [] if rule["execErrState"] in ("Error", "Alerting", "OK", "KeepLast") else ["execErrState"]
    for query in rule["data"]:
        found += [f"{query.get('refId')}: {fault}" for fault in _query_faults(query, refs)]
        decides = query.get("refId") == rule["condition"] and query.get("datasourceUid") == "__expr__"
        if decides and query["model"]["type"] not in ("threshold", "math", "classic_conditions"):
            found.append("the condition is no yes or no")
    return found


def _query_faults(query: Tree, refs: list[str]) -> Iterator[str]:
    model = query.get("model", {})
    if model.get("refId") != query.get("refId"):
        yield "model.refId differs"
    if not query.get("datasourceUid"):
        yield "no datasourceUid"
    elif query["datasourceUid"] == "__expr__":
        if model.get("type") not in ("reduce", "threshold", "math", "resample", "classic_conditions"):
            yield f"unknown expression {model.get('type')}"
        named = re.findall(r"\$\{?(\w+)", str(model.get("expression", ""))) or [model.get("expression")]
        if model.get("type") != "classic_conditions" and not set(named) <= set(refs):
            yield f"expression {model.get('expression')} is no refId"
    else:
        window = query.get("relativeTimeRange", {})
        if not (isinstance(window.get("from"), int) and window["from"] > window.get("to", -1) >= 0):
            yield "relativeTimeRange must be seconds back, from > to >= 0"
        if not model.get("rawSql"):
            yield "no rawSql"


@pytest.mark.parametrize("path", ALERTING, ids=lambda path: path.stem)
def test_alert_rules_have_the_shape_that_provisioning_reads(path: Path) -> None:
    """Provisioning stops Grafana's start at a wrong one. What Grafana would fill in is not left open."""
    assert {rule["uid"]: faults(rule) for rule in rules(path) if faults(rule)} == {}
    for group in yaml.safe_load(path.read_text("utf-8")).get("groups", []):
        assert {"name", "folder", "interval", "rules"} <= group.keys()
        assert re.fullmatch(r"\d+[smh]", str(group["interval"]))


def test_alert_rules_read_a_provisioned_source_and_have_uids_and_titles_of_their_own() -> None:
    """A uid or a title twice in a folder stops the start."""
    found = [rule for path in ALERTING for rule in rules(path)]
    sources = [
        one["uid"] for path in (DEPLOY / "datasources").glob("*.yaml") for one in yaml.safe_load(path.read_text("utf-8"))["datasources"]
    ]

    assert len({rule["uid"] for rule in found}) == len(found)
    assert len({(rule["group"], rule["title"]) for rule in found}) == len(found)
    assert {query["datasourceUid"] for rule in found for query in rule["data"]} <= {*sources, "__expr__"}
    assert all("$" not in str(rule.get("labels", {})) for rule in found), "provisioning reads $x in labels as a variable of the environment"


def test_alert_rules_lead_to_a_panel_that_exists() -> None:
    """What an alert links to."""
    ids = {board["uid"]: {panel["id"] for panel in panels(board)} for board in (json.loads(path.read_text("utf-8")) for path in BOARDS)}

    for rule in (rule for path in ALERTING for rule in rules(path)):
        if "dashboardUid" in rule:
            assert rule.get("panelId") in ids.get(rule["dashboardUid"], ()), rule["uid"]


BROKEN_RULES: dict[str, Callable[[Tree], None]] = {
    "no uid": lambda rule: rule.pop("uid"),
    "no state without data": lambda rule: rule.pop("noDataState"),
    "an unknown state": lambda rule: rule.update(execErrState="Ok"),
    "a condition that is no query": lambda rule: rule.update(condition="Z"),
    "a query without a range": lambda rule: rule["data"][0].pop("relativeTimeRange"),
    "a range the wrong way round": lambda rule: rule["data"][0].update(relativeTimeRange={"from": 0, "to": 600}),
    "a query without a source": lambda rule: rule["data"][0].pop("datasourceUid"),
    "an expression over nothing": lambda rule: rule["data"][1]["model"].update(expression="Q"),
    "the same refId twice": lambda rule: rule["data"][1].update(refId="A", model=rule["data"][1]["model"] | {"refId": "A"}),
    "a span in words": lambda rule: rule.update({"for": "five minutes"}),
}
A_RULE: Tree = {
    "uid": "r",
    "title": "r",
    "condition": "B",
    "for": "5m",
    "noDataState": "OK",
    "execErrState": "Error",
    "data": [
        {
            "refId": "A",
            "datasourceUid": "driftwheel",
            "relativeTimeRange": {"from": 600, "to": 0},
            "model": {"refId": "A", "rawSql": "SELECT 1"},
        },
        {"refId": "B", "datasourceUid": "__expr__", "model": {"refId": "B", "type": "threshold", "expression": "A"}},
    ],
}


@pytest.mark.parametrize("what", BROKEN_RULES)
def test_a_broken_rule_is_refused(what: str) -> None:
    """Each of them once."""
    rule = copy.deepcopy(A_RULE)
    assert faults(rule) == []
    BROKEN_RULES[what](rule)

    assert faults(rule)
