"""From an HTTP request to a job: the whole embedded system as processes, events in, a decision and its job out."""

import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftwheel.supervisor import PROCESSES
from driftwheel_schemas import derived_id
from system import SETTINGS, System, running_system, until

START = datetime.now(UTC) - timedelta(days=30)

POLICY = """
[jobs.dataset]
min_examples = 5000             # the job is to say no before it trains: training has its own test

[detection.references]
number = 100
flag = 100

[[policies]]
name = "worse"
signal = "feedback.thumbs.flag"
direction = "down"
min_sample = 20
min_effect = 0.2
approval = "auto"
"""


def post_sessions(system: System, numbers: range, liked: float, draw: random.Random) -> None:
    """Sessions an hour apart, each with one call and a thumb that is up with chance *liked*."""
    for first in range(numbers.start, numbers.stop, 50):
        batch = range(first, min(first + 50, numbers.stop))
        at = {n: (START + timedelta(hours=n)).isoformat() for n in batch}
        system.post(
            "/v1/inferences",
            [
                {
                    "id": derived_id("loop", n),
                    "app": "shop",
                    "model": "m",
                    "started_at": at[n],
                    "prompt": f"Where is order {n:04d}?",
                    "response": f"Order {n:04d} is on its way.",
                    "latency_s": draw.lognormvariate(0, 0.3),
                    "session_id": f"s{n}",
                }
                for n in batch
            ],
        )
        system.post(
            "/v1/feedback",
            [
                {
                    "id": derived_id("thumb", n),
                    "at": at[n],
                    "name": "thumbs",
                    "value": draw.random() < liked,
                    "inference_id": derived_id("loop", n),
                }
                for n in batch
            ],
        )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_http_to_a_job(tmp_path: Path, on_bus: str) -> None:
    """
    Thumbs fall from .95 to .3: a verdict, an approved trigger, and a job that was asked for.

    The job says that there is too little to train on (5,000 examples are asked for). Sending the same traffic again
    changes nothing.
    """
    draw = random.Random(2)
    roles = {name: PROCESSES[name] for name in ("store", "collector", "workers", "detection", "jobs")}
    with running_system(tmp_path, SETTINGS + POLICY + on_bus, roles) as system:
        ask = system.store.query
        post_sessions(system, range(300), 0.95, draw)
        until(lambda: ask("SELECT count() AS n FROM driftwheel.feedback FINAL WHERE matched")[0]["n"] == 300, 60)
        post_sessions(system, range(300, 500), 0.3, draw)
        until(lambda: bool(ask("SELECT 1 FROM driftwheel.jobs")), 90)

        verdict = ask(
            "SELECT * FROM driftwheel.verdicts FINAL WHERE drifted AND signal = 'feedback.thumbs.flag' ORDER BY revision LIMIT 1"
        )[0]
        trigger = ask("SELECT * FROM driftwheel.triggers FINAL WHERE state = 'approved'")[0]
        assert (verdict["signal"], verdict["direction"]) == ("feedback.thumbs.flag", "down")
        assert verdict["evidence"] >= verdict["level"]
        assert "false alarms a week" in verdict["promise"]
        assert (trigger["verdict_id"], trigger["policy"]) == (verdict["id"], "worse")
        until(lambda: ask("SELECT state FROM driftwheel.jobs FINAL")[0]["state"] == "failed", 60)
        job = ask("SELECT * FROM driftwheel.jobs FINAL")[0]
        assert job["id"] == derived_id(trigger["id"], "finetune")
        assert "usable examples" in job["detail"]

        before = {table: ask(f"SELECT count() AS n FROM driftwheel.{table}") for table in ("inferences", "payloads", "triggers")}
        post_sessions(system, range(300), 0.95, random.Random(2))
        until(lambda: ask("SELECT count() AS n FROM driftwheel.feedback FINAL")[0]["n"] == 500, 5)
        time.sleep(2)  # nothing is to happen: give it the time to happen
        assert ask("SELECT count() AS n FROM driftwheel.dead_letters")[0]["n"] == 0
        assert before == {table: ask(f"SELECT count() AS n FROM driftwheel.{table}") for table in before}
        assert len(ask("SELECT id FROM driftwheel.jobs FINAL")) == 1
