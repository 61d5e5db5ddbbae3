"""How to reach a Kafka cluster: what the URI says, and what only settings may say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from mlflow_ledger.schemas import LogMissing, SettingsError

from .kafka_security import KafkaSecurity
from .settings import read_settings

__all__ = ["KAFKA_SCHEME", "KafkaPlace", "KafkaSettings", "TopicsMissing", "kafka_place"]

KAFKA_SCHEME = "ledger+kafka"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_MOST_PORT = 65535
_LOOKS_LIKE = f"one looks like {KAFKA_SCHEME}://host:9092/team"


class KafkaPlace:
    """A ledger on a cluster: bootstrap servers and the name that its topics begin with."""

    __slots__ = ("name", "servers")

    def __init__(self, servers: tuple[str, ...], name: str) -> None:
        """Name a ledger at some bootstrap servers (``host:port``)."""
        self.servers = servers
        self.name = name

    def topic(self, name: str) -> str:
        """A topic's name on the cluster."""
        return f"{self.name}.{name}"

    def __str__(self) -> str:
        """The URI, without options."""
        return f"{KAFKA_SCHEME}://{','.join(self.servers)}/{self.name}"


def kafka_place(uri: str) -> KafkaPlace:
    """The place that a URI ``ledger+kafka://host:9092[,host2:9092]/<ledger>`` names.

    Raises:
        SettingsError: the URI is no such thing.
    """
    parts = urlsplit(uri)
    if parts.scheme != KAFKA_SCHEME:
        msg = f"{uri!r} names no ledger in Kafka; {_LOOKS_LIKE}"
        raise SettingsError(msg)
    if "@" in parts.netloc:
        msg = (
            f"the URI of {parts.netloc.rpartition('@')[2]}{parts.path} holds a user name; who you "
            "are stands in MLFLOW_LEDGER_KAFKA_USERNAME and MLFLOW_LEDGER_KAFKA_PASSWORD"
        )
        raise SettingsError(msg)
    servers = tuple(parts.netloc.split(","))
    if parts.fragment:
        msg = f"{uri!r}: what is #{parts.fragment}? {_LOOKS_LIKE}"
        raise SettingsError(msg)
    for server in servers:
        if not _ADDRESS.fullmatch(server) or int(server.rpartition(":")[2]) > _MOST_PORT:
            msg = f"{server!r} in {uri!r} is no host:port; {_LOOKS_LIKE}"
            raise SettingsError(msg)
    name = parts.path.strip("/")
    if not _NAME.fullmatch(name):
        msg = (
            f"{name!r} in {uri!r} cannot be a ledger's name: letters, digits, _ and -, at most 100,"
            f" the first a letter or digit; {_LOOKS_LIKE}"
        )
        raise SettingsError(msg)
    return KafkaPlace(servers, name)


class TopicsMissing(LogMissing):
    """Not all topics of a ledger are there."""

    def __init__(self, place: KafkaPlace, missing: Sequence[str], cluster_id: str) -> None:
        """Of these topics, by their names on the cluster."""
        super().__init__(f"there is no ledger {place}: the topics {', '.join(missing)} are missing")
        self.missing = frozenset(missing)
        self.cluster_id = cluster_id


class KafkaSettings(KafkaSecurity):
    """What the environment (``MLFLOW_LEDGER_KAFKA_*``) and ``.env`` say of the connection."""

    timeout_s: float = Field(30.0, gt=0)
    """How long a request to the brokers may take before it has failed."""

    partitions: int = Field(8, gt=0)
    """How many partitions a new ledger's topics of runs, traces and artifacts get."""

    replication: int | None = Field(None, gt=0)
    """How many brokers hold a copy of a new ledger's topics; default: 3, or all there are."""

    client: Literal["kafka-python", "librdkafka"] | None = None
    """Which client speaks to the brokers; default: librdkafka where it is installed."""

    @classmethod
    def read(cls) -> KafkaSettings:
        """Read the settings.

        Raises:
            SettingsError: one of them makes no sense.
        """
        return read_settings(cls)

    def connection(self, place: KafkaPlace) -> dict[str, Any]:
        """What every client of kafka-python is told.

        Raises:
            SettingsError: a file is not what its setting says.
        """
        from .kafka_python import arguments

        return arguments(place.servers, self, self.timeout_s)
