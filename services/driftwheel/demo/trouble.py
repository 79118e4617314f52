"""An ordinary bad hour of another app, so that every board has something to show: timeouts, an address to mask, what nobody can use."""

import asyncio
from datetime import datetime, timedelta

import driftwheel
from driftwheel.bus import Outgoing
from driftwheel.demo.stage import Stage
from driftwheel_schemas import derived_id
from driftwheel_schemas.topics import INFERENCES

APP, CALLS = "search", 48


async def bad_hour(stage: Stage, now: datetime) -> None:
    """Streamed answers of a quarter of an hour, one in eight without an end; a rule of settings.toml minds."""
    for number in range(CALLS):
        failed = number % 8 == 7
        driftwheel.record(
            id=derived_id("demo", APP, number),
            app=APP,
            model="assistant-small",
            provider="demo",
            prompt=f"What did shop{number}@example.com order?" if number % 12 == 5 else f"Find order {number}",
            response="" if failed else f"Order {number} is on its way.",
            started_at=now - timedelta(seconds=20 * (CALLS - number)),
            latency_s=30.0 if failed else 0.8 + number / 100,
            ttft_s=None if failed else 0.2,
            error_type="Timeout" if failed else "",
            session_id=f"search-{number}",
        )
    driftwheel.record(app=APP, model="assistant-small", latency_s=-1.0)  # refused, with its path: that is counted, too
    await asyncio.to_thread(driftwheel.flush, 30)
    await stage.bus.append([Outgoing(INFERENCES, b"[this is no JSON]", partition=0)])
