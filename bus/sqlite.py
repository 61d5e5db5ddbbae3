"""The embedded log: one SQLite file, shared by all processes of a host."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from mlflow_ledger.schemas import (
    LogDamaged,
    LogError,
    LogMissing,
    LogUnavailable,
)

from .appending import Appending
from .fork import abandon, forkable
from .inode import inode_of
from .lock import FileLock
from .log import TOPICS, Outgoing, Stored
from .onlooker import ChangedMeanwhile, Onlooker
from .position import EMBEDDED, Partition, Position
from .sharing import may_write, share, share_database, sync_file
from .sqlite_failures import FORMAT, SqliteFailures, identify, log_damaged
from .sqlite_reading import SqliteReading
from .sqlite_rows import INSERT, Dictionary, Fetch

__all__ = ["SqliteLog", "Synchronous"]

Synchronous = Literal["normal", "full"]


class SqliteLog(SqliteReading):
    """A log in one SQLite file in WAL mode.

    All topics stand in one sequence, one partition each. Any number of processes and threads may
    append; they queue on a lock file beside the log. With ``synchronous='normal'`` a killed
    process loses nothing and a power cut may lose the last commits; with ``'full'`` neither does.
    """

    fork_order = 1

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous = "normal",
        clock: Callable[[], int] | None = None,
        make_folder: Callable[[], None] | None = None,
    ) -> None:
        """Use the log at ``path``; nothing is opened before it is needed."""
        self.path = path
        self.failures = SqliteFailures(path)
        self._path_text = str(path)
        self.lock = FileLock(path.with_name("lock"), make_folder=make_folder or self._have_folder)
        self._synchronous = synchronous
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._connection: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._onlooker: Onlooker | None = None
        self._read_only: bool | None = None
        self._reading = threading.Lock()
        self._reading_held = _Held(self._reading)
        self._inode = 0
        self._ledger_id: str | None = None
        self._dictionary = Dictionary()
        forkable(self)

    @classmethod
    def create(
        cls,
        path: Path,
        ledger_id: str,
        complete: Callable[[sqlite3.Connection], None] = lambda _: None,
    ) -> None:
        """Make an empty log. Call it under the lock, and only where there is none.

        It comes into being whole: a reader finds no file, or a complete one, to which ``complete``
        has added what it needs.
        """
        unfinished = path.with_name(f"{path.name}.new")
        unfinished.unlink(missing_ok=True)
        with SqliteFailures(path):
            connection = sqlite3.connect(unfinished, isolation_level=None)
            share(unfinished)
            connection.executescript(
                files(__package__).joinpath("log.sql").read_text("utf-8")
                + f"PRAGMA user_version = {FORMAT};"
            )
            connection.execute("INSERT INTO meta VALUES ('ledger_id', ?)", (ledger_id,))
            complete(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.close()
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)

    @classmethod
    def begin_behind(cls, path: Path, ledger_id: str, last: Stored | None) -> None:
        """Make a log that goes on behind a record of another, and holds none before that one."""

        def complete(db: sqlite3.Connection) -> None:
            if last is not None:
                row = Dictionary().row(db, last.offset, last.append_ms, last.record)
                db.execute(INSERT, row)

        cls.create(path, ledger_id, complete)

    @classmethod
    def filled(cls, path: Path, ledger_id: str, records: Iterable[Stored]) -> None:
        """Make a log of records that stood in another, with their offsets and times.

        Raises:
            LogDamaged: the offsets do not follow one another from 1 on.
        """

        def complete(db: sqlite3.Connection) -> None:
            dictionary = Dictionary()
            db.execute("BEGIN")
            for expected, stored in enumerate(records, 1):
                if stored.offset != expected:
                    raise log_damaged(path, f"event {expected} is missing, later ones are there")
                row = dictionary.row(db, stored.offset, stored.append_ms, stored.record)
                db.execute(INSERT, row)
            db.execute("COMMIT")

        cls.create(path, ledger_id, complete)

    @property
    def ledger_id(self) -> str:
        """The ledger whose log this is."""
        if self._ledger_id is None:
            self.ask("SELECT 1")
        assert self._ledger_id is not None
        return self._ledger_id

    def partitions(self) -> Mapping[str, int]:
        """One partition each."""
        return _COUNTS

    def append(self, records: Sequence[Outgoing]) -> list[Stored]:
        """Append records in one transaction, all or none."""
        with self.lock, self.transaction() as appending:
            return appending.append(records)

    def transaction(self) -> Appending:
        """A transaction on the log, committed at its end; hold :attr:`lock` around it."""
        return Appending(self)

    def start(self) -> Position:
        """The position of the first record, which has offset 1."""
        return Position(self.ledger_id, {EMBEDDED: 1})

    def end(self) -> Position:
        """The position behind the last record."""
        return Position(self.ledger_id, {EMBEDDED: self.last_offset() + 1})

    def stream(self, stored: Stored) -> Partition:
        """The partition whose order a record keeps."""
        return stored.partition

    def origin(self, offset: int) -> tuple[Partition, int]:
        """Where an event stands in the log whose copy this is: partition and offset."""
        return EMBEDDED, offset

    def stretches(self) -> Iterator[tuple[Partition, int, int]]:
        """Events of one partition that stand one behind the other: the first, the one behind."""
        yield EMBEDDED, 1, self.last_offset() + 1

    def place(self, stored: Stored) -> str:
        """The position that names a record, in text."""
        return str(Position(self.ledger_id, {stored.partition: stored.offset}))

    def position_behind(self, offset: int) -> str:
        """The position in its partition behind a record, in text."""
        return str(Position(self.ledger_id, {EMBEDDED: offset + 1}))

    def local(self, position: Position) -> Position:
        """Where in this file a position is."""
        return position

    def connection(self) -> sqlite3.Connection:
        """The connection that writes, opened when first needed; use it under :attr:`lock`.

        Raises:
            LogMissing, LogForeign, LogDamaged, LogUnavailable: it cannot be opened.
        """
        if self._connection is None:
            self.check_writable()
            self._connection = self._open()
        return self._connection

    @property
    def read_only(self) -> bool:
        """Whether there is a log, and this process may not write to it; looked up when opened."""
        if self._read_only is None:
            try:
                self.check_there()
            except LogMissing:
                return False
            self._read_only = not may_write(self.path)
        return self._read_only

    def check_writable(self) -> None:
        """Do nothing where this process may write.

        Raises:
            LogUnavailable: it may not.
        """
        if self.read_only:
            msg = (
                f"read-only: {self.path.parent} cannot be written by this user "
                f"(uid {os.geteuid()}), or is mounted read-only; write as the owner or as a member "
                "of a group that may, or copy the folder and use the copy"
            )
            raise LogUnavailable(msg)

    def ask(self, sql: str, *values: object, fetch: Fetch = sqlite3.Cursor.fetchall) -> list[Any]:
        """Read what is committed now, on a connection that writes nothing.

        One thread after the other: where statements overlap on a connection, a later one would be
        shown the log as it was when the earlier one began.
        """
        with self._reading, self.failures:
            if self.read_only:
                return self._ask_in_passing(sql, values, fetch)
            if self._reader is None:
                self._reader = self._open()
            return fetch(self._reader.execute(sql, values))

    def _ask_in_passing(self, sql: str, values: Sequence[object], fetch: Fetch) -> list[Any]:
        """Read without leaving a trace in the folder, while others may write there."""
        apart = False
        for _ in range(_TRIES):
            if self._onlooker is not None and not self._onlooker.stands():
                self._close_reader()
            try:
                if self._reader is None:
                    self._reader = self._open(apart=apart)
                rows = fetch(self._reader.execute(sql, values))
                assert self._onlooker is not None
                self._onlooker.check()
            except ChangedMeanwhile:
                continue
            except (sqlite3.DatabaseError, LogError):
                if self._onlooker is None:
                    raise
                if self._onlooker.stands():  # else it was a mixture
                    if apart:
                        raise
                    apart = True
                self._close_reader()
                continue
            return rows
        msg = f"{self.path} is changed again and again while it is read; ask again"
        raise LogUnavailable(msg)

    def replaced(self) -> bool:
        """Whether another file now stands at the path (a copied or moved folder)."""
        return self._inode != 0 and inode_of(self._path_text) != self._inode

    def is_open(self) -> bool:
        """Whether the file was opened, and :meth:`replaced` can tell whether it still is there."""
        return self._inode != 0

    def damaged(self, what: str) -> LogDamaged:
        """The error to raise where the log is not what was written."""
        return log_damaged(self.path, what)

    def reached(self, offset: int) -> Position:
        """The position of who has read all before an offset."""
        return Position(self.ledger_id, {EMBEDDED: offset})

    def sync(self) -> None:
        """Make sure that a power cut loses nothing of what stands in the log now."""
        with contextlib.suppress(FileNotFoundError):  # else all is in the file, which was synced
            sync_file(self.path.with_name(f"{self.path.name}-wal"))

    def size_bytes(self) -> int:
        """What the log takes on disk."""
        names = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    def close(self) -> None:
        """Close connections and lock file."""
        self.close_connections()
        self.lock.close()

    def close_connections(self) -> None:
        """Close the connections; the next use opens them again."""
        with self._reading:
            connection, self._connection = self._connection, None
            self._dictionary.forget()
            if connection is not None:
                connection.close()
            self._close_reader()
            self._read_only = None

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._onlooker is not None:
            self._onlooker.close()
        self._reader = self._onlooker = None

    def before_fork(self) -> None:
        """Stand still: no thread is inside the lock while the process forks."""
        self.lock.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Leave the inherited connections alone."""
        abandon(self._connection, self._reader)
        if self._onlooker is not None:
            self._onlooker.abandon()
        self._connection = self._reader = self._onlooker = None
        self._dictionary.forget()
        self.lock.after_fork_in_child()

    def check_there(self) -> None:
        """Raise LogMissing where there is no file, LogUnavailable where that cannot be told."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            msg = f"there is no ledger at {self.path.parent}: nothing was logged there yet"
            raise LogMissing(msg) from None
        except OSError as error:
            msg = f"cannot read the ledger in {self.path.parent}: {error.strerror}"
            raise LogUnavailable(msg) from error

    def _open(self, *, apart: bool = False) -> sqlite3.Connection:
        self.check_there()
        with self.failures:
            connection = self._connect(apart=apart)
            try:
                connection.execute(f"PRAGMA synchronous = {self._synchronous.upper()}")
                self._ledger_id = identify(self.path, connection)
                if not self.read_only:
                    share_database(self.path)
            except BaseException:
                connection.close()
                raise
        self._inode = self.path.stat().st_ino
        return connection

    def forget_numbers(self) -> None:
        """Forget numbers of sources and schemas that a transaction gave in vain."""
        self._dictionary.forget()

    def _connect(self, *, apart: bool) -> sqlite3.Connection:
        if self.read_only:
            self._onlooker = Onlooker(self.path, apart=apart)
            return self._onlooker.connect(**_OPTIONS)
        connection: sqlite3.Connection = sqlite3.connect(self.path, **_OPTIONS)
        return connection

    def _have_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"cannot make the folder {self.path.parent}: {error.strerror}"
            raise LogUnavailable(msg) from error

    def insert(self, records: Sequence[Outgoing], seq: int, previous_ms: int) -> list[Stored]:
        """Insert records behind the last one; :class:`Appending` knows which that is."""
        connection = self.connection()
        append_ms = max(previous_ms, self._clock())
        stored = []
        for partition, record, _ in records:
            if partition not in _PARTITIONS:
                msg = f"{self.path} has no partition {partition}; each of {TOPICS} has one"
                raise LogUnavailable(msg)
            seq += 1
            connection.execute(INSERT, self._dictionary.row(connection, seq, append_ms, record))
            stored.append(Stored(EMBEDDED, seq, append_ms, record))
        return stored


class _Held:
    """A lock that is held around forks after all others, as threads that hold others take it."""

    fork_order = 4

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        forkable(self)

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock.release()


_OPTIONS: dict[str, Any] = {"isolation_level": None, "check_same_thread": False, "timeout": 30}
_TRIES = 20
_COUNTS = MappingProxyType(dict.fromkeys(TOPICS, 1))
_PARTITIONS = frozenset((topic, 0) for topic in TOPICS)
