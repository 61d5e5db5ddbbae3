"""Delivery: blobs that came over the bus are written to the blob store."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mlflow_ledger.bus import reach
from mlflow_ledger.schemas import ArtifactError, BlobStored, Event

from .blobs import write_file
from .carried import Backlog, backlog, carried, is_stored, undelivered
from .chunks import joined, sound_places
from .ledger import Ledger

__all__ = ["Delivered", "Delivery"]

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0


class Delivered(NamedTuple):
    """What a round has done: digests that are now stored, and why others are not."""

    stored: list[str]
    failed: dict[str, str]


class _Pause(NamedTuple):
    """When something that failed is tried again, and how long the pause was."""

    until_s: float
    length_s: float


class Delivery:
    """Writes what came over the bus to the ledger's blob store, round by round.

    What there is to do follows from the log: no cursor is kept. Any number may run side by side,
    since writing a blob again and saying so again change nothing.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        """Deliver to ``ledger.blobs``; ``clock``, in seconds, times what is tried again."""
        self._ledger = ledger
        self._clock = clock
        self._pauses: dict[str, _Pause] = {}

    def backlog(self) -> Backlog:
        """What is complete in the log and not yet in the blob store."""
        return self._ledger.query(lambda db: backlog(db, self._ledger.blobs.name))

    def round(self, limit: int | None = None) -> Delivered:
        """Write what is not in the store, at most ``limit`` blobs, the oldest first.

        What cannot be put together is left for later, ever less often. Where the store itself
        fails, nothing more is tried in this round.
        """
        done = Delivered([], {})
        waiting = self._ledger.query(lambda db: undelivered(db, self._ledger.blobs.name))
        self._forget_others(waiting)
        due = [digest for digest in waiting if self._is_due(digest)]
        for digest in due[:limit]:
            with tempfile.TemporaryDirectory(prefix="mlflow-ledger-blob-") as folder:
                whole = Path(folder) / "blob"
                try:
                    self._put_together(digest, whole)
                except ArtifactError as error:
                    self._postpone(digest, error, done)
                    continue
                try:
                    self._ledger.blobs.keep(digest, whole, whole.stat().st_size)
                except ArtifactError as error:
                    self._postpone(digest, error, done)
                    break
            reach("deliver.written")
            self._say(digest)
            self._pauses.pop(digest, None)
            done.stored.append(digest)
        return done

    def _put_together(self, digest: str, target: Path) -> None:
        known = self._ledger.query(lambda db: carried(db, digest))
        assert known is not None  # the state forgets none
        log = self._ledger.log
        write_file(joined(log, sound_places(log, known)), target)

    def _say(self, digest: str) -> None:
        store = self._ledger.blobs.name

        def decide(db: sqlite3.Connection) -> list[Event]:
            return [] if is_stored(db, digest, store) else [BlobStored(digest=digest, store=store)]

        self._ledger.write(decide)

    def _is_due(self, digest: str) -> bool:
        pause = self._pauses.get(digest)
        return pause is None or pause.until_s <= self._clock()

    def _postpone(self, digest: str, error: ArtifactError, done: Delivered) -> None:
        pause = self._pauses.get(digest)
        length_s = _FIRST_PAUSE_S if pause is None else min(pause.length_s * 2, _LONGEST_PAUSE_S)
        self._pauses[digest] = _Pause(self._clock() + length_s, length_s)
        done.failed[digest] = str(error)
        _log.warning("%s; it is tried again in %g s", error, length_s)

    def _forget_others(self, waiting: Iterable[str]) -> None:
        still = set(waiting)
        self._pauses = {digest: p for digest, p in self._pauses.items() if digest in still}
