"""Kafka for a run: the broker that is named, else one of our own in a folder that goes away."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlflow_ledger.bus import KafkaSettings
from tests.kafka.broker import VERSION, Cluster, missing

from .rows import Kind

__all__ = [
    "HOME",
    "Brokers",
    "KafkaMissing",
    "client_environment",
    "environment",
    "running_brokers",
]

HOME = "MLFLOW_LEDGER_HOME"
_NAMED = "MLFLOW_LEDGER_TEST_KAFKA"
_CLIENT = "MLFLOW_LEDGER_KAFKA_CLIENT"
_CLIENTS = {
    Kind.KAFKA_PYTHON: ("kafka-python", "kafka-python"),
    Kind.LIBRDKAFKA: ("librdkafka", "confluent-kafka"),
}
"""What the setting calls a client, and the distribution that it comes in."""


class KafkaMissing(Exception):
    """There is no broker to measure with; the message says what is missing."""


class Brokers:
    """Where the brokers are, and which client libraries can speak to them."""

    def __init__(self, servers: str, version: str) -> None:
        """Use the brokers at ``host:port[,host:port]``."""
        self.servers = servers
        self._version = version
        self._run = secrets.token_hex(4)
        """Ledgers of two runs at the same brokers are different ones."""

    @property
    def clients(self) -> list[Kind]:
        """A column for each client library that is installed and can be chosen."""
        can_choose = "client" in KafkaSettings.model_fields
        found = can_choose and importlib.util.find_spec("confluent_kafka") is not None
        return [Kind.KAFKA_PYTHON, *([Kind.LIBRDKAFKA] if found else [])]

    def uri(self, kind: Kind, name: str, delivery: str) -> str:
        """The URI of a ledger, which is each client's own."""
        ledger = f"bench-{self._run}-{name}-{_CLIENTS[kind][0]}"
        return f"ledger+kafka://{self.servers}/{ledger}?delivery={delivery}"

    def facts(self) -> dict[str, str]:
        """Versions of the broker and of the clients."""
        return {
            "Kafka": self._version,
            **{
                distribution: importlib.metadata.version(distribution)
                for kind, (_, distribution) in _CLIENTS.items()
                if kind in self.clients
            },
        }


def client_environment(kind: Kind) -> dict[str, str]:
    """The setting that has a ledger speak through one client; none where there is no choice."""
    if kind not in _CLIENTS or "client" not in KafkaSettings.model_fields:
        return {}
    return {_CLIENT: _CLIENTS[kind][0]}


@contextmanager
def environment(changed: dict[str, str]) -> Iterator[None]:
    """Settings that hold while something is opened or started."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def running_brokers(parent: Path) -> Iterator[Brokers]:
    """The brokers that ``MLFLOW_LEDGER_TEST_KAFKA`` names, or one below ``parent``.

    Raises:
        KafkaMissing: none is named, and none can be started.
    """
    named = os.environ.get(_NAMED)
    if named:
        yield Brokers(named, f"at {_NAMED}")
        return
    why = missing()
    if why is not None:
        raise KafkaMissing(f"{why}; or name a broker in {_NAMED}=host:port")
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(
                prefix="mlflow-ledger-kafka-", dir=parent, ignore_cleanup_errors=True
            )
        )
        try:
            cluster = stack.enter_context(Cluster(Path(folder)))
        except (OSError, TimeoutError) as error:
            raise KafkaMissing(str(error).replace(folder, "its folder")) from error
        yield Brokers(cluster.servers, VERSION)
