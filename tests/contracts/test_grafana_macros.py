"""Grafana's replacement of variables and the plugin's macros, as their sources do it; values are as hostile as a client can make them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grafana_macros import All, Chosen, Look, MacroError, expanded, in_backend, in_browser, interval_ms

SINCE, UNTIL = datetime(2026, 11, 20, 10, 0, 0, 250_000, tzinfo=UTC), datetime(2026, 11, 20, 11, tzinfo=UTC)
AT = int(SINCE.timestamp())


def look(**chosen: Chosen) -> Look:
    return Look(since=SINCE, until=UNTIL, interval_ms=60_000, chosen=chosen)


@pytest.mark.parametrize(
    ("sql", "wanted"),
    {
        "$app": "shop",
        "${app}": "shop",
        "[[app]]": "shop",
        "[[app:singlequote]]": "'shop'",
        "${app:singlequote}": "'shop'",
        "${app:csv} ${app:raw} ${app:doublequote}": 'shop shop "shop"',
        "${models:singlequote}": "'a','b'",
        "$models": "'a','b'",  # the plugin's own form of a list
        "${models:csv}|${models:pipe}|${models:json}|${models:glob}": 'a,b|a|b|["a","b"]|{a,b}',
        "${models:queryparam}": "var-models=a&var-models=b",
        "${one:singlequote} ${one:glob}": "'a' a",
        "$unknown ${unknown:csv} [[unknown]]": "$unknown ${unknown:csv} [[unknown]]",
        "$apps $app_": "$apps $app_",  # a name is the longest word
        "${__from} $__to ${__from:date:seconds} ${__to:date}": f"{AT}250 {AT + 3600}000 {AT} 2026-11-20T11:00:00.000Z",
        "$__interval $__interval_ms $__range_s": "1m 60000 3600",
        "$__interval_s $__timeFilter(at)": "$__interval_s $__timeFilter(at)",  # left for the backend
    }.items(),
)
def test_variables_are_replaced_as_the_browser_does(sql: str, wanted: str) -> None:
    """Unknown names stay; a list without a format is quoted by the plugin."""
    assert in_browser(sql, look(app="shop", models=("a", "b"), one=("a",))) == wanted


def test_a_custom_all_value_is_put_in_raw_and_without_one_every_option_is_chosen() -> None:
    """So the quotes of `'*'` belong into allValue."""
    assert in_browser("[${app:singlequote}]", look(app=All("'*'"))) == "['*']"
    assert in_browser("[${app:singlequote}]", look(app=All("*"))) == "[*]"
    assert in_browser("[${app:singlequote}]", look(app=All(options=("a", "b")))) == "['a','b']"
    assert in_browser("[${app:singlequote}]", look(app=())) == "[]"


@pytest.mark.parametrize(
    ("value", "quoted"),
    [("O'Brien", r"'O\'Brien'"), ("back\\", "'back\\'"), ("\\' OR 1=1 --", "'\\\\' OR 1=1 --'"), ("a\nb", "'a\nb'"), ('"', "'\"'")],
)
def test_singlequote_escapes_quotes_and_nothing_else(value: str, quoted: str) -> None:
    """A backslash gets through: the values of our variables have to come escaped already."""
    assert in_browser("${app:singlequote}", look(app=value)) == quoted
    assert in_browser("${app:singlequote}", look(app=(value,))) == quoted


def test_a_value_is_not_searched_for_variables_again() -> None:
    """One pass: an app called $tenant stays that in the browser."""
    assert in_browser("${app:singlequote}", look(app="$tenant ${tenant}", tenant="other")) == "'$tenant ${tenant}'"


@pytest.mark.parametrize(
    ("sql", "wanted"),
    {
        "$__timeFilter(at)": f"at >= toDateTime({AT}) AND at <= toDateTime({AT + 3600})",
        "$__timeFilter( f(a, b) )": f"f(a, b) >= toDateTime({AT}) AND f(a, b) <= toDateTime({AT + 3600})",
        "$__timeFilter_ms(at)": f"at >= fromUnixTimestamp64Milli({AT}250) AND at <= fromUnixTimestamp64Milli({AT + 3600}000)",
        "v(since=$__fromTime, until=$__toTime)": f"v(since=toDateTime({AT}), until=toDateTime({AT + 3600}))",
        "$__fromTime() $__fromTime_ms": f"toDateTime({AT}) fromUnixTimestamp64Milli({AT}250)",
        "$__fromTime (x)": f"toDateTime({AT}) (x)",  # brackets count only at once
        "$__interval_s*(a + b)": "60*(a + b)",
        "$__dateFilter(d)": "d >= toDate('2026-11-20') AND d <= toDate('2026-11-20')",
        "$__dt(d, t)": (
            f"(d >= toDate('2026-11-20') AND d <= toDate('2026-11-20')) AND (t >= toDateTime({AT}) AND t <= toDateTime({AT + 3600}))"
        ),
        "$__timeInterval(at)": "toStartOfInterval(toDateTime(at), INTERVAL 60 second)",
        "$__timeInterval_ms(at)": "toStartOfInterval(toDateTime64(at, 3), INTERVAL 60000 millisecond)",
        "$__timeFilterEpoch(at)": "$__timeFilterEpoch(at)",  # another word
    }.items(),
)
def test_macros_are_expanded_as_the_backend_does(sql: str, wanted: str) -> None:
    """Time ranges are whole seconds, ends included."""
    assert in_backend(sql, look()) == wanted


@pytest.mark.parametrize("sql", ["$__timeFilter", "$__timeFilter(a, b)", "$__dt(a)", "$__timeFilter(f(a)"])
def test_a_wrong_call_of_a_macro_is_an_error_and_no_sql(sql: str) -> None:
    """The panel would show it."""
    with pytest.raises(MacroError):
        in_backend(sql, look())


def test_a_macro_inside_a_value_is_expanded_too() -> None:
    """The backend knows no strings: an app of that name gets out of its quotes, unless its value comes with the $ escaped."""
    assert expanded("${app:singlequote}", look(app="$__dateFilter(x)")).startswith("'x >= toDate('2026")
    assert expanded("${app:singlequote}", look(app="\\x24__dateFilter(x)")) == "'\\x24__dateFilter(x)'"


def test_conditional_all_is_one_for_all() -> None:
    """Nested calls are replaced from the last on."""
    sql = "$__conditionalAll(a IN (${app:singlequote}), $app) AND $__conditionalAll(b IN (f(1), ${m:singlequote}), ${m})"
    assert in_browser(sql, look(app=All(options=("x",)), m=("y",))) == "1=1 AND b IN (f(1), 'y')"


def test_the_interval_is_at_least_one_second_for_sql() -> None:
    """`step` of a view is never 0."""
    fast = Look(since=SINCE, until=UNTIL, interval_ms=200)
    assert in_backend("$__interval_s $__timeInterval(a)", fast) == "1 toStartOfInterval(toDateTime(a), INTERVAL 1 second)"
    assert interval_ms(300, 1500, "1s") == 1000


def test_an_unknown_format_is_told() -> None:
    """Grafana would fall back to another one without a word."""
    with pytest.raises(ValueError, match="singelquote"):
        in_browser("${app:singelquote}", look(app="a"))


@given(st.text(), st.lists(st.text(), min_size=1).map(tuple))
def test_escaped_values_stay_inside_their_quotes(alone: str, several: tuple[str, ...]) -> None:
    r"""With backslashes doubled and $ written as \x24, as our variables give them, no text whatever leaves its string."""

    def safe(text: str) -> str:
        return text.replace("\\", "\\\\").replace("$", "\\x24")

    sql = expanded("f(${a:singlequote}, [${b:singlequote}], $__interval_s)", look(a=safe(alone), b=tuple(map(safe, several))))
    assert _strings(sql) == ("f(?, [" + ",".join("?" * len(several)) + "], 60)", [alone, *several])


def _strings(sql: str) -> tuple[str, list[str]]:
    """*sql* with a ? for each of its strings, and those strings as ClickHouse would read them."""
    outside, found, at = "", [], 0
    while at < len(sql):
        if sql[at] != "'":
            outside, at = outside + sql[at], at + 1
            continue
        text, at = "", at + 1
        while sql[at] != "'":
            if sql[at] == "\\":
                known = {"'": "'", "\\": "\\", "x": "$"}
                text, at = text + known[sql[at + 1]], at + (4 if sql[at + 1] == "x" else 2)
            else:
                text, at = text + sql[at], at + 1
        outside, at = outside + "?", at + 1
        found.append(text)
    return outside, found
