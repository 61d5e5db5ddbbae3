"""What librdkafka fetches ahead: how far each partition has come, and what waits to be taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Message as Received

from .kafka_client import Read
from .log import Stored
from .position import Partition

__all__ = ["Streams"]


class _Stream:
    """One partition: what was said of it, what of it is known, what was not yet taken."""

    __slots__ = ("held", "known", "said")

    def __init__(self, offset: int) -> None:
        self.said = offset
        """The offset that was last told as reached: only from there it goes on without a seek."""
        self.known = offset
        """All messages before this offset were taken or are held; some offsets have none."""
        self.held: deque[Received] = deque()


class Streams:
    """The partitions that a consumer is assigned, each from an offset on.

    librdkafka goes on fetching behind the end that a reader asked for; what it gives too early is
    held, so that the next read need not seek back.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._streams: dict[Partition, _Stream] = {}

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._streams

    def stands_at(self, partition: Partition, offset: int) -> bool:
        """Whether a partition goes on at this offset."""
        stream = self._streams.get(partition)
        return stream is not None and stream.said == offset

    def begin(self, partition: Partition, offset: int) -> None:
        """A partition was assigned from an offset on."""
        self._streams[partition] = _Stream(offset)

    def add(self, partition: Partition, offset: int, message: Received) -> None:
        """A message was received."""
        stream = self._streams[partition]
        stream.held.append(message)
        stream.known = offset + 1

    def passed(self, partition: Partition, offset: int) -> None:
        """There is no message before this offset but those received."""
        self._streams[partition].known = offset

    def take(self, end: Mapping[Partition, int], most: int, read: Read) -> list[Stored]:
        """Messages before these ends, each partition's in its order."""
        found: list[Stored] = []
        for partition, until in end.items():
            stream = self._streams.get(partition)
            if stream is None:
                continue
            held = stream.held
            while held and len(found) < most:
                message = held[0]
                offset = message.offset()
                assert offset is not None
                if offset >= until:
                    break
                held.popleft()
                headers: Any = message.headers() or ()
                append_ms = message.timestamp()[1]
                found.append(read(partition, offset, append_ms, headers, message.value()))
        return found

    def reached(
        self, start: Mapping[Partition, int], end: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        """How far the partitions have come that stood at ``start``, at most to ``end``."""
        reached = {}
        for partition, offset in start.items():
            stream = self._streams.get(partition)
            if stream is None:
                reached[partition] = offset
                continue
            first = stream.held[0].offset() if stream.held else stream.known
            assert first is not None
            stream.said = reached[partition] = max(min(first, end[partition]), offset)
        return reached

    def size_bytes(self) -> int:
        """How much is held."""
        return sum(len(message) for stream in self._streams.values() for message in stream.held)

    def drop_held(self) -> list[Partition]:
        """Forget the partitions of which messages are held, and name them."""
        dropped = [partition for partition, stream in self._streams.items() if stream.held]
        for partition in dropped:
            del self._streams[partition]
        return dropped

    def clear(self) -> None:
        """Forget all."""
        self._streams.clear()
