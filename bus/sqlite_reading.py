"""What is asked of an embedded log: records by offset, by selection, by time."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_ledger.schemas import LogDamaged, Record

from .log import Stored
from .position import EMBEDDED, Position
from .selection import Selection
from .sqlite_rows import COLUMNS, Fetch, is_as_written, is_cut, record_of, some

if TYPE_CHECKING:  # only a ledger whose contents can be erased has one
    from .keyring import Keyring

__all__ = ["SqliteReading"]


class SqliteReading(ABC):
    """The questions; whoever has the file answers them by :meth:`ask`.

    ``keyring`` opens what is sealed in the log, if anything may be.
    """

    keyring: Keyring | None = None

    @property
    @abstractmethod
    def ledger_id(self) -> str:
        """The ledger whose log this is."""

    @abstractmethod
    def ask(self, sql: str, *values: object, fetch: Fetch = sqlite3.Cursor.fetchall) -> list[Any]:
        """Read what is committed now."""

    @abstractmethod
    def damaged(self, what: str) -> LogDamaged:
        """The error to raise where the log is not what was written."""

    def read(self, position: Position, limit: int | None = None) -> Iterator[Stored]:
        """The records from a position to the end as it is now, in order of offset.

        Raises:
            LogDamaged: one of them is missing; an answer must not look whole where it is not.
        """
        first, last = max(position.offset(EMBEDDED), 1), self.last_offset()
        return self._whole(first, last if limit is None else min(last, first + limit - 1))

    def _whole(self, expected: int, end: int) -> Iterator[Stored]:
        for stored in self._rows(expected, end, None, "", ()):
            if stored.offset != expected:
                break
            yield stored
            expected += 1
        if expected <= end:
            raise self.damaged(f"event {expected} is missing, later ones are there")

    def select(
        self, selection: Selection, first: int = 1, limit: int | None = None
    ) -> Iterator[Stored]:
        """The records of a selection from offset ``first`` on; no other is decoded.

        Raises:
            LogDamaged: records are missing, perhaps some of these.
        """
        last = self.last_offset()
        if self.ask("SELECT count(*) FROM events WHERE seq <= ?", last)[0][0] < last:
            raise self.damaged("events are missing, later ones are there")
        where, values = selection.sql()
        return self.rows(first, limit, where, values)

    def rows(
        self,
        first: int,
        limit: int | None = None,
        where: str = "",
        values: Sequence[object] = (),
    ) -> Iterator[Stored]:
        """The records from offset ``first`` on, to the end as it is now.

        ``where`` is a further condition in SQL, ``values`` are bound to its question marks.
        """
        return self._rows(first, self.last_offset(), limit, where, values)

    def _rows(
        self, first: int, last: int, limit: int | None, where: str, values: Sequence[object]
    ) -> Iterator[Stored]:
        remaining = -1 if limit is None else limit
        if self.keyring is not None:
            self.keyring.refresh()
        while first <= last and remaining != 0:
            batch = 2000 if remaining < 0 else min(2000, remaining)
            rows = self.ask(
                f"SELECT {COLUMNS} WHERE seq BETWEEN ? AND ? {where} ORDER BY seq LIMIT ?",
                max(first, 1), last, *values, batch, fetch=some,
            )  # fmt: skip
            for row in rows:
                yield Stored(EMBEDDED, row[0], row[1], self._record_of(row))
            if len(rows) < batch and not is_cut(rows):
                return
            first = rows[-1][0] + 1
            remaining -= len(rows) if remaining > 0 else 0

    def at(self, offset: int) -> Stored | None:
        """The record at one offset, or None."""
        return next(iter(self.rows(offset, 1, "AND seq = ?", (offset,))), None)

    def offsets(self, first: int, last: int, limit: int) -> list[int]:
        """The offsets between two at which something stands, readable or not."""
        rows = self.ask(
            "SELECT seq FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
            first, last, limit,
        )  # fmt: skip
        return [offset for (offset,) in rows]

    def odd_rows(self) -> Iterator[tuple[str, str]]:
        """Rows that are not as they were written, though what is read from them is the same."""
        rows = self.ask("SELECT seq FROM events WHERE seq < 1")
        yield from ((f"event {seq}", "stands before the first") for (seq,) in rows)
        rows = self.ask("SELECT seq, CAST(extra AS BLOB) FROM events WHERE extra IS NOT NULL")
        for seq, extra in rows:
            if not is_as_written(extra):
                yield f"event {seq}", "what its row says of its header was written by another"

    def last_offset(self) -> int:
        """The offset of the last record, 0 where there is none."""
        return self.ask("SELECT max(seq) FROM events")[0][0] or 0

    def unbroken_to(self) -> int:
        """The offset up to which every record is shown: all, but where a log is cut."""
        return self.last_offset()

    def subjects(self, kind: str, first: int, last: int) -> list[str]:
        """What entities of a kind, by their ids, the records between two offsets are about."""
        rows = self.ask(
            "SELECT DISTINCT subject FROM events WHERE seq BETWEEN ? AND ? "
            "AND subject > ? AND subject < ?",
            first, last, f"{kind}:/", f"{kind}:0",  # 0 is the character that follows the slash
        )  # fmt: skip
        return [subject.partition(":/")[2] for (subject,) in rows]

    def position_at(self, time_ms: int) -> Position:
        """The position before the first record appended after this moment.

        Append times never decrease, so a binary search by offset finds it without an index.
        """
        low, high = 1, self.last_offset() + 1
        while low < high:
            middle = (low + high) // 2
            ((append_ms,),) = self.ask(
                "SELECT append_ms FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", middle
            )
            low, high = (low, middle) if append_ms > time_ms else (middle + 1, high)
        return Position(self.ledger_id, {EMBEDDED: low})

    def times(self) -> tuple[int, int] | None:
        """When the first and the last event were appended, in milliseconds since 1970."""
        first, last = self.at(1), self.at(self.last_offset())
        return (first.append_ms, last.append_ms) if first and last else None

    def _record_of(self, row: tuple[Any, ...]) -> Record:
        try:
            return record_of(row, None if self.keyring is None else self.keyring.open)
        except (ValueError, TypeError, AttributeError) as error:
            raise self.damaged(f"event {row[0]} cannot be read: {error}") from error

    def sizes(self) -> list[tuple[str, int, int]]:
        """For each event type its name, how many records there are, and their encoded bytes."""
        return self.ask(
            "SELECT type, count(*), sum(length(head) + coalesce(length(content), 0)) "
            "FROM events JOIN schemas USING (schema_no) GROUP BY type ORDER BY type"
        )
