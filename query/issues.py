"""Reading and searching issues in the keyed state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .conditions import Filter, Sql, compare, ilike_sqlite

__all__ = ["IssueRow", "IssueSearch", "count_issues", "find_issues", "issue_row"]


class IssueRow(NamedTuple):
    """An issue; large texts among its ``fields`` are claim checks.

    ``keys`` are the values of what it was ordered by, its id last, where an order was asked for.
    """

    issue_id: str
    experiment_id: str
    created_ms: int
    updated_ms: int
    fields: dict[str, Any]
    source_run_id: str | None
    trace_count: int
    keys: list[str | int]


@dataclass(frozen=True)
class IssueSearch:
    """Which issues, in which order; what is empty or None asks for nothing.

    ``all_severities`` are all there are, from the lowest to the highest. Of ``categories`` and
    ``category_hashes``, which say the same in two ways, one must match. ``orders`` are pairs of a
    field and whether it descends; ``after`` are the keys of the row that the page follows.
    Without ``orders`` the most severe come first, then perhaps those of most traces, then the
    newest.
    """

    parent: str | None
    filters: Sequence[Filter]
    all_severities: Sequence[str]
    by_trace_count: bool = False
    name: str | None = None
    statuses: Sequence[str] = ()
    severities: Sequence[str] = ()
    category_hashes: Sequence[str] = ()
    categories: Sequence[str] = ()
    orders: Sequence[tuple[str, bool]] = ()
    after: Sequence[str | int] = ()


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
    "json_extract(fields, '$.status') AS status, json_extract(fields, '$.severity') AS severity, "
    "json_extract(fields, '$.name') AS name, "
    "coalesce(json_extract(fields, '$.last_seen_ms'), created_ms) AS seen_ms "
    "FROM items i WHERE kind = 'issues'"
)
_COLUMNS = {"status", "source_run_id"}
_FIRST_KEY = 11

_SEVERITY = "coalesce((SELECT key FROM json_each(?) WHERE value = severity), -1)"
_STATUS = (
    "CASE status WHEN 'pending' THEN 0 WHEN 'rejected' THEN 1 WHEN 'resolved' THEN 2 ELSE 3 END"
)
_KEYS = {
    "name": "lower(name)",
    "status": _STATUS,
    "severity": _SEVERITY,
    "created_timestamp": "created_ms",
    "last_updated_timestamp": "updated_ms",
    "last_seen_timestamp": "seen_ms",
}
"""What an order may name; MLflow's words for it."""

# An issue that an older release created has no hashes.
_OF_CATEGORIES = """
    EXISTS (SELECT 1 FROM json_each(fields, '$.category_hashes')
            WHERE value IN (SELECT value FROM json_each(?)))
    OR json_type(fields, '$.category_hashes') IS NULL
    AND json_type(fields, '$.categories') = 'text'
    AND EXISTS (SELECT 1 FROM json_each(json_extract(fields, '$.categories'))
                WHERE lower(trim(value)) IN (SELECT value FROM json_each(?)))
"""


def issue_row(db: sqlite3.Connection, issue_id: str) -> IssueRow | None:
    """One issue, or None."""
    rows = _rows(db.execute(f"{_ISSUES} AND item_id = ?", (issue_id,)).fetchall())
    return rows[0] if rows else None


def find_issues(
    db: sqlite3.Connection, search: IssueSearch, limit: int, offset: int
) -> list[IssueRow]:
    """A page of the issues that a search asks for."""
    severities = json.dumps(list(search.all_severities))
    keys = [_key(name, severities) for name, _ in search.orders]
    keys += [Sql("item_id")] if search.orders else []
    sql = Sql("SELECT *")
    for key in keys:
        sql.add(", ")
        sql += key
    sql += _matching(search)
    down = [*(descending for _, descending in search.orders), True]
    if search.after:
        sql.add(" AND ")
        sql += _following(keys, down, search.after)
    sql.add(" ORDER BY ")
    for key, descending in zip(keys, down, strict=False):
        sql += key
        sql.add(" DESC, " if descending else ", ")
    if not keys:
        sql += _key("severity", severities)
        sql.add(f" DESC, {'trace_count DESC, ' if search.by_trace_count else ''}created_ms DESC, ")
    sql.add("item_id DESC LIMIT ? OFFSET ?", limit, offset)
    return _rows(db.execute(sql.text, sql.values).fetchall())


def count_issues(db: sqlite3.Connection, search: IssueSearch) -> int:
    """How many issues a search finds on all its pages."""
    sql = Sql("SELECT count(*)")
    sql += _matching(search)
    return int(db.execute(sql.text, sql.values).fetchone()[0])


def _matching(search: IssueSearch) -> Sql:
    sql = Sql(f" FROM ({_ISSUES}")
    if search.parent is not None:
        sql.add(" AND parent = ?", search.parent)
    sql.add(") WHERE TRUE")
    for condition in search.filters:
        assert condition.key in _COLUMNS
        sql.add(" AND ")
        sql += compare(condition.key, condition.comparator, condition.value, ilike_sqlite)
    if search.name is not None:
        sql.add(" AND instr(lower(name), lower(?)) > 0", search.name)
    for column, values in ("status", search.statuses), ("severity", search.severities):
        if values:
            listed = json.dumps(list(values))
            sql.add(f" AND {column} IN (SELECT value FROM json_each(?))", listed)
    if search.category_hashes:
        either = (search.category_hashes, search.categories)
        sql.add(f" AND ({_OF_CATEGORIES})", *(json.dumps(list(values)) for values in either))
    return sql


def _key(name: str, severities: str) -> Sql:
    return Sql(_KEYS[name], [severities] if name == "severity" else [])


def _following(keys: Sequence[Sql], down: Sequence[bool], after: Sequence[str | int]) -> Sql:
    """What comes after a row, by its keys: a live list, in which edits may move rows."""
    sql = Sql("(FALSE")
    for number, descending in enumerate(down):
        sql.add(" OR (")
        for key, value in zip(keys[:number], after, strict=False):
            sql += key
            sql.add(" = ? AND ", value)
        sql += keys[number]
        sql.add(" < ?)" if descending else " > ?)", after[number])
    return sql.add(")")


def _rows(rows: Iterable[tuple[Any, ...]]) -> list[IssueRow]:
    return [
        IssueRow._make([*row[:4], json.loads(row[4]), *row[5:7], list(row[_FIRST_KEY:])])
        for row in rows
    ]
