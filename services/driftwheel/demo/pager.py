"""The demo's pager: an action of one's own, as anyone may write one. What it is told lies in a file, line by line."""

from pathlib import Path

import msgspec

from driftwheel.actions import Notice, Reach
from driftwheel.errors import ActionFailed


class Pager:
    """
    Appends each notice to *file*; a notice that comes again is one line all the same.

    Like a pager in a cellar it misses the first call; what is not heard is told again.
    """

    def __init__(self, reach: Reach, *, file: str) -> None:  # noqa: ARG002  it reaches nobody
        self.file, self.missed = Path(file), False

    def send(self, notice: Notice) -> str:
        """How many lines there are."""
        if not self.missed:
            self.missed = True
            raise ActionFailed("the pager is out of reach")
        lines = {one["id"]: one for one in told(self.file)} | {notice.id: msgspec.to_builtins(notice)}
        self.file.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in lines.values()))
        return f"{len(lines)} notices"


def told(file: Path) -> list[dict[str, str]]:
    """What the pager was told so far, oldest first."""
    return [msgspec.json.decode(line) for line in file.read_bytes().splitlines()] if file.exists() else []
