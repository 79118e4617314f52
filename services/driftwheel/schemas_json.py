"""
JSON Schema 2020-12 of every event, made from the dataclasses of the contract, for those who write other clients.

`python -m driftwheel.schemas_json` writes `schemas/driftwheel_schemas/json/<event>.schema.json`; a test compares.
The schemas say what is accepted, so unknown fields are allowed: a newer client may talk to an older collector.
"""

from dataclasses import fields
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import msgspec

from driftwheel_schemas import EVENTS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(event: str) -> dict[str, Any]:
    """
    The schema of the event called *event*, a name of EVENTS. Times are RFC 3339; a decimal may be a text or a number.

    >>> schema_of("feedback")["required"]
    ['id', 'at', 'name']
    """
    kind = EVENTS[event]
    (top,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    own = parts.pop(top["$ref"].rpartition("/")[2])
    for field in fields(kind):
        is_time = datetime in (field.type, *get_args(field.type))
        for option in own["properties"][field.name].get("anyOf", [own["properties"][field.name]]):
            if option.get("format") == "decimal":
                option["type"] = ["string", "number"]  # msgspec tells of text only, yet reads both without loss
            if is_time and option["type"] == "string":
                option["format"] = "date-time"
    return {"$schema": DIALECT, "$id": f"urn:driftwheel:{event}:v1", **own} | ({"$defs": parts} if parts else {})


def documents() -> dict[str, bytes]:
    """What the files hold, by file name: indented, in the order of the fields, with a newline at the end."""
    return {f"{event}.schema.json": msgspec.json.format(msgspec.json.encode(schema_of(event)), indent=2) + b"\n" for event in EVENTS}


def main() -> None:
    """Write the schemas where the contract keeps them."""
    folder = Path(str(files("driftwheel_schemas"))) / "json"
    folder.mkdir(exist_ok=True)
    for name, content in documents().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
