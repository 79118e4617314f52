"""Boards → Grafana's classic dashboard JSON, for the plugin grafana-clickhouse-datasource 4.20."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from driftwheel_boards.board import MARKS, VARIABLES, WHOLE, Board, Kind, Panel, Unit, Value, label_of, unit_of, view

Tree = dict[str, object]

SOURCE = "grafana-clickhouse-datasource"
HERE = model.DataSourceRef(type_val=SOURCE, uid="${ds}")

UNITS: Mapping[Unit, str] = {
    "s": "s",
    "usd": "currencyUSD",
    "share": "percentunit",
    "count": "short",
    "tokens": "short",
    "per_s": "reqps",
    "tokens_per_s": "suffix: tok/s",
    "bytes": "bytes",
    "log10": "none",
    "times": "suffix: x",
    "score": "none",
    "mixed": "short",
}

ONCE = ("stat", "table")
"""Kinds that are asked once, for the whole time range."""

POINTS: Mapping[Kind, int] = {"timeseries": 240, "bars": 60, "heatmap": 120, "states": 240}
"""At most so many steps in the time range: more would cost the store, and be less to see."""


def _legend(*calculations: str) -> Tree:
    return {"calcs": list(calculations), "displayMode": "list", "placement": "bottom", "showLegend": bool(calculations)}


_TOOLTIP = {"mode": "multi", "sort": "desc"}
_HEAT = {"mode": "scheme", "scheme": "Blues", "steps": 32, "exponent": 0.5, "fill": "blue", "reverse": False}
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}

DRAWN: Mapping[Kind, tuple[str, Tree, Tree]] = {
    "timeseries": (
        "timeseries",
        {"fillOpacity": 8, "lineWidth": 1, "showPoints": "auto", "thresholdsStyle": {"mode": "dashed"}},
        {"legend": _legend("mean", "lastNotNull"), "tooltip": _TOOLTIP},
    ),
    "bars": (
        "timeseries",
        {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": {"group": "A", "mode": "normal"}},
        {"legend": _legend("sum"), "tooltip": _TOOLTIP},
    ),
    "states": (
        "state-timeline",
        {"fillOpacity": 70, "lineWidth": 0, "spanNulls": True},
        {"legend": _legend(), "mergeValues": True, "rowHeight": 0.85, "showValue": "never", "tooltip": {"mode": "single", "sort": "none"}},
    ),
    "stat": ("stat", {}, {"colorMode": "value", "graphMode": "none", "reduceOptions": _LAST, "textMode": "auto"}),
    "heatmap": ("heatmap", {}, {"calculate": False, "color": _HEAT, "cellGap": 1, "legend": {"show": True}}),
    "table": ("table", {"align": "auto", "filterable": True}, {"cellHeight": "sm", "showHeader": True}),
}
"""Kind → Grafana's name of it, how a field is drawn, and its options."""

WORDS: Mapping[str, str] = {
    "red": "page open drifting failed reject silent not_ready",
    "orange": "ticket pending hold",
    "green": "resolved over approved succeeded promote ready sent",
    "blue": "requested running",
}
"""Colours of the words for states, severities and decisions, wherever a table shows them."""

STATES = ("state", "severity", "decision", "trigger_state", "job_state")

MARK_COLOURS = {"Incidents": "red", "Promotions": "blue"}

LINKS: Mapping[str, tuple[str, str]] = {
    "app": ("driftwheel-overview", "var-app=${__value.raw:percentencode}"),
    "incident": ("driftwheel-drift", "var-app=${__data.fields.app:percentencode}"),
    "trigger": ("driftwheel-retraining", "var-app=${__data.fields.app:percentencode}"),
    "prompt_version": ("driftwheel-quality", "var-prompt_version=${__value.raw:percentencode}"),
}
"""Column of a table → the board behind its cells, and what is chosen there."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query of the plugin, in the two shapes that the SDK asks for: something to build, and something to write."""

    sql: str
    table: bool
    ref_id: str = "A"

    def build(self) -> "Query":
        return self

    def to_json(self) -> Tree:
        how = {"format": 1, "queryType": "table"} if self.table else {"format": 0, "queryType": "timeseries"}
        where = {"datasource": {"type": SOURCE, "uid": "${ds}"}, "pluginVersion": "4.20.0", "meta": {"timezone": "UTC"}}
        return {"refId": self.ref_id, "editorType": "sql", "rawSql": self.sql} | how | where


