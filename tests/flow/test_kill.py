"""Kill -9 of real processes at random moments, with clients that retry: nothing accepted is lost, no row is doubled."""

import random
import threading
import time
import urllib.error
from datetime import UTC, datetime
from pathlib import Path

import pytest

from driftwheel_schemas import new_id
from system import System, count, kill, running_system, until

KILLS = 24
VICTIMS = ("collector", "workers", "store", "detection")


class Client(threading.Thread):
    """An app that logs in batches and sends each again until it is answered."""

    def __init__(self, system: System, number: int) -> None:
        super().__init__(daemon=True)
        self.system, self.number = system, number
        self.inferences: list[str] = []
        self.feedback: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            now = datetime.now(UTC).isoformat()
            ids = [new_id() for _ in range(20)]
            said = [new_id() for _ in ids]
            self.send(
                "/v1/inferences",
                [
                    {
                        "id": id_,
                        "app": "shop",
                        "model": "m",
                        "started_at": now,
                        "prompt": "Where is it?",
                        "response": "There.",
                        "latency_s": 1.0,
                        "session_id": f"{self.number}-{id_}",
                    }
                    for id_ in ids
                ],
            )
            self.send(
                "/v1/feedback",
                [{"id": fid, "at": now, "name": "thumbs", "value": True, "inference_id": id_} for id_, fid in zip(ids, said, strict=True)],
            )
            self.inferences += ids
            self.feedback += said
            time.sleep(0.02)

    def send(self, path: str, events: object) -> None:
        """Until a 202: an answer that was lost means that the same comes again."""
        while True:
            try:
                if self.system.post(path, events)["accepted"]:
                    return
            except (urllib.error.URLError, OSError, ValueError):
                time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_accepted_is_lost_and_no_row_is_doubled(tmp_path: Path) -> None:
    """24 kills of collector, workers, detection and store; every id is stored exactly once, without FINAL, and all feedback is matched."""
    draw = random.Random(4)
    with running_system(tmp_path) as system:
        clients = [Client(system, number) for number in range(3)]
        for client in clients:
            client.start()
        for number in range(KILLS):
            time.sleep(draw.uniform(0.5, 4.0))
            kill(system.pid(VICTIMS[number % 4] if number < 12 else draw.choice(VICTIMS)))
        for client in clients:
            client.stop.set()
            client.join(60)
        inferences = {id_ for client in clients for id_ in client.inferences}
        said = {id_ for client in clients for id_ in client.feedback}
        until(lambda: count(system, "inferences") >= len(inferences) and count(system, "feedback", "matched") >= len(said), 90)

        for table, ids in (("inferences", inferences), ("payloads", inferences), ("feedback", said)):
            rows = system.store.query(
                f"SELECT toString(id) AS id, count() AS n FROM driftwheel.{table} GROUP BY id{', revision' if table == 'feedback' else ''}"
            )
            assert {row["id"] for row in rows} == ids, f"{table}: lost or invented"
            assert [row for row in rows if row["n"] > 1] == [], f"{table}: doubled"
        assert count(system, "dead_letters") == 0
        print(f"{KILLS} kills, {len(inferences)} inferences and {len(said)} feedback: 0 lost, 0 doubled")  # noqa: T201  seen with -s
