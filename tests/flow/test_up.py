"""First-week shapes of the running system: a second `up` on a folder, a taken port, commands with and without something running."""

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from system import CHEAP, SETTINGS, count, running_system, until


def driftwheel(*arguments: str, folder: Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person would."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTWHEEL_")} | {"COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "driftwheel", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    """An OpenTelemetry collector may sit on 4318; the cure is named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = driftwheel("up", "--port", str(port), folder=tmp_path)

    assert done.returncode == 2
    assert f"127.0.0.1:{port} is taken" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verdict"], "nothing runs on driftwheel-data; start it with `driftwheel up`"),
        (["run", "signal"], "run signal: run one of store, collector, jobs"),
        (["run", "store", "signals"], "run store signals"),
        (["send", "none.jsonl"], "none.jsonl"),
        (["up", "--host", "0.0.0.0"], "there is no key"),
    ],
)
def test_what_a_person_gets_wrong_is_told_in_a_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    """No traceback for what a person can mend."""
    done = driftwheel(*arguments, folder=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_running_system_answers_its_commands_and_keeps_its_folder(tmp_path: Path) -> None:
    """A second `up` on the folder is refused in a sentence; send, query, verdict, doctor and jobs find the one that runs."""
    lines = tmp_path / "old.jsonl"
    lines.write_text('{"question": "Where is it?", "answer": {"text": "There."}, "created": 1767225600000}\n' * 3, "utf-8")
    with running_system(tmp_path, SETTINGS, CHEAP) as system:
        data = str(system.folder)
        second = driftwheel("up", "--data", data, "--port", "0", folder=tmp_path)
        assert second.returncode == 2
        assert "another driftwheel runs on this folder" in second.stderr

        field_map = "prompt=question,response=answer.text,started_at=created"
        sent = [
            driftwheel(
                "send",
                str(lines),
                "--map",
                field_map,
                "--app",
                "old",
                "--model",
                "m",
                "--kind",
                "inference",
                "--data",
                data,
                folder=tmp_path,
            )
            for _ in range(2)
        ]
        assert [one.returncode for one in sent] == [0, 0], sent[0].stdout + sent[0].stderr
        assert "3 of 3 lines sent" in sent[0].stdout
        until(lambda: count(system, "inferences") == 3, 30)
        asked = driftwheel("query", "SELECT app, started_at FROM driftwheel.inferences FINAL", "--json", "--data", data, folder=tmp_path)
        assert asked.stdout.splitlines() == ['{"app":"old","started_at":"2026-01-01T00:00:00.000000Z"}'] * 3
        refused = driftwheel("query", "DROP TABLE driftwheel.inferences", "--data", data, folder=tmp_path)
        assert refused.returncode == 2
        assert "readonly" in refused.stderr
        for command in (["verdict"], ["jobs", "list"], ["dataset"], ["model", "lineage", "old"]):
            done = driftwheel(*command, "--data", data, folder=tmp_path)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{system.running.metrics_ports['workers']}/metrics", timeout=10).read().decode()
        assert 'driftwheel_worker_events_total{role="signals",what="stored"} 3.0' in metrics
        assert 'driftwheel_worker_ready{role="feedback"} 1.0' in metrics
        healthy = driftwheel("doctor", "--data", data, folder=tmp_path)
        assert healthy.returncode == 0, healthy.stdout
        assert oct((system.folder / "store.key").stat().st_mode)[-3:] == "600"
