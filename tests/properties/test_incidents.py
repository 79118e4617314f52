"""Incidents: what people are told of. One change is one incident, a rule is its own, and the end comes with the last verdict's."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from driftwheel.actions.notices import of_incident
from driftwheel.policies.incidents import MOST, follow, resolve
from driftwheel_schemas import Incident, Verdict, derived_id

START = datetime(2026, 1, 5, tzinfo=UTC)


def verdict(n: int, hour: float = 0.0, **changes: Any) -> Verdict:
    """Series *n* of the shop, drifted since some hour."""
    at = START + timedelta(hours=hour)
    known = Verdict(
        id=derived_id("verdict", n),
        app="shop",
        signal=f"signal{n}.flag",
        segment=f"app=shop,model=m{n}",
        series=f"default/signal{n}.flag{{}}",
        detector="rate",
        reference_version="v",
        epoch=0,
        drifted=True,
        evidence=0.3,
        level=0.0,
        promise="at most 0.02 false alarms a week",
        at=at,
        accepted_at=at + timedelta(minutes=5),
        onset=at,
        direction="up",
        baseline=0.02,
        current=0.19,
        reason=f"signal{n} rose",
    )
    return replace(known, **changes)


def over(said: Verdict, hour: float = 1.0) -> Verdict:
    """*said* is over."""
    return replace(
        said, revision=said.revision + 1, resolved_at=START + timedelta(hours=hour), reason=f"{said.reason}; over: it holds again"
    )


def play(*said: Verdict) -> dict[str, Incident]:
    """The incidents after *said*."""
    incidents: dict[str, Incident] = {}
    for one in said:
        if changed := follow(one, incidents.values()):
            incidents[changed.id] = changed
    return incidents


def test_verdicts_of_one_onset_are_one_incident_and_of_another_day_another() -> None:
    """Nine series that show one change wake nobody nine times."""
    first, second = play(verdict(1), verdict(2, 3), verdict(3, 40)).values()

    assert (first.title, first.signals) == ("shop: signal1.flag is up (2.0 % → 19.0 %), and 1 more", ("signal1.flag", "signal2.flag"))
    assert (second.verdicts, second.title) == ((derived_id("verdict", 3),), "shop: signal3.flag is up (2.0 % → 19.0 %)")


def test_another_app_or_tenant_is_another_incident() -> None:
    """A change is an app's own."""
    assert len(play(verdict(1), verdict(2, app="bank"), verdict(3, tenant="other"))) == 3


def test_a_rule_and_an_alert_never_vanish_in_somebody_elses_incident() -> None:
    """A burning error budget is told though a drift of the same hour stands, has been told, or sleeps."""
    drift, burn, alert = play(verdict(1), verdict(2, detector="rule.burn"), verdict(3, detector="alert", signal="alert.Disk")).values()

    assert [len(one.verdicts) for one in (drift, burn, alert)] == [1, 1, 1]
    assert alert.title == "shop: alert Disk"
    assert len(play(verdict(2, detector="rule.burn"), verdict(1))) == 2


def test_what_was_said_before_changes_nothing() -> None:
    """A verdict is said again while its sample doubles; an incident that is over does not open again by that."""
    known = play(verdict(1))
    assert follow(verdict(1, revision=3, sample_size=900), known.values()) is None
    ended = play(verdict(1), over(verdict(1)))
    assert follow(verdict(1, revision=5), ended.values()) is None
    assert follow(verdict(7, drifted=False), {}.values()) is None
    assert follow(over(verdict(7)), {}.values()) is None


def test_an_incident_ends_with_the_last_of_its_verdicts() -> None:
    """One of two series that is quiet again is no end."""
    half = play(verdict(1), verdict(2), over(verdict(1)))
    whole = play(verdict(1), verdict(2), over(verdict(1)), over(verdict(2), 2.0))

    assert [one.state for one in half.values()] == ["open"]
    (ended,) = whole.values()
    assert (ended.state, ended.resolved_at, ended.resolution) == ("resolved", START + timedelta(hours=2), "it holds again")


def test_the_gravest_verdict_makes_the_severity() -> None:
    """A ticket becomes a page, never the other way round."""
    (raised,) = play(verdict(1), verdict(2, severity="page"), verdict(3)).values()
    (again,) = play(verdict(1), verdict(1, revision=1, severity="page")).values()

    assert (raised.severity, again.severity) == ("page", "page")


def test_an_incident_stays_bounded_and_still_ends() -> None:
    """A thousand segments of one bad deploy."""
    said = [verdict(n) for n in range(MOST + 50)]
    (grown,) = play(*said).values()
    (ended,) = play(*said, *map(over, said)).values()

    assert (len(grown.verdicts), ended.state) == (MOST, "resolved")
    assert len(of_incident(grown).text) < 1000


def test_a_person_may_end_it_once() -> None:
    """The second answer changes nothing."""
    (known,) = play(verdict(1)).values()
    ended = resolve(known, START, "fixed")

    assert ended is not None
    assert (ended.state, ended.resolution, ended.revision) == ("resolved", "fixed", 1)
    assert resolve(ended, START, "again") is None


@given(order=st.permutations([0, 1, 2, 3]), ends=st.permutations([0, 1, 2, 3]))
def test_the_order_of_one_onset_does_not_matter(order: list[int], ends: list[int]) -> None:
    """Whatever series is found first and whichever recovers last: one incident of four, which ends."""
    said = [verdict(n, n) for n in order]
    (incident,) = play(*said, *(over(verdict(n, n), 5.0 + place) for place, n in enumerate(ends))).values()

    assert (set(incident.verdicts), incident.state, len(incident.signals)) == ({one.id for one in said}, "resolved", 4)
