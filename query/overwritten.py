"""Every value that any field ever had, folded for SQL when somebody asks, and kept for the next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from mlflow_ledger.bus import EMBEDDED, FileLock, Position, PrivateFolder, SqliteLog, Stored, share
from mlflow_ledger.consumers import (
    FOLD_VERSION,
    AsOfLedger,
    Capture,
    Fold,
    Ledger,
    StateDamaged,
    check_stands,
    connect,
    create,
    next_offset,
    transaction,
)

from .fields import FIELD_TABLES, Entity, Fields
from .progress import ProgressShown
from .run_lifecycle import followed

__all__ = ["HISTORY_VIEWS", "load_overwritten"]

HISTORY_VIEWS = (
    "history",
    "run_tags_history",
    "run_status_history",
    "experiment_tags_history",
    "lifecycle_history",
    "logged_model_tags_history",
    "registered_model_tags_history",
    "model_aliases_history",
    "model_version_stages_history",
    "model_version_tags_history",
    "descriptions_history",
    "trace_tags_history",
)
"""Views that need the whole history of fields."""

_BATCH = 2000
_FORM = 2
"""Raised when the same events make other rows."""
_ROWS = 20_000
_WORTH_TELLING = 5_000
_COLUMNS = {
    "kind": "VARCHAR", "id": "VARCHAR", "version": "INTEGER", "field": "VARCHAR",
    "value": "VARCHAR", "actor": "VARCHAR", "actorkind": "VARCHAR", "event": "VARCHAR",
    "since_ms": "BIGINT", "since_offset": "BIGINT", "time_ms": "BIGINT", "until_ms": "BIGINT",
    "until_offset": "BIGINT", "ended_by": "VARCHAR", "ended_event": "VARCHAR",
}  # fmt: skip
_TABLE = f"""
CREATE TABLE overwritten (n INTEGER PRIMARY KEY, {", ".join(_COLUMNS)});
CREATE INDEX overwritten_open ON overwritten (kind, id, version, field) WHERE until_ms IS NULL;
"""
_STANDS = (
    "SELECT n, value FROM overwritten "
    "WHERE kind = ? AND id = ? AND version IS ? AND field = ? AND until_ms IS NULL"
)
_END = (
    "UPDATE overwritten SET until_ms = ?, until_offset = ?, ended_by = ?, ended_event = ? "
    "WHERE n = ?"
)
_BEGIN = (
    f"INSERT INTO overwritten ({', '.join(_COLUMNS)}) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)"
)
_UNUSED = ("metric_chunks", "changes")
"""Tables that no rule reads: here they need not be filled."""


def load_overwritten(ledger: Ledger, db: Any, *, asked: bool) -> None:
    """Make the table ``overwritten`` in DuckDB, empty unless it is ``asked`` for.

    What is not folded yet is added first: at the first time, all there is.
    """
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    db.execute(f"CREATE OR REPLACE TEMP TABLE overwritten ({columns})")
    if not asked:
        return
    now = ledger.now if isinstance(ledger, AsOfLedger) else ledger
    now.catch_up()
    with _scratch(now) as scratch:
        _catch_up(scratch, now.log)
        rows = scratch.execute(f"SELECT {', '.join(_COLUMNS)} FROM overwritten ORDER BY n")
        while batch := rows.fetchmany(_ROWS):
            _insert(db, batch)
    if isinstance(ledger, AsOfLedger):
        _cut(db, ledger)


def _insert(db: Any, rows: list[tuple[Any, ...]]) -> None:
    import pyarrow as pa

    kinds = {"VARCHAR": pa.string(), "INTEGER": pa.int32(), "BIGINT": pa.int64()}
    columns = zip(_COLUMNS.items(), zip(*rows, strict=True), strict=True)
    batch = pa.table({name: pa.array(values, kinds[kind]) for (name, kind), values in columns})
    db.register("batch", batch)
    db.execute("INSERT INTO overwritten BY NAME SELECT * FROM batch")
    db.unregister("batch")


def _cut(db: Any, past: AsOfLedger) -> None:
    """Leave what stood at an earlier moment: later events gave nothing, and took nothing."""
    spans = past.log_spans()
    inside = " OR ".join(f"{{0}} BETWEEN {first} AND {last}" for first, last in spans) or "false"
    db.execute(f"DELETE FROM overwritten WHERE NOT ({inside.format('since_offset')})")
    db.execute(
        "UPDATE overwritten SET until_ms = NULL, until_offset = NULL, ended_by = NULL, "
        "ended_event = NULL WHERE until_offset IS NOT NULL "
        f"AND NOT ({inside.format('until_offset')})"
    )


@contextmanager
def _scratch(now: Ledger) -> Iterator[sqlite3.Connection]:
    """The file with what is folded so far, which nobody else changes meanwhile."""
    if now.log.read_only:
        private = PrivateFolder()
        try:
            with closing(_opened(private.path / "overwritten.sqlite", now.log)) as db:
                yield db
        finally:
            private.remove()
        return
    folder = now.folder / "as-of"
    made = folder / f"history-{FOLD_VERSION}-{_FORM}"
    for path in (folder, made):
        path.mkdir(exist_ok=True)
        share(path)
    lock = FileLock(folder / "history.lock")
    try:
        with lock, closing(_opened(made / "overwritten.sqlite", now.log)) as db:
            yield db
    finally:
        lock.close()


def _opened(path: Path, log: SqliteLog) -> sqlite3.Connection:
    if path.exists():
        try:
            db = connect(path)
            try:
                check_stands(db, log)
                db.execute("SELECT 1 FROM overwritten LIMIT 1")
            except BaseException:
                db.close()
                raise
        except (StateDamaged, sqlite3.Error):
            path.unlink()  # it is of another log, or was left unfinished: fold it again
        else:
            return db
    db = create(path)
    db.executescript(_TABLE)
    return db


def _catch_up(db: sqlite3.Connection, log: SqliteLog) -> None:
    for table in _UNUSED:
        db.execute(
            f"CREATE TEMP TRIGGER unused_{table} BEFORE INSERT ON main.{table} "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
    fold, fields, capture = Fold(db), Fields(db), Capture(db, FIELD_TABLES)
    first, last = next_offset(db), log.last_offset()
    shown = ProgressShown() if last - first > _WORTH_TELLING else None
    try:
        _fold(db, log, first, fold, fields, capture, shown)
    finally:
        if shown is not None:
            shown.stop()


def _fold(
    db: sqlite3.Connection,
    log: SqliteLog,
    first: int,
    fold: Fold,
    fields: Fields,
    capture: Capture,
    shown: ProgressShown | None,
) -> None:
    records = log.read(Position(log.ledger_id, {EMBEDDED: first}))
    last = log.last_offset()
    while batch := list(islice(records, _BATCH)):
        with transaction(db, fold):
            for stored in batch:
                fold.apply(stored)
                changed = capture.take()
                _tell(db, stored, followed(db, changed, fields.changed(changed)))
            fold.save_progress()
        if shown is not None:
            shown("folding the history, events", batch[-1].offset - first + 1, last - first + 1)


def _tell(
    db: sqlite3.Connection, stored: Stored, changed: Iterable[tuple[tuple[Entity, str], Any]]
) -> None:
    envelope = stored.record.envelope
    for (entity, field), value in changed:
        text = value
        if value is not None and not isinstance(value, str):
            text = json.dumps(value, ensure_ascii=False)
        row = db.execute(_STANDS, (*entity, field)).fetchone()
        if row is not None and row[1] == text:
            continue
        if row is not None:
            ended = (stored.append_ms, stored.offset, envelope.actor, envelope.type)
            db.execute(_END, (*ended, row[0]))
        if text is not None:
            db.execute(
                _BEGIN,
                (
                    *entity, field, text, envelope.actor, envelope.actorkind, envelope.type,
                    stored.append_ms, stored.offset, envelope.time_ms,
                ),
            )  # fmt: skip
