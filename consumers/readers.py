"""Connections to the state's file that threads lend one another."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Hashable

from mlflow_ledger.bus import abandon

__all__ = ["Readers"]

_IDLE = 8


class Readers:
    """Idle connections to one file, and which are lent; fit for use after a fork.

    A file is told by its mark. Connections to a file of another mark are closed, not lent.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._mark: Hashable = None
        self._idle: list[sqlite3.Connection] = []
        self._lent: set[sqlite3.Connection] = set()
        self._mutex = threading.Lock()

    @property
    def mark(self) -> Hashable:
        """The mark of the file that idle connections are to."""
        return self._mark

    def idle(self) -> list[sqlite3.Connection]:
        """Those that nobody has."""
        return list(self._idle)

    def take(self, mark: Hashable) -> sqlite3.Connection | None:
        """An idle connection to the file of this mark, if there is one."""
        with self._mutex:
            if mark != self._mark or not self._idle:
                return None
            db = self._idle.pop()
            self._lent.add(db)
            return db

    def lend(self, db: sqlite3.Connection, mark: Hashable) -> sqlite3.Connection:
        """Count a new connection, to the file of this mark, among those that are lent."""
        with self._mutex:
            if mark != self._mark:
                self._close_idle()
                self._mark = mark
            self._lent.add(db)
        return db

    def give_back(self, db: sqlite3.Connection, mark: Hashable) -> None:
        """End the connection's view; it is kept if the file's mark is still this one."""
        if db not in self._lent:
            return  # it was lent in the process that this one was forked from
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        finally:
            self._take_back(db, mark)

    def close(self) -> None:
        """Close those that are idle."""
        with self._mutex:
            self._close_idle()

    def before_fork(self) -> None:
        """Stand still."""
        self._mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._mutex.release()

    def after_fork_in_child(self) -> None:
        """Leave inherited connections alone."""
        abandon(*self._idle, *self._lent)
        self._idle, self._lent = [], set()
        self._mutex.release()

    def _take_back(self, db: sqlite3.Connection, mark: Hashable) -> None:
        with self._mutex:
            self._lent.discard(db)
            if len(self._idle) < _IDLE and mark == self._mark:
                self._idle.append(db)
                return
        db.close()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()
