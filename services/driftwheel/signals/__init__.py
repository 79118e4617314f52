"""
EXTENSION: signals, one file each. A signal measures an inference.

A signal is a callable that yields readings `(name, value)`. A name ends in its unit (`latency.seconds`,
`refusal.flag`); a number becomes a reading, a text becomes a label. It yields nothing where there is nothing to
measure. It must not raise for any inference that the contract allows, and never reads a clock, a file or a network.

To add one: a file here and a line in SIGNALS. `tests/contracts/test_signals.py` then tests it with every example.
"""

import pkgutil
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from driftwheel.errors import ConfigError
from driftwheel.signals.cost import Cost
from driftwheel.signals.emptiness import Emptiness
from driftwheel.signals.error import Error
from driftwheel.signals.json_valid import JsonValid
from driftwheel.signals.language import Language
from driftwheel.signals.latency import Latency
from driftwheel.signals.length import Length
from driftwheel.signals.refusal import Refusal
from driftwheel.signals.speed import Speed
from driftwheel.signals.tokens import Tokens
from driftwheel.signals.ttft import Ttft
from driftwheel_schemas import Inference

Reading = tuple[str, float | str]
"""A name that ends in its unit, and a value; flags are 0.0 or 1.0."""


class Signal(Protocol):
    """Measures an inference, cheaply (at most some 100 µs): it runs in the signals worker."""

    def __call__(self, event: Inference, /) -> Iterator[Reading]:
        """The readings of *event*."""
        ...


SIGNALS: dict[str, Callable[..., Signal]] = {
    "cost": Cost,
    "emptiness": Emptiness,
    "error": Error,
    "json_valid": JsonValid,
    "language": Language,
    "latency": Latency,
    "length": Length,
    "refusal": Refusal,
    "speed": Speed,
    "tokens": Tokens,
    "ttft": Ttft,
}

WATCHED: tuple[str, ...] = (
    "cost.usd",
    "empty.flag",
    "error.flag",
    "json.valid.flag",
    "language.foreign.flag",
    "latency.seconds",
    "length.response.chars",
    "refusal.flag",
)
"""
The readings that detection watches unless the settings name others; all are stored.

Few on purpose: every watched reading takes a share of the false-alarm budget of its segment. Left out is what says
the same twice (tokens and length, speed and latency) or what an app rarely wants to be woken for.
"""


def kind_of(reading_name: str) -> Literal["number", "flag"]:
    """
    How a reading is judged, by its unit: a flag (0 or 1) by its rate, any other by its rank.

    >>> kind_of("refusal.flag"), kind_of("latency.seconds")
    ('flag', 'number')
    """
    return "flag" if reading_name.rpartition(".")[2] == "flag" else "number"


def load(name: str, **params: object) -> Signal:
    """
    Build the signal called *name* in SIGNALS, or the one at an import path `package.module:Class`.

    Raises `ConfigError` for a name that is not known, a path that leads nowhere and parameters that do not fit.

    >>> load("latency")
    Latency()
    >>> load("language", main="pt").main
    'pt'
    """
    try:
        make: Callable[..., Signal] = pkgutil.resolve_name(name) if ":" in name else SIGNALS[name]
    except (KeyError, ImportError, AttributeError, ValueError) as wrong:
        raise ConfigError(f'signals: no signal called "{name}"; known: {", ".join(SIGNALS)}, or "package.module:Class"') from wrong
    try:
        return make(**params)
    except TypeError as wrong:
        raise ConfigError(f"signals.{name}: {wrong}; see the parameters of {make.__module__}") from wrong
