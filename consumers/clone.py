"""A private DuckDB file: a copy of a snapshot, brought up to date from the state."""

from __future__ import annotations

import json
import shutil
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute  # makes pa.compute available to the column code

from mlflow_ledger.bus import EMBEDDED, Position, PrivateFolder, abandon, inode_of

from .changes import Changes
from .columns import CATALOG, RUN_TABLES, catalog_table, history_table, inputs_table, table
from .ledger import Ledger
from .snapshots import Snapshot

__all__ = ["Clone", "Windows", "close_all", "state_seq"]

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
_ROW_GROUP = 16_384
"""Rows a group: of a table by key, few groups hold what a search looks at (LIKE 4x as fast)."""

Windows = dict[tuple[Any, ...], tuple[int, list[int]]]
"""Parts of answers that pages were cut from: by question, where it begins and what it holds."""
_ROW_BATCH = 20_000
_CHANGE_BATCH = 2000
_MOST_APPLIED = 8000
_HISTORY_BATCH_BYTES = 24 * 50_000


class Clone:
    """A private DuckDB file, in a folder that a lock marks as used."""

    def __init__(self, generation: str, snapshot: Snapshot | None, memory: str) -> None:
        """Copy a snapshot, or begin with nothing; DuckDB may take so much ``memory``."""
        self.generation = generation
        self._memory = memory
        self.snapshot = snapshot
        self.windows: Windows = {}
        self._applied = 0
        self._inode = inode_of(generation)
        self._folder = PrivateFolder()
        self._path = self._folder.path / "analytics.duckdb"
        try:
            if snapshot is not None:
                shutil.copyfile(snapshot.analytics, self._path)
            self.db = self._open()
            if snapshot is None:
                self._fill()
            self.seq = self._get("seq")
        except BaseException:
            self._folder.remove()
            raise
        _clones.add(self)

    def is_stale(self) -> bool:
        """Whether another file stands where the state stood that this clone follows."""
        return inode_of(self.generation) != self._inode

    def catch_up(self, keyed: sqlite3.Connection) -> None:
        """Apply what changed in the state since this clone last looked."""
        seq = state_seq(keyed)
        if seq == self.seq:
            return
        self.windows.clear()
        self._follow(keyed, seq)
        # Arrow keeps what batches took, for the next of its own; the process may never have one.
        pa.default_memory_pool().release_unused()

    def _follow(self, keyed: sqlite3.Connection, seq: int) -> None:
        if self.seq == 0:
            with self._transaction():
                self._load(keyed)
                self._set("seq", seq)
            self.seq = seq
        while self.seq < seq:
            changes = Changes.since(keyed, self.seq, _CHANGE_BATCH)
            reached = changes.last if changes.last is not None else seq
            with self._transaction():
                self._apply(keyed, changes)
                self._set("seq", reached)
            self._applied += reached - self.seq
            self.seq = reached
            if self._applied >= _MOST_APPLIED:
                self._reopen()

    def _reopen(self) -> None:
        """Write to the file what was applied: DuckDB holds it in memory until then."""
        self.db.execute("CHECKPOINT")
        self.db.close()
        self.db = self._open()
        self._applied = 0

    def rewind(self, keyed: sqlite3.Connection, touched: list[int], last: int) -> None:
        """Become analytics of an earlier state, in which no run has a number behind ``last``.

        Of its other runs only those that were touched since are not what they were then.
        """
        with self._transaction():
            for name in (*RUN_TABLES, "history", "inputs"):
                self.db.execute(f"DELETE FROM fold.{name} WHERE run_no > ?", (last,))
                self._delete_runs(name, touched)
            self._load(keyed, touched)
            self._set("seq", state_seq(keyed))
            self._set("catalog_seq", -1)
        self.seq = state_seq(keyed)

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
        offset, kept = self._get("audit_offset"), ledger.log.unbroken_to()
        if offset > kept:  # it was published by the present, and this is the past
            with self._transaction():
                self.db.execute('DELETE FROM fold.audit WHERE "offset" > ?', (kept,))
                self._set("audit_offset", kept)
            offset = kept
        last = ledger.log.last_offset()
        while offset < last:
            rows = [
                (
                    stored.offset, stored.append_ms, e.time_ms, e.source, e.id, e.type, e.subject,
                    e.actor, e.actorkind, e.host, e.client, e.workspace, e.correlationid,
                )
                for stored in ledger.log.read(_from(ledger, offset + 1), _AUDIT_BATCH)
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
            self._applied = 0

    def close(self) -> None:
        """Close and remove the file."""
        _clones.discard(self)
        self.db.close()
        self._folder.remove()

    def abandon(self) -> None:
        """Leave the file to the process it was inherited from."""
        _clones.discard(self)
        abandon(self.db)
        self._folder.abandon()

    def _fill(self) -> None:
        self.db.execute(files(__package__).joinpath("analytics.sql").read_text("utf-8"))
        self._set("seq", 0)
        self._set("catalog_seq", 0)
        self._set("audit_offset", 0)

    def _open(self) -> duckdb.DuckDBPyConnection:
        db = duckdb.connect(
            config={
                "fsync_mode": "NONE",
                "memory_limit": self._memory,
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        # Where DuckDB takes a process for an interactive one, it would draw into its output.
        db.execute("SET enable_progress_bar = false")
        path = str(self._path).replace("'", "''")
        db.execute(f"ATTACH '{path}' AS analytics (ROW_GROUP_SIZE {_ROW_GROUP})")
        db.execute("USE analytics")
        return db

    def _load(self, keyed: sqlite3.Connection, numbers: list[int] | None = None) -> None:
        """Copy the whole state, in batches: what is held at once does not grow with the state.

        With ``numbers``, only what belongs to the runs of these numbers.
        """
        wanted = () if numbers is None else (json.dumps(numbers),)
        among = "" if numbers is None else " WHERE run_no IN (SELECT value FROM json_each(?))"
        for name, columns in RUN_TABLES.items():
            order = "run_no" if name == "runs" else "key, run_no"
            rows = keyed.execute(
                f"SELECT {', '.join(columns)} FROM {name}{among} ORDER BY {order}", wanted
            )
            while batch := rows.fetchmany(_ROW_BATCH):
                self._insert(name, table(name, columns, batch))
        chunks = keyed.execute(
            "SELECT run_no, key, points FROM metric_chunks JOIN metric_keys USING (key_no)"
            f"{among} ORDER BY key_no, run_no, seq",
            wanted,
        )
        self._insert_history(chunks)
        inputs = keyed.execute(f"SELECT run_no, name, digest, tags FROM run_inputs{among}", wanted)
        while batch := inputs.fetchmany(_ROW_BATCH):
            self._insert("inputs", inputs_table(batch))

    def _apply(self, keyed: sqlite3.Connection, changes: Changes) -> None:
        purged = self._apply_runs(keyed, changes)
        for name in _VALUES:
            self._apply_pairs(keyed, name, changes.pairs[name], purged)
        if changes.chunks:
            chunks = keyed.execute(
                "SELECT run_no, key, points FROM metric_chunks c JOIN metric_keys USING (key_no) "
                "JOIN (SELECT value ->> 0 AS run_no, value ->> 1 AS key, value ->> 2 AS seq "
                "FROM json_each(?)) USING (run_no, key, seq) ORDER BY key_no, run_no, seq",
                (json.dumps(changes.chunks),),
            )
            self._insert_history(chunks)
        if changes.inputs - purged:
            numbers = sorted(changes.inputs - purged)
            self._delete_runs("inputs", numbers)
            rows = keyed.execute(
                "SELECT run_no, name, digest, tags FROM run_inputs "
                "WHERE run_no IN (SELECT value FROM json_each(?))",
                (json.dumps(numbers),),
            )
            self._insert("inputs", inputs_table(rows.fetchall()))

    def _apply_runs(self, keyed: sqlite3.Connection, changes: Changes) -> set[int]:
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

    def _insert_history(self, chunks: Iterable[tuple[int, str, bytes]]) -> None:
        """Add chunks of history, so many at a time that batches are of about the same size."""
        batch: list[tuple[int, str, bytes]] = []
        size_bytes = 0
        for chunk in chunks:
            batch.append(chunk)
            size_bytes += len(chunk[2])
            if size_bytes >= _HISTORY_BATCH_BYTES:
                self._insert("history", history_table(batch))
                batch, size_bytes = [], 0
        if batch:
            self._insert("history", history_table(batch))

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


def _from(ledger: Ledger, offset: int) -> Position:
    return Position(ledger.ledger_id, {EMBEDDED: offset})


def state_seq(keyed: sqlite3.Connection) -> int:
    """How many events the state has folded."""
    return keyed.execute("SELECT max(seq) FROM progress").fetchone()[0] or 0


_clones: weakref.WeakSet[Clone] = weakref.WeakSet()


def close_all() -> None:
    """Close and remove every clone of this process."""
    for clone in list(_clones):
        clone.close()
