"""Searching evaluation data sets, and reading their records, in the keyed state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from .conditions import Filter, Order, Sql, compare, ilike_sqlite
from .items import Item, find_items
from .rows import workspace_of

__all__ = ["evaluation_records", "find_evaluation_datasets", "known_records"]

_RECORDS = "evaluation_dataset_records"
_KIND = "evaluation_datasets"
_COLUMNS = {
    "name": "json_extract(fields, '$.name')",
    "created_time": "created_ms",
    "last_update_time": "updated_ms",
    "created_by": "json_extract(fields, '$.created_by')",
    "last_updated_by": "json_extract(fields, '$.last_updated_by')",
    "dataset_id": "item_id",
}


def find_evaluation_datasets(
    db: sqlite3.Connection,
    experiment_ids: Sequence[str],
    filters: Sequence[Filter],
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[Item]:
    """The data sets that match, in order; with experiments those that are for one of them."""
    sql = Sql("WHERE kind = ? AND workspace = ?", [_KIND, workspace_of(db)])
    if experiment_ids:
        sql.add(
            " AND EXISTS (SELECT 1 FROM json_each(fields, '$.experiments') "
            "WHERE key IN (SELECT value FROM json_each(?)))",
            json.dumps(list(experiment_ids)),
        )
    for condition in filters:
        column = _COLUMNS.get(condition.key, "")
        if condition.kind == "tag":
            sql.add(
                " AND EXISTS (SELECT 1 FROM item_tags t "
                "WHERE t.kind = items.kind AND t.item_id = items.item_id AND t.key = ?",
                condition.key,
            )
            column = "t.value"
        sql.add(" AND ")
        sql += compare(column, condition.comparator, condition.value, ilike_sqlite)
        if condition.kind == "tag":
            sql.add(")")
    keys = [f"{_COLUMNS[o.key]} {'ASC' if o.ascending else 'DESC'}" for o in orders]
    sql.add(f" ORDER BY {', '.join(keys)} LIMIT ? OFFSET ?", limit, offset)
    return find_items(db, sql)


def evaluation_records(
    db: sqlite3.Connection,
    dataset_id: str,
    limit: int = -1,
    offset: int = 0,
    after: tuple[int, str] | None = None,
) -> list[Item]:
    """Records of a data set in order of creation, then id; ``after`` one of that time and id."""
    sql = Sql("WHERE parent = ? AND kind = ?", [f"{_KIND}:/{dataset_id}", _RECORDS])
    if after is not None:
        sql.add(" AND (created_ms, item_id) > (?, ?)", *after)
    sql.add(" ORDER BY created_ms, item_id LIMIT ? OFFSET ?", limit, offset)
    return find_items(db, sql)


def known_records(
    db: sqlite3.Connection, dataset_id: str, *, hashes: Sequence[str] = (), ids: Sequence[str] = ()
) -> dict[str, str | None]:
    """Which of some records a data set has: the hashes of their inputs, by id."""
    rows = db.execute(
        "SELECT item_id, name FROM items WHERE parent = ? AND kind = ? "
        "AND (name IN (SELECT value FROM json_each(?)) "
        "OR item_id IN (SELECT value FROM json_each(?)))",
        (f"{_KIND}:/{dataset_id}", _RECORDS, json.dumps(list(hashes)), json.dumps(list(ids))),
    ).fetchall()
    return dict(rows)
