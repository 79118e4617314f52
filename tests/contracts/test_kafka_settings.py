"""How Kafka is reached: what the settings make of every client, and which combinations are refused. No broker is needed."""

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path

import faust
import pytest

from driftwheel.bus.kafka_client import KafkaSettings, client_options, group_id, token_provider
from driftwheel.bus.kafka_topics import Found, plan, settings_of
from driftwheel.errors import ConfigError
from driftwheel.pipeline.faust_shell import app_of, credentials, in_bytes
from driftwheel_schemas.topics import INFERENCES, topics

TOPIC = topics()[INFERENCES]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key, made for this run."""
    folder = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(make.split(), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"security": "SASL_SSL"}, "bus.kafka.user: SCRAM-SHA-512 needs user and password"),
        ({"security": "SASL_PLAINTEXT", "mechanism": "OAUTHBEARER"}, "bus.kafka.token: OAUTHBEARER needs the path"),
        ({"cert": Path("c")}, "bus.kafka.cert: a certificate needs its key"),
        ({"ca": Path("c")}, "bus.kafka.ca: means nothing with security PLAINTEXT"),
        ({"replication": 0}, "bus.kafka.replication: 0 must be 1 at least"),
        ({"session_timeout_s": 2.0}, "bus.kafka.session_timeout_s: 2.0 must be 6 to 60"),
    ],
)
def test_what_no_broker_would_take_is_refused(given: dict[str, object], said: str) -> None:
    """The setting, what is wrong, the cure."""
    with pytest.raises(ConfigError) as wrong:
        KafkaSettings(**given)  # type: ignore[arg-type]
    assert str(wrong.value).startswith(said)


def test_scram_over_tls_reaches_both_clients(pem: Path) -> None:
    """Aiokafka and Faust get the same name, password, mechanism and certificates; host names are checked."""
    plain = KafkaSettings(servers="a:1,b:2", security="SASL_SSL", mechanism="SCRAM-SHA-256", user="u", password="p")
    settings = replace(plain, ca=pem / "cert.pem", cert=pem / "cert.pem", key=pem / "key.pem")
    options, told = client_options(settings), credentials(settings)

    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-256")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("u", "p")
    assert options["ssl_context"].check_hostname
    assert isinstance(told, faust.SASLCredentials)
    assert (told.username, told.password, told.mechanism.value) == ("u", "p", "SCRAM-SHA-256")
    assert told.protocol.value == "SASL_SSL"
    assert "p'" not in repr(settings)


def test_tls_alone_and_nothing_at_all(pem: Path) -> None:
    """SSL needs no password; PLAINTEXT needs nothing."""
    told = credentials(KafkaSettings(security="SSL", ca=pem / "cert.pem"))

    assert isinstance(told, faust.SSLCredentials)
    assert credentials(KafkaSettings()) is None
    assert "ssl_context" not in client_options(KafkaSettings())
    with pytest.raises(ConfigError, match="certificates cannot be read"):
        client_options(KafkaSettings(security="SSL", ca=pem / "none.pem"))


def test_a_token_is_read_anew_for_every_connection(tmp_path: Path) -> None:
    """Whoever renews it writes it into the file."""
    file = tmp_path / "token"
    settings = KafkaSettings(security="SASL_PLAINTEXT", mechanism="OAUTHBEARER", token=file)
    provider = token_provider(settings)
    file.write_text("one\n", "utf-8")
    first = asyncio.run(provider.token())
    file.write_text("two\n", "utf-8")

    assert (first, asyncio.run(provider.token())) == ("one", "two")
    assert isinstance(credentials(settings), faust.OAuthCredentials)
    assert client_options(settings)["sasl_mechanism"] == "OAUTHBEARER"


def test_the_app_has_the_settings_that_were_measured() -> None:
    """No tables, no web server, no topics made in passing, no leader topic, at least once."""
    conf = app_of("driftwheel-signals", KafkaSettings(servers="a:1,b:2", slot="3", session_timeout_s=20)).conf

    assert (conf.id, conf.web_enabled, conf.topic_allow_declare, conf.topic_disable_leader) == ("driftwheel-signals", False, False, True)
    assert (conf.processing_guarantee.value, conf.broker_session_timeout, conf.consumer_group_instance_id) == (
        "at_least_once",
        20,
        "driftwheel-signals-3",
    )
    assert [str(one) for one in conf.broker] == ["kafka://a:1", "kafka://b:2"]


def test_names_of_an_installation_begin_with_its_namespace() -> None:
    """Several share a cluster."""
    settings = KafkaSettings(namespace="staging.")

    assert settings.physical(INFERENCES) == f"staging.{INFERENCES}"
    assert settings.logical(settings.physical(INFERENCES)) == INFERENCES
    assert group_id(settings, "signals") == "staging.driftwheel-signals"


def test_a_plan_names_every_difference_and_nothing_else() -> None:
    """What is as it should be needs no step; more partitions and fewer are told apart; what somebody else set is kept."""
    fine = Found(TOPIC.partitions, 3, {**settings_of(TOPIC, 3), "max.message.bytes": "1"}, {"max.message.bytes": "1"})
    kinds = {
        "missing": [step.kind for step in plan([TOPIC], {}, replication=3)],
        "fine": [step.kind for step in plan([TOPIC], {TOPIC.name: fine}, replication=3)],
        "more": [step.kind for step in plan([TOPIC], {TOPIC.name: replace(fine, partitions=1)}, replication=3)],
        "fewer": [step.kind for step in plan([TOPIC], {TOPIC.name: replace(fine, partitions=99)}, replication=3)],
        "unknown": [step.kind for step in plan([], {"driftwheel.old.v0": fine, "theirs": fine}, replication=3)],
    }
    assert kinds == {"missing": ["create"], "fine": [], "more": ["partitions"], "fewer": ["fewer-partitions"], "unknown": ["unknown"]}
    (step,) = plan([TOPIC], {TOPIC.name: replace(fine, settings={**fine.settings, "retention.ms": "1"})}, replication=3)
    assert step.settings == {**settings_of(TOPIC, 3), "max.message.bytes": "1"}
    assert settings_of(TOPIC, 3)["min.insync.replicas"] == "2"


class Message:
    """What `in_bytes` looks at."""

    def __init__(self, size: int) -> None:
        self.value = bytes(size) if size else None


@pytest.mark.parametrize(("sizes", "parts"), [([3, 3, 3], [2, 1]), ([9, 1], [1, 1]), ([], []), ([0, 0, 6], [3]), ([7, 7], [1, 1])])
def test_a_batch_is_cut_by_bytes_and_never_within_a_record(sizes: list[int], parts: list[int]) -> None:
    """A record larger than the bound goes alone; tombstones weigh nothing."""
    assert [len(part) for part in in_bytes([Message(size) for size in sizes], 6)] == parts
