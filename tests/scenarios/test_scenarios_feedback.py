"""Late feedback from a real gateway's log, through the running system (D17 of the scenarios)."""

import gzip
import json
import os
from pathlib import Path

import pytest

from system import running_system, until

DATA = Path(os.environ.get("REAL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "gateway_events.jsonl.gz").is_file(), reason="the gateway's log is not at hand (set REAL_DATA)")
def test_d17_every_late_feedback_finds_its_inference(tmp_path: Path) -> None:
    """
    500 haiku and 500 judgements, then 500 feedback in a burst, 7.9 to 304 s after what they are about.

    Budget and reference play no part: nothing drifts here, and nothing may alarm. Tolerance: none, all 500 are joined, with
    the lag that the log states, and the positive share is .168 as measured on the log. Feedback is sent before the
    inferences here, which is the hardest order: it must wait for them.
    """
    with gzip.open(DATA / "gateway_events.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    inferences = [
        {
            "id": row["event_id"],
            "app": row["function"],
            "model": row["model"],
            "provider": row["provider"],
            "started_at": row["ts"],
            "prompt": json.dumps(row["input"]),
            "response": json.dumps(row["output"]),
            "latency_ms": row["response_time_ms"],
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "session_id": row["episode_id"],
        }
        for row in rows
        if row["type"] == "inference"
    ]
    said = [
        {
            "id": row["event_id"],
            "at": row["ts"],
            "name": "thumbs",
            "value": row["value"],
            "source": "judge",
            "inference_id": row["target_id"],
        }
        for row in rows
        if row["type"] == "feedback"
    ]
    with running_system(tmp_path) as system:
        assert system.post("/v1/feedback", said)["accepted"] == 500
        until(lambda: system.store.query("SELECT count() AS n FROM driftwheel.feedback")[0]["n"] == 500, 30)
        assert system.post("/v1/inferences", inferences)["accepted"] == 1000
        until(lambda: system.store.query("SELECT count() AS n FROM driftwheel.feedback FINAL WHERE matched")[0]["n"] == 500, 120)

        joined = system.store.query(
            "SELECT avg(value) AS positive, min(lag_s) AS first, max(lag_s) AS last, uniqExact(app) AS apps FROM driftwheel.feedback FINAL"
        )[0]
        assert joined["positive"] == pytest.approx(0.168)
        assert joined["apps"] == 1
        assert (joined["first"] == pytest.approx(7.854, abs=0.01), joined["last"] == pytest.approx(303.773, abs=0.01)) == (True, True)
        assert system.store.query("SELECT count() AS n FROM driftwheel.verdicts WHERE drifted")[0]["n"] == 0
