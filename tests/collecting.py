"""A collector over a bus in memory, spoken to without a socket."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from driftwheel.collector import CollectorSettings
from driftwheel.collector.app import Collector, create_app
from driftwheel.jobs.promote import Champion
from driftwheel.testing_bus import MemoryBus
from driftwheel_schemas import new_id, topics
from driftwheel_schemas.topics import FEEDBACK, INFERENCES

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
Json = dict[str, Any]


def an_inference(**fields: object) -> Json:
    """The JSON of a small inference."""
    return {
        "id": new_id(),
        "app": "shop",
        "started_at": "2026-11-25T11:00:00Z",
        "model": "gpt-4o",
        "prompt": "Hi",
        "response": "Hello",
    } | fields


def a_feedback(**fields: object) -> Json:
    """The JSON of a thumb up."""
    return {"id": new_id(), "at": "2026-11-25T11:00:00Z", "name": "thumbs", "value": 1, "response_id": "chatcmpl-1"} | fields


@dataclass
class Collecting:
    """A client and what came out on the bus."""

    client: httpx.AsyncClient
    bus: MemoryBus = field(default_factory=MemoryBus)

    async def post(self, body: object, path: str = "/v1/inferences", headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Post *body*: bytes and text as they are, all else as JSON (with NaN, as Python writes it)."""
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        return await self.client.post(path, content=content, headers={"content-type": "application/json", **(headers or {})})

    def envelopes(self, topic: str = INFERENCES) -> list[list[Json]]:
        """The records on the bus, decoded."""
        return [json.loads(record.value) for record in self.bus.records(topic)]

    def events(self, topic: str = INFERENCES) -> dict[str, Json]:
        """The events on the bus by id."""
        return {event["id"]: event for envelope in self.envelopes(topic) for event in envelope}

    def feedback(self) -> dict[str, Json]:
        """The feedback on the bus by id."""
        return self.events(FEEDBACK)

    async def metric(self, line: str) -> float:
        """The value of the metric that *line* begins."""
        page = (await self.client.get("/metrics")).text
        return next((float(one.rsplit(" ", 1)[1]) for one in page.splitlines() if one.startswith(line)), 0.0)


@asynccontextmanager
async def collecting(
    settings: CollectorSettings | None = None,
    *,
    bus: MemoryBus | None = None,
    clock: Callable[[], datetime] = lambda: NOW,
    champions: Callable[[str, str], Champion | None] | None = None,
) -> AsyncIterator[Collecting]:
    """A collector with every topic in place."""
    bus = bus or MemoryBus()
    await bus.ensure(list(topics().values()))
    app = create_app(Collector(bus, settings or CollectorSettings(), clock, champions))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client,
    ):
        yield Collecting(client, bus)
