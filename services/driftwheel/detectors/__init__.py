"""
EXTENSION: detectors, one file each. A detector watches one series and says when it changed, with its evidence.

To add one: a file here and a line in DETECTORS; most are a `Bettor` (see `edetector.py`), which gets the budget, the
onset, the revisions and the snapshots for nothing. `tests/contracts/test_detectors.py` then tests it.
"""

import pkgutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from driftwheel.detectors.conformal import Conformal
from driftwheel.detectors.edetector import EDetector
from driftwheel.detectors.finding import Finding
from driftwheel.detectors.novelty import Novelty
from driftwheel.detectors.rate import Rate
from driftwheel.detectors.settings import DetectorSettings
from driftwheel.errors import ConfigError
from driftwheel_schemas import Observation

__all__ = ["DETECTORS", "Detector", "Finding", "load"]


class Detector(Protocol):
    """
    Watches the units of one series, in the order of the log. Never reads a clock; the same units give the same findings.

    Its state is two byte strings: a reference that is written once a version, and a small moving part.
    """

    @property
    def version(self) -> str:
        """Digest of the reference; empty while that is being filled."""
        ...

    def update(self, seen: Observation) -> bool:
        """Take a unit in. True where an alarm is to be said: found now, or its sample has doubled since it was said last."""
        ...

    def finding(self) -> Finding:
        """What it says now. Once drifted it stays so until `accept`."""
        ...

    def accept(self) -> None:
        """What comes now is the new baseline: a new epoch whose reference fills afresh."""
        ...

    def reference(self) -> bytes:
        """The immutable part of the state; empty while it is being filled."""
        ...

    def state(self) -> bytes:
        """The moving part of the state."""
        ...

    def restore(self, reference: bytes, state: bytes) -> None:
        """Go on, bit for bit, from where *reference* and *state* were taken (with the same settings)."""
        ...


DETECTORS: dict[str, Callable[[DetectorSettings], Detector]] = {
    "conformal": partial(EDetector, make=Conformal),
    "novelty": partial(EDetector, make=Novelty),
    "rate": partial(EDetector, make=Rate),
}


def load(name: str, settings: DetectorSettings, table: Mapping[str, Callable[[DetectorSettings], Detector]] = DETECTORS) -> Detector:
    """
    The detector called *name*, or the one at an import path like `their_package.module:Detector`.

    >>> load("rate", DetectorSettings()).finding().drifted
    False
    """
    try:
        make: Callable[[DetectorSettings], Detector] = pkgutil.resolve_name(name) if ":" in name else table[name]
    except (KeyError, ImportError, AttributeError, ValueError) as wrong:
        raise ConfigError(
            f'detection.detectors: no detector called "{name}"; known: {", ".join(sorted(table))}, or "package.module:Class"'
        ) from wrong
    return make(settings)
