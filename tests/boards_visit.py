"""The boards of dashboards/grafana as a browser works through them: their queries, their variables, and what comes back for each."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml

from driftwheel.store.clickhouse import StoreSettings
from grafana_macros import All, Chosen, Look, expanded, in_backend, interval_ms
from grafana_schema import panels

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 1_600
"""Pixels of a screen: a panel asks for as many points as it is wide."""

TIME = re.compile(r"^(?:Nullable\()?Date(?:Time|32)?")
NUMBER = re.compile(r"^(?:Nullable\()?(?:U?Int|Float|Decimal)")
TEXT = re.compile(r"^(?:LowCardinality\()?(?:Nullable\()?(?:String|FixedString|Enum)")
SHOWN_AS_JSON = re.compile(r"^(?:Array|Map|Tuple|Bool|Nullable\(Bool)")
"""The types of columns that the plugin converts. A UUID is not among them."""

MOST_ROWS = {"table": 1_000, "variable": 1_000, "annotation": 1_000, "alert": 1_000}
"""What a browser can be asked to draw; of time series 20,000."""

Kind = Literal["panel", "variable", "annotation", "alert"]
Mode = Literal["all", "one", "several"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query: of which board and place, how it is drawn (`timeseries`, `stat`, …), its SQL, and how many points wide it is."""

    board: str
    place: str
    kind: Kind
    drawn: str
    sql: str
    format: int = 1
    points: int = WIDTH
    least: str = "1s"
    back_s: int = 0

    def __str__(self) -> str:
        return f"{self.board}: {self.kind} {self.place}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Columns with their types, and rows."""

    columns: list[tuple[str, str]]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        """The values of the column *name*."""
        at = [column for column, _ in self.columns].index(name)
        return [row[at] for row in self.rows]

    def matching(self, kind: re.Pattern[str]) -> list[int]:
        """The places of columns of a *kind* of type."""
        return [at for at, (_, type_) in enumerate(self.columns) if kind.match(type_)]


class Refused(Exception):
    """ClickHouse's answer to a query that it does not run."""


class Reader:
    """Asks as the plugin does: the user that may only read, with the settings that the plugin sends."""

    def __init__(self, at: StoreSettings, user: str = "reader") -> None:
        self._http = httpx.Client(
            base_url=f"http://{at.host}:{at.port}/",
            auth=(user, at.password),
            timeout=70,
            trust_env=False,
            headers={"connection": "close"},  # nobody closes a reader: it leaves no socket behind
        )

    def ask(self, sql: str, **settings: str) -> Answer:
        """Run *sql*. Raises `Refused`."""
        sent = {"default_format": "JSONCompact", "limit": "1000000", "max_execution_time": "60", "wait_end_of_query": "1"}
        sent |= {"output_format_json_quote_denormals": "1", "output_format_json_quote_64bit_integers": "0"}
        answer = self._http.post("/", params=sent | settings, content=sql.encode())
        if answer.status_code != 200:
            raise Refused(f"{answer.text.strip()[:600]}\n{sql[:2000]}")
        found = json.loads(answer.content)
        return Answer([(one["name"], one["type"]) for one in found["meta"]], found["data"])


@dataclass(frozen=True)
class Board:
    """One board as its file describes it."""

    tree: Mapping[str, Any]

    @property
    def uid(self) -> str:
        """Its name in links."""
        return str(self.tree["uid"])

    @cached_property
    def variables(self) -> list[Mapping[str, Any]]:
        """In the order in which they are resolved."""
        return list(self.tree.get("templating", {}).get("list", []))

    def asked(self) -> Iterator[Asked]:
        """Every query of its panels and annotations; hidden ones too, since other panels may use them."""
        for panel in panels(self.tree):
            points = panel.get("maxDataPoints") or round(WIDTH * panel["gridPos"]["w"] / 24)
            for target in panel.get("targets", []):
                if target.get("rawSql"):
                    yield Asked(
                        board=self.uid,
                        place=f"{panel['title']} {target['refId']}",
                        kind="panel",
                        drawn=panel["type"],
                        sql=target["rawSql"],
                        format=target["format"],
                        points=points,
                        least=panel.get("interval") or "1s",
                    )
        for one in self.tree.get("annotations", {}).get("list", []):
            if sql := one.get("target", {}).get("rawSql"):
                yield Asked(board=self.uid, place=one["name"], kind="annotation", drawn="annotation", sql=sql)

    def questions(self) -> Iterator[tuple[str, Asked]]:
        """Variable → the query for its values."""
        for one in self.variables:
            if one["type"] == "query":
                sql = one["query"]["rawSql"] if isinstance(one["query"], dict) else one["query"]
                yield one["name"], Asked(board=self.uid, place=one["name"], kind="variable", drawn="variable", sql=sql)


