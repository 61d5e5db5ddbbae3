"""A client of Kafka on kafka-python, which is always installed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordListTooLargeError,
)

from .kafka_client import (
    BATCH_BYTES,
    MAX_REQUEST_BYTES,
    MOST_BUFFERED_BYTES,
    Delivery,
    Message,
    Read,
    dropped,
    too_large,
    unavailable,
)
from .kafka_settings import KafkaPlace, KafkaSettings
from .log import Stored
from .position import Partition

__all__ = ["KafkaPythonClient"]

_FETCH_WAIT_MS = 50
_RECONNECT_MS = 1000
_POLL_MS = 10  # after which marks of transactions, which are no records, are seen to be passed


class KafkaPythonClient:
    """See :class:`~mlflow_ledger.bus.kafka_client.KafkaClient`.

    Fetching and asking have a consumer each: it serves one thread at a time, and a broker answers
    the requests of one connection in their order, a fetch that waits for news included.
    """

    def __init__(self, place: KafkaPlace, settings: KafkaSettings) -> None:
        """Connect to nothing yet."""
        self._place = place
        self._settings = settings
        self._producer: Any = None
        self._fetcher: Any = None
        self._asker: Any = None
        self._broken = threading.Event()
        """Whether the producer may never send again: its errors do not tell, so it is replaced."""
        self._room = _Room(MOST_BUFFERED_BYTES)
        self._standing: dict[Partition, int] = {}
        """Where the fetcher stands in the partitions it is assigned, if that is certain."""

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Hand messages over in their order."""
        futures: list[Any] = []
        with _failures(self._place, messages):
            producer = self._producing()
            for message in messages:
                size_bytes = len(message.value)
                if not self._room.take(size_bytes, self._settings.timeout_s):
                    raise unavailable(self._place, "what was sent before is not acknowledged")
                try:
                    future = producer.send(
                        self._place.topic(message.partition[0]),
                        value=message.value,
                        key=message.key,
                        headers=list(message.headers),
                        partition=message.partition[1],
                    )
                except BaseException:
                    self._room.give(size_bytes)
                    raise
                future.add_both(lambda _, room=self._room, size=size_bytes: room.give(size))
                futures.append(future)
        return _Sent(self._place, messages, futures, self._broken)

    def fetch(
        self,
        start: Mapping[Partition, int],
        end: Mapping[Partition, int],
        most: int,
        wait_s: float,
        read: Read,
    ) -> tuple[list[Stored], dict[Partition, int]]:
        """At most so many messages from the offsets ``start`` on and before ``end``."""
        with _failures(self._place):
            if self._fetcher is None:
                self._fetcher = self._consumer()
            fetcher = self._fetcher
            standing, self._standing = self._standing, {}
            # Assigned is only what is behind: of a partition that was paused and then sought in,
            # kafka-python 3.0 may never fetch again.
            behind = {p: offset for p, offset in start.items() if offset < end[p]}
            at = {partition: self._at(partition) for partition in behind}
            if fetcher.assignment() != set(at.values()):
                fetcher.assign(list(at.values()))
                standing = {}
            for partition, offset in behind.items():
                if standing.get(partition) != offset:
                    fetcher.seek(at[partition], offset)
            deadline = time.monotonic() + wait_s
            while True:
                polled = fetcher.poll(timeout_ms=_POLL_MS, max_records=most)
                stands = {partition: int(fetcher.position(at[partition])) for partition in behind}
                if polled or stands != behind or time.monotonic() > deadline:
                    break
        self._standing = stands
        found = [
            read(partition, message.offset, message.timestamp, message.headers, message.value)
            for partition, tp in at.items()
            for message in polled.get(tp, ())
            if message.offset < end[partition]
        ]
        return found, {**start, **{p: min(offset, end[p]) for p, offset in stands.items()}}

    def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The last stable offset of each."""
        with _failures(self._place):
            found = self._asking().end_offsets([self._at(p) for p in partitions])
        return {p: int(found[self._at(p)]) for p in partitions}

    def beginnings(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset of the first message there still is in each."""
        with _failures(self._place):
            found = self._asking().beginning_offsets([self._at(p) for p in partitions])
        return {p: int(found[self._at(p)]) for p in partitions}

    def at_time(self, partitions: Sequence[Partition], time_ms: int) -> dict[Partition, int]:
        """The first offset not appended before this moment."""
        with _failures(self._place):
            found = self._asking().offsets_for_times({self._at(p): time_ms for p in partitions})
        firsts = {p: found.get(self._at(p)) for p in partitions}
        return {p: int(first.offset) for p, first in firsts.items() if first and first.offset >= 0}

    def close(self) -> None:
        """Send what is on its way, and disconnect."""
        producer, self._producer = self._producer, None
        consumers, self._fetcher, self._asker = (self._fetcher, self._asker), None, None
        if producer is not None:
            producer.close(timeout=self._settings.timeout_s)
        for consumer in consumers:
            if consumer is not None:
                consumer.close(autocommit=False)

    def leave(self) -> None:
        """In a forked child: what is kept for ever does nothing by itself."""

    def _at(self, partition: Partition) -> Any:
        return TopicPartition(self._place.topic(partition[0]), partition[1])

    def _connection(self) -> dict[str, Any]:
        return {
            **self._settings.connection(self._place),
            "metrics_enabled": False,
            "reconnect_backoff_max_ms": _RECONNECT_MS,
        }

    def _producing(self) -> Any:
        if self._broken.is_set():
            self._producer.close(timeout=self._settings.timeout_s)
            self._producer = None
            self._broken.clear()
        if self._producer is None:
            self._producer = KafkaProducer(
                **self._connection(),
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                linger_ms=0,
                batch_size=BATCH_BYTES,
                max_request_size=MAX_REQUEST_BYTES,
                max_block_ms=int(self._settings.timeout_s * 1000),
                delivery_timeout_ms=int(self._settings.timeout_s * 1000),
            )
        return self._producer

    def _asking(self) -> Any:
        if self._asker is None:
            self._asker = self._consumer()
        return self._asker

    def _consumer(self) -> Any:
        return KafkaConsumer(
            **self._connection(),
            group_id=None,
            auto_offset_reset="none",  # what was dropped is told, never jumped over
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            isolation_level="read_committed",
            fetch_min_bytes=1,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            fetch_max_bytes=MOST_BUFFERED_BYTES,
        )


