"""The ids that are stored: what makes a repeated event harmless (docs/architecture.md)."""

from collections import OrderedDict
from collections.abc import Iterable

LIMIT = 200_000
"""Ids kept per partition; about 50 MB. At 50 events/s and four partitions that is the last four hours."""


class Ledger:
    """
    The last *limit* ids that were stored, each with a digest of its content. The oldest is forgotten first.

    >>> ledger = Ledger(limit=2)
    >>> ledger.seed([("a", 1), ("b", 2), ("c", 3)])
    >>> ledger.get("a"), ledger.get("c")
    (None, 3)
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._digests: OrderedDict[str, int] = OrderedDict()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._digests

    def get(self, event_id: str) -> int | None:
        """The digest of what is stored under *event_id*, None if nothing is known of it."""
        return self._digests.get(event_id)

    def add(self, event_id: str, digest: int = 0) -> None:
        """*event_id* is stored now. The first content wins: a known id keeps its digest."""
        if event_id not in self._digests:
            self._digests[event_id] = digest
            if len(self._digests) > self.limit:
                self._digests.popitem(last=False)

    def seed(self, stored: Iterable[tuple[str, int]]) -> None:
        """Learn what the store holds, oldest first."""
        for event_id, digest in stored:
            self.add(event_id, digest)
