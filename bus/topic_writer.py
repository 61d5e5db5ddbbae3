"""Messages to a topic of Kafka that is no ledger's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from kafka import KafkaProducer
from kafka.errors import KafkaError

from mlflow_ledger.schemas import SettingsError

from .kafka_failures import failure
from .kafka_python import connected
from .kafka_settings import KafkaPlace, KafkaSettings

__all__ = ["TOPIC_SCHEME", "TopicWriter"]

TOPIC_SCHEME = "kafka"

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


class TopicWriter:
    """Sends to ``kafka://host:9092[,host2:9092]/topic``; who we are, the ledger's settings say."""

    def __init__(self, uri: str, settings: KafkaSettings) -> None:
        """Connect to nothing yet.

        Raises:
            SettingsError: the URI names no topic.
        """
        parts = urlsplit(uri)
        self.topic = parts.path.lstrip("/")
        servers = tuple(parts.netloc.split(","))
        named = all(_ADDRESS.fullmatch(server) for server in servers)
        if parts.scheme != TOPIC_SCHEME or not named or not _TOPIC.fullmatch(self.topic):
            msg = f"{uri!r} names no topic; one looks like {TOPIC_SCHEME}://host:9092/lineage"
            raise SettingsError(msg)
        self._place = KafkaPlace(servers, self.topic)
        self._settings = settings
        self._producer: Any = None

    def send(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send keys and values, and wait until every broker that must has them.

        Raises:
            LogUnavailable: not all were acknowledged.
        """
        timeout_s = self._settings.timeout_s
        try:
            if self._producer is None:
                self._producer = self._connected()
            futures = [self._producer.send(self.topic, v, key=k) for k, v in messages]
            for future in futures:
                future.get(timeout=timeout_s)
        except KafkaError as error:
            self.close()
            raise failure(self._place, self._settings, error, "Write", [self.topic]) from error

    def close(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=self._settings.timeout_s)

    def _connected(self) -> Any:
        return connected(
            KafkaProducer,
            **self._settings.connection(self._place),
            metrics_enabled=False,
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            max_block_ms=int(self._settings.timeout_s * 1000),
            delivery_timeout_ms=int(self._settings.timeout_s * 1000),
        )
