"""What a log needs of a client of Kafka; which of the two that are known does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import NamedTuple, Protocol

from mlflow_ledger.schemas import RecordRefused, SettingsError

from .kafka_records import Headers
from .kafka_settings import KafkaPlace, KafkaSettings
from .log import Stored
from .position import Partition

__all__ = [
    "BATCH_BYTES",
    "MAX_REQUEST_BYTES",
    "MOST_BUFFERED_BYTES",
    "Delivery",
    "KafkaClient",
    "Message",
    "Read",
    "TooLarge",
    "open_client",
]

MAX_REQUEST_BYTES = 2 * 1024 * 1024
"""The most that a client sends in one request."""

BATCH_BYTES = 64 * 1024
"""How much is sent as one batch: brokers apply ``max.message.bytes`` to that."""

MOST_BUFFERED_BYTES = 32 * 1024 * 1024
"""How much may wait in a client, on its way in or out; beyond that it waits for room."""


class Message(NamedTuple):
    """A message on its way to a partition of one of the ledger's topics.

    Without a value it takes its key out of a topic that is compacted.
    """

    partition: Partition
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]

    @property
    def size_bytes(self) -> int:
        """How much its value takes."""
        return len(self.value or b"")


class TooLarge(RecordRefused):
    """Brokers refuse a record for its size, or for what another thread sent along with it."""


Read = Callable[[Partition, int, int, Headers, bytes | None], Stored]
"""Makes a record of a message's partition, offset, append time in milliseconds, headers and value.

Clients call it for one message after the other: the headers of one take up more memory than all
else of it, and many at a time would not stay in the processor's cache.
"""


class Delivery(Protocol):
    """Messages that were handed over: what becomes of them is waited for here, by any thread."""

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        """Offset and append time in milliseconds of each, when every broker that must has them.

        Raises:
            TooLarge: a broker takes no message of that size.
            RecordRefused: a broker will never take one of them.
            LogUnavailable: not all were acknowledged in time; those may stand in the log or not.
        """


class KafkaClient(Protocol):
    """Connections to one cluster, opened when they are first needed.

    Three threads may use it at a time: one sends, one fetches and one asks; whoever calls sees to
    it that no two do the same. Everything it waits for is bounded by the setting ``timeout_s``,
    and what goes wrong comes as an error of ours. A forked child leaves an inherited client and
    keeps it for ever: its threads do not exist there, its sockets are the parent's.
    """

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Hand messages over in their order; waits for room only.

        Raises:
            RecordRefused, LogUnavailable: those before the one that failed are on their way.
        """

    def fetch(
        self,
        start: Mapping[Partition, int],
        end: Mapping[Partition, int],
        most: int,
        wait_s: float,
        read: Read,
    ) -> tuple[list[Stored], dict[Partition, int]]:
        """At most so many messages from the offsets ``start`` on and before ``end``.

        Returns them as soon as there are any, and the next offset of each partition in ``start``;
        that moves over marks and what was taken back, which are no messages. After ``wait_s``
        there may be none.

        Raises:
            LogDamaged: the log no longer has an offset.
            LogUnavailable: a broker refuses.
        """

    def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The last stable offset of each: behind the last message that a reader may see."""

    def beginnings(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset of the first message there still is in each."""

    def at_time(self, partitions: Sequence[Partition], time_ms: int) -> dict[Partition, int]:
        """The first offset not appended before this moment; absent where there is none."""

    def close(self) -> None:
        """Send what is on its way, at most ``timeout_s`` long, and disconnect."""

    def leave(self) -> None:
        """In a forked child: never do anything of one's own, at its end neither."""


def open_client(place: KafkaPlace, settings: KafkaSettings) -> KafkaClient:
    """The client that the settings name; by default librdkafka where it is installed.

    Raises:
        SettingsError: the one that they name is not installed.
    """
    installed = find_spec("confluent_kafka") is not None
    if settings.client == "librdkafka" and not installed:
        msg = (
            "MLFLOW_LEDGER_KAFKA_CLIENT=librdkafka, and confluent-kafka is not installed: "
            "pip install 'mlflow-ledger[librdkafka]', or leave the setting out"
        )
        raise SettingsError(msg)
    if settings.client == "kafka-python" or not installed:
        from .kafka_python_client import KafkaPythonClient

        return KafkaPythonClient(place, settings)
    from .librdkafka_client import LibrdkafkaClient

    return LibrdkafkaClient(place, settings)
