"""Programs of the machine that some tests need. CI sets GRAFANA_TESTS=required, so that none is left out unnoticed."""

import os
import shutil

import pytest

PACKAGES = {"prometheus": "prometheus", "promtool": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
"""Which Debian package brings a program that is not called as its package is."""


def needed(command: str) -> str:
    """The path of *command*; where it is missing the test is skipped, or fails when it is required."""
    if found := shutil.which(command):
        return found
    lacks = f"needs {command}: apt-get install --no-install-recommends {PACKAGES.get(command, command)}"
    if os.environ.get("GRAFANA_TESTS") == "required":
        pytest.fail(lacks)
    pytest.skip(lacks)
