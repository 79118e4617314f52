"""A real Apache Kafka on loopback for tests: one KRaft node from Maven Central's jars, Java 17, no Docker."""

import base64
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

VERSION = "4.3.1"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""
"""slf4j-simple: without a binding Kafka prints a warning and logs nothing."""

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs={folder}/log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.segment.bytes=67108864
message.max.bytes=8388608
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""
USER, PASSWORD = "driftwheel", "a-secret-of-tests"


def missing() -> str:
    """What a machine lacks for a real Kafka, as a sentence; empty when it has all."""
    if not shutil.which("java"):
        return "no java here (Debian: openjdk-17-jre-headless), so there is no real Kafka to test with"
    if not any(jars().glob("kafka_2.13-*.jar")) and not shutil.which("mvn"):
        return "no mvn here (Debian: maven) and no jars of Kafka yet, so there is no real Kafka to test with"
    return ""


def jars() -> Path:
    """Where the jars lie, shared by all runs on this machine: 44 MB."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "driftwheel" / f"kafka-{VERSION}"


def fetch() -> Path:
    """The folder of the jars, filled from Maven Central the first time (some 4 s)."""
    folder = jars()
    if not any(folder.glob("kafka_2.13-*.jar")):
        folder.mkdir(parents=True, exist_ok=True)
        pom = folder / "pom.xml"
        pom.write_text(POM, "utf-8")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        subprocess.run(["mvn", "-q", "-B", "-f", str(pom), *goal], check=True, stdin=subprocess.DEVNULL, timeout=300)
    return folder


@dataclass(slots=True)
class Broker:
    """One broker on a folder; `kill` is kill -9, and `start` brings it back with what it had."""

    folder: Path
    port: int = 0
    sasl: int = 0
    heap: str = "384m"
    process: "subprocess.Popen[bytes] | None" = None
    _java: list[str] = field(default_factory=list)

    @property
    def servers(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, or start again; returns when it takes connections (about 2 s)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._java:
            flags = [f"-Xmx{self.heap}", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true"]
            self._java = ["java", *flags, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{fetch()}/*"]
            self._format()
        with (self.folder / "kafka.log").open("ab") as out:
            self.process = subprocess.Popen(
                [*self._java, "kafka.Kafka", "server.properties"], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        end = time.monotonic() + 60
        while not _answers(self.port):
            alive = self.process.poll() is None and time.monotonic() < end
            assert alive, (self.folder / "kafka.log").read_text("utf-8")[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop in order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def _format(self) -> None:
        self.port, self.sasl, controller = (_free_port() for _ in range(3))
        file = self.folder / "server.properties"
        file.write_text(PROPERTIES.format(port=self.port, sasl=self.sasl, controller=controller, folder=self.folder), "utf-8")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        format_ = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file), "--add-scram", scram]
        subprocess.run([*self._java, *format_], check=True, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