def boards() -> list[Board]:
    """All of them."""
    return [Board(json.loads(path.read_text("utf-8"))) for path in sorted((ROOT / "dashboards" / "grafana").glob("*.json"))]


def alerts() -> list[Asked]:
    """The queries of the alert rules."""
    found = []
    for path in sorted((ROOT / "deploy" / "grafana" / "alerting").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text("utf-8")).get("groups", []):
            for rule in group["rules"]:
                for query in rule["data"]:
                    if sql := query["model"].get("rawSql"):
                        back_s, place = query["relativeTimeRange"]["from"], f"{rule['title']} {query['refId']}"
                        found.append(Asked(board=group["name"], place=place, kind="alert", drawn="alert", sql=sql, back_s=back_s))
    return found


@dataclass
class Visit:
    """
    Somebody looks at a board: a time range, and in every variable one value, several, or all.

    `pinned` are values of variables by name; an empty range of `tenant` would show another tenant's board.
    """

    board: Board
    reader: Reader
    since: datetime
    until: datetime
    mode: Mode = "all"
    pinned: Mapping[str, Chosen] = field(default_factory=dict)
    session: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def chosen(self) -> dict[str, Chosen]:
        """What each variable holds, resolved one after the other as the browser does."""
        chosen: dict[str, Chosen] = {}
        questions = dict(self.board.questions())
        for one in self.board.variables:
            name = one["name"]
            if name in self.pinned:
                chosen[name] = self.pinned[name]
                continue
            if name in questions:
                look = Look(since=self.since, until=self.until, chosen=chosen)
                answer = self.reader.ask(expanded(questions[name].sql, look), **self.session)
                options = tuple(str(row[0]) for row in answer.rows)
            else:
                options = _fixed(one)
            chosen[name] = _pick(one, options, self.mode)
        return chosen

    def sql(self, asked: Asked) -> str:
        """What reaches ClickHouse for *asked*."""
        if asked.kind == "alert":
            return in_backend(asked.sql, Look(since=self.since, until=self.until))
        interval = interval_ms((self.until - self.since).total_seconds(), asked.points, asked.least)
        return expanded(asked.sql, Look(since=self.since, until=self.until, interval_ms=interval, chosen=self.chosen))

    def ask(self, asked: Asked) -> Answer:
        """What the panel gets. Raises `Refused` and `MacroError`."""
        return self.reader.ask(self.sql(asked), **self.session)

    def ask_alone(self, question: Asked) -> Answer:
        """The values of a variable that depends on no other."""
        return self.reader.ask(expanded(question.sql, Look(since=self.since, until=self.until)), **self.session)


