"""Who may ask: a small table, since the engine itself knows one user only."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from driftwheel.store.embedded.failure import Failure


@dataclass(frozen=True, slots=True)
class User:
    """
    A user: the SHA-256 of the password in hex, and ClickHouse's `readonly` (0, 1 or 2).

    Who may only read is held to `Limits.caps`. 2 may choose settings, which Grafana's plugin does with every query.
    """

    password_sha256: str
    readonly: int = 0


Users = Mapping[str, User]


def password(text: str) -> str:
    """
    The digest of the password *text*, as a `User` keeps it.

    >>> password("")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def default_users(secret: str = "") -> Users:
    """`default` and `writer` may do everything, `reader` and `grafana` only read; one password for all four."""
    kept = password(secret)
    return {"default": User(kept), "writer": User(kept), "reader": User(kept, 2), "grafana": User(kept, 2)}


def credentials(headers: Mapping[str, str], params: Mapping[str, str]) -> tuple[str, str]:
    """Name and password out of Basic authentication, ClickHouse's headers or the URL, in this order."""
    scheme, _, basic = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(basic, validate=True).decode().partition(":")
        except ValueError:
            raise _refused("?") from None
        return name, secret
    name = headers.get("x-clickhouse-user") or params.get("user") or "default"
    return name, headers.get("x-clickhouse-key") or params.get("password") or ""


def authenticate(users: Users, name: str, secret: str) -> User:
    """The user called *name*. Raises `Failure` 516 for a wrong name or password, in the same time and words for both."""
    user = users.get(name)
    if not hmac.compare_digest(password(secret), user.password_sha256 if user else "0" * 64) or user is None:
        raise _refused(name)
    return user


def _refused(name: str) -> Failure:
    return Failure(516, f"{name[:80]}: Authentication failed: password is incorrect, or there is no user with such name")
