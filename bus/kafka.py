"""A log in the topics of a Kafka cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from mlflow_ledger.schemas import (
    DecodeError,
    LedgerCreated,
    LogForeign,
    LogMissing,
    LogUnavailable,
    RecordRefused,
    decode,
)

from .collector import without_gc
from .fork import abandon, forkable
from .kafka_client import MAX_REQUEST_BYTES, KafkaClient, Message, TooLarge, open_client
from .kafka_failures import oversize, unavailable
from .kafka_records import Headers, message_of, record_of_message, unreadable_record
from .kafka_schemas import schema_messages
from .kafka_settings import KafkaPlace, KafkaSettings
from .kafka_topics import Topics, create_topics, look_at_topics
from .log import Outgoing, Stored
from .position import Partition, Position
from .writer import EventTooLarge

__all__ = ["KafkaLog"]

_CATALOG: Partition = ("catalog", 0)
_MOST_RECORDS = 2000
_FETCH_S = 0.1
_FRAME_BYTES = 2048  # what headers and the rest around an event take up, generously
_GRACE_S = 2.0  # the client's own timeout comes first: it says more of what went wrong


class KafkaLog:
    """A log in the topics ``<name>.catalog``, ``<name>.runs`` and so on of one cluster.

    Nothing is connected before it is needed; threads may share it: appends overlap, and neither
    they nor :meth:`end` wait for a reader. A forked child connects anew. A message that cannot be
    read comes as a record of type ``Unreadable``.
    """

    fork_order = 1

    def __init__(
        self,
        place: KafkaPlace,
        settings: KafkaSettings | None = None,
        ledger_id: str | None = None,
        before: Callable[[Sequence[Outgoing]], None] | None = None,
    ) -> None:
        """Use the ledger at ``place``; its id is looked up where it is not given.

        ``before`` is called with what is to be sent, before it is.

        Raises:
            SettingsError: the settings name a client that is not installed.
        """
        self.place = place
        self._settings = settings or KafkaSettings.read()
        self._ledger_id = ledger_id
        self._before = before
        self._topics: Topics | None = None
        self._known: Topics | None = None
        self._client = open_client(place, self._settings)
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self._asking = threading.Lock()
        self._closed = False
        forkable(self)

    @property
    def timeout_s(self) -> float:
        """How long a request to the brokers may take before it has failed."""
        return self._settings.timeout_s

    def create(self, *, erasable: bool = False) -> Topics:
        """Make the topics where they are missing, with one for keys where that is asked for."""
        self._topics = create_topics(self.place, self._settings, erasable=erasable)
        return self._topics

    def publish_schemas(self) -> int:
        """Put every released schema on ``<ledger>.schemas``; returns how many there are.

        Raises:
            LogUnavailable: the topic is not there, may not be written, or the brokers are away.
        """
        messages = schema_messages(self.place, self._settings)
        with self._sending:
            delivery = self._open().send(messages)
        delivery.wait(self._settings.timeout_s + _GRACE_S)
        return len(messages)

    @property
    def topics(self) -> Topics:
        """What the cluster says of the topics, looked up once.

        Raises:
            LogMissing, LogUnavailable, LogForeign: they are not there, or not fit for use.
        """
        topics = self._topics
        if topics is None:
            topics = look_at_topics(self.place, self._settings)
            self._check_same(topics)
            self._topics = self._known = topics
        return topics

    def look_again(self) -> None:
        """Before anything else is sent, make sure that the topics are the ones that they were.

        To be called after the brokers were away: others may have come in their place.
        """
        self._topics = None

    def _check_same(self, found: Topics) -> None:
        known = self._known
        if known is None or (found.cluster_id, found.ids) == (known.cluster_id, known.ids):
            return
        what = (
            f"there now is cluster {found.cluster_id}, and it was {known.cluster_id}"
            if found.cluster_id != known.cluster_id
            else "the topics were deleted and made anew"
        )
        msg = (
            f"at {','.join(self.place.servers)} {what}: nothing is sent to {self.place} any more "
            "by this process, which belongs to the ledger that was there. Start again to use the "
            "one that is there now"
        )
        raise LogForeign(msg)

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

        Kafka has no "all or none" without transactions. Where this fails with `LogUnavailable`,
        each of the records may stand there or not, and one may stand there whose predecessor does
        not; nothing comes later. Appending the same identities again is harmless.

        Raises:
            LogUnavailable: not all are known to stand there; a retry may help.
            EventTooLarge: the topics take no event of that size; none of the records was sent.
            RecordRefused: the brokers do not take one of the records, however often it is sent.
        """
        return self.hand_over(records)()

    def hand_over(self, records: Sequence[Outgoing]) -> Callable[[], list[Stored]]:
        """Send records in their order; what is returned waits for the brokers, as :meth:`append`.

        So a caller can let go of the lock that keeps its records in order, before it waits.
        """
        self._check_partitions(records)
        if self._before is not None:
            self._before(records)
        messages = [
            Message(partition, None if key is None else key.encode("utf-8"), value, headers)
            for partition, record, key in records
            for headers, value in (message_of(record),)
        ]
        for message in messages:
            if not self._fits(message):
                raise EventTooLarge(self._oversize(message, "max.message.bytes"))
        with self._sending:
            delivery = self._open().send(messages)

        def stored() -> list[Stored]:
            try:
                said = delivery.wait(self._settings.timeout_s + _GRACE_S)
            except TooLarge as error:
                raise self._refused(messages, error) from error
            except LogUnavailable:
                self.look_again()
                raise
            return [
                Stored(outgoing.partition, offset, append_ms, outgoing.record)
                for outgoing, (offset, append_ms) in zip(records, said, strict=True)
            ]

        return stored

    def read(self, position: Position, limit: int | None = None) -> Iterator[Stored]:
        """The records from a position to the end as it is now; each partition in its order."""
        end = self._ends()
        return (
            stored for batch, _ in self._batches(position.offsets, end, limit) for stored in batch
        )

    def at(self, partition: Partition, offset: int) -> Stored | None:
        """The record at one offset of a partition, or None."""
        return self.at_each({partition: offset}).get(partition)

    def at_each(self, offsets: Mapping[Partition, int]) -> dict[Partition, Stored]:
        """The record at one offset of each of some partitions, where there is one."""
        behind = {partition: offset + 1 for partition, offset in offsets.items()}
        return {
            stored.partition: stored
            for batch, _ in self._batches(offsets, behind, None)
            for stored in batch
        }

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
        partitions = self._all()
        with self._asking:
            found = self._open().beginnings(partitions)
        return Position(self.ledger_id, found)

    def end(self) -> Position:
        """The position behind the last record that is now there for every reader."""
        return Position(self.ledger_id, self._ends())

    def position_at(self, time_ms: int) -> Position:
        """The position before the first record of each partition appended after this moment."""
        end = self._ends()
        filled = [partition for partition in end if end[partition]]
        with self._asking:
            found = self._open().at_time(filled, max(time_ms + 1, 0)) if filled else {}
        offsets = {
            partition: min(found.get(partition, last), last) for partition, last in end.items()
        }
        return Position(self.ledger_id, offsets)

    def close(self) -> None:
        """Send what is on its way, and disconnect; it is not to be used afterwards."""
        self._closed = True
        with self._sending, self._reading, self._asking:
            self._client.close()

    def is_empty(self) -> bool:
        """Whether nothing was ever said here, not even that a ledger begins."""
        with self._asking:
            return self._open().ends([_CATALOG])[_CATALOG] == 0

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

    def before_fork(self) -> None:
        """Do not wait: with the brokers away, a thread may be asking them for half a minute."""

    def after_fork_in_parent(self) -> None:
        """Nothing stood still."""

    def after_fork_in_child(self) -> None:
        """Leave the inherited connections alone: their sockets are the parent's."""
        self._client.leave()
        abandon(self._client)
        self._client = open_client(self.place, self._settings)
        self._sending, self._reading = threading.Lock(), threading.Lock()
        self._asking = threading.Lock()

    def _fits(self, message: Message) -> bool:
        """Whether a topic, as it was when last looked at, takes an event of that size."""
        most_bytes = min(self.topics.most_bytes[message.partition[0]], MAX_REQUEST_BYTES)
        return message.size_bytes + _FRAME_BYTES <= most_bytes

    def _refused(self, messages: Sequence[Message], error: TooLarge) -> Exception:
        """The error to raise where brokers refuse messages for their size.

        Their topics are looked at again: they must have been made to take less.
        """
        self._topics = look_at_topics(self.place, self._settings)
        largest = max(messages, key=lambda message: message.size_bytes)
        if len(messages) == 1 and self._fits(largest):
            return unavailable(self.place, f"{error}: another thread's large event went along")
        return RecordRefused(self._oversize(largest, error))

    def _oversize(self, message: Message, why: object) -> str:
        return oversize(self.place, message.size_bytes, self.place.topic(message.partition[0]), why)

    def _batches(
        self, first: Mapping[Partition, int], end: Mapping[Partition, int], limit: int | None
    ) -> Iterator[tuple[list[Stored], dict[Partition, int]]]:
        offsets, remaining = dict(first), limit
        deadline = time.monotonic() + self._settings.timeout_s
        while remaining is None or remaining > 0:
            standing = {partition: offsets.get(partition, 0) for partition in end}
            if all(standing[partition] >= last for partition, last in end.items()):
                return
            most = _MOST_RECORDS if remaining is None else min(remaining, _MOST_RECORDS)
            with self._reading, without_gc():
                batch, reached = self._open().fetch(standing, end, most, _FETCH_S, _stored)
            if reached != standing:
                deadline = time.monotonic() + self._settings.timeout_s
            elif time.monotonic() > deadline:
                behind = {p: at for p, at in standing.items() if at < end[p]}
                raise unavailable(self.place, f"no records behind {behind}")
            offsets.update(reached)
            remaining = None if remaining is None else remaining - len(batch)
            if batch or reached != standing:
                yield batch, dict(offsets)

    def _ends(self) -> dict[Partition, int]:
        partitions = self._all()
        with self._asking:
            return self._open().ends(partitions)

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

    def _all(self) -> list[Partition]:
        return [
            (topic, number) for topic, count in self.partitions().items() for number in range(count)
        ]

    def _open(self) -> KafkaClient:
        if self._closed:
            msg = f"the log of {self.place} is closed"
            raise LogUnavailable(msg)
        return self._client


def _stored(
    partition: Partition, offset: int, append_ms: int, headers: Headers, value: bytes | None
) -> Stored:
    """A message as it stands in the log."""
    try:
        record = record_of_message(headers, value)
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
