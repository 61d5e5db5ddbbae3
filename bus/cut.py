"""A log as it was at a position: what came later is not there, and nothing can be appended."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Never

from mlflow_ledger.schemas import PastReadOnly

from .appending import Appending
from .log import Outgoing, Stored
from .mirror import MirrorLog
from .position import EMBEDDED, Partition, Position
from .selection import Selection
from .sqlite import SqliteLog

__all__ = ["Cut", "Spans", "cut_log", "past_read_only", "position_of", "spans_before", "vector_at"]

Spans = tuple[tuple[int, int], ...]
"""First and last offset of each unbroken piece of a log, in order; none of an empty one."""


class Cut(NamedTuple):
    """Where a log is cut: the position, and the pieces of this log that stand before it."""

    position: Position
    spans: Spans

    @property
    def unbroken_to(self) -> int:
        """The offset up to which everything stands before the cut."""
        return self.spans[0][1] if self.spans and self.spans[0][0] == 1 else 0


def cut_log(log: SqliteLog, cut: Callable[[], Cut]) -> SqliteLog:
    """A view of a log as it was at a position, which is asked for with the first look."""
    return _CutMirror(log, cut) if isinstance(log, MirrorLog) else _CutLog(log, cut)


def spans_before(log: SqliteLog, position: Position) -> Spans:
    """Where the events before a position stand: of a mirror, each partition up to its own end."""
    if not isinstance(log, MirrorLog):
        last = position.offset(EMBEDDED) - 1
        return ((1, last),) if last > 0 else ()
    spans: list[tuple[int, int]] = []
    for first, last, partition, offset in log.runs():
        end = min(last, first + position.offset(partition) - offset - 1)
        if end < first:
            continue
        if spans and spans[-1][1] == first - 1:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((first, end))
    return tuple(spans)


def vector_at(log: MirrorLog, time_ms: int) -> Position:
    """In topics: the position before the first record of each partition appended after a moment."""
    by_partition: dict[Partition, list[tuple[int, int, int]]] = {}
    for first, last, partition, offset in log.runs():
        by_partition.setdefault(partition, []).append((first, last, offset))
    reached = log.position()
    offsets = {p: reached.offset(p) for p in reached.offsets}
    for partition, runs in by_partition.items():
        found = _first_after(log, runs, time_ms)
        if found is not None:
            offsets[partition] = found
    return Position(log.ledger_id, offsets)


def position_of(log: SqliteLog) -> Position:
    """Where a log ends, as every host names it."""
    return log.position() if isinstance(log, MirrorLog) else log.end()


def _first_after(log: MirrorLog, runs: Sequence[tuple[int, int, int]], time_ms: int) -> int | None:
    """The offset of a partition's first record appended after a moment, None where there is none.

    Append times never decrease along a partition.
    """
    low, high = 0, len(runs)
    while low < high:  # the first piece whose last record came later
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _append_ms(log, runs[middle][1]) > time_ms else (middle + 1, high)
        )
    if low == len(runs):
        return None
    first, last, offset = runs[low]
    begin, end = first, last
    while begin < end:
        middle = (begin + end) // 2
        begin, end = (begin, middle) if _append_ms(log, middle) > time_ms else (middle + 1, end)
    return offset + begin - first


def _append_ms(log: MirrorLog, seq: int) -> int:
    stored = log.at(seq)
    if stored is None:
        raise log.damaged(f"event {seq} is missing, later ones are there")
    return stored.append_ms


class _Cut(SqliteLog):
    """What both kinds of log do alike when they are cut."""

    _find: Callable[[], Cut]

    @functools.cached_property
    def _cut(self) -> Cut:
        return self._find()

    @property
    def spans(self) -> Spans:
        """The pieces that are shown."""
        return self._cut.spans

    def last_offset(self) -> int:
        """The offset of the last record that is shown, 0 where there is none."""
        return self.spans[-1][1] if self.spans else 0

    def unbroken_to(self) -> int:
        """The offset up to which every record is shown."""
        return self._cut.unbroken_to

    def append(self, records: Sequence[Outgoing]) -> Never:
        """Refuse."""
        raise past_read_only()

    def transaction(self) -> Appending:
        """Refuse."""
        raise past_read_only()

    def check_writable(self) -> None:
        """Refuse."""
        raise past_read_only()

    def select(
        self, selection: Selection, first: int = 1, limit: int | None = None
    ) -> Iterator[Stored]:
        """The records of a selection from offset ``first`` on; no other is decoded."""
        for begin, end in self.spans:
            between = "SELECT count(*) FROM events WHERE seq BETWEEN ? AND ?"
            if self.ask(between, begin, end)[0][0] < end - begin + 1:
                raise self.damaged("events are missing, later ones are there")
        where, values = selection.sql()
        return self.rows(first, limit, where, values)

    def sizes(self) -> list[tuple[str, int, int]]:
        """For each event type its name, how many records there are, and their encoded bytes."""
        found: dict[str, tuple[int, int]] = {}
        for begin, end in self.spans:
            for name, count, size_bytes in self.ask(
                "SELECT type, count(*), sum(length(head) + coalesce(length(content), 0)) "
                "FROM events JOIN schemas USING (schema_no) WHERE seq BETWEEN ? AND ? "
                "GROUP BY type",
                begin, end,
            ):  # fmt: skip
                known = found.get(name, (0, 0))
                found[name] = (known[0] + count, known[1] + size_bytes)
        return [(name, *found[name]) for name in sorted(found)]

    def read(self, position: Position, limit: int | None = None) -> Iterator[Stored]:
        """The records from a position to the end, in order of offset, at most ``limit``."""
        first, remaining = max(position.offset(EMBEDDED), 1), limit
        for begin, end in self._from(first, self.last_offset()):
            last = end if remaining is None else min(end, begin + remaining - 1)
            yield from super()._whole(begin, last)
            if remaining is not None:
                remaining -= last - begin + 1
                if remaining <= 0:
                    return

    def _rows(
        self, first: int, last: int, limit: int | None, where: str, values: Sequence[object]
    ) -> Iterator[Stored]:
        remaining = limit
        for begin, end in self._from(first, last):
            for stored in super()._rows(begin, end, remaining, where, values):
                yield stored
                if remaining is not None:
                    remaining -= 1
            if remaining == 0:
                return

    def _from(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        for begin, end in self.spans:
            if end >= first and begin <= last:
                yield max(begin, first), min(end, last)


class _CutLog(_Cut):
    def __init__(self, log: SqliteLog, cut: Callable[[], Cut]) -> None:
        self._find = cut
        super().__init__(log.path)
        self.keyring = log.keyring


class _CutMirror(_Cut, MirrorLog):
    def __init__(self, log: MirrorLog, cut: Callable[[], Cut]) -> None:
        self._find = cut
        MirrorLog.__init__(self, log.path, log.partitions())
        self.keyring = log.keyring

    def position(self) -> Position:
        """Where it is cut."""
        return self._cut.position


def past_read_only() -> PastReadOnly:
    """The error of whoever would change the past."""
    msg = (
        "this is the ledger as it was, and the past cannot be changed: leave as_of= out of the URI "
        "to write"
    )
    return PastReadOnly(msg)
