"""A client of Kafka on librdkafka (confluent-kafka), where that is installed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Received

from mlflow_ledger.schemas import LedgerError

from .kafka_client import MOST_BUFFERED_BYTES, Delivery, Message, Read
from .kafka_failures import dropped
from .kafka_settings import KafkaPlace, KafkaSettings
from .librdkafka_failures import PASSING, Trouble, codes
from .librdkafka_sending import Sending
from .librdkafka_settings import connection, making
from .librdkafka_streams import Streams
from .log import TOPICS, Stored
from .position import Partition

__all__ = ["LibrdkafkaClient"]

_LATEST, _EARLIEST = -1, -2  # moments of their own in Kafka's protocol
_FETCH_WAIT_MS = 100
_AHEAD_MESSAGES = 20_000
_PORTION = 250  # as many as stay in the processor's cache
_PAUSE_S = 0.02
_NO_GROUP = "mlflow-ledger"  # it must name one; none is ever joined, and nothing committed
_DAY_MS = 86_400_000


_AT_END = codes("_PARTITION_EOF")
_OUT_OF_RANGE = codes("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE")


class LibrdkafkaClient:
    """See :class:`~mlflow_ledger.bus.kafka_client.KafkaClient`.

    Fetching and asking have a consumer each: a broker answers the requests of one connection in
    their order, a fetch that waits for news included.
    """

    def __init__(self, place: KafkaPlace, settings: KafkaSettings) -> None:
        """Connect to nothing yet."""
        self._place = place
        self._settings = settings
        self._trouble = Trouble(place, settings)
        self._sending: Sending | None = None
        self._fetcher: Consumer | None = None
        self._asker: Consumer | None = None
        self._stale = threading.Event()
        """Whether another fetcher is to be made, which reads certificates anew."""
        self._streams = Streams()
        self._partitions: dict[tuple[str | None, int | None], Partition] = {}

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Hand messages over in their order."""
        if self._sending is not None and self._sending.broken:
            self._sending.close()
            self._sending = None
        if self._sending is None:
            self._sending = Sending(self._place, self._settings, self._trouble)
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
        deadline = time.monotonic() + wait_s
        found: list[Stored] = []
        fetcher = self._fetching({topic for topic, _ in start})
        try:
            self._stand(fetcher, start, end)
            while True:
                found += self._streams.take(end, most - len(found), read)
                reached = self._streams.reached(start, end)
                if len(found) >= most:
                    break
                moved = reached != start
                left_s = deadline - time.monotonic()
                if not moved and left_s <= 0:
                    break
                # `consume` waits until it has all that it is asked for: so it is asked for one,
                # and for more only as far as it is there.
                received = [] if moved else fetcher.consume(1, left_s)
                received += fetcher.consume(min(_PORTION, most - len(found)), 0)
                if moved and not received:
                    break
                for message in received:
                    self._sort(message)
            if self._streams.size_bytes() > MOST_BUFFERED_BYTES:
                self._unassign(fetcher, self._streams.drop_held())
        except (KafkaException, LedgerError) as error:
            self._streams.clear()
            fetcher.unassign()
            if isinstance(error, KafkaException):
                raise self._failed(error.args[0]) from error
            raise
        return found, reached

    def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The last stable offset of each."""
        return self._ask(partitions, _LATEST)

    def beginnings(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset of the first message there still is in each."""
        return self._ask(partitions, _EARLIEST)

    def at_time(self, partitions: Sequence[Partition], time_ms: int) -> dict[Partition, int]:
        """The first offset not appended before this moment."""
        found = self._ask(partitions, time_ms)
        return {partition: offset for partition, offset in found.items() if offset >= 0}

    def close(self) -> None:
        """Send what is on its way, and disconnect."""
        sending, self._sending = self._sending, None
        consumers, self._fetcher, self._asker = (self._fetcher, self._asker), None, None
        if sending is not None:
            sending.close()
        for consumer in consumers:
            if consumer is not None:
                consumer.close()

    def leave(self) -> None:
        """In a forked child: let nothing happen at its end."""
        if self._sending is not None:
            self._sending.leave()

    def _fetching(self, asked: set[str]) -> Consumer:
        """The fetcher, which knows who leads before anything is under way that holds it up.

        By itself it may look a topic up a whole second after its first partition is assigned:
        where it was just then looking another one up.
        """
        if self._stale.is_set() and self._fetcher is not None:
            fetcher, self._fetcher = self._fetcher, None
            self._streams.clear()
            fetcher.close()
        self._stale.clear()
        if self._fetcher is None:
            fetcher = self._consumer()
            try:
                for topic in TOPICS if asked & {*TOPICS} else asked:
                    fetcher.list_topics(self._place.topic(topic), timeout=self._settings.timeout_s)
            except KafkaException as error:
                fetcher.close()
                raise self._failed(error.args[0]) from error
            self._fetcher = fetcher
        return self._fetcher

    def _stand(
        self, fetcher: Consumer, start: Mapping[Partition, int], end: Mapping[Partition, int]
    ) -> None:
        """Have each partition fetched from its offset on; who stands there just goes on."""
        elsewhere = {
            partition: offset
            for partition, offset in start.items()
            if offset <= end[partition] and not self._streams.stands_at(partition, offset)
        }
        if not elsewhere:
            return
        self._unassign(fetcher, [p for p in elsewhere if p in self._streams])
        fetcher.incremental_assign([self._at(p, offset) for p, offset in elsewhere.items()])
        for partition, offset in elsewhere.items():
            self._streams.begin(partition, offset)

    def _unassign(self, fetcher: Consumer, partitions: Sequence[Partition]) -> None:
        if partitions:
            fetcher.incremental_unassign([self._at(partition) for partition in partitions])

    def _sort(self, message: Received) -> None:
        """Put what was received where it belongs."""
        error, offset = message.error(), message.offset()
        partition = self._partitions.get((message.topic(), message.partition()))
        if partition is None:
            if error is not None:  # of a connection, or of the group that is never joined
                self._trouble.note(error)
            return
        if error is None and offset is not None:
            self._streams.add(partition, offset, message)
        elif error is not None and error.code() in _AT_END and offset is not None:
            self._streams.passed(partition, offset)
        elif error is not None and error.code() in _OUT_OF_RANGE:
            raise dropped(self._place, error.str())
        elif error is not None and error.code() in PASSING:
            self._trouble.note(error)
        elif error is not None:
            raise self._failed(error)

    def _ask(self, partitions: Sequence[Partition], time_ms: int) -> dict[Partition, int]:
        """An offset of each partition, by time."""
        deadline = time.monotonic() + self._settings.timeout_s
        if self._asker is None:
            self._asker = self._consumer()
        while True:
            left_s = max(deadline - time.monotonic(), 0.001)
            try:
                found = self._asker.offsets_for_times(
                    [self._at(partition, time_ms) for partition in partitions], timeout=left_s
                )
                refused = next((at.error for at in found if at.error is not None), None)
                if refused is None:
                    return {self._partitions[at.topic, at.partition]: at.offset for at in found}
            except KafkaException as error:
                refused = error.args[0]
            finally:
                self._hear(self._asker)
            if refused.code() not in PASSING or time.monotonic() > deadline:
                self._stale.set()
                self._asker.close()
                self._asker = None
                raise self._failed(refused)
            time.sleep(_PAUSE_S)  # it refuses at once where nobody leads at the moment

    def _hear(self, consumer: Consumer) -> None:
        """Let a consumer tell its troubles: it does so to who polls it only."""
        try:
            consumer.poll(0)
        except KafkaException as error:
            self._trouble.note(error.args[0])

    def _at(self, partition: Partition, offset: int = 0) -> TopicPartition:
        topic, number = self._place.topic(partition[0]), partition[1]
        self._partitions[topic, number] = partition
        return TopicPartition(topic, number, offset)

    def _failed(self, error: KafkaError) -> LedgerError:
        return self._trouble.failed(error, "Read")

    def _consumer(self) -> Consumer:
        told = {
            **connection(self._place, self._settings),
            "group.id": _NO_GROUP,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # what was dropped is told, never jumped over
            "isolation.level": "read_committed",
            "enable.partition.eof": True,  # else marks at the end are never seen to be passed
            "max.poll.interval.ms": _DAY_MS,
            "check.crcs": True,
            "fetch.min.bytes": 1,
            "fetch.wait.max.ms": _FETCH_WAIT_MS,
            "fetch.max.bytes": MOST_BUFFERED_BYTES,
            "fetch.queue.backoff.ms": 1,
            "fetch.error.backoff.ms": 50,
            "queued.min.messages": _AHEAD_MESSAGES,
            "queued.max.messages.kbytes": MOST_BUFFERED_BYTES // 1024,
            "error_cb": self._trouble.note,
        }
        with making:
            return Consumer(told)
