"""The keyed state as this process keeps it up with the log."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mlflow_ledger.bus import FileLock, SqliteLog, Stored, abandon, reach
from mlflow_ledger.schemas import LogMissing

from .fold import Fold
from .gathered import Gathered
from .state_file import (
    StateDamaged,
    StateFailures,
    StateFiles,
    connect,
    create,
    remove_all,
)

__all__ = ["KeyedState", "Progress", "check_stands", "next_offset", "rehearsal"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Is told how many events are folded, and of how many."""

_BATCH = 5000


class KeyedState:
    """The one connection of a process that changes the state; use it under :attr:`lock`.

    The state may be behind the log, never ahead: whoever reads it, or decides by it, has what is
    missing folded first. Who holds the log's lock as well takes that one first.
    """

    def __init__(self, log: SqliteLog, files: StateFiles) -> None:
        """Fold ``log`` into the current one of ``files``; nothing is opened yet."""
        self.lock = FileLock(log.path.with_name("state.lock"))
        self._log = log
        self._files = files
        self._db: sqlite3.Connection | None = None
        self._fold: Fold | None = None
        self._gathered: Gathered | None = None
        self._mark = (0, 0)

    def current(self) -> tuple[sqlite3.Connection, Fold]:
        """The state of the current generation as it is, opened or built if need be."""
        if self._db is None or self._files.mark() != self._mark:
            self._open()
        assert self._db is not None
        assert self._fold is not None
        return self._db, self._fold

    def caught_up(self, progress: Progress | None = None) -> tuple[sqlite3.Connection, Fold]:
        """The state with everything folded that now stands in the log.

        ``progress`` is told between two transactions, and may end the work by raising.

        Raises:
            StateDamaged: it cannot be read, or is not of this log; build it again.
        """
        db, fold = self.current()
        last, following = self._log.last_offset(), next_offset(db)
        if following > last + 1:
            msg = f"the state in {self._folder} is ahead of the log, which was cut back or replaced"
            raise StateDamaged(msg)
        if following <= last:
            self._catch_up(db, fold, following, last, progress)
        return db, fold

    def rebuild(self, progress: Progress | None = None) -> None:
        """Throw the state away and fold the log again."""
        self.close()
        last = self._log.last_offset()
        path = self._files.next_path()
        db = create(path)
        try:
            if last:
                self._catch_up(db, Fold(db, self._gathered), 1, last, progress)
            self._files.make_current(path)
        except BaseException:  # on a full disk nothing half-built may take room
            db.close()
            remove_all([path])
            raise
        self._use(db)

    def repairing(self, work: Callable[[], T]) -> T:
        """Do something with the state; where that is damaged, build it again and do it then."""
        try:
            with StateFailures(self._folder):
                return work()
        except StateDamaged as error:
            _log.warning("%s; folding the log again, nothing is lost", error)
            self.rebuild()
            return work()

    def gather(self) -> Gathered:
        """From now on keep the digests of what is folded, for the trees over the log."""
        self.close()
        self._gathered = Gathered()
        return self._gathered

    def gather_no_more(self) -> None:
        """End what :meth:`gather` began."""
        self.close()
        self._gathered = None

    def trim_changes(self, generation: str, seq: int) -> None:
        """Forget what changed up to ``seq``, if the state still is of this generation."""
        path = self._files.current()
        if self._db is None or path is None or path.name != generation:
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM changes WHERE seq <= ?", (seq,))
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('changes_floor', ?)", (str(seq),))
        self._db.execute("COMMIT")

    def check_not_lost(self) -> None:
        """A state without a log is no new ledger."""
        if self._files.current() is not None:
            msg = (
                f"{self._log.path} is gone, but what was folded from it is still there: restore "
                f"the log from a backup, or move {self._folder} away to begin a new ledger"
            )
            raise LogMissing(msg)

    def close(self) -> None:
        """Close the state."""
        if self._db is not None:
            self._db.close()
        self._db = self._fold = None

    def abandon(self) -> None:
        """After a fork, in the child: leave the state alone."""
        abandon(self._db)
        self._db = self._fold = None

    @property
    def _folder(self) -> Path:
        return self._log.path.parent

    def _open(self) -> None:
        self.close()
        path = self._files.current()
        if path is None:
            self.rebuild()
            return
        db = connect(path)
        try:
            check_stands(db, self._log)
        except BaseException:
            db.close()
            raise
        self._use(db)
        self._files.remove_others(path)  # what a process left half-built that was killed

    def _use(self, db: sqlite3.Connection) -> None:
        self._db, self._fold = db, Fold(db, self._gathered)
        self._mark = self._files.mark()

    def _catch_up(
        self, db: sqlite3.Connection, fold: Fold, first: int, last: int, progress: Progress | None
    ) -> None:
        reach("catchup.begun")
        while first <= last:
            with transaction(db, fold):
                before = fold.seq
                fold.apply_all(_unbroken(self._log.rows(first, _BATCH), first))
                if fold.seq == before:
                    raise self._log.damaged(f"event {first} is missing, later ones are there")
                first += fold.seq - before
                fold.save_progress()
            reach("catchup.folded")
            if progress is not None:
                progress(first - 1, last)


@contextmanager
def transaction(db: sqlite3.Connection, fold: Fold) -> Iterator[None]:
    """A transaction that folds; what it taught is forgotten where it is rolled back."""
    db.execute("BEGIN IMMEDIATE")
    try:
        reach("fold.begun")
        fold.refresh()
        yield
        reach("fold.written")
        db.execute("COMMIT")
    except BaseException:
        fold.forget()
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def rehearsal(db: sqlite3.Connection, fold: Fold) -> Iterator[None]:
    """A transaction that folds, to see what the rules say; nothing of it stays."""
    db.execute("BEGIN IMMEDIATE")
    try:
        fold.refresh()
        yield
    finally:
        fold.forget()
        if db.in_transaction:
            db.execute("ROLLBACK")


def _unbroken(records: Iterator[Stored], expected: int) -> Iterator[Stored]:
    """The records before the first hole."""
    for stored in records:
        if stored.offset != expected:
            return
        yield stored
        expected += 1


def check_stands(db: sqlite3.Connection, log: SqliteLog) -> None:
    """The last event that a state has folded must be in the log, with that digest.

    Raises:
        StateDamaged: it is not.
    """
    with StateFailures(log.path.parent):
        row = db.execute("SELECT next, digest FROM progress").fetchone()
    if row is None:
        return
    stored = log.at(row[0] - 1)
    if stored is None or stored.record.digest() != row[1]:
        msg = f"the state in {log.path.parent} does not match the log"
        raise StateDamaged(msg)


def next_offset(db: sqlite3.Connection) -> int:
    """The offset that follows the last one folded into a state."""
    row = db.execute("SELECT next FROM progress").fetchone()
    return row[0] if row else 1