def literal(value: Value) -> str:
    r"""
    A value of ours as ClickHouse reads it.

    >>> literal("it's"), literal(0.99), literal(("a", "b"))
    ("'it\\'s'", '0.99', "['a', 'b']")
    """
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"[{', '.join(map(literal, value))}]" if isinstance(value, tuple) else str(value)


def select(name: str, columns: Iterable[str], given: Mapping[str, Value], step: str = "$__interval_s") -> str:
    """
    The SQL that asks the view *name*: what is not *given* comes from the time range and the variables.

    >>> select("incidents_over_time", ["resolved"], {"apps": ("a",), "tenant": "t", "until": 9}, "60")
    "SELECT resolved FROM driftwheel.incidents_over_time(apps=['a'], since=toUnixTimestamp($__fromTime), step=60, tenant='t', until=9)"
    """
    # As numbers: a parameter travels as text, and the macro's moment would be written in the server's own time zone.
    asked = {
        "since": "toUnixTimestamp($__fromTime)",
        "until": "toUnixTimestamp($__toTime)",
        "step": step,
        "tenant": "${tenant:singlequote}",
    }
    asked |= {parameter: f"[${{{variable}:singlequote}}]" for parameter, variable in VARIABLES.items() if parameter != "tenant"}
    asked |= {parameter: literal(value) for parameter, value in given.items()}
    arguments = ", ".join(f"{parameter}={asked[parameter]}" for parameter in view(name).parameters)
    return f"SELECT {', '.join(columns)} FROM driftwheel.{name}" + (f"({arguments})" if arguments else "")


def text_of(board: Board) -> str:
    """The JSON of *board* as it lies in dashboards/grafana."""
    link = build.DashboardLink("Boards").type(model.DashboardLinkType.DASHBOARDS).tags(["driftwheel"]).include_vars(True).keep_time(True)
    built = build.Dashboard(board.title).uid(board.uid).description(board.description).tags(list(board.tags)).time(board.since, "now")
    built = built.refresh("1m").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR).readonly().link(link)
    built = built.variables([build.DatasourceVariable("ds").label("Data source").type(SOURCE), *map(_variable, board.variables)])
    built = built.annotations([_mark(title, name) for title, name in MARKS.items()])
    number = 0
    for title, panels in board.rows.items():
        built.with_row(build.Row(title).id(number := number + 1))
        for panel in panels:
            built.with_panel(_panel(panel).id(number := number + 1))
    made = built.build()
    for one in (*made.annotations.list_val, *made.links):
        one.placement = None  # the SDK would put them away in a menu
    return json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def panel_id(board: Board, title: str) -> int:
    """The number that the panel called *title* has on *board*. Raises `ValueError` where there is none."""
    return [one for panels in board.rows.values() for one in ("", *(panel.title for panel in panels))].index(title) + 1


def _variable(name: str) -> build.QueryVariable:
    given: Mapping[str, Value] = {"by": name} | ({"apps": ("*",)} if name == "app" else {})
    sql = select("tenants" if name == "tenant" else "choices", ("value", "text"), given)
    made = build.QueryVariable(name).label(name.capitalize().replace("_", " ")).datasource(HERE).definition(sql)
    made = made.query(Query(sql, table=True, ref_id=name).to_json()).sort(model.VariableSort.DISABLED)
    if name == "tenant":
        return made.refresh(model.VariableRefresh.ON_DASHBOARD_LOAD)
    made = made.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True).all_value("'*'")
    return made.current(model.VariableOption(selected=True, text="All", value="$__all"))


def _mark(title: str, name: str) -> build.AnnotationQuery:
    target = Query(select(name, view(name).columns, {}), table=True, ref_id=title)
    return build.AnnotationQuery().name(title).datasource(HERE).enable(True).icon_color(MARK_COLOURS[title]).target(target)


