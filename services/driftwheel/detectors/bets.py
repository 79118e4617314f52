"""
Bets on a p-value: what one unit pays, of mean 1 (or less) while the units are exchangeable.

Shapes: a bet on a p-value gives J factors, one a component. Fixed bets on exact conformal p-values are exact.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from driftwheel.detectors.frozen import Floats

Flags = NDArray[np.bool_]

_POWERS = [(e, k) for e in (0.03, 0.1, 0.3, 0.7) for k in (0.1, 0.4)]
_TILTS = (1.0, 1.8)
_LEAST = 1e-6
"""A p-value below this counts as this: the powers decrease, so that bets pay no more than they may."""


def _coefficients() -> Floats:
    """Of 1, p^-.9, p^-.6, p and the same of q = 1 - p, shape (20, 7): 1 - e + e k p^(k-1) and 1 + th (1/2 - p), then on q."""
    powers = [[1 - e, e * k if k == 0.1 else 0.0, e * k if k == 0.4 else 0.0, 0.0] for e, k in _POWERS]
    tilts = [[1 + th / 2, 0.0, 0.0, -th] for th in _TILTS]
    one, none = np.array(powers + tilts), np.zeros((10, 3))
    return np.vstack([np.hstack([one, none]), np.hstack([one[:, :1], none, one[:, 1:]])])


_COEFFICIENTS = _coefficients()

RANK_RISING: Flags = np.repeat([True, False], 10)
"""Components of `rank_bets` that win when values rise (bets on p), and when they fall (bets on 1 - p)."""


def rank_bets(p: float) -> Floats:
    """
    The mixture of power and linear bets on *p* and on 1 - *p*: 20 factors, each of which integrates to 1 over (0, 1).

    >>> bool(rank_bets(0.001)[:10].mean() > 5 > 1 > rank_bets(0.001)[10:].mean())
    True
    """
    q = max(1.0 - p, _LEAST)
    p = max(p, _LEAST)
    pays: Floats = _COEFFICIENTS @ np.array([1.0, p**-0.9, p**-0.6, p, q**-0.9, q**-0.6, q])
    return pays


_TIES = hashlib.blake2b(digest_size=7, person=b"ties")


def luck(observation_id: str) -> float:
    """
    A number in (0, 1) that breaks ties: a hash of the observation's id, so that a replay decides alike.

    >>> 0 < luck("a") < 1 and luck("a") == luck("a") != luck("b")
    True
    """
    drawn = _TIES.copy()
    drawn.update(observation_id.encode())
    return ((int.from_bytes(drawn.digest()) >> 3) + 0.5) / 2.0**53
