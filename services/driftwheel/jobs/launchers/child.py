"""
The first thing in a launched process: `python -m driftwheel.jobs.launchers.child MODULE RUN_DIR`.

It sees to it that the process ends with its launcher: standard input is a pipe that the launcher holds and never
writes to, and a kill -9 of the launcher closes it too (on Linux and macOS alike, which PR_SET_PDEATHSIG is not).
And it locks the run folder, so that of two launchers (an orphan of the last crash, a second runner) one works and the
other finds it done.
"""

import fcntl
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

from driftwheel.jobs.folder import finished

NICENESS = 10
"""Training is no hurry: the workers on the same cores go first."""


def main() -> None:
    """Guard this process, then become the module."""
    module, folder = sys.argv[1:]
    threading.Thread(target=_end_with_launcher, name="end-with-launcher", daemon=True).start()
    os.nice(NICENESS)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve the workers beside them
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with (Path(folder) / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if finished(Path(folder)):
            return
        sys.argv = [module, folder]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_launcher() -> None:
    os.read(0, 1)  # no buffered reader: its lock would be held when the interpreter shuts down
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # the group is ours alone: whatever was started here ends as well
    os._exit(1)


if __name__ == "__main__":
    main()
