"""The demo's pager: an action of one's own, as anyone may write one. What it is told lies in a file, line by line."""

from pathlib import Path

import msgspec

from driftwheel.actions import Notice, Reach


class Pager:
    """Appends each notice to *file*; a notice that comes again is one line all the same."""

    def __init__(self, reach: Reach, *, file: str) -> None:  # noqa: ARG002  it reaches nobody
        self.file = Path(file)

    def send(self, notice: Notice) -> str:
        """How many lines there are."""
        lines = {one["id"]: one for one in told(self.file)} | {notice.id: msgspec.to_builtins(notice)}
        self.file.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in lines.values()))
        return f"{len(lines)} notices"


def told(file: Path) -> list[dict[str, str]]:
    """What the pager was told so far, oldest first."""
    return [msgspec.json.decode(line) for line in file.read_bytes().splitlines()] if file.exists() else []
