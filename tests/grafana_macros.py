r"""
What becomes of a `rawSql` on its way through Grafana 13 and grafana-clickhouse-datasource 4.20, without either.

First the browser puts in the values of template variables, then the plugin's backend expands its macros. Both are plain text
replacement and neither knows what a string in SQL is: `singlequote` escapes quotes but no backslashes, and a macro's name
inside a value is expanded. A board has to live with that, so this does exactly the same.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}")
"""`$name`, `[[name:format]]`, `${name.field:format}`: the expression that Grafana's browser side searches for."""

ROUND_MS = (
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000), (7_500, 5_000),
    (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000), (210_000, 120_000),
    (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000), (2_700_000, 1_800_000),
    (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000), (32_400_000, 21_600_000),
    (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000), (3_628_800_000, 2_592_000_000),
)  # fmt: skip
"""Below so many milliseconds a point an interval is rounded to the second number."""

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class MacroError(ValueError):
    """A macro was called with the wrong arguments: Grafana shows this instead of the panel."""


@dataclass(frozen=True, slots=True)
class All:
    """The choice *All* of a variable: `custom` is its allValue, put in raw; without one all `options` are chosen."""

    custom: str = ""
    options: tuple[str, ...] = ()


Chosen = str | tuple[str, ...] | All


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What somebody sees on a board: the time range, the interval of one panel, and what is chosen in each variable."""

    since: datetime
    until: datetime
    interval_ms: int = 60_000
    chosen: Mapping[str, Chosen] = field(default_factory=dict)

    def built_in(self) -> dict[str, str]:
        """The variables that Grafana itself knows in a query."""
        since, until = _ms(self.since), _ms(self.until)
        return {
            "__from": str(since),
            "__to": str(until),
            "__interval": _in_words(self.interval_ms),
            "__interval_ms": str(self.interval_ms),
            "__range_ms": str(until - since),
            "__range_s": str(round((until - since) / 1000)),
            "__range": f"{round((until - since) / 1000)}s",
        }


def interval_ms(look_s: float, points: int, least: str = "1s") -> int:
    """
    The interval of a panel *points* wide over *look_s* seconds, never below *least*: what `$__interval` stands for.

    >>> [interval_ms(seconds, 1000) // 1000 for seconds in (300, 86_400, 30 * 86_400)]
    [1, 60, 1800]
    >>> interval_ms(300, 1000, "15s")
    15000
    """
    number, unit = re.fullmatch(r">?(\d+)(ms|s|m|h|d|w)", least).groups()  # type: ignore[union-attr]
    exact = look_s * 1000 / points
    rounded = next((to for below, to in ROUND_MS if exact < below), 31_536_000_000)
    return max(rounded, int(number) * UNITS[unit])


def expanded(sql: str, look: Look) -> str:
    """What reaches ClickHouse for a panel, a variable or an annotation. Raises `MacroError`."""
    return in_backend(in_browser(sql, look), look)


def in_browser(sql: str, look: Look) -> str:
    r"""
    *sql* with the values of its variables; what is no variable stays as it is.

    >>> look = Look(since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2026, 1, 2, tzinfo=UTC), chosen={"app": ("a", "b'c")})
    >>> print(in_browser("apps=[${app:singlequote}] $__timeFilter(at) ${__from}", look))
    apps=['a','b\'c'] $__timeFilter(at) 1767225600000
    """

    def put(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[4]
        how = found[3] or found[6] or ""
        if name in look.chosen:
            return _formatted(name, look.chosen[name], how)
        known = look.built_in()
        if name in known:
            return _moment(known[name], how) if name in ("__from", "__to") and how.startswith("date") else known[name]
        return found[0]

    return VARIABLE.sub(put, _conditional(sql, look))


def in_backend(sql: str, look: Look) -> str:
    """*sql* with the macros of the plugin expanded, longest names first; alert rules see only this. Raises `MacroError`."""
    for name in sorted(MACROS, key=len, reverse=True):
        for whole, arguments in _calls(sql, name):
            sql = sql.replace(whole, MACROS[name](look, arguments))
    return sql


def _calls(sql: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """Each call of the macro *name*: its whole text and its arguments; brackets count only where they follow at once."""
    for found in list(re.finditer(rf"\$__{name}\b", sql)):
        arguments, length = _arguments(sql[found.end() :], name)
        yield found[0] + sql[found.end() : found.end() + length], arguments


def _arguments(text: str, name: str) -> tuple[list[str], int]:
    if not text.startswith("("):
        return [], 0
    found, depth = [""], 0
    for at, letter in enumerate(text):
        if letter == "(" and (depth := depth + 1) == 1:
            continue
        if letter == ")" and (depth := depth - 1) == 0:
            return [one.strip() for one in found], at + 1
        if letter == "," and depth == 1:
            found.append("")
            continue
        found[-1] += letter
    raise MacroError(f"$__{name}: failed to parse macro arguments (missing close bracket?)")


Macro = Callable[[Look, Sequence[str]], str]


def _macro(arity: int, make: Callable[..., str]) -> Macro:
    """A macro of *arity* arguments; one without any takes what it gets, as the plugin does."""

    def call(look: Look, arguments: Sequence[str]) -> str:
        if arity and len(arguments) != arity:
            raise MacroError(f"unexpected number of arguments: expected {arity}, received {len(arguments)}")
        return make(look, *arguments[:arity])

    return call


def _seconds(moment: datetime) -> str:
    return f"toDateTime({int(moment.timestamp())})"


def _millis(moment: datetime) -> str:
    return f"fromUnixTimestamp64Milli({_ms(moment)})"


def _day(moment: datetime) -> str:
    return f"toDate('{moment.astimezone(UTC):%Y-%m-%d}')"


def _between(column: str, look: Look, form: Callable[[datetime], str]) -> str:
    return f"{column} >= {form(look.since)} AND {column} <= {form(look.until)}"


def _day_and_time(look: Look, day: str, time: str) -> str:
    return f"({_between(day, look, _day)}) AND ({_between(time, look, _seconds)})"


MACROS: Mapping[str, Macro] = {
    "fromTime": _macro(0, lambda look: _seconds(look.since)),
    "toTime": _macro(0, lambda look: _seconds(look.until)),
    "fromTime_ms": _macro(0, lambda look: _millis(look.since)),
    "toTime_ms": _macro(0, lambda look: _millis(look.until)),
    "timeFilter": _macro(1, lambda look, column: _between(column, look, _seconds)),
    "timeFilter_ms": _macro(1, lambda look, column: _between(column, look, _millis)),
    "dateFilter": _macro(1, lambda look, column: _between(column, look, _day)),
    "dateTimeFilter": _macro(2, _day_and_time),
    "dt": _macro(2, _day_and_time),
    "timeInterval": _macro(1, lambda look, c: f"toStartOfInterval(toDateTime({c}), INTERVAL {max(look.interval_ms // 1000, 1)} second)"),
    "timeInterval_ms": _macro(
        1, lambda look, c: f"toStartOfInterval(toDateTime64({c}, 3), INTERVAL {max(look.interval_ms, 1)} millisecond)"
    ),
    "interval_s": _macro(0, lambda look: str(max(look.interval_ms // 1000, 1))),
    "interval": _macro(0, lambda look: _in_words(look.interval_ms)),
    "interval_ms": _macro(0, lambda look: str(look.interval_ms)),
    "timeFrom": _macro(1, lambda look, column: f"{column} >= '{look.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"),
    "timeTo": _macro(1, lambda look, column: f"{column} <= '{look.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"),
}
"""The macros of 4.20 that boards may use. Left out are those of the main branch alone, which rewrite a whole statement."""


def _conditional(sql: str, look: Look) -> str:
    """`$__conditionalAll(condition, $var)`: the condition, or `1=1` where *All* or nothing is chosen. The last comes first."""
    while (at := sql.rfind("$__conditionalAll(")) >= 0:
        arguments, length = _arguments(sql[at + len("$__conditionalAll") :], "conditionalAll")
        if len(arguments) != 2:
            return sql
        named = re.search(r"\$\{?(\w+)", arguments[1])
        chosen = look.chosen.get(named[1]) if named else None
        phrase = "1=1" if isinstance(chosen, All) or chosen in ("", ()) else arguments[0]
        sql = sql[:at] + phrase + sql[at + len("$__conditionalAll") + length :]
    return sql


def _formatted(name: str, chosen: Chosen, how: str) -> str:
    if isinstance(chosen, All) and chosen.custom:
        return chosen.custom
    value = chosen.options if isinstance(chosen, All) else chosen
    if not how:  # the plugin's own form of what has none
        return value if isinstance(value, str) else "'" + "','".join(value) + "'"
    form, *rest = how.split(":")
    if form not in FORMATS:
        raise ValueError(f"${{{name}:{how}}}: no format of that name here; known: {', '.join(FORMATS)}")
    return FORMATS[form](name, value, rest)


def _each(quoted: Callable[[str], str]) -> "Format":
    return lambda _name, value, _rest: quoted(value) if isinstance(value, str) else ",".join(map(quoted, value))


def _joined(between: str, around: str = "{}") -> "Format":
    return lambda _name, value, _rest: value if isinstance(value, str) else around.format(between.join(value))


def _glob(_name: str, value: str | tuple[str, ...], _rest: Sequence[str]) -> str:
    return value if isinstance(value, str) else f"{{{','.join(value)}}}" if len(value) > 1 else ",".join(value)


def _percent(_name: str, value: str | tuple[str, ...], _rest: Sequence[str]) -> str:
    return quote(value if isinstance(value, str) else f"{{{','.join(value)}}}", safe="-_.~")


Format = Callable[[str, str | tuple[str, ...], Sequence[str]], str]
FORMATS: Mapping[str, Format] = {
    "raw": _joined(","),
    "csv": _joined(","),
    "pipe": _joined("|"),
    "glob": _glob,
    "singlequote": _each(lambda one: "'" + one.replace("'", "\\'") + "'"),
    "doublequote": _each(lambda one: '"' + one.replace('"', '\\"') + '"'),
    "sqlstring": _each(lambda one: "'" + one.replace("'", "''").replace('"', '\\"') + "'"),
    "json": lambda _name, value, _rest: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    "percentencode": _percent,
    "queryparam": lambda name, value, _rest: "&".join(
        f"var-{name}={quote(one, safe='-_.~')}" for one in ((value,) if isinstance(value, str) else value)
    ),
    "text": _joined(" + "),
}
"""The formats of `${name:format}`; a list is what a variable of several values has, even with one chosen."""


def _moment(ms: str, how: str) -> str:
    at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(ms))
    match how.partition(":")[2]:
        case "seconds":
            return str(round(int(ms) / 1000))
        case "ms":
            return ms
        case "" | "iso":
            return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
        case other:
            raise ValueError(f"${{__from:date:{other}}}: only seconds, ms and iso are known here")


def _ms(moment: datetime) -> int:
    return int((moment - datetime.fromtimestamp(0, UTC)) / timedelta(milliseconds=1))


def _in_words(ms: int) -> str:
    """An interval as Grafana writes it: `1m`, `30s`, `500ms`."""
    unit = next(unit for unit in ("w", "d", "h", "m", "s", "ms") if ms % UNITS[unit] == 0)
    return f"{ms // UNITS[unit]}{unit}"
