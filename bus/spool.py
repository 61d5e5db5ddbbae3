"""What waits on this host to be sent to a log: one SQLite file, shared by all its processes."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlflow_ledger.schemas import LogUnavailable, format_time

from .failpoint import reach
from .fork import abandon, forkable
from .inode import inode_of
from .lock import FileLock
from .log import Outgoing
from .sharing import share, share_database
from .spool_file import PAGE_BYTES, create_spool, identify_spool, spool_damaged
from .spool_rows import BODY, Refusal, SpoolDepth, Waiting, body_of, outgoing_of
from .sqlite import Synchronous
from .sqlite_failures import SqliteFailures

__all__ = ["MOST_SPOOL_BYTES", "Spool"]

_log = logging.getLogger(__name__)

MOST_SPOOL_BYTES = 4 * 1024**3
"""How large a spool's file may become, unless it is said otherwise."""

_BATCH_BYTES = 8 * 1024 * 1024
_CHUNK = 500
_OPTIONS: dict[str, Any] = {"isolation_level": None, "check_same_thread": False, "timeout": 30}
_LAST = "SELECT number, through_bytes FROM waiting ORDER BY number DESC LIMIT 1"
_GIVEN = "SELECT value, 0 FROM meta WHERE key = 'last'"
_REMEMBER = "UPDATE meta SET value = max(value, ?) WHERE key = 'last'"
_INSERT = (
    f"INSERT INTO waiting (number, writer, spooled_ms, through_bytes, {BODY}) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_REFUSE = (
    f"INSERT INTO refused (number, writer, spooled_ms, {BODY}, refused_ms, error) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DEPTH = """
    SELECT last.number - first.number + 1,
           last.through_bytes - first.through_bytes + first.size_bytes, first.spooled_ms
    FROM (
        SELECT number, through_bytes, size_bytes, spooled_ms FROM waiting ORDER BY number LIMIT 1
    ) AS first, (
        SELECT number, through_bytes FROM waiting ORDER BY number DESC LIMIT 1
    ) AS last
"""


class Spool:
    """Records in the order in which they came, each with a number that is never given again.

    Nothing is opened or made before it is needed. Threads may share it, and a forked child goes
    on with connections of its own. What ``synchronous`` means, :class:`SqliteLog` says.
    """

    fork_order = 1

    def __init__(
        self,
        path: Path,
        most_bytes: int = MOST_SPOOL_BYTES,
        *,
        synchronous: Synchronous = "normal",
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Use the file at ``path``, which with its folder is made by the first append."""
        self.path = path
        self.most_bytes = most_bytes
        self.failures = SqliteFailures(path, spool_damaged, ("spool.sql",))
        self.lock = FileLock(path.with_name(f"{path.name}.lock"), make_folder=self._have_folder)
        """Held while records are appended; who gives identities does so under it."""
        self.own_last = 0
        """The number of the last record that this process appended, 0 before the first."""
        self._path_text = str(path)
        self._synchronous = synchronous
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._mark = _new_mark()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._reader: sqlite3.Connection | None = None
        self._reader_inode = 0
        self._reading = threading.Lock()
        forkable(self)

    def append(self, records: Sequence[Outgoing]) -> int:
        """Append records, all or none; the number of the last one.

        When this returns, they survive the end of this process.

        Raises:
            LogUnavailable: nothing was kept: the spool or the disk is full, or cannot be written.
            LogDamaged, LogForeign: the file is garbled, or no spool of this program.
        """
        bodies = [body_of(outgoing) for outgoing in records]
        with self.lock:
            return self._insert(bodies)

    def put(self, records: Sequence[Outgoing]) -> int:
        """As :meth:`append`, for who holds :attr:`lock` already."""
        return self._insert([body_of(outgoing) for outgoing in records])

    def batch(self, limit: int, most_bytes: int = _BATCH_BYTES) -> list[tuple[int, Outgoing]]:
        """The first records that wait; fewer than ``limit`` where they are large, at least one."""
        return [(number, outgoing) for number, outgoing, _ in self._read(0, limit, most_bytes)]

    def waiting(self, after: int = 0) -> Iterator[Waiting]:
        """What waits behind a number; what comes or goes meanwhile may be among it or not."""
        while chunk := self._read(after, _CHUNK, _BATCH_BYTES):
            yield from chunk
            after = chunk[-1].number

    def forget(self, through: int) -> None:
        """Drop the records up to this number: they stand in the log."""
        with self.lock, self.failures:
            connection = self._writing()
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._forget(connection, through)
                connection.execute("COMMIT")
            finally:
                _roll_back(connection)

    def refuse(self, number: int, error: str) -> None:
        """Put the first record aside, if that is its number: the log will never take it."""
        with self.lock, self.failures:
            connection = self._writing()
            connection.execute("BEGIN IMMEDIATE")
            try:
                row = connection.execute(
                    f"SELECT number, writer, spooled_ms, {BODY} FROM waiting "
                    "ORDER BY number LIMIT 1"
                ).fetchone()
                if row is not None and row[0] == number:
                    self._forget(connection, number)  # before it is kept: there may be little room
                    connection.execute(_REFUSE, (*row, self._clock(), error))
                connection.execute("COMMIT")
            finally:
                _roll_back(connection)

    def refused(self) -> list[Refusal]:
        """What the log would not take."""
        rows = self._ask(
            f"SELECT number, spooled_ms, refused_ms, error, {BODY} FROM refused ORDER BY number"
        )
        return [Refusal(row[0], self._outgoing(row[0], row[4:]), *row[1:4]) for row in rows]

    def retry_refused(self) -> int:
        """Let what was refused wait again, behind all others; how many records that are."""
        with self.lock:
            rows = self._ask(f"SELECT {BODY} FROM refused ORDER BY number")
            if rows:
                self._insert(rows, also="DELETE FROM refused")
        return len(rows)

    def depth(self) -> SpoolDepth:
        """How much waits, and since when."""
        rows = self._ask(_DEPTH)
        return SpoolDepth(*rows[0]) if rows else SpoolDepth(0, 0, None)

    def first(self) -> int | None:
        """The number of the record that is next, None where nothing waits."""
        rows = self._ask("SELECT number FROM waiting ORDER BY number LIMIT 1")
        return rows[0][0] if rows else None

    def count_refused(self) -> int:
        """How many records the log would not take."""
        rows = self._ask("SELECT count(*) FROM refused")
        return int(rows[0][0]) if rows else 0

    def own(self, through: int) -> int:
        """How many records of this process up to a number still wait."""
        rows = self._ask(
            "SELECT count(*) FROM waiting WHERE number <= ? AND writer = ?", through, self._mark
        )
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        """Close connections and lock file; the next use opens them again."""
        with self.lock.without_processes():
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
        with self._reading:
            self._close_reader()
        self.lock.close()

    def before_fork(self) -> None:
        """Stand still: no thread is inside the lock while the process forks."""
        self.lock.before_fork()
        self._reading.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._reading.release()
        self.lock.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Leave the inherited connections alone; what the parent spooled is not the child's."""
        abandon(self._connection, self._reader)
        self._connection = self._reader = None
        self._mark, self.own_last = _new_mark(), 0
        self._reading.release()
        self.lock.after_fork_in_child()

    def _insert(self, bodies: Sequence[tuple[Any, ...]], also: str | None = None) -> int:
        with self.failures:
            connection = self._writing()
            connection.execute("BEGIN IMMEDIATE")
            try:
                number, through_bytes = (
                    connection.execute(_LAST).fetchone() or connection.execute(_GIVEN).fetchone()
                )
                now_ms, rows = self._clock(), []
                for body in bodies:
                    number += 1
                    through_bytes += body[0]
                    rows.append((number, self._mark, now_ms, through_bytes, *body))
                if also is not None:
                    connection.execute(also)
                connection.executemany(_INSERT, rows)
                reach("spool.written")
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                _roll_back(connection)
                self._check_room(connection, error)
                raise
            finally:
                _roll_back(connection)
        reach("spool.committed")
        if bodies:
            self.own_last = number
        return int(number)

    def _forget(self, connection: sqlite3.Connection, through: int) -> None:
        last = connection.execute(_LAST).fetchone()
        connection.execute("DELETE FROM waiting WHERE number <= ?", (through,))
        if last is not None and last[0] <= through:  # nothing is left that tells it
            connection.execute(_REMEMBER, (last[0],))

    def _read(self, after: int, limit: int, most_bytes: int) -> list[Waiting]:
        found: list[Waiting] = []
        with self._reading, self.failures:
            reader = self._readable()
            if reader is None:
                return found
            rows = reader.execute(
                f"SELECT number, spooled_ms, {BODY} FROM waiting WHERE number > ? "
                "ORDER BY number LIMIT ?",
                (after, limit),
            )
            try:
                for row in rows:
                    most_bytes -= row[2]
                    if found and most_bytes < 0:
                        break
                    found.append(Waiting(row[0], self._outgoing(row[0], row[2:]), row[1]))
            finally:
                rows.close()
        return found

    def _outgoing(self, number: int, body: tuple[Any, ...]) -> Outgoing:
        try:
            return outgoing_of(body)
        except (ValueError, TypeError, AttributeError) as error:
            raise spool_damaged(self.path, f"event {number} cannot be read: {error}") from error

    def _ask(self, sql: str, *values: object) -> list[Any]:
        """Read what is committed now; where there is no file yet, nothing is."""
        with self._reading, self.failures:
            reader = self._readable()
            return [] if reader is None else reader.execute(sql, values).fetchall()

    def _readable(self) -> sqlite3.Connection | None:
        inode = inode_of(self._path_text)
        if inode != self._reader_inode:
            self._close_reader()
        if inode and self._reader is None:
            self._reader, self._reader_inode = self._open()
        return self._reader

    def _writing(self) -> sqlite3.Connection:
        """The connection that writes; use it under the lock."""
        inode = inode_of(self._path_text)
        if self._connection is not None and inode != self._inode:
            _log.warning(
                "%s was removed or replaced while it was in use: what waited in it is gone",
                self.path,
            )
            self._connection.close()
            self._connection = None
            self.own_last = 0
        if self._connection is None:
            if not inode:
                create_spool(self.path)
            self._connection, self._inode = self._open()
        return self._connection

    def _open(self) -> tuple[sqlite3.Connection, int]:
        connection = sqlite3.connect(self.path, **_OPTIONS)
        try:
            identify_spool(self.path, connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous.upper()}")
            # Some builds overwrite what is deleted, which costs more than to write it.
            connection.execute("PRAGMA secure_delete = OFF")
            connection.execute(f"PRAGMA max_page_count = {self._most_pages()}")
            share_database(self.path)
            return connection, self.path.stat().st_ino
        except BaseException:
            connection.close()
            raise

    def _check_room(self, connection: sqlite3.Connection, error: sqlite3.Error) -> None:
        """Say so where it is not the disk that is full."""
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            return
        if connection.execute("PRAGMA page_count").fetchone()[0] < self._most_pages():
            return
        depth = self.depth()
        since = (
            "" if depth.oldest_ms is None else f", the oldest since {format_time(depth.oldest_ms)}"
        )
        msg = (
            f"the spool {self.path} is full: {depth.events} events wait in it to be sent{since}, "
            f"and it may take {self.most_bytes} bytes. Nothing of this call was kept. Let the log "
            "be reached again: then all that waits is sent, by whichever process logs there or by "
            "`mlflow-ledger forward`, and there is room"
        )
        raise LogUnavailable(msg) from error

    def _most_pages(self) -> int:
        return max(self.most_bytes // PAGE_BYTES, 1)

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _have_folder(self) -> None:
        folder = self.path.parent
        missing = [f for f in (folder, *folder.parents) if not f.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for made in reversed(missing):
                share(made)
        except OSError as error:
            msg = f"cannot make the folder {folder}: {error.strerror}"
            raise LogUnavailable(msg) from error


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _new_mark() -> int:
    """Tells the records of this process from those of others."""
    return random.SystemRandom().getrandbits(63)
