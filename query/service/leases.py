"""Views of the state that clients hold open: few, and not for long."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mlflow_ledger.bus import ChangedMeanwhile
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import LogUnavailable

from .guard import guarded

__all__ = ["Busy", "Lease", "Leases"]


class Busy(LogUnavailable):
    """All views are taken: to be asked again in a moment."""


class Lease:
    """One view; one request at a time."""

    def __init__(self, ledger: Ledger) -> None:
        """Nothing is open yet."""
        self.name = secrets.token_urlsafe(12)
        self.mutex = threading.Lock()
        self.until = 0.0
        self.mark = (0, 0)
        self._ledger = ledger
        self._open = ExitStack()
        self._db: sqlite3.Connection | None = None

    @property
    def db(self) -> sqlite3.Connection:
        """The connection with the view.

        Raises:
            ChangedMeanwhile: the view was closed.
        """
        if self._db is None:
            raise gone()
        return self._db

    @contextmanager
    def begin(self) -> Iterator[sqlite3.Connection]:
        """Open a view, in place of one that was open; it stays open behind this context."""
        self.end()
        self.mark = self._ledger.files.mark()
        self._db = self._open.enter_context(self._ledger.read())
        yield self._db

    def guard(self) -> None:
        """From now on the connection is for statements of a client."""
        self._open.enter_context(guarded(self.db))

    def end(self) -> None:
        """Close the view."""
        self._db = None
        self._open.close()


class Leases:
    """The views that are open now."""

    def __init__(self, most: int = 64, life_s: float = 10.0) -> None:
        """Lend at most so many at once, each for so long."""
        self._most = most
        self._life_s = life_s
        self._mutex = threading.Lock()
        self._leases: dict[str, Lease] = {}

    @contextmanager
    def lend(self, ledger: Ledger) -> Iterator[Lease]:
        """A new lease, for whoever opens its view of a ledger; it is kept unless that fails.

        Raises:
            Busy: there are too many.
        """
        self.reap()
        lease = Lease(ledger)
        lease.until = time.monotonic() + self._life_s
        with self._mutex:
            if len(self._leases) >= self._most:
                msg = f"the query service has {self._most} views open, and opens no more just now"
                raise Busy(msg)
            self._leases[lease.name] = lease
        with lease.mutex:
            try:
                yield lease
            except BaseException:
                self._forget(lease)
                raise

    @contextmanager
    def use(self, name: str) -> Iterator[Lease]:
        """A lease that is open.

        Raises:
            ChangedMeanwhile: it is not any more.
        """
        with self._mutex:
            lease = self._leases.get(name)
        if lease is None:
            raise gone()
        with lease.mutex:
            yield lease

    def drop(self, name: str) -> None:
        """Close a view, if it is there."""
        with self._mutex:
            lease = self._leases.pop(name, None)
        if lease is not None:
            with lease.mutex:
                lease.end()

    def reap(self) -> None:
        """Close the views whose time is over."""
        now = time.monotonic()
        with self._mutex:
            over = [name for name, lease in self._leases.items() if lease.until < now]
        for name in over:
            self.drop(name)

    def close(self) -> None:
        """Close them all."""
        with self._mutex:
            names = list(self._leases)
        for name in names:
            self.drop(name)

    def count(self) -> int:
        """How many are open."""
        with self._mutex:
            return len(self._leases)

    def _forget(self, lease: Lease) -> None:
        with self._mutex:
            self._leases.pop(lease.name, None)
        lease.end()


def gone() -> ChangedMeanwhile:
    """What is said of a view that is not open any more."""
    return ChangedMeanwhile(
        "this view of the query service is closed: it was open too long, or the service was "
        "started anew; ask again from the beginning"
    )
