"""The state of a folder that this process may not write to."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mlflow_ledger.bus import Onlooker, PrivateFolder, SqliteLog, forkable, may_write
from mlflow_ledger.schemas import LogMissing, LogUnavailable

from .keyed_state import KeyedState, check_stands, next_offset
from .state_file import StateDamaged, StateFailures, StateFiles, connect, connect_onlooking

__all__ = ["OnlookingState", "looked_at"]

_FIRST_APART = 1_000_000_000
"""Generations that are made apart have numbers that no folder's own will reach."""


class OnlookingState:
    """Views of the state that hold every acknowledged event, without a write into the folder.

    The folder's own state is read in place where it is the log's. Where it is missing, damaged, of
    another version or left behind by a writer that was killed, it is folded in a private folder.
    """

    fork_order = 0

    def __init__(self, log: SqliteLog, files: StateFiles) -> None:
        """Look at the state of ``log``; nothing is opened before it is needed."""
        self._log = log
        self._files = files
        self._mutex = threading.Lock()
        self._onlooker: Onlooker | None = None
        self._path: Path | None = None
        self._apart: _Apart | None = None
        forkable(self)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view.

        Raises:
            ChangedMeanwhile: what was read is to be forgotten, and asked again.
        """
        with self._mutex:
            db, check = self._view()
        try:
            yield db
        except StateDamaged:
            check()
            raise
        finally:
            db.close()
        check()

    def repair(self) -> None:
        """Fold the log in a private folder: the state in place turned out to be damaged."""
        with self._mutex:
            self._go_apart(None)

    def close(self) -> None:
        """Remove what was folded or copied apart."""
        with self._mutex:
            if self._apart is not None:
                self._apart.close()
            if self._onlooker is not None:
                self._onlooker.close()
            self._apart = self._onlooker = None

    def before_fork(self) -> None:
        """Stand still."""
        self._mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._mutex.release()

    def after_fork_in_child(self) -> None:
        """Leave what is private to the parent."""
        for private in (self._apart, self._onlooker):
            if private is not None:
                private.abandon()
        self._apart = self._onlooker = None
        self._mutex.release()

    def _view(self) -> tuple[sqlite3.Connection, Callable[[], None]]:
        last = self._log.last_offset()
        if last == 0:
            msg = f"there is no ledger at {self._log.path.parent}: nothing was logged there yet"
            raise LogMissing(msg)
        if self._apart is None:
            db = self._looked_at()
            if db is not None and next_offset(db) > last:
                assert self._onlooker is not None
                return db, self._onlooker.check
            self._go_apart(db)
        assert self._apart is not None
        return self._apart.view(last), lambda: None

    def _looked_at(self) -> sqlite3.Connection | None:
        """A view of the folder's own state, if it is the log's."""
        path = self._files.current()
        if path is None:
            return None
        if self._onlooker is None or path != self._path or not self._onlooker.stands():
            self._look(path, apart=False)
        try:
            return self._in_place(path)
        except LogUnavailable:  # a writer is just opening it: SQLite can say nothing yet
            self._look(path, apart=True)
            return self._in_place(path)

    def _look(self, path: Path, *, apart: bool) -> None:
        if self._onlooker is not None:
            self._onlooker.close()
        self._onlooker, self._path = Onlooker(path, apart=apart), path

    def _in_place(self, path: Path) -> sqlite3.Connection | None:
        assert self._onlooker is not None
        try:
            db = connect_onlooking(path, self._onlooker)
        except StateDamaged:
            return None
        try:
            with StateFailures(path):
                db.execute("BEGIN")
                check_stands(db, self._log)
        except BaseException as error:
            db.close()
            if isinstance(error, StateDamaged):
                return None
            raise
        return db

    def _go_apart(self, start: sqlite3.Connection | None) -> None:
        """Fold in a private folder from now on, beginning with what a view holds."""
        try:
            if self._apart is not None:
                self._apart.close()
            self._apart = _Apart(self._log, start)
        finally:
            if start is not None:
                start.close()


@contextmanager
def looked_at(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to one state file, which is left as it is where it may not be written."""
    if may_write(path):
        with closing(connect(path)) as db:
            yield db
        return
    onlooker = Onlooker(path)
    try:
        with closing(connect_onlooking(path, onlooker)) as db:
            yield db
    finally:
        onlooker.close()


class _Apart:
    """A state in a private folder, kept up with a log that stands elsewhere."""

    def __init__(self, log: SqliteLog, start: sqlite3.Connection | None) -> None:
        self._folder = PrivateFolder()
        self._files = StateFiles(self._folder.path, _FIRST_APART)
        self._state = KeyedState(log, self._files)
        if start is not None:
            self._files.adopt(start)

    def view(self, last: int) -> sqlite3.Connection:
        """A view that holds what stands in the log up to an offset."""
        self._state.repairing(self._state.caught_up)
        path = self._files.current()
        assert path is not None
        db = connect(path)
        db.execute("BEGIN")
        assert next_offset(db) > last
        return db

    def close(self) -> None:
        """Remove it all."""
        self._state.close()
        self._folder.remove()

    def abandon(self) -> None:
        """After a fork, in the child: leave it to the parent."""
        self._state.abandon()
        self._folder.abandon()
