"""
The topics of `topics.toml` on a cluster: what is there, what differs, what to do about it.

Events are keyed down to their partition, so a topic with other partitions gives every event another place and every
series another owner. Partitions are therefore added only when that is accepted in so many words.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from driftwheel.errors import ConfigError
from driftwheel_schemas.topics import Topic

Kind = Literal["create", "partitions", "fewer-partitions", "config", "replication", "unknown"]

OURS = ("driftwheel.", "dlq.driftwheel.")
DYNAMIC_TOPIC = 1
"""The source of a setting that somebody made on the topic itself (ConfigSource in the Kafka protocol)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the cluster has it: partitions, copies, and every setting (with those made on the topic itself apart)."""

    partitions: int
    replication: int
    settings: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One difference between the file and the cluster; its text says it in words."""

    kind: Kind
    topic: str
    is_: str
    should: str
    wanted: Topic | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    replication: int = 1

    def __str__(self) -> str:
        match self.kind:
            case "create":
                return f"{self.topic}: is missing; should have {self.should}"
            case "unknown":
                return f"{self.topic}: is on the cluster and not in topics.toml"
        return f"{self.topic}: {self.kind.removeprefix('fewer-')} is {self.is_}, should be {self.should}"


def settings_of(topic: Topic, replication: int) -> dict[str, str]:
    """
    The settings of a topic.

    Never compacted: a record is an envelope of many events and has no key of its own. Stamped by the broker: with another
    producer's clock, retention and our TTL would drop what came from a machine that is wrong about the year.
    """
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2" if replication >= 3 else "1",
        "retention.ms": str(topic.retention_hours * 3_600_000) if topic.retention_hours else "-1",
    }


def plan(topics: Sequence[Topic], found: Mapping[str, Found], *, replication: int, namespace: str = "") -> list[Step]:
    """What differs between *topics* and what was *found*, in the order in which it is to be done. Pure."""
    steps = []
    for topic in topics:
        settings, is_ = settings_of(topic, replication), found.get(topic.name)
        if is_ is None:
            should = f"{topic.partitions} partitions, {', '.join(f'{k}={v}' for k, v in settings.items())}"
            steps.append(Step("create", topic.name, "", should, topic, settings, replication))
            continue
        if is_.partitions != topic.partitions:
            kind: Kind = "partitions" if is_.partitions < topic.partitions else "fewer-partitions"
            steps.append(Step(kind, topic.name, str(is_.partitions), str(topic.partitions), topic))
        if is_.replication != replication:
            steps.append(Step("replication", topic.name, str(is_.replication), str(replication), topic))
        for name, value in settings.items():
            if is_.settings.get(name) != value:
                steps.append(
                    Step("config", topic.name, f"{name}={is_.settings.get(name)}", f"{name}={value}", topic, {**is_.made, **settings})
                )
    known = {topic.name for topic in topics}
    ours = tuple(namespace + one for one in OURS)
    steps += [Step("unknown", name, "", "") for name in sorted(found.keys() - known) if name.startswith(ours)]
    return steps


async def partitions_of(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Every topic of the cluster and how many partitions it has."""
    return {one["topic"]: len(one["partitions"]) for one in await admin.describe_topics() if not one["error_code"]}


async def read(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> dict[str, Found]:
    """What the cluster has of *topics*, and whatever else carries our name."""
    wanted = {topic.name for topic in topics}
    ours = re.compile("|".join(map(re.escape, OURS)))
    there = {
        one["topic"]: one
        for one in await admin.describe_topics()
        if not one["error_code"] and (one["topic"] in wanted or ours.search(one["topic"]))
    }
    if not there:
        return {}
    found: dict[str, Found] = {}
    for answer in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in there]):
        for code, message, _, name, entries in answer.resources:
            _raise(code, name, message)
            settings = {entry[0]: entry[1] for entry in entries}
            made = {entry[0]: entry[1] for entry in entries if _made(entry)}
            partitions = there[name]["partitions"]
            found[name] = Found(len(partitions), min(len(one["replicas"]) for one in partitions), settings, made)
    return found


async def apply(admin: AIOKafkaAdminClient, steps: Sequence[Step], *, accept_rekey: bool = False) -> list[Step]:
    """
    Do *steps*; those that were done. What cannot be done here (copies, fewer partitions, unknown topics) is left.

    Raises `ConfigError` for more partitions without *accept_rekey*, before anything is changed.
    """
    if (more := [step for step in steps if step.kind == "partitions"]) and not accept_rekey:
        raise ConfigError(
            f"{'; '.join(map(str, more))}. More partitions give every event and every series another place: "
            "stop the workers, run this again with --accept-rekey, and read docs/operating.md, Scaling"
        )
    done = []
    for step in steps:
        match step.kind:
            case "create":
                await _create(admin, step)
            case "partitions":
                await admin.create_partitions({step.topic: NewPartitions(total_count=int(step.should))})
            case "config":
                for answer in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, step.topic, dict(step.settings))]):
                    for code, message, _, name in answer.resources:
                        _raise(code, name, message)
            case _:
                continue
        done.append(step)
    made = {step.topic for step in done if step.kind == "create"}
    await _until(admin, lambda there: made <= there, f"{', '.join(sorted(made))}: created, but not told of")
    return done


async def delete(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Delete the topics *names* as far as they are there; returns when the broker tells of none of them."""
    await admin.delete_topics(sorted(names & (await partitions_of(admin)).keys()))
    await _until(admin, lambda there: not names & there, f"{', '.join(sorted(names))}: deleted, but still told of")


async def _until(admin: AIOKafkaAdminClient, done: Callable[[AbstractSet[str]], bool], else_: str) -> None:
    """Until the broker tells of the topics as they are by now: some 50 ms after it has changed them."""
    for _ in range(200):
        if done((await partitions_of(admin)).keys()):
            return
        await asyncio.sleep(0.05)
    raise ConfigError(f"{else_} after 10 s; see the log of the cluster's controller")


async def _create(admin: AIOKafkaAdminClient, step: Step) -> None:
    if step.wanted is None:
        return
    new = NewTopic(step.topic, step.wanted.partitions, step.replication, topic_configs=dict(step.settings))
    answer = await admin.create_topics([new])
    for name, code, *rest in answer.topic_errors:
        _raise(code, name, rest[0] if rest else "")


def _made(entry: Sequence[Any]) -> bool:
    """Whether a setting was made on the topic: (name, value, read-only, source or is-default, …) by protocol version."""
    source = entry[3]
    return source == DYNAMIC_TOPIC if not isinstance(source, bool) else not source


def _raise(code: int, name: str, message: str | None) -> None:
    """Raise what the broker said of *name*. Somebody else may have created it meanwhile: that is no error."""
    if code and for_code(code).__name__ != "TopicAlreadyExistsError":
        raise ConfigError(f"{name}: the cluster refuses: {message or for_code(code).__name__}")
