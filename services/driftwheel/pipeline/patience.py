"""Patience: the same again, with growing pauses, while the other side is busy."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from driftwheel.errors import Busy

T = TypeVar("T")

log = logging.getLogger(__name__)

_draw = random.Random()
"""Of our own: the global generator is whoever's that seeded it."""


@dataclass(slots=True)
class Patience:
    """
    Retries what is `Busy`, for at most `for_s`; then the error stands and the process is started again.

    `gave_up` says that there is no time left (the process is to stop); `waits` hears of every pause. `retries` counts.
    """

    name: str
    first_s: float = 0.2
    most_s: float = 5.0
    for_s: float = 300.0
    gave_up: Callable[[], bool] = field(default=lambda: False)
    waits: Callable[[], None] = field(default=lambda: None)
    retries: int = 0

    async def __call__(self, do: Callable[[], Awaitable[T]]) -> T:
        """The result of *do*, however often it takes."""
        wait, end = self.first_s, time.monotonic() + self.for_s
        while True:
            try:
                return await do()
            except Busy as busy:
                if time.monotonic() > end or self.gave_up():
                    raise
                log.warning("%s waits: %s", self.name, busy)
                self.retries += 1
                self.waits()
                await asyncio.sleep(max(wait, min(busy.retry_after_s, self.most_s)) * (0.5 + _draw.random()))
                wait = min(2 * wait, self.most_s)
