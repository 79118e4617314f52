"""
The embedded store: ClickHouse's HTTP interface in front of chDB, one process that owns a data folder.

Clients that speak HTTP to a ClickHouse server speak to this one; reference: https://clickhouse.com/docs/interfaces/http.
"""

from collections.abc import Callable
from pathlib import Path

from driftwheel.store.embedded.config import Limits
from driftwheel.store.embedded.users import User, Users, default_users, password

__all__ = ["Limits", "User", "Users", "default_users", "password", "serve"]


def serve(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8123,
    users: Users | None = None,
    limits: Limits | None = None,
    ready: Callable[[int], None] | None = None,
) -> None:
    """
    Serve the store in the folder *path* until SIGTERM or Ctrl-C, then close it (about a second).

    *ready* is called with the port once queries are answered; port 0 takes a free one. *users* are name → `User`
    (`default_users()` without any). Raises `InUse` when another process has the folder or the port, `MissingExtra`
    where chDB is not installed or has no wheel, `ConfigError` for a folder or a host that cannot be used.
    """
    from driftwheel.store.embedded.serve import listen, run

    with listen(host, port) as where:
        run(path, where, default_users() if users is None else users, limits or Limits(), ready)
