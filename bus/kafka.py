"""A log in the topics of a Kafka cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    InvalidRecordError,
    KafkaError,
    MessageSizeTooLargeError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordListTooLargeError,
)

from mlflow_ledger.schemas import (
    DecodeError,
    LedgerCreated,
    LogDamaged,
    LogForeign,
    LogMissing,
    LogUnavailable,
    RecordRefused,
    decode,
)

from .fork import abandon, forkable
from .kafka_failures import failure, unavailable
from .kafka_python import connected
from .kafka_records import message_of, record_of_message, unreadable_record
from .kafka_settings import KafkaPlace, KafkaSettings
from .kafka_topics import Topics, create_topics, look_at_topics
from .log import Outgoing, Stored
from .position import Partition, Position

__all__ = ["KafkaLog"]

_CATALOG: Partition = ("catalog", 0)
_MOST_RECORDS = 2000
_MOST_IN_FLIGHT = 1000
_MAX_REQUEST_BYTES = 2 * 1024 * 1024
_POLL_MS = 100
_END_S = 1.0


class KafkaLog:
    """A log in the topics ``<name>.catalog``, ``<name>.runs`` and so on of one cluster.

    Nothing is connected before it is needed; threads may share it, and a forked child connects
    anew. A message that cannot be read comes as a record of type ``Unreadable``.
    """

    fork_order = 1

    def __init__(
        self,
        place: KafkaPlace,
        settings: KafkaSettings | None = None,
        ledger_id: str | None = None,
    ) -> None:
        """Use the ledger at ``place``; its id is looked up where it is not given."""
        self.place = place
        self._settings = settings or KafkaSettings.read()
        self._ledger_id = ledger_id
        self._topics: Topics | None = None
        self._producer: Any = None
        self._consumer: Any = None
        self._standing: dict[Any, int] = {}
        """Where the consumer stands in the partitions it is assigned, if that is certain."""
        self._sending = threading.Lock()
        self._reading = threading.RLock()
        self._closed = False
        forkable(self)

    @property
    def timeout_s(self) -> float:
        """How long a request to the brokers may take before it has failed."""
        return self._settings.timeout_s

    def create(self) -> Topics:
        """Make the topics where they are missing."""
        self._topics = create_topics(self.place, self._settings)
        return self._topics

    @property
    def topics(self) -> Topics:
        """What the cluster says of the topics, looked up once.

        Raises:
            LogMissing, LogUnavailable, LogForeign: they are not there, or not fit for use.
        """
        if self._topics is None:
            self._topics = look_at_topics(self.place, self._settings)
        return self._topics

    @property
    def ledger_id(self) -> str:
        """The ledger whose log this is, as its first record says.

        Raises:
            LogMissing: there is no first record yet.
            LogForeign: the first record of the catalog is no ledger's beginning.
        """
        if self._ledger_id is None:
            self._ledger_id = self.beginning().ledger_id
        return self._ledger_id

    def partitions(self) -> Mapping[str, int]:
        """How many partitions each topic has."""
        return self.topics.partitions

    def append(self, records: Sequence[Outgoing]) -> list[Stored]:
        """Append records in their order; returns when every broker that must has them.

        Kafka has no "all or none" without transactions: where this fails, some may stand there.
        Appending the same identities again is harmless.
        """
        self._check_partitions(records)
        stored: list[Stored] = []
        with self._sending:
            for first in range(0, len(records), _MOST_IN_FLIGHT):
                stored += self._send(records[first : first + _MOST_IN_FLIGHT])
        return stored

    def read(self, position: Position, limit: int | None = None) -> Iterator[Stored]:
        """The records from a position to the end as it is now; each partition in its order."""
        end = self._ends()
        return (
            stored for batch, _ in self._batches(position.offsets, end, limit) for stored in batch
        )

    def at(self, partition: Partition, offset: int) -> Stored | None:
        """The record at one offset of a partition, or None."""
        for batch, _ in self._batches({partition: offset}, {partition: offset + 1}, 1):
            for stored in batch:
                return stored
        return None

    def batches(
        self, position: Position, end: Position | None = None
    ) -> Iterator[tuple[list[Stored], Position]]:
        """As :meth:`read`, up to ``end``, in batches, each with the position behind it.

        Transactions of foreign writers leave marks that are no records: only so is it known that
        a reader has come to the end.
        """
        ends = self._ends() if end is None else end.offsets
        for batch, offsets in self._batches(position.offsets, ends, None):
            yield batch, Position(self.ledger_id, offsets)

    def start(self) -> Position:
        """The position of the first record there is: 0 in every partition, unless truncated."""
        with self._reading, self._failures():
            found = self._consuming().beginning_offsets(self._all())
        return self._position(found)

    def end(self) -> Position:
        """The position behind the last record that is now there for every reader."""
        return Position(self.ledger_id, self._ends())

    def position_at(self, time_ms: int) -> Position:
        """The position before the first record of each partition appended after this moment."""
        end = self._ends()
        with self._reading, self._failures():
            asked = {
                self._at(partition): max(time_ms + 1, 0) for partition in end if end[partition]
            }
            found = self._consuming().offsets_for_times(asked) if asked else {}
        offsets = dict(end)
        for at, first in found.items():
            if first is not None and first.offset >= 0:
                partition = self._partition(at)
                offsets[partition] = min(first.offset, end[partition])
        return Position(self.ledger_id, offsets)

    def close(self) -> None:
        """Send what is on its way, and disconnect; it is not to be used afterwards."""
        self._closed = True
        with self._sending, self._reading:
            producer, self._producer = self._producer, None
            consumer, self._consumer = self._consumer, None
        if producer is not None:
            producer.close(timeout=self._settings.timeout_s)
        if consumer is not None:
            consumer.close(autocommit=False)

    def before_fork(self) -> None:
        """Do not wait: with the brokers away, a thread may be asking them for half a minute."""

    def after_fork_in_parent(self) -> None:
        """Nothing stood still."""

    def after_fork_in_child(self) -> None:
        """Leave the inherited connections alone: their sockets are the parent's."""
        abandon(self._producer, self._consumer)
        self._producer = self._consumer = None
        self._standing = {}
        self._sending, self._reading = threading.Lock(), threading.RLock()

    def _send(self, records: Sequence[Outgoing]) -> list[Stored]:
        topics = {self.place.topic(topic) for (topic, _), *_ in records}
        with self._failures("Write", topics):
            producer = self._producing()
            try:
                futures = [self._sent(producer, outgoing) for outgoing in records]
                producer.flush(self._settings.timeout_s)
                said = [future.get(timeout=self._settings.timeout_s) for future in futures]
            except KafkaError:
                self._discard_producer()
                raise
        return [
            Stored(outgoing.partition, at.offset, at.timestamp, outgoing.record)
            for outgoing, at in zip(records, said, strict=True)
        ]

    def _sent(self, producer: Any, outgoing: Outgoing) -> Any:
        (topic, number), record, key = outgoing
        headers, value = message_of(record)
        return producer.send(
            self.place.topic(topic),
            value=value,
            key=None if key is None else key.encode("utf-8"),
            headers=headers,
            partition=number,
        )

    def _discard_producer(self) -> None:
        """Have the next records sent by another producer.

        An idempotent one of kafka-python answers every record with the first error for ever, and
        what it still holds must not come after what is sent next.
        """
        producer, self._producer = self._producer, None
        if producer is not None:
            producer._sender.force_close()  # noqa: SLF001  # close() would first wait for records
            with suppress(KafkaError):
                producer.close(timeout=_END_S)

    def _batches(
        self, first: Mapping[Partition, int], end: Mapping[Partition, int], limit: int | None
    ) -> Iterator[tuple[list[Stored], dict[Partition, int]]]:
        offsets, remaining = dict(first), limit
        deadline = time.monotonic() + self._settings.timeout_s
        while remaining is None or remaining > 0:
            behind = {p: offsets.get(p, 0) for p in end if offsets.get(p, 0) < end[p]}
            if not behind:
                return
            found, reached = self._poll(behind, remaining)
            if reached != behind:
                deadline = time.monotonic() + self._settings.timeout_s
            elif time.monotonic() > deadline:
                raise unavailable(self.place, TimeoutError(f"no records behind {behind}"))
            offsets.update({p: min(offset, end[p]) for p, offset in reached.items()})
            batch = [stored for stored in found if stored.offset < end[stored.partition]]
            remaining = None if remaining is None else remaining - len(batch)
            yield batch, dict(offsets)

    def _poll(
        self, behind: Mapping[Partition, int], limit: int | None
    ) -> tuple[list[Stored], dict[Partition, int]]:
        """Some records of partitions from offsets on, and where the next ones are."""
        most = _MOST_RECORDS if limit is None else min(limit, _MOST_RECORDS)
        with self._reading, self._failures():
            consumer = self._consuming()
            wanted = {self._at(partition): offset for partition, offset in behind.items()}
            standing, self._standing = self._standing, {}
            if consumer.assignment() != set(wanted):
                consumer.assign(list(wanted))
                standing = {}
            for at, offset in wanted.items():
                if standing.get(at) != offset:
                    consumer.seek(at, offset)
            polled = consumer.poll(timeout_ms=_POLL_MS, max_records=most)
            self._standing = {at: consumer.position(at) for at in wanted}
            reached = {self._partition(at): offset for at, offset in self._standing.items()}
        found = [
            _stored(self._partition(at), message)
            for at, messages in polled.items()
            for message in messages
        ]
        return found, reached

    def is_empty(self) -> bool:
        """Whether nothing was ever said here, not even that a ledger begins."""
        return self._ends()[_CATALOG] == 0

    def beginning(self) -> LedgerCreated:
        """The ledger's creation, which is its first record.

        Raises:
            LogMissing: there is no first record yet.
            LogForeign: the first record of the catalog is no ledger's beginning.
        """
        end = self._ends()[_CATALOG]
        for batch, _ in self._batches({}, {_CATALOG: end}, 1):
            for stored in batch:
                return _created(self.place, stored)
        msg = f"there is no ledger {self.place}: nothing was logged there yet"
        raise LogMissing(msg)

    @contextmanager
    def _failures(self, operation: str = "Read", topics: Iterable[str] = ()) -> Iterator[None]:
        """Kafka's errors as ours; an ACL would have to allow the operation, on some topics."""
        try:
            yield
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            msg = (
                f"{self.place} no longer has all its events ({error}): a topic was truncated or "
                "made anew. Restore it from a backup, or begin a ledger under another name"
            )
            raise LogDamaged(msg) from error
        except (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError) as error:
            msg = (
                f"{self.place} does not take an event ({type(error).__name__}: {error}); its "
                "topics need max.message.bytes of 1 MiB at least"
            )
            raise RecordRefused(msg) from error
        except KafkaError as error:
            raise failure(self.place, self._settings, error, operation, topics) from error

    def _ends(self) -> dict[Partition, int]:
        with self._reading, self._failures():
            found = self._consuming().end_offsets(self._all())
        return {self._partition(at): offset for at, offset in found.items()}

    def _position(self, found: Mapping[Any, int]) -> Position:
        return Position(
            self.ledger_id, {self._partition(at): offset for at, offset in found.items()}
        )

    def _check_partitions(self, records: Sequence[Outgoing]) -> None:
        counts = self.partitions()
        unknown = {
            (topic, number)
            for (topic, number), *_ in records
            if not 0 <= number < counts.get(topic, 0)
        }
        if unknown:
            msg = f"{self.place} has no partition {sorted(unknown)}"
            raise LogUnavailable(msg)

    def _all(self) -> list[Any]:
        return [
            self._at((topic, number))
            for topic, count in self.partitions().items()
            for number in range(count)
        ]

    def _at(self, partition: Partition) -> Any:
        return TopicPartition(self.place.topic(partition[0]), partition[1])

    def _partition(self, at: Any) -> Partition:
        return str(at.topic).removeprefix(f"{self.place.name}."), int(at.partition)

    def _producing(self) -> Any:
        if self._closed:
            msg = f"the log of {self.place} is closed"
            raise LogUnavailable(msg)
        if self._producer is None:
            self._producer = connected(
                KafkaProducer,
                **self._settings.connection(self.place),
                metrics_enabled=False,
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                max_request_size=_MAX_REQUEST_BYTES,
                max_block_ms=int(self._settings.timeout_s * 1000),
                delivery_timeout_ms=int(self._settings.timeout_s * 1000),
            )
        return self._producer

    def _consuming(self) -> Any:
        if self._closed:
            msg = f"the log of {self.place} is closed"
            raise LogUnavailable(msg)
        if self._consumer is None:
            self._consumer = connected(
                KafkaConsumer,
                **self._settings.connection(self.place),
                metrics_enabled=False,
                group_id=None,
                auto_offset_reset="none",  # what was dropped is told, never jumped over
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                isolation_level="read_committed",
            )
        return self._consumer


def _stored(partition: Partition, message: Any) -> Stored:
    """A message as it stands in the log."""
    offset, append_ms = int(message.offset), int(message.timestamp)
    try:
        record = record_of_message(message.headers, message.value)
    except DecodeError as error:
        record = unreadable_record(partition, offset, append_ms, str(error))
    return Stored(partition, offset, append_ms, record)


def _created(place: KafkaPlace, stored: Stored) -> LedgerCreated:
    """The ledger's creation, which is its first record."""
    record = stored.record
    if record.envelope.type == LedgerCreated.__name__ and stored.offset == 0:
        event = decode(record.envelope.type, record.head, record.content)
        assert isinstance(event, LedgerCreated)
        return event
    msg = (
        f"{place} begins with a {record.envelope.type}, not with a ledger's creation: "
        "its beginning was dropped, or the topic is another program's"
    )
    raise LogForeign(msg)
