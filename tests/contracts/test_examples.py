"""The shared examples are the contract: every consumer's tests read all of them."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings

from driftwheel.schemas_json import documents, schema_of
from driftwheel_schemas import EVENTS, Feedback, Inference
from strategies import feedbacks, inferences

ROOT = Path(str(files("driftwheel_schemas")))
EXAMPLES = sorted((ROOT / "examples").glob("*/*.json"))

each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")


def errors(event: str, document: object) -> list[str]:
    """What the schema of *event* finds wrong with *document*."""
    return [error.message for error in jsonschema.Draft202012Validator(schema_of(event)).iter_errors(document)]


def test_every_event_has_an_example() -> None:
    """A newcomer sees every event once, and no folder holds examples of something else."""
    assert sorted({path.parent.name for path in EXAMPLES}) == sorted(EVENTS)


@each_example
def test_an_example_decodes_as_its_event_and_nothing_in_it_is_lost(path: Path) -> None:
    """No field of an example is misspelt: what is encoded again holds all of them with the same values."""
    kind: Any = EVENTS[path.parent.name]
    event: Any = msgspec.json.decode(path.read_bytes(), type=kind)

    again = json.loads(msgspec.json.encode(event))
    assert_within(json.loads(path.read_text("utf-8")), again)


def assert_within(part: object, whole: object) -> None:
    """Every value of *part* is in *whole*, which has defaults besides."""
    if isinstance(part, dict) and isinstance(whole, dict):
        assert part.keys() <= whole.keys()
        for key, value in part.items():
            assert_within(value, whole[key])
    elif isinstance(part, list) and isinstance(whole, list):
        assert len(part) == len(whole)
        for one, other in zip(part, whole, strict=True):
            assert_within(one, other)
    else:
        assert part == whole


@each_example
def test_an_example_validates_against_the_schema_of_its_event(path: Path) -> None:
    """The JSON Schema accepts what the contract accepts."""
    assert errors(path.parent.name, json.loads(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(("name", "content"), documents().items(), ids=lambda part: part if isinstance(part, str) else "")
def test_the_written_schema_is_the_one_of_the_dataclasses(name: str, content: bytes) -> None:
    """The files in json/ are generated: run `python -m driftwheel.schemas_json` after a change of the contract."""
    assert (ROOT / "json" / name).read_bytes() == content


def test_no_schema_is_left_behind() -> None:
    """An event that was taken out takes its schema with it, and every schema is a schema."""
    assert sorted(path.name for path in (ROOT / "json").iterdir()) == sorted(documents())
    for event in EVENTS:
        jsonschema.Draft202012Validator.check_schema(schema_of(event))


@settings(max_examples=50, deadline=None)
@given(inferences())
def test_any_inference_travels_and_validates(event: Inference) -> None:
    """What the contract allows encodes to JSON that its schema accepts, and comes back as it was."""
    encoded = msgspec.json.encode(event)

    assert errors("inference", json.loads(encoded)) == []
    assert msgspec.json.encode(msgspec.json.decode(encoded, type=Inference)) == encoded


@settings(max_examples=50, deadline=None)
@given(feedbacks())
def test_any_feedback_travels_and_validates(event: Feedback) -> None:
    """The same of feedback."""
    encoded = msgspec.json.encode(event)

    assert errors("feedback", json.loads(encoded)) == []
    assert msgspec.json.decode(encoded, type=Feedback) == event


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({"id": "i", "app": "a", "model": "m"}, "'started_at' is a required property"),
        ({"id": "i", "app": "a", "model": "m", "started_at": "2026-01-01T00:00:00Z", "latency_s": "fast"}, "is not valid"),
        ({"id": "i", "app": "a", "model": "m", "started_at": "2026-01-01T00:00:00Z", "prompt": {"role": "user"}}, "is not valid"),
    ],
)
def test_the_schema_refuses_what_the_contract_refuses(document: dict[str, object], wrong: str) -> None:
    """A client that checks with the schema hears before sending what the collector would say."""
    assert any(wrong in message for message in errors("inference", document))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document, Inference)
