"""
Settings: one `driftwheel.toml` and `DRIFTWHEEL_*` variables → frozen dataclasses, read once, passed down.

A variable names a setting by its path: `DRIFTWHEEL_STORE__PORT=9123` is `port` in `[store]`. With `_FILE` at its end it
names a file that holds the value, as secrets are given to containers: `DRIFTWHEEL_STORE__PASSWORD_FILE`. A wrong value is
a `ConfigError` that names its path, what is known, and the cure.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from driftwheel.actions import ActionUse
from driftwheel.actions.delivery import NotifySettings
from driftwheel.bus.kafka_client import KafkaSettings
from driftwheel.collector.settings import CollectorSettings
from driftwheel.detectors.settings import DetectionSettings
from driftwheel.errors import ConfigError
from driftwheel.jobs.settings import JobSettings
from driftwheel.pipeline.carrier import ShellSettings
from driftwheel.pipeline.joiner import JoinSettings
from driftwheel.pipeline.signals import SignalsSettings
from driftwheel.policies import Policy
from driftwheel.policies.rules import Rule
from driftwheel.store.clickhouse import StoreSettings

FILE = "driftwheel.toml"
PREFIX = "DRIFTWHEEL_"
OF_FILE = "_FILE"
SDK_ONLY = frozenset({"DRIFTWHEEL_ENDPOINT", "DRIFTWHEEL_APP", "DRIFTWHEEL_API_KEY"})
"""Variables that the SDK reads in the host's process; the server does not mind them."""

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """
    The local log, or Kafka where `[bus.kafka]` names servers.

    Of the local log: `FULL` survives power loss and costs an fsync a commit; `NORMAL` survives kill -9.
    """

    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    max_bytes: int = 20 * 1024**3
    kafka: KafkaSettings = field(default_factory=KafkaSettings)

    @property
    def survives_power_loss(self) -> bool:
        """Whether what was accepted survives the loss of power of one machine."""
        return self.kafka.durable if self.kafka.servers else self.synchronous == "FULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalUse:
    """One signal: a name in the table or `package.module:Class`, and its parameters."""

    use: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSettings:
    """What embeds prompts and responses, and which share of them; `enabled = false` runs without."""

    enabled: bool = True
    use: str = "sentence_transformers"
    params: Mapping[str, Any] = field(default_factory=dict)
    sample: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. The defaults run the whole system on one machine, on loopback."""

    data: Path = Path("driftwheel-data")
    metrics_port: int = 0  # of a process with workers or jobs; 0 is none, and `up` gives each its own
    metrics_host: str = "127.0.0.1"  # containers listen on 0.0.0.0: nothing of a user is in the metrics
    collector: CollectorSettings = field(default_factory=CollectorSettings)
    bus: BusSettings = field(default_factory=BusSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    shell: ShellSettings = field(default_factory=ShellSettings)
    measure: SignalsSettings = field(default_factory=SignalsSettings)
    signals: Sequence[SignalUse] = ()
    embeddings: EmbeddingSettings = field(default_factory=EmbeddingSettings)
    feedback: JoinSettings = field(default_factory=JoinSettings)
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    rules: Sequence[Rule] = ()
    policies: Sequence[Policy] = ()
    actions: Sequence[ActionUse] = ()
    notify: NotifySettings = field(default_factory=NotifySettings)
    jobs: JobSettings = field(default_factory=JobSettings)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """
    The settings in the file at *path* (`driftwheel.toml` if there is one) with those of *environ* over them.

    Raises `ConfigError` for a file that is missing or no TOML, a name that is not known, a value of a wrong type.
    """
    table: dict[str, Any] = {}
    name = str(path or FILE)
    if path or Path(FILE).is_file():
        try:
            table = tomllib.loads((path or Path(FILE)).read_text("utf-8"))
        except OSError as missing:
            raise ConfigError(f"{name}: cannot be read ({missing.strerror}); give another file with --config") from missing
        except tomllib.TOMLDecodeError as wrong:
            raise ConfigError(f"{name}: is no TOML: {wrong}") from wrong
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in SDK_ONLY:
            _put(table, variable, environ[variable])
    settings: Settings = _build(Settings, table, name)
    for what, given in (("rules", settings.rules), ("policies", settings.policies), ("actions", settings.actions)):
        names = [one.name for one in given]
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ConfigError(f"{name}: {what}: two are called {twice[0]!r}; what they say is told apart by their names")
    return settings


def _put(table: dict[str, Any], variable: str, value: str) -> None:
    *sections, last = variable.removeprefix(PREFIX).removesuffix(OF_FILE).lower().split("__")
    known = [one.name for one in fields(Settings)]
    if (first := [*sections, last][0]) not in known:
        raise ConfigError(f"{variable}: {first}: not known; known: {', '.join(known)} (as in {PREFIX}STORE__PORT)")
    for section in sections:
        table = table.setdefault(section, {})
    if variable.endswith(OF_FILE):
        table[last] = _secret(variable, value)
        return
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = value  # bare words need no quotes in a variable


def _secret(variable: str, path: str) -> Any:
    """What the file at *path* holds: a TOML table where it is one, else its text, so that a password of digits stays one."""
    try:
        text = Path(path).read_text("utf-8").strip()
    except OSError as missing:
        raise ConfigError(f"{variable}: {path} cannot be read ({missing.strerror})") from missing
    return tomllib.loads(f"value = {text}")["value"] if text.startswith("{") else text


def _build(kind: Any, value: Any, path: str) -> Any:  # noqa: PLR0911  one line a kind of type
    """*value* as a *kind*; *path* says where it stands."""
    if is_dataclass(kind):
        return _dataclass(kind, value, path)
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(value, list) and (origin is Sequence or (origin is tuple and inner[1:] == (Ellipsis,))):
        return tuple(_build(inner[0], one, f"{path}[{index}]") for index, one in enumerate(value))
    if isinstance(value, dict) and origin is Mapping:
        return {name: _build(inner[1], one, f"{path}.{name}") for name, one in value.items()}
    if isinstance(value, dict) and inner and all(map(is_dataclass, inner)):
        return _dataclass(_fitting(inner, value), value, path)
    if kind is timedelta and isinstance(value, str):
        return duration(value, path)
    if (kind is Path or Path in inner) and isinstance(value, str):
        return Path(value).expanduser()
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as wrong:
        raise ConfigError(f"{path}: {_sentence(str(wrong))}") from wrong


def _dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: is a {type(value).__name__}, must be a table of {', '.join(one.name for one in fields(kind))}")
    kinds = get_type_hints(kind)
    known = [one.name for one in fields(kind)]
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ConfigError(f"{path}: {name}: not known{f', did you mean {near[0]}?' if near else ''}; known: {', '.join(known)}")
    sep = "." if "." in path.removesuffix(".toml") or "[" in path else ": "
    given = {name: _build(kinds[name], one, f"{path}{sep}{name}") for name, one in value.items()}
    for one in fields(kind):  # a table of defaults keeps those that are not given
        if isinstance(given.get(one.name), dict) and one.default_factory is not MISSING:
            given[one.name] = {**one.default_factory(), **given[one.name]}
    try:
        return kind(**given)
    except TypeError as missing:
        raise ConfigError(f"{path}: {_sentence(str(missing)).replace(kind.__name__ + '.__init__() ', '')}") from missing


def _fitting(kinds: Sequence[Any], value: Mapping[str, Any]) -> Any:
    """The one of *kinds* that knows most of the names in *value*."""
    return max(kinds, key=lambda kind: len({one.name for one in fields(kind)} & value.keys()))


def duration(value: str, path: str) -> timedelta:
    """
    The time that *value* says. Raises `ConfigError`, naming *path*.

    >>> duration("1.5h", "x")
    datetime.timedelta(seconds=5400)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", value.strip())
    if not found:
        raise ConfigError(f"{path}: {value!r} is no duration; write a number and one of s, m, h, d, w, as in 6h")
    return timedelta(seconds=float(found[1]) * SECONDS[found[2]])


def _sentence(text: str) -> str:
    return text.replace("`", "'")
