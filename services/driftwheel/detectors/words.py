"""Findings as sentences that a person understands at three in the morning."""

from driftwheel.detectors.finding import Finding


def say(found: Finding, noun: str, wanted: int) -> str:
    """Why there is an alarm, or why there is none. *noun* is what was compared, *wanted* the units of a reference."""
    if found.drifted:
        return f"{_change(found, noun)}. {_chance(found)}"
    if not found.version:
        return f"Learning what is usual: {found.reference_size} of {wanted} units so far."
    return f"No change: evidence 10^{found.evidence:.1f} where 1 is an alarm; compared with {found.reference_size} units."


def amount(value: float | None, noun: str = "") -> str:
    """
    A number as people read it; a share in percent.

    >>> amount(1234.567), amount(0.123456), amount(0.0812, "share")
    ('1,235', '0.123', '8.1 %')
    """
    if value is None:
        return "unknown"
    if noun == "share":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _change(found: Finding, noun: str) -> str:
    before, since = amount(found.baseline, noun), amount(found.current, noun)
    when = f"since about {found.onset:%Y-%m-%d %H:%M} UTC ({found.sample_size} units since, {found.reference_size} before)"
    if found.direction == "other":  # the ranks moved one way, the mean did not follow
        return f"The values are spread in another way {when}; their {noun} was {before} and is {since}"
    return f"The {noun} {'rose' if found.direction == 'up' else 'fell'} from {before} to {since} {when}"


def _chance(found: Finding) -> str:
    if not found.stated:
        return f"How often this would be chance is {found.promise}."
    return f"By chance alone: {found.promise}."
