"""What a new user runs first: `driftwheel demo`, without the training; and every board has something to show afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boards_visit import empty_panels
from stores import running_store

TRAINED = (
    "driftwheel-retraining: panel Jobs",
    "driftwheel-retraining: panel Candidates",
    "driftwheel-retraining: panel Decisions",
    "driftwheel-retraining: panel Champions",
)
"""What `--fast` leaves out; after the whole demo these have something, too."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_fast_demo_ends_with_a_trigger_and_every_board_shows_something(tmp_path: Path) -> None:
    """The change is noticed, told once, a trigger waits; of the panels only those of jobs are empty."""
    folder = tmp_path / "demo"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTWHEEL_")} | {"COLUMNS": "200"}
    arguments = [sys.executable, "-m", "driftwheel", "demo", "--fast", "--keep", str(folder)]
    done = subprocess.run(arguments, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=800, check=False)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("told     incident.opened: Page: helpdesk") == 1
    assert "trigger.pending: helpdesk: policy answers-got-worse asks for finetune" in done.stdout
    with running_store(folder / "store", password=(folder / "store.key").read_text("utf-8")) as store:
        assert empty_panels(store.settings, but=TRAINED) == []
