"""`python -m driftwheel.store.embedded --path FOLDER --port N`: the embedded store as a process of its own."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from driftwheel.errors import DriftwheelError
from driftwheel.store.embedded import Limits, default_users, serve

PASSWORD = "DRIFTWHEEL_STORE__PASSWORD"  # noqa: S105
"""In the environment and not in an argument, which every user of the machine can read."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 0 then, 1 when it cannot, with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="driftwheel.store.embedded", description=f"The password is read from {PASSWORD}.")
    parser.add_argument("--path", type=Path, required=True, help="the data folder; made if missing")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=8123, help="0 takes a free one (%(default)s)")
    parser.add_argument("--memory-mib", type=int, default=Limits().memory_bytes >> 20, help="what the engine may use (%(default)s)")
    parser.add_argument("--body-mib", type=int, default=Limits().body_bytes >> 20, help="what a request body may have (%(default)s)")
    parser.add_argument("--parent-pid", type=int, default=0, help="end when this process has gone")
    given = parser.parse_args(arguments)
    if given.parent_pid:
        from driftwheel.store.embedded.serve import end_with_parent

        end_with_parent(given.parent_pid)
    try:
        serve(
            given.path,
            host=given.host,
            port=given.port,
            users=default_users(os.environ.get(PASSWORD, "")),
            limits=Limits(memory_bytes=given.memory_mib << 20, body_bytes=given.body_mib << 20),
            ready=lambda port: print(f"listening on http://{given.host}:{port}", flush=True),  # noqa: T201
        )
    except DriftwheelError as said:
        print(said, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
