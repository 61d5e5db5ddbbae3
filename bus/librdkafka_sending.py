"""The sending half of a client on librdkafka."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Received

from mlflow_ledger.schemas import LogUnavailable, RecordRefused

from .kafka_client import BATCH_BYTES, MAX_REQUEST_BYTES, MOST_BUFFERED_BYTES, Message, TooLarge
from .kafka_failures import invalid, unavailable
from .kafka_settings import KafkaPlace, KafkaSettings
from .librdkafka_failures import Trouble, codes
from .librdkafka_settings import connection, making, socket_timeout_ms

__all__ = ["Sending"]

_MOST_MESSAGES = 100_000
_SERVE_S = 0.1
_LAST_WORDS_S = 1.0
_TOO_LARGE = codes("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE")
_INVALID = codes("INVALID_RECORD")
_TIMED_OUT = codes("_MSG_TIMED_OUT")  # another producer reads certificates and tokens anew


class Sending:
    """A producer, and the thread in which it tells what became of its messages."""

    def __init__(self, place: KafkaPlace, settings: KafkaSettings, trouble: Trouble) -> None:
        """Connect, in the background."""
        self._place = place
        self._settings = settings
        self._trouble = trouble
        self._room = threading.Event()
        self.broken = False
        """Whether it will never send again, and another one has to."""
        self._fatal = _Fatal(trouble)
        timeout_ms = int(settings.timeout_s * 1000)
        told = {
            **connection(place, settings),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "batch.size": BATCH_BYTES,
            "message.max.bytes": MAX_REQUEST_BYTES,
            "message.timeout.ms": timeout_ms,
            "request.timeout.ms": socket_timeout_ms(settings),
            "queue.buffering.max.messages": _MOST_MESSAGES,
            "queue.buffering.max.kbytes": MOST_BUFFERED_BYTES // 1024,
            "error_cb": self._fatal.note,
        }
        with making:
            self._producer = Producer(told)
        stop = threading.Event()
        thread = threading.Thread(
            target=_serve,
            args=(self._producer, stop, self._fatal),
            name="mlflow-ledger-kafka",
            daemon=True,
        )
        thread.start()
        self._end = weakref.finalize(self, _end, stop, thread)

    def send(self, messages: Sequence[Message]) -> Sent:
        """Hand messages over in their order."""
        sent = Sent(self, messages)
        deadline = time.monotonic() + self._settings.timeout_s
        for index, message in enumerate(messages):
            while not self._handed(message, partial(sent.told, index)):
                if not self._room.wait(_SERVE_S) and time.monotonic() > deadline:
                    raise self._trouble.unheard("what was sent before is not acknowledged")
        return sent

    def told(self, error: KafkaError | None) -> None:
        """One message more is no longer waiting."""
        if not self._room.is_set():
            self._room.set()
        if error is not None and (self._fatal.error is not None or error.code() in _TIMED_OUT):
            self.broken = True

    def refused(self, error: KafkaError, messages: Sequence[Message]) -> Exception:
        """The error to raise where messages were not taken."""
        error = self._fatal.error or error
        what = f"{error.name()}: {error.str()}"
        if error.code() in _TOO_LARGE:
            return TooLarge(what)
        if error.code() in _INVALID:
            return RecordRefused(invalid(self._place, what))
        topics = {self._place.topic(message.partition[0]) for message in messages}
        return self._trouble.failed(error, "Write", topics)

    def silent(self, timeout_s: float) -> Exception:
        """The error to raise where nothing was heard of messages."""
        self.broken = True
        return self._trouble.unheard(f"no acknowledgement within {timeout_s:g} s")

    def unplaced(self) -> Exception:
        """The error to raise where messages were taken, and nobody knows where they stand."""
        return unavailable(self._place, "acknowledged, but not said where")

    def close(self) -> None:
        """Send what is on its way; who waits for what cannot be sent is told."""
        if not self.broken:
            self._producer.flush(self._settings.timeout_s)
        self._producer.purge()
        self._producer.flush(_LAST_WORDS_S)
        self._end()

    def leave(self) -> None:
        """In a forked child: do nothing at its end, for the thread is the parent's."""
        self._end.detach()

    def _handed(
        self, message: Message, told: Callable[[KafkaError | None, Received], None]
    ) -> bool:
        """Whether there was room for a message."""
        try:
            self._producer.produce(
                self._place.topic(message.partition[0]),
                message.value,
                message.key,
                message.partition[1],
                on_delivery=told,
                headers=list(message.headers),
            )
        except BufferError:
            self._room.clear()
            return False
        except KafkaException as error:
            self.told(error.args[0])
            raise self.refused(error.args[0], [message]) from error
        return True


class Sent:
    """The messages of one :meth:`Sending.send`."""

    def __init__(self, sending: Sending, messages: Sequence[Message]) -> None:
        self._sending = sending
        self._messages = messages
        self._said: list[tuple[int, int]] = [(-1, -1)] * len(messages)
        self._left = len(messages)
        self._counting = threading.Lock()  # whoever closes the producer serves it as well
        self._error: KafkaError | None = None
        self._done = threading.Event()

    def told(self, index: int, error: KafkaError | None, message: Received) -> None:
        """What became of one of them."""
        if error is not None:
            self._error = self._error or error
        else:
            offset = message.offset()
            self._said[index] = (-1 if offset is None else offset, message.timestamp()[1])
        with self._counting:
            self._left -= 1
            last = not self._left
        self._sending.told(error)
        if last:
            self._done.set()

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        """Offset and append time of each, in their order."""
        if self._messages and not self._done.wait(timeout_s):
            raise self._sending.silent(timeout_s)
        if self._error is not None:
            raise self._sending.refused(self._error, self._messages)
        if any(offset < 0 for offset, _ in self._said):
            # A retry of what was acknowledged long before, on a connection that broke.
            raise self._sending.unplaced()
        return self._said


class _Fatal:
    """The error after which a producer will never send again, and its queue just grows old."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self.error: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        """Keep it where it is such a one."""
        self._trouble.note(error)
        if error.fatal():
            self.error = error


def _serve(producer: Producer, stop: threading.Event, fatal: _Fatal) -> None:
    while not stop.is_set():
        try:
            producer.poll(_SERVE_S)
        except KafkaException as error:  # a fatal one
            fatal.note(error.args[0])
        except LogUnavailable:
            continue  # no token to be had: who waits in vain asks for one, and is told that
        if fatal.error is not None:
            producer.purge()  # whoever waits is told at once


def _end(stop: threading.Event, thread: threading.Thread) -> None:
    stop.set()
    if thread is not threading.current_thread():
        thread.join()
