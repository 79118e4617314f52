"""Runs a program of a job on this machine, as a child of low priority that ends with the runner."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from driftwheel.errors import LauncherError
from driftwheel.jobs.folder import RESULT, Progress, Result, finished
from driftwheel.jobs.launchers import Run

GIB = 1 << 30
LAST_LINES = 50
LINE_BYTES = 8192
CHILD = "driftwheel.jobs.launchers.child"


@dataclass(frozen=True, slots=True)
class Local:
    """A child process in a process group of its own (`child.py`); its standard error is told with its output."""

    def run(self, run: Run, on_progress: Callable[[Progress], None]) -> Result:
        """See `Launcher.run`."""
        if (done := finished(run.folder)) is not None:
            return done
        _room(run)
        tail: deque[str] = deque(maxlen=LAST_LINES)
        with _started(run) as (child, timed_out):
            _follow(child, tail, on_progress)
            code = child.wait()
        result = finished(run.folder)
        if code == 0 and result is not None and result.status == "succeeded":
            return result
        raise LauncherError(f"{run.module} {_why(run, code, late=timed_out.is_set())}. Its last lines:\n" + "\n".join(tail))


@contextlib.contextmanager
def _started(run: Run) -> Iterator[tuple["subprocess.Popen[bytes]", threading.Event]]:
    """The child, while it runs; it is gone when this ends, however it ends."""
    child = subprocess.Popen(  # noqa: S603  our own interpreter and a module that our code names
        [sys.executable, "-m", CHILD, run.module, str(run.folder)],
        stdin=subprocess.PIPE,  # never written to: when we end, it closes, and the child ends too
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    timed_out = threading.Event()

    def give_up() -> None:
        timed_out.set()
        _kill(child)

    timer = threading.Timer(run.timeout_s, give_up)
    timer.start()
    try:
        with child:
            try:
                yield child, timed_out
            finally:
                _kill(child)
    finally:
        timer.cancel()


def _kill(child: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone, or (macOS) a zombie
        os.killpg(child.pid, signal.SIGKILL)


def _follow(child: "subprocess.Popen[bytes]", tail: deque[str], on_progress: Callable[[Progress], None]) -> None:
    """Read what the child says until it ends: progress goes to the callback, all else is kept for the error."""
    decode = msgspec.json.Decoder(Progress).decode
    while child.stdout and (line := child.stdout.readline(LINE_BYTES)):
        try:
            on_progress(decode(line))
        except msgspec.DecodeError:
            if text := line.decode(errors="replace").rstrip():
                tail.append(text)


def _why(run: Run, code: int, *, late: bool) -> str:
    if late:
        return f"was stopped after {run.timeout_s:g} s, its limit (timeout_s)"
    if code == -signal.SIGKILL:
        return "was killed (signal 9), most likely for want of memory: see the kernel's log"
    if code < 0:
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    if code > 0:
        return f"failed with exit status {code}"
    return f"ended without a good {RESULT} for its input in {run.folder}"


def _room(run: Run) -> None:
    """Raises `LauncherError` when there is too little free memory or disk to begin."""
    memory, disk = _free_memory(), shutil.disk_usage(run.folder).free
    if memory is not None and memory < run.memory_gib * GIB:
        raise LauncherError(
            f"{run.module} needs {run.memory_gib:g} GiB of memory and {memory / GIB:.1f} GiB are free: "
            "stop something else, or lower `batch` and `memory_gib` in the settings of the job"
        )
    if disk < run.disk_gib * GIB:
        raise LauncherError(
            f"{run.module} needs {run.disk_gib:g} GiB of disk and {disk / GIB:.1f} GiB are free at {run.folder}: make room there"
        )


def _free_memory(proc: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that a new process can take: of the machine, or of our container if that is less; None off Linux."""
    if not proc.exists():
        return None
    lines = (line.split() for line in proc.read_text().splitlines())
    free = next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and used.exists() and (most := limit.read_text().strip()) != "max":
        return min(free, int(most) - int(used.read_text()))
    return free
