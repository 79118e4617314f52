"""Units and segments in the shapes that real apps send them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from driftwheel.pipeline.series import segment_of, unit_of
from driftwheel_schemas import Inference

EVENT = Inference(id="0190a5a0-0000-7000-8000-000000000000", app="shop", model="m", started_at=datetime(2026, 1, 5, 10, tzinfo=UTC))


def test_a_session_is_one_unit_a_day() -> None:
    """A client that sends one constant session id is watched all the same: one unit a day instead of one for ever."""
    constant = replace(EVENT, session_id="s")

    assert unit_of(constant) == unit_of(replace(constant, id="other"))
    assert unit_of(constant) != unit_of(replace(constant, started_at=constant.started_at + timedelta(days=1)))


def test_without_a_session_a_user_is_one_unit_an_hour_and_an_event_its_own() -> None:
    """The promise about false alarms is stated for sessions only; the name of the unit says which it is."""
    user = replace(EVENT, user_id="u")

    assert unit_of(user).startswith("user:")
    assert unit_of(user) != unit_of(replace(user, started_at=user.started_at + timedelta(hours=1)))
    assert unit_of(EVENT) == f"event:{EVENT.id}"


@given(
    st.lists(st.tuples(st.sampled_from(["app", "model", "prompt_name", "prompt_version"]), st.text(min_size=1, max_size=30)), max_size=4)
)
def test_a_segment_can_be_taken_apart_again(values: list[tuple[str, str]]) -> None:
    """Commas and equals signs in names of models make no second segment."""
    event = replace(EVENT, **dict(values))  # type: ignore[arg-type]
    segment = segment_of(event)
    parts = dict(part.split("=", 1) for part in segment.split(","))

    assert {name: unquote(value) for name, value in parts.items()} == {
        name: value for name in ("app", "model", "prompt_name", "prompt_version") if (value := getattr(event, name))
    }
