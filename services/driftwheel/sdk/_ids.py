"""Event ids for the host's thread: UUIDv7 as `driftwheel_schemas.new_id`, without giving the interpreter away."""

import os
from struct import iter_unpack
from time import time_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

POOL = 512


class Mint:
    """
    Fresh UUIDv7 texts from a pool of randomness; a forked child needs a mint of its own.

    `os.urandom` lets go of the interpreter: called for every id, it hands the sender's thread a millisecond of the host's
    time in the middle of `record()` (measured: one call in a hundred took 0.8 ms). Called for 512 ids it does so once.

    >>> event = Mint().new()
    >>> len(event), event[14], event[19] in "89ab"
    (36, '7', True)
    """

    def __init__(self) -> None:
        self._pool: Iterator[tuple[bytes]] = iter(())

    def new(self) -> str:
        """An id that no other process makes, and that sorts by its millisecond."""
        if (taken := next(self._pool, None)) is None:  # threads that meet here each bring a pool: one is thrown away
            self._pool = pool = iter_unpack("10s", os.urandom(10 * POOL))
            taken = next(pool)
        when, chance = f"{time_ns() // 1_000_000:012x}", taken[0].hex()
        return f"{when[:8]}-{when[8:]}-7{chance[:3]}-{'89ab'[int(chance[3], 16) & 3]}{chance[4:7]}-{chance[7:19]}"
