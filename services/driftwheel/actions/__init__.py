"""
Actions: what tells people and other systems. EXTENSION: one file per action, table ACTIONS.

An action gets one `Notice` at a time, in a thread. Whether, when and how often is decided elsewhere (the outbox): an action
delivers or says why not. A notice that is tried again has the same `id`; give it to the receiver as its idempotency key.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from driftwheel.errors import ConfigError
from driftwheel_schemas import Severity, Trigger

Kind = Literal["incident.opened", "incident.resolved", "trigger.pending", "trigger.approved", "promotion.decided", "test"]

ACTIONS: Mapping[str, str] = {
    "alertmanager": "driftwheel.actions.alertmanager:Alertmanager",
    "apprise": "driftwheel.actions.apprise:Apprise",
    "retrain": "driftwheel.actions.retrain:Retrain",
    "webhook": "driftwheel.actions.webhook:Webhook",
}
"""Name → where it is; imported when it is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """
    One thing to tell. `id` is the same at every attempt; `subject` is the incident (or trigger, or promotion) it is about,
    the same for its opening and its end. `title` is one line, `text` some sentences; both may hold untrusted text of apps.

    `data` is the event itself (`driftwheel_schemas.Incident` and so on) as JSON builtins. `link` is empty or a page about it.
    """

    id: str
    kind: Kind
    tenant: str
    app: str
    severity: Severity
    subject: str
    title: str
    text: str
    link: str = ""
    at: datetime
    starts_at: datetime
    ends_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


class Action(Protocol):
    """
    Delivers notices. Made once, used from several threads.

    One whose receiver forgets has `renews_s`: every so many seconds it gets the openings that stand again.
    """

    def send(self, notice: Notice) -> str:
        """
        Deliver *notice*; returns what the receiver said, in one line without secrets.

        Raises `ActionFailed` where a retry may help (no answer, 429, 5xx) and `Reject` where none will (a refused request).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """
    What actions may reach. Private, loopback and link-local addresses are refused but for the hosts in `allow_private`;
    `start` lets a trigger begin (stores and publishes it).
    """

    allow_private: Sequence[str] = ()
    timeout_s: float = 10.0
    start: Callable[[Trigger], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionUse:
    """
    One configured action: a name in the table (or `package.module:Class`), its parameters, and what it is told of.

    `severity` is the least it hears of; `app` is a shell pattern; `on` are the first words of the kinds of notices. A parameter
    whose name ends in `_file` names a file that holds it: a secret need not stand in the settings.
    """

    name: str
    use: str
    params: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "ticket"
    app: str = "*"
    on: Sequence[Literal["incident", "trigger", "promotion"]] = ("incident",)

    def hears(self, notice: Notice) -> bool:
        """Whether this action is to be told of *notice*."""
        loud = self.severity == "ticket" or notice.severity == "page"
        return loud and fnmatchcase(notice.app, self.app) and notice.kind.split(".")[0] in self.on


def load(use: ActionUse, reach: Reach) -> Action:
    """
    The action that *use* names. Raises `ConfigError`, naming the place and the cure, for an unknown one or wrong parameters.

    >>> load(ActionUse(name="oncall", use="slak"), Reach())
    Traceback (most recent call last):
    driftwheel.errors.ConfigError: actions[oncall].use: no action called 'slak'; known: alertmanager, apprise, retrain, webhook, or package.module:Class
    """
    where = ACTIONS.get(use.use, use.use)
    module, _, name = where.partition(":")
    if not name:
        raise ConfigError(f"actions[{use.name}].use: no action called {use.use!r}; known: {', '.join(ACTIONS)}, or package.module:Class")
    place = f"actions[{use.name}].params"
    try:
        make = getattr(import_module(module), name)
        params = {key.removesuffix("_file"): _text(value) if key.endswith("_file") else value for key, value in use.params.items()}
    except (ImportError, AttributeError) as missing:
        raise ConfigError(f"actions[{use.name}].use: {where} cannot be imported: {missing}") from missing
    except OSError as missing:
        raise ConfigError(f"{place}: {missing.filename} cannot be read ({missing.strerror})") from missing
    try:
        made: Action = make(reach, **params)
    except (ConfigError, TypeError, AttributeError) as wrong:
        raise ConfigError(f"{place}: {wrong}") from wrong
    return made


def _text(file: str) -> str:
    return Path(file).read_text("utf-8").strip()
