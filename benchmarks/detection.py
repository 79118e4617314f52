"""
What a unit costs in each detector, beside doing the same with scipy or plainly, in one run on one core.

Run: `OPENBLAS_NUM_THREADS=1 python benchmarks/detection.py`. Times are of this process's CPU, best of three runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import starmap
from time import process_time

import msgspec
import numpy as np
from scipy import stats

from driftwheel.bus import Claim, Record
from driftwheel.detectors import load
from driftwheel.detectors.settings import DetectionSettings
from driftwheel.pipeline import Batch
from driftwheel.pipeline.detection import Detection
from driftwheel_schemas import Observation
from driftwheel_schemas.topics import OBSERVATIONS

START = datetime(2026, 1, 5, tzinfo=UTC)
UNITS = 3000
SETTINGS = DetectionSettings()


def observation(i: int, kind: str, value: float | None, vector: bytes | None = None) -> Observation:
    at = START + timedelta(seconds=60 * i)
    return Observation(
        id=f"o{i}",
        app="a",
        signal=f"s.{kind}",
        segment="app=a",
        kind=kind,  # type: ignore[arg-type]
        unit=f"session:{i}",
        at=at,
        accepted_at=at,
        inference_id=f"i{i}",
        value=value,
        vector=vector,
    )


def best(run: Callable[[], object], units: int) -> float:
    """Microseconds of CPU a unit, best of three."""
    times = []
    for _ in range(3):
        begin = process_time()
        run()
        times.append(process_time() - begin)
    return 1e6 * min(times) / units


def ours(kind: str, seen: Sequence[Observation]) -> float:
    def run() -> None:
        detector = load(SETTINGS.detectors[kind], SETTINGS.of("any", kind))
        for one in seen:
            detector.update(one)

    return best(run, len(seen))


def scipy_ks(values: Sequence[float]) -> float:
    """A Kolmogorov-Smirnov test of the last 200 against the reference at every unit: no promise over time."""
    reference, last = values[:200], 300
    return best(lambda: [stats.ks_2samp(reference, values[i - 200 : i]) for i in range(400, 400 + last)], last)


def recounted(values: Sequence[float]) -> float:
    """The same ranks, each counted anew over the whole bag."""
    return best(lambda: [(np.array(values[:i]) > values[i]).sum() for i in range(200, len(values))], len(values) - 200)


def scipy_binomial(values: Sequence[float]) -> float:
    """An exact binomial test of the last 200 flags against the reference's share at every unit: no promise over time."""
    share, last = float(np.mean(values[:200])), 300
    return best(lambda: [stats.binomtest(int(sum(values[i - 200 : i])), 200, share) for i in range(400, 400 + last)], last)


def sorted_neighbours(vectors: np.ndarray) -> float:
    """The fifth nearest of 250 train points by sorting all distances in float64, as a plain implementation does."""
    train, stream = vectors[:250].astype(float), vectors[250:1250].astype(float)

    def nearest(x: np.ndarray) -> float:
        return float(np.sort([1 - t @ x / np.linalg.norm(t) / np.linalg.norm(x) for t in train])[4])

    return best(lambda: [nearest(x) for x in stream[:100]], 100)


def worker(seen: Sequence[Observation]) -> tuple[float, float]:
    """Microseconds an observation through the worker core (5 series of 1,800 units, decoding and snapshots too), and KiB a snapshot."""
    many = [replace(one, segment=f"app={i % 5}", id=f"{one.id}/{i}", unit=f"session:{i}") for i, one in enumerate([*seen, *seen, *seen])]
    values = [msgspec.json.encode(many[i : i + 500]) for i in range(0, len(many), 500)]
    records = list(starmap(lambda i, value: Record(OBSERVATIONS, 0, i, "", value, {}, START), enumerate(values)))
    stored: list[int] = []

    def run() -> None:
        core = Detection(1, SETTINGS)
        core.assigned(Claim(OBSERVATIONS, 0), [[]])
        for i, one in enumerate(records):
            outcome = core.process(Batch([one], START + timedelta(seconds=2 * i)), [])
            core.landed(outcome)
            stored.extend(len(row["data"]) for row in outcome.inserts[0].rows if row["part"] == "state")

    return best(run, len(many)), float(np.mean(stored)) / 1024


def main() -> None:
    random = np.random.default_rng(0)
    numbers = [float(x) for x in random.lognormal(0, 0.5, UNITS)]
    flags = [float(x) for x in random.random(UNITS) < 0.08]
    vectors = random.normal(size=(UNITS, 384)).astype(np.float32)
    packed = [row.tobytes() for row in (vectors.view(np.uint32) >> 16).astype("<u2")]
    seen = {
        "number": [observation(i, "number", x) for i, x in enumerate(numbers)],
        "flag": [observation(i, "flag", x) for i, x in enumerate(flags)],
        "vector": [observation(i, "vector", None, x) for i, x in enumerate(packed)],
    }
    through, kib = worker(seen["number"])
    for what, cost in {
        "conformal, a number": ours("number", seen["number"]),
        "  ranks recounted with numpy": recounted(numbers),
        "  scipy ks_2samp of a window": scipy_ks(numbers),
        "rate, a flag": ours("flag", seen["flag"]),
        "  scipy binomtest of a window": scipy_binomial(flags),
        "novelty, a vector of 384": ours("vector", seen["vector"]),
        "  neighbours sorted plainly": sorted_neighbours(vectors),
        "the worker core, a number": through,
    }.items():
        print(f"{what:32}{cost:10.1f} µs")
    print(f"{'a snapshot of a series':32}{kib:10.1f} KiB")


if __name__ == "__main__":
    main()
