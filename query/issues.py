"""Reading and searching issues in the keyed state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .conditions import Filter, Sql, compare, ilike_sqlite

__all__ = ["IssueRow", "find_issues", "issue_row"]


class IssueRow(NamedTuple):
    """An issue; large texts among its ``fields`` are claim checks."""

    issue_id: str
    experiment_id: str
    created_ms: int
    updated_ms: int
    fields: dict[str, Any]
    source_run_id: str | None
    trace_count: int


# A run that is gone for good leaves an issue without its source.
_SOURCE = (
    "(SELECT run_id FROM live_runs r WHERE r.run_id = json_extract(i.fields, '$.source_run_id'))"
)
_TRACE_COUNT = (
    "(SELECT count(DISTINCT a.trace_id) FROM assessments a JOIN live_traces USING (trace_id) "
    "WHERE a.assessment_type = 'issue' AND a.name = i.item_id)"
)
"""How many traces have an assessment that names the issue ``i``."""

_ISSUES = (
    "SELECT item_id, substr(parent, length('experiments:/') + 1), created_ms, updated_ms, fields, "
    f"{_SOURCE} AS source_run_id, {_TRACE_COUNT} AS trace_count, "
    "json_extract(fields, '$.status') AS status, json_extract(fields, '$.severity') AS severity "
    "FROM items i WHERE kind = 'issues'"
)
_COLUMNS = {"status", "source_run_id"}


def issue_row(db: sqlite3.Connection, issue_id: str) -> IssueRow | None:
    """One issue, or None."""
    rows = _rows(db.execute(f"{_ISSUES} AND item_id = ?", (issue_id,)).fetchall())
    return rows[0] if rows else None


def find_issues(
    db: sqlite3.Connection,
    parent: str | None,
    filters: Iterable[Filter],
    severities: Sequence[str],
    limit: int,
    offset: int,
    *,
    by_trace_count: bool = False,
) -> list[IssueRow]:
    """The issues that match, of one experiment or of all, in order.

    The order is that of ``severities``, from the lowest to the highest, backwards; then perhaps
    by their traces, most first; then newest first.
    """
    sql = Sql(f"SELECT * FROM ({_ISSUES}")
    if parent is not None:
        sql.add(" AND parent = ?", parent)
    sql.add(") WHERE TRUE")
    for condition in filters:
        assert condition.key in _COLUMNS
        sql.add(" AND ")
        sql += compare(condition.key, condition.comparator, condition.value, ilike_sqlite)
    sql.add(
        " ORDER BY coalesce((SELECT key FROM json_each(?) WHERE value = severity), -1) DESC, "
        f"{'trace_count DESC, ' if by_trace_count else ''}created_ms DESC, item_id DESC "
        "LIMIT ? OFFSET ?",
        json.dumps(list(severities)),
        limit,
        offset,
    )
    return _rows(db.execute(sql.text, sql.values).fetchall())


def _rows(rows: Iterable[tuple[Any, ...]]) -> list[IssueRow]:
    return [IssueRow._make([*row[:4], json.loads(row[4]), *row[5:7]]) for row in rows]
