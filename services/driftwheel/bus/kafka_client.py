"""How Kafka is reached: the settings, and what every client (aiokafka's and Faust's) makes of them."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from driftwheel.errors import ConfigError

if TYPE_CHECKING:
    from aiokafka.abc import AbstractTokenProvider

Security = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "OAUTHBEARER", "PLAIN"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """
    Section `[bus.kafka]`: where the cluster is and who we are there. Without `servers` the bus is the local log.

    Raises `ConfigError` for combinations that no broker would take.
    """

    servers: str = ""
    """`host:port`, several with commas between them."""
    security: Security = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    user: str = ""
    password: str = ""
    token: Path | None = None
    """A file with an OAuth bearer token. It is read anew for every connection, so that whoever renews it writes it there."""
    ca: Path | None = None
    """The certificate authority of the brokers; without it, the system's."""
    cert: Path | None = None
    key: Path | None = None
    """Our own certificate and its key, where the brokers ask for one."""
    namespace: str = ""
    """What the names of topics and groups begin with, so that several installations can share a cluster: `staging.`"""
    prefix: str = "driftwheel-"
    """What consumer groups begin with: `driftwheel-signals`."""
    replication: int = 1
    """Copies of each partition that `admin topics apply` asks for; with 3 it also sets `min.insync.replicas=2`."""
    slot: str = ""
    """
    Makes this process a static member: after a kill it takes its partitions back in seconds at any session timeout, but
    a stop keeps them standing for that long. For a fixed set of workers, each with a slot of its own.
    """
    session_timeout_s: float = 15.0
    """How long a silent member keeps its partitions."""

    def __post_init__(self) -> None:
        sasl = self.security.startswith("SASL_")
        if sasl and self.mechanism == "OAUTHBEARER" and self.token is None:
            raise ConfigError("bus.kafka.token: OAUTHBEARER needs the path of a file with a token")
        if sasl and self.mechanism != "OAUTHBEARER" and not (self.user and self.password):
            raise ConfigError(
                f"bus.kafka.user: {self.mechanism} needs user and password (DRIFTWHEEL_BUS__KAFKA__PASSWORD_FILE names a file)"
            )
        if (self.cert is None) != (self.key is None):
            raise ConfigError("bus.kafka.cert: a certificate needs its key and a key its certificate; give both or neither")
        if self.ca and not self.security.endswith("SSL"):
            raise ConfigError(f"bus.kafka.ca: means nothing with security {self.security}; take SSL or SASL_SSL")
        if self.replication < 1:
            raise ConfigError(f"bus.kafka.replication: {self.replication} must be 1 at least; 3 survives the loss of a broker")
        if not 6 <= self.session_timeout_s <= 60:
            raise ConfigError(f"bus.kafka.session_timeout_s: {self.session_timeout_s} must be 6 to 60, what brokers allow and we measured")

    def __repr__(self) -> str:
        return f"KafkaSettings(servers={self.servers!r}, security={self.security!r}, user={self.user!r})"  # never the password

    def physical(self, topic: str) -> str:
        """The name of *topic* on the cluster."""
        return self.namespace + topic

    def logical(self, name: str) -> str:
        """Our name of the cluster's topic *name*."""
        return name.removeprefix(self.namespace)

    @property
    def durable(self) -> bool:
        """Whether an accepted event survives the loss of power of one broker."""
        return self.replication >= 3


def group_id(settings: KafkaSettings, group: str) -> str:
    """The consumer group of a role as the cluster knows it."""
    return settings.namespace + settings.prefix + group


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """What aiokafka's producer, consumer and admin client share. Raises `ConfigError` for a certificate that cannot be read."""
    options: dict[str, Any] = {"bootstrap_servers": settings.servers.split(","), "security_protocol": settings.security}
    if context := tls(settings):
        options["ssl_context"] = context
    if settings.security.startswith("SASL_"):
        options["sasl_mechanism"] = settings.mechanism
        if settings.mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = token_provider(settings)
        else:
            options |= {"sasl_plain_username": settings.user, "sasl_plain_password": settings.password}
    return options


def tls(settings: KafkaSettings) -> ssl.SSLContext | None:
    """The TLS context, None for plain connections. Host names are always checked."""
    if not settings.security.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.cert and settings.key:
            context.load_cert_chain(settings.cert, settings.key)
    except OSError as wrong:  # ssl.SSLError is one
        raise ConfigError(f"bus.kafka: the certificates cannot be read ({wrong}); see ca, cert and key") from wrong
    return context


def token_provider(settings: KafkaSettings) -> "AbstractTokenProvider":
    """Gives the token in the file of the settings, as it is there now."""
    from aiokafka.abc import AbstractTokenProvider

    file = settings.token or Path()

    class FileToken(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is not typed
        async def token(self) -> str:
            try:
                return file.read_text("utf-8").strip()
            except OSError as missing:
                raise ConfigError(f"bus.kafka.token: {file} cannot be read ({missing.strerror})") from missing

    return FileToken()
