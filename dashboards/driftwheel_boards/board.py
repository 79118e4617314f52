"""
What a board is: rows of panels, each a view (a named question of the store), in a unit, drawn in some way.

Standard library only, and no word of Grafana: `grafana.py` draws the same definitions that another page may draw.
What a panel asks, what it means when there is no answer, and what the columns mean, stands at the head of its view's SQL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

Kind = Literal["timeseries", "bars", "stat", "table", "heatmap", "states"]
"""`bars` are stacked; `states` are coloured bands over time; `stat` and `table` are of the whole time range."""

Unit = Literal["s", "usd", "share", "count", "tokens", "per_s", "tokens_per_s", "bytes", "log10", "times", "score", "mixed"]
"""`share` is 0 to 1; `mixed` is a panel whose columns have units of their own, which end their names."""

Value = str | float | tuple[str, ...]
Colour = Literal["green", "yellow", "orange", "red", "blue", "text"]

Thresholds = tuple[tuple[float, Colour], ...]
"""Values from which on a colour holds; below the first it is green."""

Words = tuple[tuple[int, str, Colour], ...]
"""What stands for a number: value, word, colour."""

WHOLE = 2**32 - 1
"""As the `step` of a view: one step holds every moment until 2106, so it answers for the whole time range."""

VARIABLES: Mapping[str, str] = {
    "tenant": "tenant",
    "apps": "app",
    "environments": "environment",
    "models": "model",
    "versions": "prompt_version",
}
"""Parameter of a view → the variable of a board that a reader chooses it with."""

MARKS: Mapping[str, str] = {"Incidents": "incident_marks", "Promotions": "promotion_marks"}
"""What is marked on the time axis of every board: title → view with columns time, text, tags and perhaps timeEnd."""

_SUFFIXES: Mapping[str, Unit] = {
    "tokens_per_s": "tokens_per_s",
    "per_s": "per_s",
    "s": "s",
    "usd": "usd",
    "share": "share",
    "tokens": "tokens",
    "bytes": "bytes",
}


@dataclass(frozen=True, slots=True)
class View:
    """A named question, and what its columns mean where that needs words; `empty` is what no answer means."""

    name: str
    question: str
    empty: str
    parameters: tuple[str, ...]
    columns: tuple[str, ...]
    meanings: Mapping[str, str]


@cache
def view(name: str) -> View:
    """
    Read a view from its SQL file. Raises `FileNotFoundError` for a name that has none.

    >>> view("alert_letters").parameters, view("alert_letters").columns
    (('since', 'tenants', 'until'), ('tenant', 'topic', 'reason', 'letters'))
    """
    sql = files("driftwheel_schemas").joinpath("views", f"{name}.sql").read_text("utf-8")
    remarks = [line[3:] for line in sql.splitlines() if line.startswith("-- ")]
    meanings = dict(remark.split(": ", 1) for remark in remarks[1:])
    empty = meanings.pop("Empty", "")
    return View(name, remarks[0], empty[:1].upper() + empty[1:], tuple(sorted(set(re.findall(r"\{(\w+):", sql)))), _columns(sql), meanings)


def _columns(sql: str) -> tuple[str, ...]:
    """What the outermost SELECT names; its FROM begins a line, those within are indented."""
    found = re.search(r" AS\nSELECT (?:DISTINCT )?(.+?)(?:\nFROM\b|\Z)", sql, re.DOTALL)
    names, depth = [""], 0
    for mark in found[1] if found else "":
        depth += (mark in "([") - (mark in ")]")
        if mark == "," and not depth:
            names.append("")
        else:
            names[-1] += mark
    return tuple(name.strip().rpartition(" AS ")[2].strip("` ") for name in names)


def unit_of(column: str) -> Unit | None:
    """
    The unit that ends a column's name; None for a count, a text or a time.

    >>> [unit_of(column) for column in ("latency_p95_s", "requests_per_s", "cost_usd", "tokens", "requests")]
    ['s', 'per_s', 'usd', 'tokens', None]
    """
    return next((unit for suffix, unit in _SUFFIXES.items() if column == suffix or column.endswith(f"_{suffix}")), None)


def label_of(column: str) -> str:
    """
    A column's name for people: the axis says the unit.

    >>> label_of("latency_p95_s"), label_of("error_share"), label_of("tokens")
    ('latency p95', 'error share', 'tokens')
    """
    return re.sub(r"(?<=.)(_tokens_per_s|_per_s|_s|_usd|_tokens|_bytes)$", "", column).replace("_", " ")


@dataclass(frozen=True, slots=True)
class Panel:
    """
    One picture. `columns` are the view's columns to show, between blanks (empty: all), `given` the parameters that no
    variable supplies, `about` what is to be said beyond what the view says. `width` is in 24ths of the page, `height` in Grafana's units.
    """

    title: str
    view: str
    unit: Unit
    kind: Kind = "timeseries"
    columns: str = ""
    width: int = 8
    given: Mapping[str, Value] = field(default_factory=dict)
    about: str = ""
    thresholds: Thresholds = ()
    words: Words = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns by name."""
        return tuple(self.columns.split()) or view(self.view).columns

    @property
    def description(self) -> str:
        """What it shows: what its columns mean, where the view says so, else the view's question."""
        meant = [(column, meaning) for column in self.shown if (meaning := view(self.view).meanings.get(column))]
        said = [meaning if len(meant) == 1 else f"{label_of(column)}: {meaning}" for column, meaning in meant]
        return "\n\n".join(filter(None, (*(said or [view(self.view).question]), self.about)))

    @property
    def empty(self) -> str:
        """What stands there when there is nothing to show, and why that is."""
        return view(self.view).empty

    @property
    def height(self) -> int:
        """Of the same kind, of the same height."""
        return 4 if self.kind == "stat" else 8


@dataclass(frozen=True, slots=True)
class Board:
    """A page of panels, by the headings of its rows. `since` is how far it looks back when it is opened, as Grafana writes it."""

    uid: str
    title: str
    description: str
    rows: Mapping[str, tuple[Panel, ...]]
    since: str = "now-24h"
    tags: tuple[str, ...] = ("driftwheel",)

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them, in reading order."""
        return tuple(panel for row in self.rows.values() for panel in row)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that its views and marks are asked with, in the order in which they depend on each other."""
        asked = {name for one in (*(panel.view for panel in self.panels), *MARKS.values()) for name in view(one).parameters}
        return tuple(variable for parameter, variable in VARIABLES.items() if parameter in asked)
