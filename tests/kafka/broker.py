"""Real brokers without Docker: Kafka's own jars, started as plain processes."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.ports import free_port

__all__ = ["VERSION", "Cluster", "missing"]

VERSION = "4.3.1"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
    <version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""
_START_S = 60.0
_JAVA_FLAGS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def missing() -> str | None:
    """Why no broker can be started here, or None."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            return f"no {program} is installed: real brokers need Java 17 or later and Maven"
    return None


def _jars() -> Path:
    """The folder of Kafka's jars, fetched by Maven once a machine."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = home / "mlflow-ledger-tests" / f"kafka-{VERSION}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            (unfinished / "pom.xml").write_text(_POM, encoding="utf-8")
            subprocess.run(
                ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=."],
                cwd=unfinished, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            unfinished.rename(folder)
    return folder


class Cluster:
    """Some brokers in one folder, each a controller as well; use it in ``with``."""

    def __init__(
        self,
        folder: Path,
        brokers: int = 1,
        settings: Mapping[str, str] | None = None,
        listeners: Mapping[str, tuple[int, str]] | None = None,
        flags: tuple[str, ...] = (),
    ) -> None:
        """Make ready; ``settings`` are added to each broker's properties.

        ``listeners`` are further ones of a single broker: name, port and protocol; ``flags`` are
        for Java.
        """
        self.folder = folder
        self._settings = dict(settings or {})
        self._listeners = dict(listeners or {})
        self._flags = flags
        self._ports = [(free_port(), free_port()) for _ in range(brokers)]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * brokers
        self._jars = _jars()

    @property
    def servers(self) -> str:
        """The bootstrap servers, ``host:port`` with commas between."""
        return ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)

    def __enter__(self) -> Self:
        """Format the storage, start all brokers and wait until they answer."""
        cluster_id = "-"
        while cluster_id.startswith("-"):  # the tool would take it for an option
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        for number in range(len(self._ports)):
            path = self._folder(number) / "server.properties"
            path.parent.mkdir(parents=True)
            path.write_text(self._properties(number), encoding="utf-8")
            self._java(
                number, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(path)
            ).wait(_START_S)
        for number in range(len(self._ports)):
            self.start(number)
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """End all brokers."""
        for number in range(len(self._ports)):
            self.kill(number)

    def start(self, number: int) -> None:
        """Start a broker that is not running."""
        path = self._folder(number) / "server.properties"
        self._processes[number] = self._java(number, "kafka.Kafka", str(path))

    def is_running(self, number: int) -> bool:
        """Whether a broker was started, and not killed since."""
        return self._processes[number] is not None

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        """End a broker, by default as a power cut would."""
        process, self._processes[number] = self._processes[number], None
        if process is not None:
            process.send_signal(how)
            process.wait(_START_S)

    def wait(self) -> None:
        """Wait until every broker that was started answers.

        Raises:
            TimeoutError: one does not.
        """
        deadline = time.monotonic() + _START_S
        for number, process in enumerate(self._processes):
            while process is not None and not self._answers(number):
                if time.monotonic() > deadline or process.poll() is not None:
                    log = (self._folder(number) / "log").read_text("utf-8", "replace")[-4000:]
                    msg = f"broker {number} does not answer: {log}"
                    raise TimeoutError(msg)
                time.sleep(0.05)  # between two looks

    def _answers(self, number: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._ports[number][0]), timeout=1).close()
        except OSError:
            return False
        return True

    def _folder(self, number: int) -> Path:
        return self.folder / f"broker-{number}"

    def _java(self, number: int, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder(number) / "log").open("ab") as log:
            return subprocess.Popen(
                ["java", *_JAVA_FLAGS, *self._flags, "-cp", f"{self._jars}/*", *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def _properties(self, number: int) -> str:
        client, controller = self._ports[number]
        copies = min(len(self._ports), 3)
        listeners = {"CLIENT": (client, "PLAINTEXT"), **self._listeners}
        addresses = [f"{name}://127.0.0.1:{port}" for name, (port, _) in listeners.items()]
        protocols = [f"{name}:{protocol}" for name, (_, protocol) in listeners.items()]
        return _lines(
            {
                "process.roles": "broker,controller",
                "node.id": str(number),
                "controller.quorum.voters": ",".join(
                    f"{n}@127.0.0.1:{port}" for n, (_, port) in enumerate(self._ports)
                ),
                "listeners": ",".join([*addresses, f"CONTROLLER://127.0.0.1:{controller}"]),
                "advertised.listeners": ",".join(addresses),
                "listener.security.protocol.map": ",".join([*protocols, "CONTROLLER:PLAINTEXT"]),
                "controller.listener.names": "CONTROLLER",
                "inter.broker.listener.name": "CLIENT",
                "log.dirs": str(self._folder(number) / "data"),
                "auto.create.topics.enable": "false",
                "offsets.topic.replication.factor": str(copies),
                "offsets.topic.num.partitions": "1",
                "transaction.state.log.replication.factor": str(copies),
                "transaction.state.log.min.isr": "1",
                "transaction.state.log.num.partitions": "1",
                "group.initial.rebalance.delay.ms": "0",
                **self._settings,
            }
        )


def _lines(properties: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in properties.items())
