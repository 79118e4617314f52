"""
JSON Schema of a Grafana dashboard, made from the types that Grafana's own front end is built with (npm's @grafana/schema).

There is no published JSON Schema of classic dashboards. The types hold the dashboard, and of each kind of panel its options
and field configuration, which a dashboard itself leaves open; a field that is in none of them is an error here, as a misspelt
one would be silently ignored by Grafana.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from needed import needed

VERSION = "13.2.3"
PACKAGES = (f"@grafana/schema@{VERSION}", "typescript@5.9.3", "ts-json-schema-generator@2.4.0")
AWAY = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "E403", "network")
"""What npm says when its registry cannot be reached."""

MAKE = """
const fs = require("fs"), { createGenerator } = require("ts-json-schema-generator");
const types = "node_modules/@grafana/schema/dist/types/raw", made = {};
function add(name, path, type) {
  if (!fs.existsSync(path) || !RegExp(`export (interface|type) ${type}\\\\b`).test(fs.readFileSync(path, "utf-8"))) return;
  made[name] = createGenerator({ path, type, skipTypeCheck: true, additionalProperties: false }).createSchema(type);
}
add("dashboard", `${types}/dashboard/x/types.gen.d.ts`, "Dashboard");
for (const kind of fs.readdirSync(`${types}/composable`).filter((kind) => kind != "geomap")) // its types are ambiguous
  for (const part of ["Options", "FieldConfig"]) add(`${kind}.${part}`, `${types}/composable/${kind}/panelcfg/x/types.gen.d.ts`, part);
fs.writeFileSync("made.json", JSON.stringify(made));
"""

HARMLESS: Mapping[str, frozenset[str]] = {
    "variable": frozenset(
        {"auto", "auto_count", "auto_min", "definition"}
    ),  # the SDK gives those of intervals to all; `definition` is a caption
    "annotation": frozenset({"target"}),  # typed as a query of Grafana's own source only; ours is the plugin's and is run by another test
    "table": frozenset({"footer"}),  # an option until Grafana 12, since then a field's; the SDK still writes it
}
"""What grafana-foundation-sdk 0.0.21 writes, Grafana 13 reads or ignores, and the types do not hold."""


@cache
def schemas() -> Mapping[str, Any]:
    """`dashboard`, `timeseries.Options`, `timeseries.FieldConfig` and so on; made once a machine (20 s, 38 MB that are not kept)."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = cache_home / "driftwheel" / f"grafana-schema-{VERSION}" / "schemas.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        npm, node = needed("npm"), needed("node")
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, *PACKAGES]
            _run(install, folder)
            _run([node, "-e", MAKE], folder)
            (Path(folder) / "made.json").replace(kept)  # at once, so that two runs do not see half of it
    made: Mapping[str, Any] = json.loads(kept.read_text("utf-8"))
    return {name: schema if name == "dashboard" else _optional(schema) for name, schema in made.items()}


def errors(board: Mapping[str, Any]) -> list[str]:
    """What is wrong with *board*, by place: a wrong type, an unknown field or value, a missing field."""
    plain = json.loads(json.dumps(board))
    for kind, place in (("variable", "templating"), ("annotation", "annotations")):
        for one in plain.get(place, {}).get("list", []):
            for name in HARMLESS[kind] & one.keys():
                del one[name]
    found = [_told("", error) for error in Draft7Validator(schemas()["dashboard"]).iter_errors(plain)]
    for panel in panels(plain):
        where, kind = f"panel {panel.get('title', '?')!r}: ", panel.get("type", "")
        options = {name: value for name, value in panel.get("options", {}).items() if name not in HARMLESS.get(kind, ())}
        custom = panel.get("fieldConfig", {}).get("defaults", {}).get("custom", {})
        for part, given in (("Options", options), ("FieldConfig", custom)):
            schema = schemas().get(f"{kind}.{part}")
            found += [_told(f"{where}{part} ", error) for error in Draft7Validator(schema).iter_errors(given)] if schema else []
    return found


def panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every panel that draws something, those inside collapsed rows too."""
    listed = board.get("panels", [])
    for panel in listed if isinstance(listed, list) else []:
        if panel.get("type") == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        lacks = f"npm's registry cannot be reached, so there is no schema of Grafana {VERSION}"
        if any(word in done.stderr for word in AWAY) and os.environ.get("GRAFANA_TESTS") != "required":
            pytest.skip(lacks)
        pytest.fail(f"{lacks}: {done.stderr[-2000:]}")


def _optional(schema: Any) -> Any:
    """*schema* with no field required: what a panel leaves out Grafana fills with its defaults."""
    if isinstance(schema, dict):
        return {name: _optional(value) for name, value in schema.items() if name != "required" or not isinstance(value, list)}
    return [_optional(one) for one in schema] if isinstance(schema, list) else schema


def _told(where: str, error: Any) -> str:
    return f"{where}{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
