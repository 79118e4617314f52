"""What things are called in the world of `boards_data`: plainly, as a neighbour calls them, and as hostilely as a client can."""

from dataclasses import dataclass
from datetime import UTC, datetime

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What things are called; the third app does not stream, the third model has no price."""

    tenant: str = "default"
    apps: tuple[str, str, str] = ("support", "search", "writer")
    models: tuple[str, str, str] = ("gpt-4o-mini", "claude-haiku-4-5", "llama-3.1-8b")
    environments: tuple[str, str] = ("production", "staging")
    versions: tuple[str, str] = ("v1", "v2")
    user: str = "user"
    label: str = "en"
    text: str = "the shipping question was not answered"
    cost: float = 1.0


PLAIN = Names()
INTRUDER = Names(
    tenant="intruder",
    apps=("support", "search", "intruder-app"),
    models=("gpt-4o-mini", "intruder-model", "llama-3.1-8b"),
    versions=("v1", "intruder-version"),
    user="intruder-user",
    text="intruder text",
    cost=1000.0,
)
"""Another tenant with apps and models of the same names; whatever else it has says who it is."""

HOSTILE = Names(
    tenant="host'ile \\",
    apps=("<i>O'Brien</i> \\' OR 1=1 --", "<b>ends in \\", '<img src=x onerror=alert(1)>\n"$__timeFilter" ${tenant} {since:DateTime}'),
    models=("a'b\"c`d", "gpt (2026) $__dateFilter(x)", "line\nbreak\ttab\\n"),
    environments=("prod'); DROP TABLE driftwheel.inferences; --", "ünïcode 🦜"),
    versions=("\\\\'\\", "%27%00{{.Value}}"),
    user="u'" + "x" * 10_000,
    label="</script>'\\",
    text="'; SELECT \\' \n" + "<b>" * 3_000,
)


def iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def instant(value: object) -> datetime:
    return datetime.fromisoformat(str(value))
