"""What the SDK tells people, once for each kind, and the boundary at which its own faults end."""

from collections.abc import Callable
from types import TracebackType

MAX_KINDS = 100


class Notices:
    """Logs under `driftwheel`, each kind once: names and sizes, never what an event says."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def warn(self, kind: str, text: str) -> None:
        """Log *text* unless *kind* was told before; beyond 100 kinds nothing more is told (the counters go on)."""
        if kind in self._said or len(self._said) >= MAX_KINDS:
            return
        self._said.add(kind)
        import logging  # 12 ms to import, and mostly there is nothing to say

        logging.getLogger("driftwheel").warning("%s", text)


class Shield:
    """
    A fault of the SDK ends here and not in the host; `strict` lets it through, for tests.

    >>> with Shield(Notices(), lambda: None, strict=True):
    ...     raise ValueError("told")
    Traceback (most recent call last):
    ValueError: told
    """

    def __init__(self, notices: Notices, lost: Callable[[], None], *, strict: bool) -> None:
        self._notices, self._lost, self._strict = notices, lost, strict

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        # the SDK's boundary to its host: whatever went wrong costs an event, never the host's own work
        if not isinstance(error, Exception):
            return False
        self._lost()
        self._notices.warn(f"fault {type(error).__name__}", f"an event was lost to {type(error).__name__}; your code goes on")
        return not self._strict
