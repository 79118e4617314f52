"""What the exact detectors promise, against scipy, a slow direct implementation, and many streams."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from driftwheel.detectors import load
from driftwheel.detectors.bag import Bag
from driftwheel.detectors.bets import luck, rank_bets
from driftwheel.detectors.evidence import fresh
from driftwheel.detectors.rate import Rate, step_bets
from driftwheel.detectors.settings import DetectorSettings
from driftwheel_schemas import Observation

START = datetime(2026, 1, 5, tzinfo=UTC)
Draw = Callable[[np.random.Generator, int], Sequence[float | bytes]]


def units(drawn: Sequence[float | bytes], kind: str, stream: int, per_week: int) -> Iterator[Observation]:
    """Units of one stream, evenly over time."""
    for i, value in enumerate(drawn):
        at = START + timedelta(weeks=1) * i / per_week
        number, vector = (None, value) if isinstance(value, bytes) else (value, None)
        yield Observation(
            id=f"{stream}/{i}",
            app="a",
            signal="s",
            segment="g",
            kind=kind,  # type: ignore[arg-type]
            unit=f"session:{i}",
            at=at,
            accepted_at=at,
            inference_id=f"i{i}",
            value=number,
            vector=vector,
        )


def topics(random: np.random.Generator, n: int, new: float = 0.0, *, dimensions: int = 32) -> list[bytes]:
    """*n* prompts as unit vectors: eight topics, and a share *new* of a ninth that was not there before."""
    centres = np.random.default_rng(1).normal(0, 1, (9, dimensions))
    which = np.where(random.random(n) < new, 8, random.integers(0, 8, n))
    vectors = centres[which] + random.normal(0, 0.8, (n, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [row.tobytes() for row in (vectors.astype(np.float32).view(np.uint32) >> 16).astype("<u2")]


def latencies(random: np.random.Generator, n: int, times: float = 1.0) -> list[float]:
    """Log-normal seconds with a spread of 0.5, as measured ones have."""
    return [float(value) for value in times * random.lognormal(0.0, 0.5, n)]


def flags(random: np.random.Generator, n: int, share: float = 0.08) -> list[float]:
    """Thumbs down."""
    return [float(value) for value in random.random(n) < share]


NULLS: dict[str, tuple[str, str, Draw, DetectorSettings]] = {
    "numbers": ("conformal", "number", latencies, DetectorSettings(budget_per_week=0.5)),
    "numbers with many ties": (
        "conformal",
        "number",
        lambda r, n: [float(v) for v in r.integers(1, 6, n)],
        DetectorSettings(budget_per_week=0.5),
    ),
    "numbers in short epochs": ("conformal", "number", latencies, DetectorSettings(budget_per_week=0.5, reference=64, cap=200, keep=100)),
    "flags": ("rate", "flag", flags, DetectorSettings(budget_per_week=0.5)),
    "rare flags": ("rate", "flag", lambda r, n: flags(r, n, 0.01), DetectorSettings(budget_per_week=0.5, reference=64)),
    "vectors": ("novelty", "vector", topics, DetectorSettings(budget_per_week=0.5, reference=160, train=100)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", NULLS)
def test_false_alarms_keep_to_the_budget(case: str) -> None:
    """
    Of 200 streams without drift the share that alarms in the week after their reference is at most the budget of 0.5
    and three standard errors; and it is no tenth of it, or the test would prove nothing.
    """
    name, kind, draw, settings = NULLS[case]
    streams, per_week = 200, 600
    alarms = 0
    for stream in range(streams):
        random = np.random.default_rng((7, stream))
        detector = load(name, settings)
        drawn = draw(random, settings.reference + per_week)
        alarms += any(detector.update(seen) for seen in units(drawn, kind, stream, per_week))

    share = alarms / streams
    assert share <= 0.5 + 3 * np.sqrt(0.25 / streams)
    assert share >= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "draw", "changed", "settings", "quiet", "most"),
    [
        ("conformal", "number", latencies, lambda r, n: latencies(r, n, 1.25), DetectorSettings(), 1000, 180),
        ("rate", "flag", flags, lambda r, n: flags(r, n, 0.16), DetectorSettings(), 3000, 550),
        ("novelty", "vector", topics, lambda r, n: topics(r, n, 0.25), DetectorSettings(reference=400, train=250), 1000, 40),
    ],
    ids=["latency x1.25", "thumbs down 8% to 16%", "a quarter of a new topic"],
)
def test_a_change_is_found_soon(name: str, kind: str, draw: Draw, changed: Draw, settings: DetectorSettings, quiet: int, most: int) -> None:
    """At 0.02 false alarms a week and 1,000 units a day, after *quiet* units: the median delay over 15 streams is at most *most* units."""
    delays = []
    for stream in range(15):
        random = np.random.default_rng((3, stream))
        drawn = [*draw(random, quiet), *changed(random, 2000)]
        detector = load(name, settings)
        said = next((i for i, seen in enumerate(units(drawn, kind, stream, 7000)) if detector.update(seen)), len(drawn))
        assert said >= quiet - 20, "a false alarm"
        delays.append(said - quiet)

    assert median(delays) <= most


@pytest.mark.parametrize(
    "values", [np.round(np.random.default_rng(1).lognormal(0, 1, 3000), 1), np.random.default_rng(2).integers(0, 3, 3000)]
)
def test_ranks_are_uniform_and_do_not_depend_on_each_other(values: NDArray[np.float64]) -> None:
    """Kolmogorov and Smirnov find nothing in the ranks of exchangeable numbers, nor in the ranks that follow a low one."""
    bag, ranks = Bag(), []
    for i, value in enumerate(values.tolist()):
        ranks.append(bag.rank(value, luck(f"o{i}")))
        bag.add(value)
    p = np.array(ranks)

    assert kstest(p, "uniform").pvalue > 0.01
    assert kstest(p[1:][p[:-1] < 0.3], "uniform").pvalue > 0.01
    assert abs(np.corrcoef(p[1:], p[:-1])[0, 1]) < 4 / np.sqrt(len(p))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_ranks_of_flags_are_uniform_whatever_their_share(share: float) -> None:
    """Also where all flags are alike."""
    rate, random, ranks = Rate(DetectorSettings()), np.random.default_rng(4), []
    for i in range(3000):
        value = float(random.random() < share)
        ranks.append(rate.rank(value, luck(f"f{i}")))
        rate._add(value)

    assert kstest(ranks, "uniform").pvalue > 0.01


@pytest.mark.parametrize("bets", [rank_bets, step_bets])
def test_every_bet_is_fair(bets: Callable[[float], NDArray[np.float64]]) -> None:
    """Each factor is nothing below zero, and integrates to 1 over (0, 1), to at most 1 where its pole is cut."""
    edges = np.concatenate(
        [np.geomspace(1e-9, 1e-2, 4000), np.linspace(1e-2, 1 - 1e-2, 40_000)[1:], 1 - np.geomspace(1e-2, 1e-9, 4000)[1:]]
    )
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    factors = np.array([bets(float(p)) for p in middles])
    integrals = widths @ factors

    assert (factors >= 0).all()
    assert (integrals <= 1.0 + 1e-3).all()
    assert (integrals >= 0.8).all()


def test_a_step_at_the_share_before_the_unit_would_not_be_fair() -> None:
    """
    Why the steps stand on a fixed grid. The rank of a unit is uniform given the bag with it, say 8 set flags in 100.
    A step at the share *before* it (7 or 8 in 99, as the unit is set or not) then pays 1.007 on average where it bets that
    the rate fell: such money grows with every unit that changes nothing.
    """
    ranks = (np.arange(1_000_000) + 0.5) / 1_000_000
    before = np.where(ranks <= 8 / 100, 7 / 99, 8 / 99)
    falls = 0.3
    pays = np.where(ranks <= before, falls, (1 - falls * before) / (1 - before))

    assert pays.mean() == pytest.approx(1.007, abs=1e-3)


@pytest.mark.parametrize(("name", "kind"), [("conformal", "number"), ("rate", "flag")])
def test_evidence_is_what_a_slow_direct_computation_says(name: str, kind: str) -> None:
    """
    From the raw stream: each rank counted among all units before it and itself, each sum written out as
    `S_t = sum over j of w_j f_j+1 ... f_t` with w_j the budget of the gap before unit j, each mean taken over the components.
    """
    random = np.random.default_rng(8)
    values = [float(v) for v in (random.integers(0, 9, 150) if kind == "number" else random.random(150) < 0.2)]
    gaps = random.exponential(3600, 150)
    bets, settings = {"number": rank_bets, "flag": step_bets}[kind], DetectorSettings(reference=64, budget_per_week=0.3)
    detector, at, factors = load(name, settings), START, []
    money: list[float] = []
    for i, (seen, gap) in enumerate(zip(units(values, kind, 0, 1000), gaps, strict=True)):
        at += timedelta(seconds=round(float(gap)))
        detector.update(replace(seen, accepted_at=at))
        if i >= 64:
            above, equal = sum(v > values[i] for v in values[:i]), sum(v == values[i] for v in values[: i + 1])
            factors.append(bets((above + luck(seen.id) * equal) / (i + 1)))
            money.append(0.3 * round(float(gap)) / (7 * 86400))

    products = np.array(factors)
    direct = sum(money[j] * products[j + 1 :].prod(axis=0) for j in range(len(money) - 1))
    assert detector.finding().evidence == pytest.approx(np.log10(np.mean(direct)), abs=1e-9)
    assert detector.finding().reference_size == 150


def test_sums_are_capped() -> None:
    """However long a change goes on without an alarm, nothing overflows."""
    evidence = fresh(20)
    for _ in range(3000):
        evidence.update(rank_bets(1e-9), 1e-3, (0.0, 0.0, 0.0, 0.0))

    assert evidence.sums.max() == 1e30
    assert np.isfinite(evidence.sums).all()
