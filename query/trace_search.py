"""Searching traces in the keyed state: pages in order, sessions, correlations."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from .conditions import Filter, Sql
from .trace_conditions import (
    PAIRS,
    TRACES,
    TraceSearch,
    all_met,
    count_most,
    has_more_traces,
    order_column,
    page_conditions,
    trace_conditions,
)
from .traces import TraceRow

__all__ = ["SessionRow", "correlated", "find_sessions", "find_traces"]

_ROW = ", ".join(f"p.{column}" for column in TraceRow._fields)
_NEVER_MISSING = ("t.experiment_id", "t.timestamp_ms", "t.status", "t.trace_id")


class SessionRow(NamedTuple):
    """A session, and when its first and its last trace began."""

    session_id: str
    first_ms: int
    last_ms: int


def find_traces(db: sqlite3.Connection, search: TraceSearch) -> list[TraceRow]:
    """The traces that a search finds, in order."""
    if _walks(db, search):
        return _walked(db, search)
    return _sorted(db, search)


def _sorted(db: sqlite3.Connection, search: TraceSearch, *more: Sql) -> list[TraceRow]:
    table, conditions = page_conditions(db, search)
    tables = Sql(f" FROM {table}")
    keys = []
    for number, order in enumerate(search.orders):
        column = order_column(order)
        if column is None:
            tables.add(
                f" LEFT JOIN {PAIRS[order.kind]} o{number} "
                f"ON o{number}.trace_id = t.trace_id AND o{number}.key = ?",
                order.key,
            )
            column = f"o{number}.value"
        keys.append((column, order.ascending))
    for condition in (conditions, *more):
        tables += condition
    return _page(db, search, tables, keys)


def _page(
    db: sqlite3.Connection, search: TraceSearch, tables: Sql, keys: Sequence[tuple[str, bool]]
) -> list[TraceRow]:
    """A page of what is found; rows are read of those only that are on it."""
    ordered = {(order.kind, order.key) for order in search.orders}
    keys = list(keys)
    if ("attribute", "timestamp_ms") not in ordered:
        keys.append(("t.timestamp_ms", False))
    if ("attribute", "request_id") not in ordered:
        keys.append(("t.trace_id", True))
    columns = ", ".join(f"{column} AS k{place}" for place, (column, _) in enumerate(keys))
    sql = Sql(f"SELECT {_ROW} FROM (SELECT t.rowid AS found, {columns}")
    sql += tables
    inner = ", ".join(_ordered(key[0], key) for key in keys)
    sql.add(f" ORDER BY {inner} LIMIT ? OFFSET ?", search.limit, search.offset)
    outer = ", ".join(_ordered(f"k{place}", key) for place, key in enumerate(keys))
    sql.add(f") CROSS JOIN main.traces p ON p.rowid = found ORDER BY {outer}")
    return list(map(TraceRow._make, db.execute(sql.text, sql.values).fetchall()))


def _ordered(term: str, key: tuple[str, bool]) -> str:
    """A term of an order; what is missing comes last, as SQLite's index has it under DESC."""
    column, ascending = key
    if not ascending:
        return f"{term} DESC"
    return term if column in _NEVER_MISSING else f"{term} ASC NULLS LAST"


def _walks(db: sqlite3.Connection, search: TraceSearch) -> bool:
    """Whether a page in the order of one tag is found sooner in the tag's index than by sorting.

    The index holds the tags of all experiments: it takes a page times the part that the searched
    ones have in it.
    """
    if len(search.orders) != 1 or search.filters or search.limit < 0:
        return False
    (order,) = search.orders
    if order.kind != "tag" or order_column(order) is not None:
        return False
    least = math.isqrt((search.limit + search.offset) * count_most(db))
    return has_more_traces(db, search.experiment_ids, least)


def _walked(db: sqlite3.Connection, search: TraceSearch) -> list[TraceRow]:
    """A page in the order of a tag: traces that have it, then those that do not."""
    (order,) = search.orders
    tagged = Sql(f" FROM trace_tags o CROSS JOIN {TRACES} ON t.trace_id = o.trace_id")
    tagged += trace_conditions(db, search)
    tagged.add(" AND o.key = ? AND o.value IS NOT NULL", order.key)
    found = _page(db, search, Sql(tagged.text, tagged.values), [("o.value", order.ascending)])
    if len(found) == search.limit:
        return found
    (before,) = db.execute(f"SELECT count(*){tagged.text}", tagged.values).fetchone()
    rest = search._replace(
        orders=(), limit=search.limit - len(found), offset=max(search.offset - before, 0)
    )
    untagged = Sql(
        " AND NOT EXISTS (SELECT 1 FROM trace_tags o WHERE o.trace_id = t.trace_id "
        "AND o.key = ? AND o.value IS NOT NULL)",
        [order.key],
    )
    return found + _sorted(db, rest, untagged)


def find_sessions(
    db: sqlite3.Connection,
    experiment_id: int,
    between_ms: tuple[int, int],
    filters: Sequence[Filter],
    limit: int | None,
) -> list[SessionRow]:
    """Sessions whose last trace began in a time, and whose first trace meets the filters."""
    first_ms, last_ms = between_ms
    sql = Sql(
        "SELECT session_id, min(timestamp_ms), max(timestamp_ms) FROM live_traces "
        "WHERE experiment_id = ?",
        [experiment_id],
    )
    sql.add(
        " AND session_id IN (SELECT session_id FROM live_traces WHERE experiment_id = ? "
        "AND timestamp_ms >= ?)",
        experiment_id,
        first_ms,
    )
    if filters:
        sql.add(" AND session_id IN (SELECT t.session_id FROM main.traces t")
        sql += trace_conditions(db, TraceSearch([experiment_id], filters))
        sql.add(
            " AND t.timestamp_ms = (SELECT min(timestamp_ms) FROM live_traces f "
            "WHERE f.experiment_id = ? AND f.session_id = t.session_id))",
            experiment_id,
        )
    sql.add(
        " GROUP BY session_id HAVING max(timestamp_ms) <= ? ORDER BY 3, 1 LIMIT ?",
        last_ms,
        -1 if limit is None else limit,
    )
    return [SessionRow._make(row) for row in db.execute(sql.text, sql.values).fetchall()]


def correlated(
    db: sqlite3.Connection,
    experiment_ids: Sequence[int],
    base: Sequence[Filter],
    one: Sequence[Filter],
    other: Sequence[Filter],
) -> tuple[int, int, int, int]:
    """How many traces there are, meet the one, meet the other, and meet both."""
    sql = Sql("WITH looked_at AS MATERIALIZED (SELECT ")
    for number, filters in enumerate((one, other)):
        sql.add(", coalesce((" if number else "coalesce((")
        sql += all_met(db, TraceSearch(experiment_ids, filters))
        sql.add("), 0) AS b" if number else "), 0) AS a")
    sql.add(f" FROM {TRACES}")
    sql += trace_conditions(db, TraceSearch(experiment_ids, base))
    sql.add(") SELECT count(*), total(a), total(b), total(a AND b) FROM looked_at")
    everything, ones, others, both = db.execute(sql.text, sql.values).fetchone()
    return everything, int(ones), int(others), int(both)
