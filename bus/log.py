"""The one seam: an append-only log of records in ordered partitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from mlflow_ledger.schemas import Record

from .position import Partition, Position

__all__ = ["TOPICS", "Log", "Outgoing", "Stored"]

TOPICS = ("catalog", "runs", "traces", "artifacts")
"""The topics of facts, in the order of the text form of a position."""


class Outgoing(NamedTuple):
    """A record on its way to a partition, with the key whose hash names that partition."""

    partition: Partition
    record: Record
    key: str | None = None


class Stored(NamedTuple):
    """A record as it stands in the log.

    ``partition`` and ``offset`` say where; in an embedded log all topics share one sequence.
    ``append_ms`` never decreases along a partition.
    """

    partition: Partition
    offset: int
    append_ms: int
    record: Record


class Log(Protocol):
    """An append-only log. Delivery is at least once: a retry may stand in it twice.

    Offsets grow along a partition and may have holes. Who reads keeps a position of their own.
    """

    @property
    def ledger_id(self) -> str:
        """The ledger whose log this is."""

    def partitions(self) -> Mapping[str, int]:
        """How many partitions each topic has."""

    def append(self, records: Sequence[Outgoing]) -> list[Stored]:
        """Append records, in their order, all or none where the log can.

        Raises:
            LogUnavailable: not appended, or not known to be.
        """

    def read(self, position: Position, limit: int | None = None) -> Iterator[Stored]:
        """The records from a position to the end as it is now, at most ``limit`` of them.

        Each partition comes in its order; how partitions interleave is not defined.
        """

    def start(self) -> Position:
        """The position of the first record there is."""

    def end(self) -> Position:
        """The position behind the last record that is now there for every reader."""

    def position_at(self, time_ms: int) -> Position:
        """The position before the first record of each partition appended after this moment."""

    def close(self) -> None:
        """Release what the log holds; it is not to be used afterwards."""
