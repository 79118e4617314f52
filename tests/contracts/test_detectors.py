"""Every entry of DETECTORS keeps the contract of `driftwheel.detectors.Detector`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftwheel.detectors import DETECTORS, Detector, load
from driftwheel.detectors.settings import DetectionSettings, DetectorSettings
from driftwheel.errors import ConfigError
from driftwheel_schemas import Observation

START = datetime(2026, 1, 5, tzinfo=UTC)
KINDS = {name: kind for kind, name in DetectionSettings().detectors.items()}
NAMES = sorted(DETECTORS)
SMALL = {kind: replace(DetectionSettings().of("any", kind), cap=900, keep=450) for kind in KINDS.values()}

everything = pytest.mark.parametrize("name", NAMES)


def bfloat16(vector: np.ndarray) -> bytes:
    return (vector.astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()


def unit(i: int, kind: str, value: float) -> Observation:
    """The *i*-th unit, one a second. A vector of 8 dimensions points from the first axis towards the second as *value* grows."""
    at = START + timedelta(seconds=i)
    noise = np.random.default_rng(i).normal(0, 0.05, 8) if value % 1 else np.zeros(8)
    vector = np.array([np.cos(value), np.sin(value), 0, 0, 0, 0, 0, 0]) + noise
    return Observation(
        id=f"observation {i}",
        app="shop",
        signal=f"any.{kind}",
        segment="app=shop",
        kind=kind,  # type: ignore[arg-type]
        unit=f"session:{i}",
        at=at,
        accepted_at=at,
        inference_id=f"inference {i}",
        value=None if kind == "vector" else value,
        vector=bfloat16(vector) if kind == "vector" else None,
    )


def values(kind: str, n: int, level: float = 0.3, *, seed: int = 0, first: int = 0) -> Iterator[Observation]:
    """*n* units around *level*: numbers scattered about it, flags set with that chance, vectors turned by it."""
    random = np.random.default_rng((seed, first))
    for i in range(first, first + n):
        yield unit(i, kind, float(random.random() < level) if kind == "flag" else float(level + random.normal(0, 0.1)))


def watch(detector: Detector, units: Iterator[Observation]) -> list[int]:
    """The places at which *detector* has something to say."""
    return [i for i, seen in enumerate(units) if detector.update(seen)]


def make(name: str) -> Detector:
    return load(name, SMALL[KINDS[name]])


@everything
@settings(max_examples=15, deadline=None)
@given(value=st.floats(-1e6, 1e6), n=st.integers(1, 600))
def test_silent_on_a_constant(name: str, value: float, n: int) -> None:
    """Whatever the constant, nothing is found in it."""
    detector, kind = make(name), KINDS[name]
    constant = float(value > 0) if kind == "flag" else value

    assert watch(detector, (unit(i, kind, constant) for i in range(n))) == []
    assert not detector.finding().drifted


@everything
def test_a_big_step_is_found_and_described(name: str) -> None:
    """A big step is found within 100 units, with its onset within 20 units of the truth, its direction and its examples."""
    detector, kind = make(name), KINDS[name]
    assert watch(detector, values(kind, 800)) == []
    after = watch(detector, values(kind, 100, 0.95, first=800))

    found = detector.finding()
    assert after
    assert found.drifted
    assert found.evidence >= found.level == 0.0
    assert found.onset is not None
    assert abs((found.onset - START).total_seconds() - 800) <= 20
    assert found.direction == "up"
    assert found.baseline is not None
    assert found.current is not None
    assert found.current > found.baseline
    assert set(found.examples) <= {f"inference {i}" for i in range(780, 900)}
    assert found.examples
    assert f"since about {found.onset:%Y-%m-%d %H:%M} UTC" in found.reason
    assert found.promise == "at most 0.02 false alarms a week for this series"


@everything
def test_an_alarm_is_said_again_as_its_sample_doubles(name: str) -> None:
    """The same alarm comes again with a higher revision at 2, 4, 8… times its first sample; its evidence stays."""
    detector, kind = make(name), KINDS[name]
    units = [*values(kind, 800), *values(kind, 600, 0.95, first=800)]
    findings = [detector.finding() for seen in units if detector.update(seen)]

    first = findings[0].sample_size
    assert [found.revision for found in findings] == list(range(len(findings)))
    assert [found.sample_size for found in findings] == [first << i for i in range(len(findings))]
    assert len(findings) >= 3
    assert len({(found.evidence, found.onset, found.version, found.epoch, found.baseline, found.units_to_alarm) for found in findings}) == 1


@everything
def test_accepting_begins_an_epoch_with_a_new_reference(name: str) -> None:
    """After `accept` the new level is what is usual: learned afresh, quiet on it, and loud when the old one comes back."""
    detector, kind = make(name), KINDS[name]
    watch(detector, values(kind, 800))
    watch(detector, values(kind, 100, 0.95, first=800))
    before = detector.finding()
    detector.accept()

    assert detector.version == ""
    assert detector.finding().epoch == before.epoch + 1
    assert "Learning" in detector.finding().reason
    assert watch(detector, values(kind, 800, 0.95, first=900)) == []
    assert detector.version not in {"", before.version}
    assert watch(detector, values(kind, 200, 0.3, first=1700))


@everything
@settings(max_examples=12, deadline=None)
@given(cut=st.integers(0, 1500), seed=st.integers(0, 3))
def test_a_restored_detector_goes_on_bit_for_bit(name: str, cut: int, seed: int) -> None:
    """Wherever a snapshot is taken (learning, quiet, in a later epoch, after an alarm), what goes on from it is the same to the last bit."""
    kind = KINDS[name]
    units = [*values(kind, 1200, seed=seed), *values(kind, 400, 0.8, seed=seed, first=1200)]
    detector, again = make(name), make(name)
    watch(detector, iter(units[:cut]))
    again.restore(detector.reference(), detector.state())

    assert watch(detector, iter(units[cut:])) == watch(again, iter(units[cut:]))
    assert detector.finding() == again.finding()
    assert (detector.reference(), detector.state()) == (again.reference(), again.state())


@everything
def test_the_same_units_give_the_same_findings(name: str) -> None:
    """No clock and no generator: a replay ends in the same bytes."""
    kind = KINDS[name]
    one, two = make(name), make(name)
    units = [*values(kind, 900), *values(kind, 100, 0.95, first=900)]

    assert watch(one, iter(units)) == watch(two, iter(units)) != []
    assert one.state() == two.state()


@everything
def test_the_order_of_equal_values_does_not_matter(name: str) -> None:
    """Units of equal value may change places in the reference: the bag is a bag, and what follows is the same."""
    kind = KINDS[name]
    reference = SMALL[kind].reference
    coarse = [unit(i, kind, float(i % 2 if kind == "flag" else i % 4)) for i in range(reference)]
    swapped = [replace(one, id=f"other {i}", inference_id="another") for i, one in enumerate(coarse)]
    swapped = [*swapped[4:8], *swapped[:4], *swapped[8:]]
    one, two = make(name), make(name)
    after = list(values(kind, 200, 0.5, first=reference))
    watch(one, iter(coarse))
    watch(two, iter(swapped))

    assert one.version == two.version
    assert watch(one, iter(after)) == watch(two, iter(after))
    assert one.finding().evidence == two.finding().evidence


@everything
def test_the_reference_stays_and_the_moving_part_is_small(name: str) -> None:
    """The reference is the same bytes for a version; the moving part is bounded by the cap."""
    detector, kind = make(name), KINDS[name]
    seen: dict[str, bytes] = {}
    for one in values(kind, 3000):
        detector.update(one)
        if detector.version:
            assert seen.setdefault(detector.version, detector.reference()) == detector.reference()
            assert len(detector.state()) <= 4 * 900 + 8192
    assert len(seen) == detector.finding().epoch + 1
    assert not detector.finding().drifted


@everything
@pytest.mark.parametrize(("unit_name", "stated"), [("session:s", True), ("event:i", False), ("user:u@2026-01-01T00", False)])
def test_the_promise_is_stated_for_sessions_alone(name: str, unit_name: str, stated: bool) -> None:  # noqa: FBT001
    """Units that are no sessions may depend on each other, so no promise is made for them, and the cure is named."""
    detector = make(name)
    detector.update(replace(unit(0, KINDS[name], 1.0), unit=unit_name))

    promise = detector.finding().promise
    assert promise.startswith("at most 0.02 ") if stated else promise.startswith("not stated: 1 units")
    assert stated or "send a session id" in promise


@everything
def test_without_time_nothing_is_staked(name: str) -> None:
    """The budget comes from `accepted_at` alone: where that stands still there is no alarm, whatever the values do."""
    detector, kind = make(name), KINDS[name]
    still = (replace(one, accepted_at=START) for one in [*values(kind, 700), *values(kind, 300, 0.95, first=700)])

    assert watch(detector, still) == []
    assert detector.finding().evidence == -12.0


@everything
def test_a_clock_that_steps_back_harms_nothing(name: str) -> None:
    """A unit that is accepted before its predecessor counts as accepted with it: the gap is clipped at zero, the clock goes on from its highest."""
    kind = KINDS[name]
    back, clipped = make(name), make(name)
    units = list(values(kind, 600))
    watch(back, (replace(one, accepted_at=START) if i % 50 == 49 else one for i, one in enumerate(units)))
    watch(clipped, (replace(one, accepted_at=units[i - 1].accepted_at) if i % 50 == 49 else one for i, one in enumerate(units)))

    assert back.finding().evidence == clipped.finding().evidence > -12.0


@everything
def test_one_long_gap_pays_for_a_week_at_most(name: str) -> None:
    """A series that was quiet for years does not alarm for that."""
    detector, kind = make(name), KINDS[name]
    watch(detector, values(kind, 450))
    late = (replace(one, accepted_at=one.accepted_at + timedelta(days=3650)) for one in values(kind, 3, first=450))

    assert watch(detector, late) == []
    assert detector.finding().evidence < -1


def test_an_unknown_detector_is_refused_with_the_known_ones() -> None:
    """The error names the setting, what is wrong and what is known."""
    with pytest.raises(ConfigError, match='no detector called "conformel"; known: conformal, novelty, rate'):
        load("conformel", DetectorSettings())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: DetectorSettings(budget_per_week=0), "detection.budget_per_week"),
        (lambda: DetectorSettings(reference=20), "detection.references: 20"),
        (lambda: DetectorSettings(keep=100), "detection.keep: 100"),
    ],
)
def test_a_bad_setting_names_its_path_and_the_cure(wrong: Callable[[], object], says: str) -> None:
    """What cannot be promised is refused when it is set."""
    with pytest.raises(ConfigError, match=says):
        wrong()
