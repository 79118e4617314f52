"""What can be set of the collector: section `[collector]` of `driftwheel.toml`."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from driftwheel.errors import ConfigError
from driftwheel.privacy import Profile

Scope = Literal["ingest:write", "feedback:write", "query:read", "alerts:write"]
"""What a key may do: send inferences, send feedback, ask for the champion, send alerts (which may start a training, so it has to be named)."""

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is kept: the SHA-256 (hex) of its secret, the tenant it stands for, and what it may do."""

    sha256: str
    tenant: str = "default"
    scopes: tuple[Scope, ...] = ("ingest:write", "feedback:write", "query:read")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorSettings:
    """
    The defaults take traffic from this machine only, without keys.

    Raises `ConfigError` for a host that others can reach while there is no key, and for bounds that are none.
    """

    host: str = "127.0.0.1"
    """Where to listen. Anything but loopback needs `keys`."""
    port: int = 4318
    """The port; 0 takes any free one."""
    max_body_bytes: int = 16 * MIB
    """The largest body as sent (compressed); above it, 413."""
    max_inflated_bytes: int = 64 * MIB
    """The largest body after decompression; above it, 413."""
    max_events: int = 10_000
    """The most events in one request; above it, 413."""
    max_text_bytes: int = MIB
    """The longest text; what is longer is cut. An event must fit an envelope too (900 KiB), and is cut until it does."""
    max_in_flight_bytes: int = 256 * MIB
    """The most bytes of bodies in memory at a time; above it, 429."""
    linger_s: float = 0.004
    """How long an envelope waits for events of other requests."""
    append_timeout_s: float = 10.0
    """How long a request waits for the bus; above it, 503."""
    grace_s: float = 15.0
    """How long a stop waits for the requests under way."""
    redaction: Profile = "redact"
    """How much text is kept: `redact`, `metadata-only` or `off`."""
    user_secret: str = ""
    """When set, user ids and authors of feedback are kept as pseudonyms under this secret (HMAC, one key a tenant)."""
    keys: Mapping[str, Key] = field(default_factory=dict)
    """Keys by their id: `dw_<id>_<secret>`. Without any, everyone on this machine is tenant `default`."""
    survives_power_loss: bool = False
    """Whether the bus syncs to disk before it answers; `/health/ready` says so."""

    def __post_init__(self) -> None:
        if not self.keys and not is_loopback(self.host):
            raise ConfigError(
                f"collector.host: {self.host!r} can be reached from other machines and there is no key; "
                'make one with `driftwheel admin keys` or listen on "127.0.0.1"'
            )
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"collector.port: {self.port} is no port; take 0 (any free one) to 65535")
        for name in (
            "max_body_bytes",
            "max_inflated_bytes",
            "max_events",
            "max_text_bytes",
            "max_in_flight_bytes",
            "append_timeout_s",
            "grace_s",
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"collector.{name}: {getattr(self, name)} must be more than 0")
        if not 0 <= self.linger_s <= 1:
            raise ConfigError(f"collector.linger_s: {self.linger_s} must be 0 to 1 second; 0.004 is the default")
        for name, key in self.keys.items():
            if not re.fullmatch(r"[A-Za-z0-9]{1,32}", name) or not re.fullmatch(r"[0-9a-f]{64}", key.sha256):
                raise ConfigError(
                    f"collector.keys.{name}: an id is 1 to 32 letters and digits, sha256 is 64 hex digits of the secret's SHA-256"
                )


def is_loopback(host: str) -> bool:
    """
    Whether *host* can be reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