def _panel(panel: Panel) -> build.Panel:
    kind, _, options = DRAWN[panel.kind]
    once = panel.kind in ONCE
    columns = [column if column.isidentifier() else f"`{column}`" for column in panel.shown]
    query = Query(select(panel.view, columns, panel.given, str(WHOLE) if once else "$__interval_s"), table=once)
    made = build.Panel().type(kind).title(panel.title).description(panel.description).datasource(HERE).with_target(query)
    made = made.span(panel.width).height(panel.height).options(options)
    made = made.field_config(model.FieldConfigSource(defaults=_defaults(panel), overrides=_overrides(panel)))
    return made if once else made.max_data_points(POINTS[panel.kind]).interval("15s")


def _long(panel: Panel) -> bool:
    """Whether its series are told apart by a column `name`."""
    return "name" in panel.shown and panel.kind not in ONCE


def _defaults(panel: Panel) -> model.FieldConfig:
    steps = [(None, "green" if panel.thresholds else "text"), *panel.thresholds]
    made = model.FieldConfig(
        unit=UNITS[panel.unit],
        no_value=panel.empty,
        mappings=[_words({str(value): (word, colour) for value, word, colour in panel.words})] if panel.words else [],
        thresholds=model.ThresholdsConfig(model.ThresholdsMode.ABSOLUTE, [model.Threshold(value, colour) for value, colour in steps]),
        color=model.FieldColor(model.FieldColorModeId("thresholds" if panel.kind in ONCE or panel.words else "palette-classic")),
        custom=DRAWN[panel.kind][1],
    )
    if _long(panel):
        made.display_name = "${__field.labels.name}" + (" ${__field.name}" if len(panel.shown) > 3 else "")
    return made


def _words(words: Mapping[str, tuple[str, str]]) -> model.ValueMap:
    return model.ValueMap(options={value: model.ValueMappingResult(text=text, color=colour) for value, (text, colour) in words.items()})


def _overrides(panel: Panel) -> list[model.DashboardFieldConfigSourceOverrides]:
    """A dash for an empty cell (else Grafana writes the sentence of the empty panel there), then what each column is."""
    made = [_override("byRegexp", "/.*/", {"noValue": "-"})] if panel.kind != "stat" else []
    made += [_override("byType", "string", {"unit": "string"})] if panel.kind == "table" else []  # version "1000" is not 1 K
    for column in panel.shown:
        properties: Tree = {}
        if (unit := unit_of(column)) and unit != panel.unit:
            properties["unit"] = UNITS[unit]
        if (label := label_of(column)) != column and not _long(panel):
            properties["displayName"] = label
        if (low := column.replace("_high_", "_low_")) != column and low in panel.shown and panel.kind == "timeseries":
            properties |= {"custom.fillBelowTo": label_of(low), "custom.lineWidth": 0}
        properties |= _cell(column) if panel.kind == "table" else {}
        made += [_override("byName", column, properties)] if properties else []
    return made


def _cell(column: str) -> Tree:
    if column in STATES:
        words = {word.replace("_", " "): (word.replace("_", " "), colour) for colour, some in WORDS.items() for word in some.split()}
        return {"custom.cellOptions": {"type": "color-text"}, "mappings": [_words(words)]}
    if column in LINKS:
        uid, chosen = LINKS[column]
        url = f"/d/{uid}?${{ds:queryparam}}&${{tenant:queryparam}}&{chosen}&${{__url_time_range}}"
        return {"links": [{"title": "Show", "url": url}]}
    return {"custom.cellOptions": {"type": "gauge", "mode": "basic"}, "max": 1, "min": 0} if column == "progress_share" else {}


def _override(matcher: str, options: str, properties: Tree) -> model.DashboardFieldConfigSourceOverrides:
    values = [model.DynamicConfigValue(id_val=name, value=value) for name, value in properties.items()]
    return model.DashboardFieldConfigSourceOverrides(matcher=model.MatcherConfig(id_val=matcher, options=options), properties=values)
