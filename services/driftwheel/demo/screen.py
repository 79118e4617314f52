"""What the audience sees while the play goes on: one bar for each thing that takes time, and a line for each thing found."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Screen:
    """Bars at the bottom, lines above them. Without a terminal a line at each quarter takes the place of a bar."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(30),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text)

    def bar(self, name: str, share: float, note: str = "") -> None:
        """How far *name* is, from 0 to 1; at 1 its bar goes."""
        if not self.console.is_terminal:
            return self._quarters(name, share, note)
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1.0, note=note)
        self._bars.update(self._tasks[name], completed=min(share, 1.0), note=note)
        if share >= 1.0:
            self._bars.remove_task(self._tasks.pop(name))
        return None

    def _quarters(self, name: str, share: float, note: str) -> None:
        """Without a terminal: a line at each quarter."""
        quarter = int(min(share, 1.0) * 4)
        if quarter > self._said.get(name, 0):
            self._said[name] = quarter
            self.line(f"{name}: {quarter * 25} % {note}")
