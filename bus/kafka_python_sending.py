"""The sending half of a client on kafka-python."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from mlflow_ledger.schemas import RecordRefused

from .kafka_client import BATCH_BYTES, MAX_REQUEST_BYTES, MOST_BUFFERED_BYTES, Message, TooLarge
from .kafka_failures import failure, invalid, unavailable
from .kafka_python import connected
from .kafka_settings import KafkaPlace, KafkaSettings

__all__ = ["Sending"]

_END_S = 1.0


class Sending:
    """A producer, for as long as all that it sends is taken."""

    def __init__(self, place: KafkaPlace, settings: KafkaSettings) -> None:
        """Connect to nothing yet."""
        self._place = place
        self._settings = settings
        self._producer: Any = None
        self._room = _Room(MOST_BUFFERED_BYTES)
        self.broken = False
        """Whether another one has to take its place.

        After its first error an idempotent producer of kafka-python answers every record with
        that one, for ever.
        """

    def send(self, messages: Sequence[Message]) -> Sent:
        """Hand messages over in their order."""
        futures: list[Any] = []
        with self.failures(messages):
            producer = self._producing()
            for message in messages:
                size_bytes = message.size_bytes
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
        return Sent(self, messages, futures)

    def close(self) -> None:
        """Send what is on its way; who waits for what cannot be sent is told."""
        if self._producer is not None:
            self._producer.close(timeout=self._settings.timeout_s)

    def drop(self) -> None:
        """Send nothing more: what is still held must not come after what others send."""
        if self._producer is not None:
            self._producer._sender.force_close()  # noqa: SLF001  # close() would wait for records
            with suppress(KafkaError):
                self._producer.close(timeout=_END_S)

    @contextmanager
    def failures(self, messages: Sequence[Message]) -> Iterator[None]:
        """Kafka's errors as ours; after each of them this producer is to be replaced."""
        try:
            yield
        except KafkaError as error:
            self.broken = True
            raise self._failed(error, messages) from error

    def _failed(self, error: KafkaError, messages: Sequence[Message]) -> Exception:
        what = f"{type(error).__name__}: {error}"
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            return TooLarge(what)
        if isinstance(error, InvalidRecordError):
            return RecordRefused(invalid(self._place, what))
        topics = {self._place.topic(message.partition[0]) for message in messages}
        return failure(self._place, self._settings, error, "Write", topics)

    def _producing(self) -> Any:
        if self._producer is None:
            self._producer = connected(
                KafkaProducer,
                **self._settings.connection(self._place),
                metrics_enabled=False,
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


class Sent:
    """The messages of one :meth:`Sending.send`."""

    def __init__(self, sending: Sending, messages: Sequence[Message], futures: list[Any]) -> None:
        self._sending = sending
        self._messages = messages
        self._futures = futures

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        """Offset and append time of each, in their order."""
        deadline = time.monotonic() + timeout_s
        with self._sending.failures(self._messages):
            said = [f.get(timeout=max(deadline - time.monotonic(), 0)) for f in self._futures]
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
