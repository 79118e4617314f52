"""
`python -m driftwheel_boards` writes the boards, their provisioning and the alert rules; `--check` tells which of the files differ.

Files of boards that are no more are removed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from driftwheel_boards import BOARDS
from driftwheel_boards.grafana import text_of
from driftwheel_boards.provision import alerting, provider

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("dashboards/grafana")


def written() -> dict[Path, str]:
    """Every file that is generated, by its path in the repository, with its text."""
    boards = {FOLDER / f"{board.uid.removeprefix('driftwheel-')}.json": text_of(board) for board in BOARDS}
    grafana = Path("deploy/grafana")
    return boards | {grafana / "dashboards/driftwheel.yaml": provider(), grafana / "alerting/driftwheel.yaml": alerting()}


def differing(root: Path) -> list[Path]:
    """The files under *root* that are not what would be written: missing, changed, or of no board."""
    found, wanted = {path.relative_to(root) for path in (root / FOLDER).glob("*.json")}, written()
    changed = [path for path, text in wanted.items() if not (root / path).is_file() or (root / path).read_bytes() != text.encode()]
    return sorted({*changed, *(found - wanted.keys())})


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Write, or with `--check` only compare; the exit status: 1 where `--check` finds a difference, 2 outside of a checkout."""
    if not (root / "deploy").is_dir():
        sys.stderr.write(f"{root} is no checkout of the project, and these files belong into one: run it in a clone\n")
        return 2
    wanted, different = written(), differing(root)
    if "--check" not in arguments:
        for path in different:
            if path not in wanted:
                (root / path).unlink()
        for path, text in wanted.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, "utf-8", newline="\n")
            sys.stdout.write(f"{path}{' (changed)' if path in different else ''}\n")
        return 0
    for path in different:
        sys.stdout.write(f"{path} is not what `python -m driftwheel_boards` writes: run it\n")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
