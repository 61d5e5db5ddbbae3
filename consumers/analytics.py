"""Analytics: a private DuckDB copy of the state, kept up by its list of changes.

DuckDB serves one process at a time, so each process that searches has a clone of its own: a copy
of the last published snapshot, brought up to date from the state before each question.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from mlflow_ledger.bus import ChangedMeanwhile, forkable
from mlflow_ledger.schemas import LedgerError, LogUnavailable

from .clone import Clone, close_all, state_seq
from .columns import history_table, inputs_table
from .digest import rows_digest
from .ledger import Ledger
from .snapshots import Snapshot

__all__ = ["Analytics", "AnalyticsDamaged", "View", "is_damage"]

_log = logging.getLogger(__name__)

T = TypeVar("T")
Read = Callable[[], AbstractContextManager[sqlite3.Connection]]


class AnalyticsDamaged(LedgerError):
    """Analytics cannot be read as they are; being a fold, they are built again from the state."""


class View:
    """One consistent cut: analytics and keyed state at the same event."""

    def __init__(self, clone: Clone, keyed: sqlite3.Connection) -> None:
        """Both connections are for use inside :meth:`Analytics.view` only."""
        self.columns = clone.db
        self.keyed = keyed
        self.windows = clone.windows


class Analytics:
    """The clone of one process, and its catching up with the state of a ledger."""

    fork_order = -1

    def __init__(self, ledger: Ledger) -> None:
        """Nothing is copied or opened before the first question."""
        self._ledger = ledger
        self._snapshots = ledger.snapshots()
        self._memory = ledger.settings.analytics_memory
        self._mutex = threading.RLock()
        self._clone: Clone | None = None
        self._unpublished = 0
        forkable(self)

    @contextmanager
    def view(self, *, catalog: bool = False, read: Read | None = None) -> Iterator[View]:
        """Analytics as of now; with ``catalog`` also experiments, registry and audit.

        One thread at a time; the keyed state in the view is the one that analytics was brought up
        to, so ids found in the one are there in the other. ``read`` opens that state where it is
        to be read on behind the view.

        Raises:
            AnalyticsDamaged: the file is garbled; the next view is of a clone that is built anew.
            LogUnavailable: there is no room for the clone.
        """
        with self._mutex, (read or self._ledger.read)() as keyed:
            with _room():
                clone = self._current(keyed)
            try:
                with _room():
                    if catalog:
                        clone.refresh_catalog(keyed)
                        clone.refresh_audit(self._ledger)
                yield View(clone, keyed)
            except duckdb.Error as error:
                if not is_damage(error):
                    raise
                self._distrust(clone)
                msg = f"analytics of {self._ledger.folder} are damaged ({error}); ask again"
                raise AnalyticsDamaged(msg) from error
        with self._mutex:
            self._publish_if_due()

    def query(
        self, ask: Callable[[View], T], *, catalog: bool = False, read: Read | None = None
    ) -> T:
        """The answer to a question; asks again where what was asked turned out to be damaged."""
        try:
            with self.view(catalog=catalog, read=read) as view:
                return ask(view)
        except AnalyticsDamaged as error:
            _log.warning("%s: they are built again from the state, nothing is lost", error)
        except ChangedMeanwhile:
            self.close()  # it may have copied what was just changing
        with self.view(catalog=catalog, read=read) as view:
            return ask(view)

    def digest(self) -> tuple[str, str]:
        """Digests of analytics and of what the state says should be there; equal when all is well.

        Computed over (run id, key, …) and never over numbers that are local to one file.
        """
        with self.view() as view:
            return (
                _digest(lambda query: view.columns.execute(query).fetchall(), _COLUMN_QUERIES),
                _digest_of_state(view.keyed),
            )

    def publish(self) -> Snapshot | None:
        """Publish a snapshot now; None where another process is just doing that.

        None as well while readers are shown a state that is ahead of the log.
        """
        self._snapshots.check_writable()
        with self._mutex, self._ledger.read() as keyed:
            clone = self._current(keyed)
            if not self._snapshots.takes(clone.generation):
                return None
            return self._snapshots.publish(clone.seq, keyed, clone.copy_to)

    def close(self) -> None:
        """Drop the clone."""
        with self._mutex:
            if self._clone is not None:
                self._clone.close()
            self._clone = None

    def before_fork(self) -> None:
        """Keep the clone still."""
        self._mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._mutex.release()

    def after_fork_in_child(self) -> None:
        """The clone is the parent's; take another when asked."""
        self._mutex = threading.RLock()
        if self._clone is not None:
            self._clone.abandon()
        self._clone = None

    def _current(self, keyed: sqlite3.Connection) -> Clone:
        generation = keyed.execute("PRAGMA database_list").fetchone()[2]
        floor = _meta(keyed, "changes_floor")
        clone, seq = self._clone, state_seq(keyed)
        if clone is not None and (
            clone.generation != generation or not floor <= clone.seq <= seq or clone.is_stale()
        ):
            self.close()
            clone = None
        if clone is None:
            clone = self._clone = self._make_clone(generation, floor, seq, keyed)
        try:
            clone.catch_up(keyed)
        except duckdb.Error as error:
            if _is_full(error):
                self.close()  # what it holds by now is not known
                raise
            # A clone is disposable: whatever is wrong with this one, build another from the state.
            self._distrust(clone)
            clone = self._clone = Clone(generation, None, self._memory)
            clone.catch_up(keyed)
        return clone

    def _distrust(self, clone: Clone) -> None:
        """Drop a clone that cannot be read, and the snapshot it was copied from."""
        self.close()
        if clone.snapshot is not None:
            clone.snapshot.remove()

    def _make_clone(
        self, generation: str, floor: int, seq: int, keyed: sqlite3.Connection | None = None
    ) -> Clone:
        """A clone for a reader that sees the state after ``seq`` events; it never starts later."""
        snapshot = self._snapshots.newest(Path(generation).name, seq)
        if snapshot is not None and snapshot.seq >= floor:
            try:
                return Clone(generation, snapshot, self._memory)
            except FileNotFoundError:  # half of it is gone, or all since another published
                snapshot.remove()
            except PermissionError:  # it is another user's, or the temporary folder is
                return Clone(generation, None, self._memory)
            except duckdb.Error as error:
                if _is_full(error):
                    raise
                snapshot.remove()
        rewound = None if keyed is None else self._snapshots.rewound(keyed, self._memory)
        return rewound or Clone(generation, None, self._memory)

    def _publish_if_due(self) -> None:
        clone = self._clone
        if clone is None or not self._snapshots.takes(clone.generation):
            return
        enough = self._snapshots.enough(clone.seq)
        if clone.seq - self._unpublished < enough or self._ledger.log.read_only:
            return
        newest = self._snapshots.newest(Path(clone.generation).name)
        if clone.seq - (newest.seq if newest else 0) < enough:
            return
        try:
            self.publish()
        except LogUnavailable as error:
            self._unpublished = clone.seq  # a search has its answer; try again much later
            _log.warning("%s", error)


