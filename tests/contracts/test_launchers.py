"""Launchers: each runs a program to its result, once; and whatever happens, no program is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from driftwheel.errors import ConfigError, LauncherError
from driftwheel.jobs.folder import CONFIG, Progress, Result
from driftwheel.jobs.launchers import LAUNCHERS, Launcher, Run, load
from driftwheel.jobs.launchers.local import _free_memory

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, os, subprocess, sys, time
from driftwheel.jobs.folder import Progress, Result, main, say

def program(folder):
    do = json.loads((folder / "config.json").read_text())["do"]
    with (folder / "runs.txt").open("a") as runs:
        runs.write("run ")
    if do == "fail":
        for line in range(80):
            print("line", line, file=sys.stderr)
        raise ValueError("the data is odd")
    if do == "leave":
        sys.exit(0)
    if do == "hang":
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        (folder / "pids.part").write_text(f"{os.getpid()} {other.pid}")
        (folder / "pids.part").rename(folder / "pids.txt")
        say(Progress(progress=0.1))
        time.sleep(300)
    for step in (1, 2, 3):
        print("some talk")
        say(Progress(progress=step / 4, step=step, loss=1.0 / step), id="more than asked for")
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    return Result(metrics={"priority": priority, "leads": float(os.getpgrp() == os.getpid())}, artifact_uri="here")

if __name__ == "__main__":
    main(program)
"""


def deaf(_progress: Progress) -> None:
    """Listens to nothing."""


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> Launcher:
    return load(request.param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder; beside it the tiny program, which children can import."""
    (tmp_path / "tiny_program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "services", ROOT / "schemas", tmp_path))))
    run = tmp_path / "run"
    run.mkdir()
    return run


def asked(folder: Path, do: str, **limits: float) -> Run:
    (folder / CONFIG).write_text(json.dumps({"do": do}))
    return Run(module="tiny_program", folder=folder, timeout_s=limits.get("timeout_s", 60.0), memory_gib=limits.get("memory_gib", 0.0))


def eventually(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def gone(folder: Path) -> bool:
    """Whether both processes of a hanging program ended (an ended child that nobody waited for counts)."""
    pids = [int(pid) for pid in (folder / "pids.txt").read_text().split()]
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_a_program_brings_back_its_result_and_says_how_far_it_is(launcher: Launcher, folder: Path) -> None:
    """Progress comes in order, the result is the program's, and it ran modestly and in a group of its own."""
    heard: list[Progress] = []
    result = launcher.run(asked(folder, "work"), heard.append)
    assert [(told.progress, told.step, told.loss) for told in heard] == [(0.25, 1, 1.0), (0.5, 2, 0.5), (0.75, 3, 1 / 3)]
    assert (result.status, result.artifact_uri, result.metrics) == ("succeeded", "here", {"priority": 10.0, "leads": 1.0})


def test_a_finished_run_is_not_run_twice(launcher: Launcher, folder: Path) -> None:
    """The result of the very same input is taken as it is; other input is run."""
    results = [launcher.run(asked(folder, do), deaf) for do in ("work", "work", "other work")]
    assert (folder / "runs.txt").read_text().split() == ["run", "run"]
    assert results[0] == results[1] != results[2]


def test_two_launchers_at_once_run_a_program_once(launcher: Launcher, folder: Path) -> None:
    """The run folder belongs to one program at a time; the second finds the result of the first."""
    run = asked(folder, "work")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _at: launcher.run(run, deaf), range(2))
    assert one == other
    assert (folder / "runs.txt").read_text().split() == ["run"]


def test_a_failure_carries_its_last_lines(launcher: Launcher, folder: Path) -> None:
    """The error names the program, its exit status and at most 50 lines, the last ones."""
    with pytest.raises(LauncherError, match="tiny_program failed with exit status 1") as error:
        launcher.run(asked(folder, "fail"), deaf)
    told = str(error.value).splitlines()[1:]
    assert told[-1] == "ValueError: the data is odd"
    assert "line 79" in told
    assert len(told) == 50


def test_an_end_without_a_result_is_a_failure(launcher: Launcher, folder: Path) -> None:
    """Exit status 0 is no result; an old result of other input is none either."""
    launcher.run(asked(folder, "work"), deaf)
    with pytest.raises(LauncherError, match=r"ended without a good result\.json"):
        launcher.run(asked(folder, "leave"), deaf)


def test_a_module_that_does_not_exist_is_told(launcher: Launcher, folder: Path) -> None:
    """What Python says of a wrong module is in the error."""
    with pytest.raises(LauncherError, match="No module named no_such_program"):
        launcher.run(Run(module="no_such_program", folder=folder), deaf)


def test_a_program_that_takes_too_long_is_ended(launcher: Launcher, folder: Path) -> None:
    """After its time it is gone, with the processes that it started, and the error says which limit it was."""
    with pytest.raises(LauncherError, match="after 3 s, its limit"):
        launcher.run(asked(folder, "hang", timeout_s=3), deaf)
    eventually(lambda: gone(folder), "the program outlived its time")


def test_whatever_the_listener_raises_ends_the_run(launcher: Launcher, folder: Path) -> None:
    """Nobody listens any more: the program is ended and the listener's error comes through."""

    def breaks(_progress: Progress) -> None:
        raise KeyError("no more")

    with pytest.raises(KeyError):
        launcher.run(asked(folder, "hang"), breaks)
    eventually(lambda: gone(folder), "the program went on without a listener")


def test_a_program_ends_with_its_launcher(folder: Path) -> None:
    """A kill -9 of the process that launched it leaves no program behind, nor what the program started."""
    asked(folder, "hang")
    code = (
        "from pathlib import Path; from driftwheel.jobs.launchers import Run; from driftwheel.jobs.launchers.local import Local;"
        f"Local().run(Run(module='tiny_program', folder=Path({str(folder)!r})), print)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as runner:
        eventually((folder / "pids.txt").exists, "the program did not start")
        os.kill(runner.pid, signal.SIGKILL)
    eventually(lambda: gone(folder), "the program outlived its launcher")


def test_too_little_memory_is_told_before_the_start(folder: Path) -> None:
    """The sentence says what is needed, what is free and what to do; nothing was started."""
    with pytest.raises(LauncherError, match=r"needs 1e\+06 GiB of memory and \d+\.\d GiB are free: stop something else"):
        load("local").run(asked(folder, "work", memory_gib=1e6), deaf)
    assert not (folder / "runs.txt").exists()


def test_free_memory_is_that_of_the_container(tmp_path: Path) -> None:
    """Where a container may take less than the machine has, that counts; off Linux nothing is known."""
    meminfo, group = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    group.mkdir()
    assert _free_memory(meminfo, group) == 8000 * 1024
    (group / "memory.max").write_text("3000\n")
    (group / "memory.current").write_text("1000\n")
    assert _free_memory(meminfo, group) == 2000
    (group / "memory.max").write_text("max\n")
    assert _free_memory(meminfo, group) == 8000 * 1024
    assert _free_memory(tmp_path / "none", group) is None


def test_an_unknown_launcher_is_told_with_the_known_ones() -> None:
    """A wrong name in the settings says what there is; an import path builds anybody's."""
    with pytest.raises(ConfigError, match='no launcher called "k8s"; known: local'):
        load("k8s")
    assert load("driftwheel.jobs.launchers.local:Local") == load("local")


def test_a_result_says_what_the_contract_says() -> None:
    """The names in result.json are the run contract; another launcher's program relies on them."""
    assert set(Result.__slots__) >= {"status", "metrics", "artifact_uri", "base_model", "dataset_id", "run_digest"}
