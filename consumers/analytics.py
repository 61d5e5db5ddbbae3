"""Analytics: a private DuckDB copy of the state, kept up by its list of changes.

DuckDB serves one process at a time, so each process that searches has a clone of its own: a copy
of the last published snapshot, brought up to date from the state before each question.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute  # makes pa.compute available to the column code

from mlflow_ledger.bus import FileLock, abandon, forkable
from mlflow_ledger.schemas import LogUnavailable

from .columns import CATALOG, RUN_TABLES, catalog_table, history_table, inputs_table, table
from .digest import rows_digest
from .ledger import Ledger
from .snapshots import Snapshot, Snapshots

__all__ = ["Analytics", "View"]

_KINDS = {"m": "metrics", "p": "params", "t": "tags"}
_VALUES = {
    "params": ("value",),
    "tags": ("value",),
    "metrics": ("value", "is_nan", "timestamp_ms", "step"),
}
_AUDIT_COLUMNS = (
    "offset", "append_ms", "time_ms", "source", "id", "type", "subject", "actor", "actorkind",
    "host", "client", "workspace", "correlationid",
)  # fmt: skip
_AUDIT_BATCH = 20_000


class View:
    """One consistent cut: analytics and keyed state at the same event."""

    def __init__(self, columns: duckdb.DuckDBPyConnection, keyed: sqlite3.Connection) -> None:
        """Both connections are for use inside :meth:`Analytics.view` only."""
        self.columns = columns
        self.keyed = keyed


class Analytics:
    """The clone of one process, and its catching up with the state of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        """Nothing is copied or opened before the first question."""
        self._ledger = ledger
        self._snapshots = Snapshots(ledger)
        self._mutex = threading.RLock()
        self._clone: _Clone | None = None
        forkable(self)

    @contextmanager
    def view(self, *, catalog: bool = False) -> Iterator[View]:
        """Analytics as of now; with ``catalog`` also experiments, registry and audit.

        One thread at a time; the keyed state in the view is the one that analytics was brought up
        to, so ids found in the one are there in the other. Where the file turns out to be damaged
        the question fails, and the next one finds a clone that is built anew.
        """
        with self._mutex, self._ledger.read() as keyed:
            clone = self._current(keyed)
            try:
                if catalog:
                    clone.refresh_catalog(keyed)
                    clone.refresh_audit(self._ledger)
                yield View(clone.db, keyed)
            except duckdb.Error as error:
                if _is_damage(error):
                    self._distrust(clone)
                raise
        with self._mutex:
            self._publish_if_due()

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
        """Publish a snapshot now; None where another process is just doing that."""
        with self._mutex, self._ledger.read() as keyed:
            clone = self._current(keyed)
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

    def _current(self, keyed: sqlite3.Connection) -> _Clone:
        generation = keyed.execute("PRAGMA database_list").fetchone()[2]
        floor = _meta(keyed, "changes_floor")
        clone = self._clone
        if clone is not None and (clone.generation != generation or clone.seq < floor):
            self.close()
            clone = None
        if clone is None:
            clone = self._clone = self._make_clone(generation, floor, _seq(keyed))
        try:
            clone.catch_up(keyed)
        except duckdb.Error:
            # A clone is disposable: whatever is wrong with this one, build another from the state.
            self._distrust(clone)
            clone = self._clone = _Clone(generation, None)
            clone.catch_up(keyed)
        return clone

    def _distrust(self, clone: _Clone) -> None:
        """Drop a clone that cannot be read, and the snapshot it was copied from."""
        self.close()
        if clone.snapshot is not None:
            clone.snapshot.remove()

    def _make_clone(self, generation: str, floor: int, seq: int) -> _Clone:
        """A clone for a reader that sees the state after ``seq`` events; it never starts later."""
        snapshot = self._snapshots.newest(Path(generation).name, seq)
        if snapshot is not None and snapshot.seq >= floor:
            try:
                return _Clone(generation, snapshot)
            except (duckdb.Error, OSError):  # garbled, or removed since by whoever published
                snapshot.remove()
        return _Clone(generation, None)

    def _publish_if_due(self) -> None:
        clone = self._clone
        if clone is None:
            return
        newest = self._snapshots.newest(Path(clone.generation).name)
        since = clone.seq - (newest.seq if newest else 0)
        if since >= max(self._ledger.settings.snapshot_events, clone.seq // 5):
            self.publish()


class _Clone:
    """A private DuckDB file, in a folder that a lock marks as used."""

    def __init__(self, generation: str, snapshot: Snapshot | None) -> None:
        self.generation = generation
        self.snapshot = snapshot
        self._folder, self._lock = _private_folder()
        self._path = self._folder / "analytics.duckdb"
        try:
            if snapshot is not None:
                shutil.copyfile(snapshot.analytics, self._path)
            self.db = self._open()
            if snapshot is None:
                self._fill()
            self.seq = self._get("seq")
        except BaseException:
            self._remove_folder()
            raise
        _clones.add(self)

    def catch_up(self, keyed: sqlite3.Connection) -> None:
        """Apply what changed in the state since this clone last looked."""
        seq = _seq(keyed)
        if seq == self.seq:
            return
        with self._transaction():
            if self.seq == 0:
                self._load(keyed)
            else:
                self._apply(keyed, _Changes.since(keyed, self.seq))
            self._set("seq", seq)
        self.seq = seq

    def refresh_catalog(self, keyed: sqlite3.Connection) -> None:
        """Copy the small tables again if anything at all was folded since."""
        if self._get("catalog_seq") == self.seq:
            return
        with self._transaction():
            for name in CATALOG:
                self.db.execute(f"DELETE FROM fold.{name}")
                self._insert(name, catalog_table(keyed, name))
            self._set("catalog_seq", self.seq)

    def refresh_audit(self, ledger: Ledger) -> None:
        """Add the envelopes of events that came since, straight from the log."""
        offset = self._get("audit_offset")
        last = ledger.log.last_offset()
        while offset < last:
            rows = [
                (
                    stored.offset, stored.append_ms, e.time_ms, e.source, e.id, e.type, e.subject,
                    e.actor, e.actorkind, e.host, e.client, e.workspace, e.correlationid,
                )
                for stored in ledger.log.rows(offset + 1, _AUDIT_BATCH)
                for e in (stored.record.envelope,)
            ]  # fmt: skip
            if not rows:
                return
            offset = rows[-1][0]
            with self._transaction():
                self._insert("audit", table("audit", _AUDIT_COLUMNS, rows))
                self._set("audit_offset", offset)

    def copy_to(self, target: Path) -> None:
        """Copy the whole of it into a file of its own."""
        self.db.execute("CHECKPOINT")
        self.db.close()
        try:
            shutil.copyfile(self._path, target)
        finally:
            self.db = self._open()

    def close(self) -> None:
        """Close and remove the file."""
        _clones.discard(self)
        self.db.close()
        self._remove_folder()

    def abandon(self) -> None:
        """Leave the file to the process it was inherited from."""
        _clones.discard(self)
        abandon(self.db)
        self._lock.after_fork_in_child()

    def _fill(self) -> None:
        self.db.execute(files(__package__).joinpath("analytics.sql").read_text("utf-8"))
        self._set("seq", 0)
        self._set("catalog_seq", 0)
        self._set("audit_offset", 0)

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()
        self._lock.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(
            str(self._path),
            config={
                "fsync_mode": "NONE",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )

    def _load(self, keyed: sqlite3.Connection) -> None:
        for name, columns in RUN_TABLES.items():
            order = "run_no" if name == "runs" else "key, run_no"
            rows = keyed.execute(f"SELECT {', '.join(columns)} FROM {name} ORDER BY {order}")
            self._insert(name, table(name, columns, rows.fetchall()))
        self._insert(
            "history",
            history_table(
                keyed.execute(
                    "SELECT run_no, key, points FROM metric_chunks JOIN metric_keys USING (key_no) "
                    "ORDER BY key_no, run_no, seq"
                )
            ),
        )
        self._insert(
            "inputs",
            inputs_table(keyed.execute("SELECT run_no, name, digest, tags FROM run_inputs")),
        )

    def _apply(self, keyed: sqlite3.Connection, changes: _Changes) -> None:
        purged = self._apply_runs(keyed, changes)
        for name in _VALUES:
            self._apply_pairs(keyed, name, changes.pairs[name], purged)
        if changes.chunks:
            chunks = keyed.execute(
                "SELECT run_no, key, points FROM metric_chunks c JOIN metric_keys USING (key_no) "
                "JOIN (SELECT value ->> 0 AS run_no, value ->> 1 AS key, value ->> 2 AS seq "
                "FROM json_each(?)) USING (run_no, key, seq) ORDER BY key_no, run_no, seq",
                (json.dumps(changes.chunks),),
            ).fetchall()
            if chunks:
                self._insert("history", history_table(chunks))
        if changes.inputs - purged:
            numbers = sorted(changes.inputs - purged)
            self._delete_runs("inputs", numbers)
            rows = keyed.execute(
                "SELECT run_no, name, digest, tags FROM run_inputs "
                "WHERE run_no IN (SELECT value FROM json_each(?))",
                (json.dumps(numbers),),
            )
            self._insert("inputs", inputs_table(rows.fetchall()))

    def _apply_runs(self, keyed: sqlite3.Connection, changes: _Changes) -> set[int]:
        """Copy changed rows of runs; returns the numbers of runs that are gone for good."""
        if not changes.runs:
            return set()
        numbers = sorted(changes.runs)
        columns = RUN_TABLES["runs"]
        rows = keyed.execute(
            f"SELECT {', '.join(columns)} FROM runs "
            "WHERE run_no IN (SELECT value FROM json_each(?))",
            (json.dumps(numbers),),
        ).fetchall()
        self._delete_runs("runs", numbers)
        self._insert("runs", table("runs", columns, rows))
        purged = changes.runs - {row[0] for row in rows}
        if purged:
            for name in ("params", "tags", "metrics", "history", "inputs"):
                self._delete_runs(name, sorted(purged))
        return purged

    def _apply_pairs(
        self,
        keyed: sqlite3.Connection,
        name: str,
        pairs: set[tuple[int, str]],
        purged: set[int],
    ) -> None:
        """Copy changed (run, key) rows of one table; a pair without a row is a deletion."""
        wanted = sorted(pair for pair in pairs if pair[0] not in purged)
        if not wanted:
            return
        columns = RUN_TABLES[name]
        rows = keyed.execute(
            f"SELECT {', '.join(columns)} FROM {name} JOIN (SELECT value ->> 0 AS run_no, "
            "value ->> 1 AS key FROM json_each(?)) USING (run_no, key)",
            (json.dumps(wanted),),
        ).fetchall()
        batch = table(name, columns, rows)
        gone = sorted(set(wanted) - {(row[0], row[1]) for row in rows})
        self.db.register("batch", batch)
        values = _VALUES[name]
        self.db.execute(
            f"MERGE INTO fold.{name} AS t USING batch AS b "
            "ON t.run_no = b.run_no AND t.key = b.key "
            f"WHEN MATCHED THEN UPDATE SET {', '.join(f'{v} = b.{v}' for v in values)} "
            f"WHEN NOT MATCHED THEN INSERT VALUES ({', '.join(f'b.{c}' for c in columns)})"
        )
        self.db.unregister("batch")
        if gone:
            self.db.register("batch", table("gone", ("run_no", "key"), gone))
            self.db.execute(
                f"DELETE FROM fold.{name} USING batch "
                f"WHERE {name}.run_no = batch.run_no AND {name}.key = batch.key"
            )
            self.db.unregister("batch")

    def _delete_runs(self, name: str, numbers: list[int]) -> None:
        self.db.register("batch", pa.table({"run_no": pa.array(numbers, type=pa.int32())}))
        self.db.execute(f"DELETE FROM fold.{name} WHERE run_no IN (SELECT run_no FROM batch)")
        self.db.unregister("batch")

    def _insert(self, name: str, batch: pa.Table) -> None:
        if batch.num_rows:
            self.db.register("batch", batch)
            self.db.execute(f"INSERT INTO fold.{name} BY NAME SELECT * FROM batch")
            self.db.unregister("batch")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.db.begin()
        try:
            yield
            self.db.commit()
        except BaseException:
            self.db.rollback()
            raise

    def _get(self, key: str) -> int:
        row = self.db.execute("SELECT value FROM fold.meta WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def _set(self, key: str, value: int) -> None:
        self.db.execute("DELETE FROM fold.meta WHERE key = ?", (key,))
        self.db.execute("INSERT INTO fold.meta VALUES (?, ?)", (key, str(value)))


class _Changes:
    """What the state's list of changes names, merged."""

    def __init__(self) -> None:
        self.runs: set[int] = set()
        self.inputs: set[int] = set()
        self.pairs: dict[str, set[tuple[int, str]]] = {name: set() for name in _VALUES}
        self.chunks: list[tuple[int, str, int]] = []

    @classmethod
    def since(cls, keyed: sqlite3.Connection, seq: int) -> _Changes:
        """The changes after ``seq``."""
        changes = cls()
        for number, touched in keyed.execute(
            "SELECT seq, touched FROM changes WHERE seq > ? AND touched <> '' ORDER BY seq", (seq,)
        ):
            for run_no, kinds in json.loads(touched).items():
                changes._add(number, int(run_no), kinds)
        return changes

    def _add(self, seq: int, run_no: int, kinds: dict[str, list[str]]) -> None:
        if "r" in kinds:
            self.runs.add(run_no)
        if "i" in kinds:
            self.inputs.add(run_no)
        for kind, name in _KINDS.items():
            self.pairs[name].update((run_no, key) for key in kinds.get(kind, ()))
        self.chunks.extend((run_no, key, seq) for key in kinds.get("m", ()))


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


def _is_damage(error: duckdb.Error) -> bool:
    """Whether a file cannot be read, as opposed to a question that makes no sense."""
    damage = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException)
    return isinstance(error, damage) or type(error) is duckdb.Error


def _seq(keyed: sqlite3.Connection) -> int:
    """How many events the state in this view has folded."""
    return keyed.execute("SELECT max(seq) FROM progress").fetchone()[0] or 0


def _private_folder() -> tuple[Path, FileLock]:
    """A new folder for a clone, and the lock that marks it as used.

    On the way, folders whose process is gone are removed; a lock around both keeps a folder that
    is not yet marked from being taken for one of those.
    """
    root = Path(tempfile.gettempdir()) / f"mlflow-ledger-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    making = FileLock(root / "lock")
    try:
        with making:
            for folder in root.iterdir():
                if folder.is_dir():
                    _remove_if_unused(folder)
            made = Path(tempfile.mkdtemp(dir=root))
            lock = FileLock(made / "used")
            lock.try_acquire()
            return made, lock
    finally:
        making.close()


def _remove_if_unused(folder: Path) -> None:
    lock = FileLock(folder / "used")
    try:
        if lock.try_acquire():
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
    except LogUnavailable:  # its own process just removed it
        return
    finally:
        lock.close()


_clones: weakref.WeakSet[_Clone] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for clone in list(_clones):
        clone.close()
