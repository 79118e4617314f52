"""Every entry of SIGNALS keeps the contract of a signal; test_signal_meanings.py has what each of them says."""

import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from driftwheel.errors import ConfigError
from driftwheel.signals import SIGNALS, WATCHED, Signal, kind_of, load
from driftwheel_schemas import Inference
from strategies import inferences

EXAMPLES = {
    path.stem: msgspec.json.decode(path.read_bytes(), type=Inference)
    for path in sorted(Path(str(files("driftwheel_schemas"))).glob("examples/inference/*.json"))
}
UNITS = {"cosine", "chars", "count", "flag", "seconds", "tokens_per_second", "usd", "words"}

each_signal = pytest.mark.parametrize("make", SIGNALS.values(), ids=SIGNALS.keys())


def assert_lawful(readings: Iterable[tuple[str, float | str]]) -> None:
    """No name twice; a number is finite and its name ends in a unit; a flag is 0 or 1; a label is a word."""
    seen = list(readings)
    assert len({name for name, _ in seen}) == len(seen)
    for name, value in seen:
        assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", name)
        if isinstance(value, str):
            assert value
            continue
        assert type(value) is float
        assert math.isfinite(value)
        assert name.rpartition(".")[2] in UNITS
        assert kind_of(name) == "number" or value in (0.0, 1.0)


@each_signal
@pytest.mark.parametrize("one", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_signal_reads_every_example(make: Callable[..., Signal], one: Inference) -> None:
    """It never raises, names end in their unit, flags are 0 or 1, and the second reading is the first."""
    signal = make()

    assert_lawful(signal(one))
    assert list(signal(one)) == list(make()(one))


@each_signal
@settings(max_examples=100, deadline=None)
@given(one=inferences())
def test_a_signal_is_total(make: Callable[..., Signal], one: Inference) -> None:
    """For whatever the contract allows there is a lawful answer, perhaps an empty one."""
    assert_lawful(make()(one))


@each_signal
def test_a_signal_is_cheap(make: Callable[..., Signal]) -> None:
    """At most some 100 µs for an ordinary answer; the bound of 1 ms leaves room for a busy machine."""
    signal, one = make(), replace(EXAMPLES["plain_text"], response="Take the second street on the left. " * 60)
    list(signal(one))  # what is cached is filled here

    def run() -> float:
        started = time.perf_counter()
        for _ in range(20):
            list(signal(one))
        return (time.perf_counter() - started) / 20

    assert min(run() for _ in range(5)) < 0.001


def test_the_table_is_sorted_and_every_watched_reading_is_made() -> None:
    """What detection watches by default comes from some signal of the table."""
    made = {name for make in SIGNALS.values() for one in EXAMPLES.values() for name, value in make()(one) if not isinstance(value, str)}

    assert list(SIGNALS) == sorted(SIGNALS)
    assert list(WATCHED) == sorted(set(WATCHED))
    assert set(WATCHED) <= made


def test_another_package_brings_its_own_signal() -> None:
    """An import path works where a name of the table does."""
    assert load("driftwheel.signals.latency:Latency") == load("latency")


@pytest.mark.parametrize("name", ["latencyy", "driftwheel.signals:Nothing", "no.such.package:Signal", ":", ""])
def test_an_unknown_signal_names_the_known_ones(name: str) -> None:
    """The person who misspelt a name reads what there is."""
    with pytest.raises(ConfigError, match=r"no signal called .*known: cost, emptiness, .*package\.module:Class"):
        load(name)


def test_a_wrong_parameter_names_its_signal() -> None:
    """A parameter that a signal does not have is an error of the settings, and a price that is none too."""
    with pytest.raises(ConfigError, match=r"signals\.latency: .*'unit'"):
        load("latency", unit="ms")
    with pytest.raises(ConfigError, match=r'signals\.cost\.prices\."own": .*give input, output'):
        load("cost", prices={"own": {"in": 1.0}})
