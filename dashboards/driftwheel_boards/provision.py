"""
What makes Grafana load the boards and watch the store: a provider of boards, and the alert rules of alerts.toml.

Alert rules run in Grafana's server, where variables of boards do not exist: every parameter is literal, and every tenant is
looked at. Contact points and notification policies are not provisioned: a policy file replaces the whole tree of an
installation (deploy/grafana/examples has one). No YAML library: `yaml` writes the little that it takes.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from driftwheel_boards import BOARDS
from driftwheel_boards.board import Value
from driftwheel_boards.grafana import Query, Tree, panel_id, select

DATASOURCE = "driftwheel"
"""The uid in deploy/grafana/datasources."""

FOLDER = "Driftwheel"
MOUNTED = "/etc/driftwheel/dashboards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One table of alerts.toml, which says what its fields are."""

    title: str
    view: str
    columns: str
    group: str = ""
    given: Mapping[str, Value]
    above: float
    back: int
    lasting: int
    severity: Literal["page", "ticket"]
    missing: Literal["OK", "Alerting", "KeepLast"]
    panel: tuple[str, str]
    summary: str
    description: str

    @property
    def sql(self) -> str:
        """What it asks: labels and one number a row."""
        return select(self.view, [self.columns], self.given) + (f" GROUP BY {self.group}" if self.group else "")


def alerts() -> dict[str, Alert]:
    """The alert rules by name."""
    tables = tomllib.loads(files("driftwheel_boards").joinpath("alerts.toml").read_text("utf-8"))
    return {name: Alert(**table | {"given": _frozen(table["given"])}) for name, table in tables.items()}


def _frozen(given: Mapping[str, str | float | list[str]]) -> Mapping[str, Value]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def provider() -> str:
    """deploy/grafana/dashboards: where the boards lie in the container."""
    one = {"name": "driftwheel", "folder": FOLDER, "type": "file", "allowUiUpdates": False, "options": {"path": MOUNTED}}
    return _file("The boards; they are generated, so a change in Grafana is not kept.", {"apiVersion": 1, "providers": [one]})


def alerting() -> str:
    """deploy/grafana/alerting: the rules."""
    rules = [_rule(f"driftwheel-{name}", alert) for name, alert in alerts().items()]
    group = {"orgId": 1, "name": "driftwheel", "folder": FOLDER, "interval": "1m", "rules": rules}
    return _file("Alert rules over every tenant. Whom they tell is your notification policy.", {"apiVersion": 1, "groups": [group]})


def _rule(uid: str, alert: Alert) -> Tree:
    asked = {name: value for name, value in Query(alert.sql, table=True).to_json().items() if name != "datasource"}
    # Rows of labels and a number need no reducing; the step gives them the name that texts know them by ($values.B).
    reduced = {"refId": "B", "type": "reduce", "expression": "A", "reducer": "last"}
    decided = {"refId": "C", "type": "threshold", "expression": "B", "conditions": [{"evaluator": {"type": "gt", "params": [alert.above]}}]}
    window = {"from": alert.back * 60, "to": 0}
    board = next(board for board in BOARDS if board.uid == alert.panel[0])
    return {
        "uid": uid,
        "title": alert.title,
        "condition": "C",
        "for": f"{alert.lasting}m",
        "noDataState": alert.missing,
        "execErrState": "Error",
        "dashboardUid": board.uid,
        "panelId": panel_id(board, alert.panel[1]),
        "data": [
            {"refId": "A", "datasourceUid": DATASOURCE, "relativeTimeRange": window, "model": asked},
            {"refId": "B", "datasourceUid": "__expr__", "relativeTimeRange": window, "model": reduced},
            {"refId": "C", "datasourceUid": "__expr__", "relativeTimeRange": window, "model": decided},
        ],
        "labels": {"severity": alert.severity, "source": "driftwheel"},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }


def _file(remark: str, tree: Tree) -> str:
    return f"# {remark} Written by `python -m driftwheel_boards`.\n" + "\n".join(yaml(tree)) + "\n"


def yaml(node: object) -> Iterator[str]:
    """
    The lines of *node* in YAML; texts are quoted as in JSON, which YAML understands.

    >>> print(*yaml({"a": [{"b": 1, "c": "x"}], "d": []}), sep=chr(10))
    a:
      - b: 1
        c: "x"
    d: []
    """
    if isinstance(node, dict) and node:
        for name, value in node.items():
            first, *more = yaml(value)
            yield from (
                (f"{name}:", f"  {first}", *(f"  {line}" for line in more))
                if isinstance(value, dict | list) and value
                else (f"{name}: {first}",)
            )
    elif isinstance(node, list) and node:
        for value in node:
            first, *more = yaml(value)
            yield from (f"- {first}", *(f"  {line}" for line in more))
    else:
        yield json.dumps(node, ensure_ascii=False)
