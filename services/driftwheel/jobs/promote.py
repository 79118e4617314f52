"""Promotion: a proven candidate gets its place among the models, and becomes the app's champion."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from driftwheel.errors import LauncherError
from driftwheel_schemas import Promotion

IDENTITY = ("adapter_config.json", "adapter_model.safetensors")
"""The files that make an adapter what it is. The tokenizer beside it follows from the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The model that serves *app*. `artifact` is the folder of its adapter; empty for a model of a provider, or a bare base."""

    app: str
    model: str
    artifact: str = ""
    since: datetime | None = None
    promotion_id: str = ""


def champion_of(app: str, promotions: Iterable[Promotion], tenant: str = "default") -> Champion | None:
    """The champion of *app*: the candidate of its newest `promote`; None while nothing was promoted."""
    won = [row for row in promotions if row.app == app and row.tenant == tenant and row.decision == "promote"]
    if not won:
        return None
    newest = max(won, key=lambda row: (row.at, row.id))
    return Champion(app=app, model=newest.candidate, artifact=newest.artifact, since=newest.at, promotion_id=newest.id)


def artifact_digest(adapter: Path) -> str:
    """The SHA-256 of the adapter in folder *adapter*: its configuration and its weights."""
    sha = hashlib.sha256()
    for name in IDENTITY:
        content = (adapter / name).read_bytes()
        sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()


def candidate_name(base: str, digest: str) -> str:
    """
    The name of the model that *base* and an adapter of *digest* make.

    >>> candidate_name("models/SmolLM2-135M.gguf", "0123456789abcdef")
    'smollm2-135m-01234567'
    """
    return f"{Path(base).name.removesuffix('.gguf').lower()}-{digest[:8]}"


def install(adapter: Path, models: Path, app: str, candidate: str) -> Path:
    """
    Move a copy of *adapter* to `models/<app>/<candidate>` in one go, read-only from then on; returns the folder.

    Called again it finds the folder there and changes nothing. Raises `LauncherError` when another adapter has
    that name.
    """
    place = models / quote(app, safe="").replace(".", "%2E") / candidate  # an app called ".." stays inside
    if place.exists():
        if artifact_digest(place) != artifact_digest(adapter):
            raise LauncherError(f"{place}: holds another adapter of that name; move it away and start the job again")
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{candidate}.", dir=place.parent))
    shutil.copytree(adapter, beside, dirs_exist_ok=True)
    for file in filter(Path.is_file, beside.rglob("*")):
        file.chmod(0o444)
    beside.chmod(0o755)
    return beside.replace(place)
