"""Reading and searching experiments in the keyed state."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from .conditions import Filter, Order, Sql, compare, ilike_sqlite
from .rows import rows_of_each, workspace_of

__all__ = ["ExperimentRow", "experiment_by_name", "experiment_row", "find_experiments"]

_COLUMNS = {
    "experiment_id": "experiment_id",
    "name": "name",
    "creation_time": "created_ms",
    "last_update_time": "updated_ms",
    "artifact_location": "artifact_location",
    "lifecycle_stage": "lifecycle",
}


class ExperimentRow(NamedTuple):
    """An experiment that was not deleted for good; times in milliseconds."""

    experiment_id: int
    workspace: str
    name: str
    artifact_location: str
    lifecycle: str
    epoch: int
    created_ms: int
    updated_ms: int
    tags: list[tuple[str, Any]]


_SELECT = (
    "SELECT experiment_id, workspace, name, artifact_location, lifecycle, epoch, created_ms, "
    "updated_ms FROM experiments e WHERE lifecycle <> 'purged'"
)


def experiment_row(db: sqlite3.Connection, experiment_id: int) -> ExperimentRow | None:
    """One experiment, or None."""
    return _one(db, f"{_SELECT} AND experiment_id = ?", experiment_id)


def experiment_by_name(db: sqlite3.Connection, name: str) -> ExperimentRow | None:
    """The experiment of a name, active or deleted, or None."""
    return _one(db, f"{_SELECT} AND name = ? AND workspace = ?", name, workspace_of(db))


def find_experiments(  # one value for each part of the question
    db: sqlite3.Connection,
    lifecycles: Sequence[str],
    filters: Sequence[Filter],
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[ExperimentRow]:
    """The experiments that match, in order; the last order key must be unique."""
    sql = Sql(_SELECT).add(f" AND lifecycle IN ({', '.join('?' * len(lifecycles))})", *lifecycles)
    for condition in filters:
        sql.add(" AND ")
        sql += _condition(condition)
    keys = [f"{_COLUMNS[o.key]} {'ASC' if o.ascending else 'DESC'}" for o in orders]
    sql.add(f" ORDER BY {', '.join(keys)} LIMIT ? OFFSET ?", limit, offset)
    rows = db.execute(sql.text, sql.values).fetchall()
    return _whole(db, rows)


def _condition(condition: Filter) -> Sql:
    kind, key, comparator, value = condition
    if kind == "attribute":
        return compare(_COLUMNS[key], comparator, value, ilike_sqlite)
    sql = Sql(
        "EXISTS (SELECT 1 FROM experiment_tags t "
        "WHERE t.experiment_id = e.experiment_id AND t.key = ?",
        [key],
    )
    if comparator in ("IS NULL", "IS NOT NULL"):
        return Sql("NOT " if comparator == "IS NULL" else "").add(f"{sql.text})", *sql.values)
    sql.add(" AND ")
    sql += compare("t.value", comparator, value, ilike_sqlite)
    return sql.add(")")


def _one(db: sqlite3.Connection, query: str, *values: object) -> ExperimentRow | None:
    return next(iter(_whole(db, db.execute(query, values).fetchall())), None)


def _whole(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[ExperimentRow]:
    tags = rows_of_each(
        db,
        "SELECT key, value FROM experiment_tags WHERE experiment_id = ?",
        (row[:1] for row in rows),
    )
    return [ExperimentRow._make((*row, of_one)) for row, of_one in zip(rows, tags, strict=True)]
