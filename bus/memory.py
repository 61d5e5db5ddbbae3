"""A log in memory: for tests, and to fold a history that came from elsewhere."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence

from mlflow_ledger.schemas import LogUnavailable

from .log import TOPICS, Outgoing, Stored
from .position import Partition, Position

__all__ = ["MemoryLog"]


class MemoryLog:
    """A log in memory with any number of partitions."""

    def __init__(
        self,
        ledger_id: str,
        partitions: Mapping[str, int] | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Start empty; ``clock`` gives append times in milliseconds."""
        self._ledger_id = ledger_id
        self._partitions = dict(partitions or dict.fromkeys(TOPICS, 1))
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._records: dict[Partition, list[Stored]] = {
            (topic, number): []
            for topic, count in self._partitions.items()
            for number in range(count)
        }
        self._mutex = threading.Lock()
        self._closed = False

    @property
    def ledger_id(self) -> str:
        """The ledger whose log this is."""
        return self._ledger_id

    def partitions(self) -> Mapping[str, int]:
        """How many partitions each topic has."""
        return self._partitions

    def append(self, records: Sequence[Outgoing]) -> list[Stored]:
        """Append records, all or none."""
        with self._mutex:
            self._check_open()
            unknown = {r.partition for r in records} - self._records.keys()
            if unknown:
                msg = f"log {self._ledger_id} has no partition {sorted(unknown)}"
                raise LogUnavailable(msg)
            return [self._append(outgoing) for outgoing in records]

    def read(self, position: Position, limit: int | None = None) -> Iterator[Stored]:
        """The records from a position to the end as it is now, partition after partition."""
        with self._mutex:
            self._check_open()
            found = [
                stored
                for partition, records in self._records.items()
                for stored in records[position.offset(partition) :]
            ]
        return iter(found[:limit])

    def start(self) -> Position:
        """The position of the first record."""
        return Position(self._ledger_id)

    def end(self) -> Position:
        """The position behind the last record."""
        with self._mutex:
            return Position(self._ledger_id, {p: len(r) for p, r in self._records.items()})

    def position_at(self, time_ms: int) -> Position:
        """The position before the first record of each partition appended after this moment."""
        with self._mutex:
            return Position(
                self._ledger_id,
                {
                    partition: bisect_right(records, time_ms, key=lambda s: s.append_ms)
                    for partition, records in self._records.items()
                },
            )

    def close(self) -> None:
        """Refuse further use."""
        self._closed = True

    def _append(self, outgoing: Outgoing) -> Stored:
        records = self._records[outgoing.partition]
        previous_ms = records[-1].append_ms if records else 0
        stored = Stored(
            outgoing.partition, len(records), max(previous_ms, self._clock()), outgoing.record
        )
        records.append(stored)
        return stored

    def _check_open(self) -> None:
        if self._closed:
            msg = f"log {self._ledger_id} is closed"
            raise LogUnavailable(msg)
