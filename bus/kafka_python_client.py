"""A client of Kafka on kafka-python, which is always installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from .kafka_client import MOST_BUFFERED_BYTES, Delivery, Message, Read
from .kafka_failures import dropped, failure, unavailable
from .kafka_python import connected
from .kafka_python_sending import Sending
from .kafka_settings import KafkaPlace, KafkaSettings
from .log import Stored
from .position import Partition

__all__ = ["KafkaPythonClient"]

_FETCH_WAIT_MS = 50
_LOOK_S = 0.05
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
        self._sending: Sending | None = None
        self._fetcher: Any = None
        self._asker: Any = None
        self._standing: dict[Partition, int] = {}
        """Where the fetcher stands in the partitions it is assigned, if that is certain."""

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Hand messages over in their order."""
        if self._sending is not None and self._sending.broken:
            sending, self._sending = self._sending, None
            sending.drop()
        if self._sending is None:
            self._sending = Sending(self._place, self._settings)
        return self._sending.send(messages)

    def fetch(
        self,
        start: Mapping[Partition, int],
        end: Mapping[Partition, int],
        most: int,
        wait_s: float,
        read: Read,
    ) -> tuple[list[Stored], dict[Partition, int]]:
        """At most so many messages from the offsets ``start`` on and before ``end``."""
        with self._failures():
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
        return self._offsets(partitions, lambda asked: self._asking().end_offsets(asked))

    def beginnings(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset of the first message there still is in each."""
        return self._offsets(partitions, lambda asked: self._asking().beginning_offsets(asked))

    def at_time(self, partitions: Sequence[Partition], time_ms: int) -> dict[Partition, int]:
        """The first offset not appended before this moment."""
        with self._failures():
            found = self._asking().offsets_for_times({self._at(p): time_ms for p in partitions})
        firsts = {p: found.get(self._at(p)) for p in partitions}
        return {p: int(first.offset) for p, first in firsts.items() if first and first.offset >= 0}

    def close(self) -> None:
        """Send what is on its way, and disconnect."""
        sending, self._sending = self._sending, None
        consumers, self._fetcher, self._asker = (self._fetcher, self._asker), None, None
        if sending is not None:
            sending.close()
        for consumer in consumers:
            if consumer is not None:
                consumer.close(autocommit=False)

    def leave(self) -> None:
        """In a forked child: what is kept for ever does nothing by itself."""

    def _offsets(
        self, partitions: Sequence[Partition], ask: Callable[[list[Any]], Mapping[Any, int]]
    ) -> dict[Partition, int]:
        """Ask for an offset of each.

        Of a topic that was just made the leader may not be known yet: kafka-python 3.0 then leaves
        the partition out of what it gathers, and stumbles over that.
        """
        at = {partition: self._at(partition) for partition in partitions}
        deadline = time.monotonic() + self._settings.timeout_s
        while True:
            try:
                with self._failures():
                    found = ask(list(at.values()))
                return {partition: int(found[tp]) for partition, tp in at.items()}
            except KeyError as error:
                if time.monotonic() > deadline:
                    raise unavailable(self._place, f"no leader of {error.args[0]}") from error
                time.sleep(_LOOK_S)

    def _at(self, partition: Partition) -> Any:
        return TopicPartition(self._place.topic(partition[0]), partition[1])

    def _asking(self) -> Any:
        if self._asker is None:
            self._asker = self._consumer()
        return self._asker

    def _consumer(self) -> Any:
        return connected(
            KafkaConsumer,
            **self._settings.connection(self._place),
            metrics_enabled=False,
            group_id=None,
            auto_offset_reset="none",  # what was dropped is told, never jumped over
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            isolation_level="read_committed",
            fetch_min_bytes=1,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            fetch_max_bytes=MOST_BUFFERED_BYTES,
        )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Kafka's errors as ours."""
        try:
            yield
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            raise dropped(self._place, error) from error
        except KafkaError as error:
            raise failure(self._place, self._settings, error, "Read") from error
