"""
The store: ClickHouse over HTTP, in both modes (docs/architecture.md); `clickhouse.py` is the one implementation.

Rows go in as JSON and come out as JSON; questions have names and bound parameters (`questions/*.sql`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Row = dict[str, Any]


class Store(Protocol):
    """
    What workers, jobs and pages need of the store. Safe to use from several threads.

    Every method raises `StoreUnavailable` when the store does not answer in time (what was sent may have landed),
    and `StoreError` when it refuses.
    """

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Insert *rows* into *table*; durable on return."""
        ...

    def missing(self, table: str, rows: Sequence[Row]) -> list[Row]:
        """Those of *rows* whose `id` (and `revision`, where the table has one) is not stored yet."""
        ...

    def ask(self, question: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        """The answer to a named question. Times are RFC 3339 text, numbers are numbers."""
        ...