def _fixed(variable: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of a variable that asks nothing."""
    match variable["type"]:
        case "custom" | "interval":
            return tuple(one.partition(" : ")[2].strip() or one.strip() for one in str(variable["query"]).split(","))
        case "datasource":
            return ("driftwheel",)
        case _:  # constant, textbox
            return (str(variable.get("query") or variable.get("current", {}).get("value", "")),)


def _pick(variable: Mapping[str, Any], options: tuple[str, ...], mode: Mode) -> Chosen:
    """What a variable holds; without options it is All where that exists, else nothing."""
    several, custom = variable.get("multi"), variable.get("allValue") or ""
    if variable.get("includeAll") and (mode == "all" or not options):
        return All(custom, options)
    if not options:
        return () if several else ""
    if not several:
        return options[-1] if mode == "one" else options[0]
    return {"all": options, "several": options[:2], "one": options[-1:]}[mode]


def faults(asked: Asked, answer: Answer) -> list[str]:
    """Why *asked* could not be drawn from *answer*: empty where it can; that it is empty is no fault here."""
    found = []
    for name, type_ in answer.columns:
        if not any(kind.match(type_) for kind in (TIME, NUMBER, TEXT, SHOWN_AS_JSON)):
            found.append(f"{name} is a {type_}, which the plugin cannot read")
    odd = [at for at in answer.matching(NUMBER) if any(str(row[at]).lstrip("-") in ("nan", "inf") for row in answer.rows)]
    found += [f"{answer.columns[at][0]} is not finite" for at in odd]
    if len(answer.rows) > (most := MOST_ROWS.get(asked.drawn, 20_000)):
        found.append(f"{len(answer.rows)} rows, at most {most} can be drawn")
    return found + (CHECKS.get(asked.kind, _panel_faults)(asked, answer))


def _panel_faults(asked: Asked, answer: Answer) -> list[str]:
    if asked.format != 0:
        drawn_by_number = asked.drawn in ("timeseries", "gauge", "bargauge", "barchart", "piechart", "heatmap", "histogram")
        return ["no number to draw"] if drawn_by_number and not answer.matching(NUMBER) else []
    times, texts = answer.matching(TIME), answer.matching(TEXT)
    if not times or times[0] != 0:
        return ["time is not the first column"]
    found = [] if answer.matching(NUMBER) else ["no number over time"]
    moments = [row[0] for row in answer.rows]
    if None in moments:
        found.append("a row without a time")
    elif moments != sorted(moments):
        found.append("time does not ascend, which the plugin refuses")
    keys = [(row[0], *(row[at] for at in texts)) for row in answer.rows]
    if len(set(keys)) < len(keys):
        found.append("two rows of one time and the same labels")
    return found


def _variable_faults(_asked: Asked, answer: Answer) -> list[str]:
    found = [] if len(answer.columns) in (1, 2) else ["a variable reads one column, or value and text"]
    values = [row[0] for row in answer.rows]
    return found + (
        [] if len(set(values)) == len(values) and all(isinstance(one, str) for one in values) else ["values repeat or are no text"]
    )


def _annotation_faults(_asked: Asked, answer: Answer) -> list[str]:
    names = {name for name, _ in answer.columns}
    times = [answer.columns[at][0] for at in answer.matching(TIME)]
    return ([] if "time" in times else ["no column time"]) + ([] if names & {"text", "title"} else ["no text"])


def _alert_faults(_asked: Asked, answer: Answer) -> list[str]:
    found = [] if len(answer.matching(NUMBER)) == 1 else ["an alert needs one number a row"]
    labels = [tuple(row[at] for at in answer.matching(TEXT)) for row in answer.rows]
    found += ["two rows with the same labels"] if len(set(labels)) < len(labels) else []
    found += ["a time in a table, which is no instance of an alert"] if answer.matching(TIME) else []
    null = any(row[at] is None for at in answer.matching(NUMBER) for row in answer.rows)
    return found + (["no number in a row"] if null else [])


CHECKS: Mapping[Kind, Callable[[Asked, Answer], list[str]]] = {
    "variable": _variable_faults,
    "annotation": _annotation_faults,
    "alert": _alert_faults,
}


def empty_panels(at: StoreSettings, back: timedelta = timedelta(days=30), *, tenant: str = "default", but: Sequence[str] = ()) -> list[str]:
    """
    The panels that show nothing up to now, not one number or word, as `board: panel title A`, all variables at *All*; those that begin with one of *but* may be empty.

    *at* is where a store is: `RunningStore.settings`, or `System.store.settings` after the whole system has run.
    """
    reader, now, found = Reader(at), datetime.now(UTC), []
    for board in boards():
        visit = Visit(board, reader, now - back, now, pinned={"tenant": tenant})
        found += [str(asked) for asked in board.asked() if asked.kind == "panel" and not _shows(visit.ask(asked))]
    return [one for one in found if not one.startswith(tuple(but))]


def _shows(answer: Answer) -> bool:
    times = answer.matching(TIME)
    return any(cell is not None for row in answer.rows for at, cell in enumerate(row) if at not in times)
