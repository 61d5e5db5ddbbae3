"""One transaction on the embedded log."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .log import Outgoing, Stored

if TYPE_CHECKING:
    from .sqlite import SqliteLog

__all__ = ["Appending"]

_LAST = "SELECT seq, append_ms FROM events ORDER BY seq DESC LIMIT 1"
_SINCE = (
    "SELECT type, subject FROM events JOIN schemas USING (schema_no) "
    "WHERE seq > ? ORDER BY seq LIMIT ?"
)


class Appending:
    """A transaction on the log: what it ends with, and how to append to it."""

    __slots__ = ("_log", "_ms", "last_offset")

    def __init__(self, log: SqliteLog) -> None:
        """Append behind ``last_offset`` (0: the log is empty)."""
        self._log = log
        self.last_offset = 0
        self._ms = 0

    def __enter__(self) -> Self:
        """Begin."""
        with self._log.failures:
            connection = self._log.connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                self.last_offset, self._ms = connection.execute(_LAST).fetchone() or (0, 0)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, or after an error roll back."""
        connection = self._log.connection()
        committed = False
        try:
            if error is None:
                with self._log.failures:
                    connection.execute("COMMIT")
                committed = True
        finally:
            if not committed:  # a commit can fail too: the disk is full
                self._log.forget_numbers()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def since(self, offset: int, limit: int) -> list[tuple[str, str]]:
        """Type and subject of what stands behind ``offset``, at most ``limit`` of them."""
        with self._log.failures:
            return self._log.connection().execute(_SINCE, (offset, limit)).fetchall()

    def append(self, records: Sequence[Outgoing]) -> list[Stored]:
        """Append records within the transaction."""
        with self._log.failures:
            stored = self._log.insert(records, self.last_offset, self._ms)
        if stored:
            self.last_offset, self._ms = stored[-1].offset, stored[-1].append_ms
        return stored