_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))

_COLUMN_QUERIES = {
    "runs": "SELECT run_id, experiment_id, name, user_id, status, start_ms, end_ms, artifact_uri, "
    "lifecycle, epoch, deleted_ms FROM fold.runs",
    **{
        name: f"SELECT run_id, {columns} FROM fold.{name} JOIN fold.runs USING (run_no)"
        for name, columns in {
            "params": "key, value",
            "tags": "key, value",
            "metrics": "key, value, is_nan, timestamp_ms, step",
            "history": "key, value, is_nan, timestamp_ms, step",
            "inputs": f"{'inputs'}.name, digest, context",
        }.items()
    },
}


def _digest(ask: Any, queries: dict[str, str]) -> str:
    return "".join(rows_digest(ask(query)).hex()[:16] for query in queries.values())


def _digest_of_state(keyed: sqlite3.Connection) -> str:
    """What :data:`_COLUMN_QUERIES` should answer, from the keyed state alone."""
    ids = dict(keyed.execute("SELECT run_no, run_id FROM runs"))
    rows: dict[str, Any] = {
        name: keyed.execute(query.replace("fold.", ""))
        for name, query in _COLUMN_QUERIES.items()
        if name in ("runs", "params", "tags")
    }
    rows["metrics"] = [
        (ids[run_no], key, value, bool(is_nan), timestamp_ms, step)
        for run_no, key, value, is_nan, timestamp_ms, step in keyed.execute("SELECT * FROM metrics")
    ]
    history = history_table(
        keyed.execute(
            "SELECT run_no, key, points FROM metric_chunks JOIN metric_keys USING (key_no)"
        )
    )
    inputs = inputs_table(keyed.execute("SELECT run_no, name, digest, tags FROM run_inputs"))
    for name, columns in (("history", history), ("inputs", inputs)):
        rows[name] = [
            (ids[row[0]], *row[1:]) for row in zip(*columns.to_pydict().values(), strict=True)
        ]
    return "".join(rows_digest(rows[name]).hex()[:16] for name in _COLUMN_QUERIES)


def _meta(keyed: sqlite3.Connection, key: str) -> int:
    row = keyed.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _room() -> Iterator[None]:
    """Tell a full temporary folder from damage.

    Raises:
        LogUnavailable: it is full, or cannot be written.
    """
    try:
        yield
    except (OSError, duckdb.Error) as error:
        if isinstance(error, duckdb.Error) and not _is_full(error):
            raise
        msg = (
            f"cannot keep the private copy for searches in {tempfile.gettempdir()}: {error}. "
            "Nothing is lost; make room there, or set TMPDIR to a folder that has it"
        )
        raise LogUnavailable(msg) from error


def _is_full(error: duckdb.Error) -> bool:
    return any(text in str(error) for text in _FULL)


def is_damage(error: duckdb.Error) -> bool:
    """Whether a file cannot be read, as opposed to a question that makes no sense."""
    damage = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException)
    return isinstance(error, damage) or type(error) is duckdb.Error


atexit.register(close_all)
