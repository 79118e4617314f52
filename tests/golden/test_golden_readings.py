"""Every example → its exact readings. A change of meaning shows up in review as a change of readings.json."""

import json
import os
from importlib.resources import files
from pathlib import Path

import msgspec

from driftwheel.signals import SIGNALS
from driftwheel_schemas import Inference

GOLDEN = Path(__file__).with_name("readings.json")
EXAMPLES = sorted(Path(str(files("driftwheel_schemas"))).glob("examples/inference/*.json"))


def test_the_readings_of_the_examples_are_the_golden_ones() -> None:
    """Run with DRIFTWHEEL_GOLDEN=write to write the file anew, then read the difference."""
    readings = {path.stem: _readings(msgspec.json.decode(path.read_bytes(), type=Inference)) for path in EXAMPLES}
    if os.environ.get("DRIFTWHEEL_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(readings, indent=2, ensure_ascii=False) + "\n", "utf-8")

    assert readings == json.loads(GOLDEN.read_text("utf-8"))


def _readings(event: Inference) -> dict[str, float | str]:
    """All signals of the table with their defaults; numbers to nine digits, the store's own precision of a dollar."""
    found = {name: value for make in SIGNALS.values() for name, value in make()(event)}
    return {name: value if isinstance(value, str) else round(value, 9) for name, value in sorted(found.items())}
