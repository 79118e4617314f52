"""Who may ask: a small table, since the engine itself knows one user only."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from driftwheel.store.embedded.failure import Failure


@dataclass(frozen=True, slots=True)
class User:
    """A user: the SHA-256 of the password in hex, ClickHouse's `readonly` (0, 1 or 2) and settings that hold for every query."""

    sha256: str
    readonly: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


Users = Mapping[str, User]


def digest(password: str) -> str:
    """The SHA-256 of *password*, as the table keeps it."""
    return hashlib.sha256(password.encode()).hexdigest()


def default_users(password: str = "") -> Users:
    """`default` and `writer` may do everything, `reader` asks for a minute at most; one password for all three."""
    kept = digest(password)
    reader = User(kept, readonly=2, settings={"max_execution_time": "60"})
    return {"default": User(kept), "writer": User(kept), "reader": reader}


def credentials(headers: Mapping[str, str], params: Mapping[str, str]) -> tuple[str, str]:
    """Name and password out of Basic authentication, ClickHouse's headers or the URL, in this order."""
    scheme, _, basic = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(basic, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _refused("?") from None
        return name, password
    name = headers.get("x-clickhouse-user") or params.get("user") or "default"
    return name, headers.get("x-clickhouse-key") or params.get("password") or ""


def authenticate(users: Users, name: str, password: str) -> User:
    """The user called *name*. Raises `Failure` 516 for a wrong name or password, in the same time and words for both."""
    user = users.get(name)
    if not hmac.compare_digest(digest(password), user.sha256 if user else "0" * 64) or user is None:
        raise _refused(name)
    return user


def _refused(name: str) -> Failure:
    return Failure(516, f"{name[:80]}: Authentication failed: password is incorrect, or there is no user with such name")
