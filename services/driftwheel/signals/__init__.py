"""
EXTENSION: signals, one file each. A signal measures an inference.

A signal is a callable that yields readings `(name, value)`. A name ends in its unit (`latency.seconds`,
`refusal.flag`); a number becomes a reading, a text becomes a label. It yields nothing where there is nothing to
measure. It must not raise for any inference that the contract allows, and never reads a clock, a file or a network.

To add one: a file here and a line in SIGNALS. `tests/contracts/test_signals.py` then tests it with every example.
"""

import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from driftwheel.errors import ConfigError
from driftwheel_schemas import Inference

Reading = tuple[str, float | str]
"""A name that ends in its unit, and a value; flags are 0.0 or 1.0."""


class Signal(Protocol):
    """Measures an inference, cheaply (at most some 100 µs): it runs in the signals worker."""

    def __call__(self, event: Inference, /) -> Iterator[Reading]:
        """The readings of *event*."""
        ...