class _Sent:
    """The messages of one :meth:`KafkaPythonClient.send`."""

    def __init__(
        self,
        place: KafkaPlace,
        messages: Sequence[Message],
        futures: list[Any],
        broken: threading.Event,
    ) -> None:
        self._place = place
        self._messages = messages
        self._futures = futures
        self._broken = broken

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        """Offset and append time of each, in their order."""
        deadline = time.monotonic() + timeout_s
        with _failures(self._place, self._messages):
            try:
                said = [f.get(timeout=max(deadline - time.monotonic(), 0)) for f in self._futures]
            except KafkaError as error:
                if not error.retriable:
                    self._broken.set()
                raise
        return [(int(at.offset), int(at.timestamp)) for at in said]


class _Room:
    """How much more may wait to be sent: kafka-python itself has no such bound."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._taken_bytes = 0
        self._changed = threading.Condition()

    def take(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait for so much room; what is larger than all of it has to be alone."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(size_bytes), timeout_s):
                return False
            self._taken_bytes += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Give back what was taken."""
        with self._changed:
            self._taken_bytes -= size_bytes
            self._changed.notify_all()

    def _fits(self, size_bytes: int) -> bool:
        return not self._taken_bytes or self._taken_bytes + size_bytes <= self._size_bytes


@contextmanager
def _failures(place: KafkaPlace, messages: Sequence[Message] = ()) -> Iterator[None]:
    """Kafka's errors as ours."""
    try:
        yield
    except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
        raise dropped(place, error) from error
    except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
        raise too_large(place, messages, error) from error
    except KafkaError as error:
        raise unavailable(place, error) from error
