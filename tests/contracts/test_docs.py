"""The documentation is true: its Python runs, its TOML is accepted, its commands exist, its links lead somewhere."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftwheel.cli import app
from driftwheel.config import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader copies works; the SDK in it finds no collector here, and does not mind."""
    monkeypatch.setenv("DRIFTWHEEL_ENDPOINT", "http://127.0.0.1:9")
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_toml_examples_are_accepted(page: Path, tmp_path: Path) -> None:
    """Every table in the docs is one that the settings know."""
    for text in blocks(page, "toml"):
        tomllib.loads(text)
        file = tmp_path / "driftwheel.toml"
        file.write_text(text, "utf-8")
        load(file, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    """No link into the tree is broken."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    """`driftwheel something` in a text is a command with such a name."""
    known = set(re.findall(r"^\W*([a-z]+)\s", CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output, re.MULTILINE))
    for command in re.findall(r"(?:`|\n)driftwheel ([a-z]+)", page.read_text("utf-8")):
        assert command in known, f"{page.name}: driftwheel {command}"


def test_decisions_are_short_and_say_context_choice_and_price() -> None:
    """Ten lines each."""
    for page in sorted((ROOT / "docs/decisions").glob("*.md")):
        text = page.read_text("utf-8")
        assert len(text.splitlines()) <= 14, page.name
        assert all(f"**{word}.**" in text for word in ("Context", "Choice", "Price")), page.name
