"""Searching traces in the keyed state: pages in order, sessions, correlations."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from .conditions import Filter, Sql
from .trace_conditions import (
    PAIRS,
    TraceSearch,
    all_met,
    count_most,
    count_traces,
    order_column,
    trace_conditions,
)

__all__ = ["SessionRow", "correlated", "find_sessions", "find_traces"]

_COUNTED = 200_000


class SessionRow(NamedTuple):
    """A session, and when its first and its last trace began."""

    session_id: str
    first_ms: int
    last_ms: int


def find_traces(db: sqlite3.Connection, search: TraceSearch) -> list[str]:
    """The ids of the traces that a search finds, in order."""
    if _walks(db, search):
        return _walked(db, search)
    return _sorted(db, search, Sql("SELECT t.trace_id FROM live_traces t"))


def _sorted(db: sqlite3.Connection, search: TraceSearch, sql: Sql, *conditions: Sql) -> list[str]:
    keys = []
    for number, order in enumerate(search.orders):
        column = order_column(order)
        if column is None:
            sql.add(
                f" LEFT JOIN {PAIRS[order.kind]} o{number} "
                f"ON o{number}.trace_id = t.trace_id AND o{number}.key = ?",
                order.key,
            )
            column = f"o{number}.value"
        # What is missing comes last: SQLite's index has it there under DESC.
        keys.append(f"{column} ASC NULLS LAST" if order.ascending else f"{column} DESC")
    sql += trace_conditions(db, search)
    for condition in conditions:
        sql += condition
    return _page(db, search, sql, keys)


def _page(db: sqlite3.Connection, search: TraceSearch, sql: Sql, keys: Sequence[str]) -> list[str]:
    ordered = {(order.kind, order.key) for order in search.orders}
    keys = list(keys)
    if ("attribute", "timestamp_ms") not in ordered:
        keys.append("t.timestamp_ms DESC")
    if ("attribute", "request_id") not in ordered:
        keys.append("t.trace_id")
    sql.add(f" ORDER BY {', '.join(keys)} LIMIT ? OFFSET ?", search.limit, search.offset)
    return [trace_id for (trace_id,) in db.execute(sql.text, sql.values).fetchall()]


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
    everything = count_most(db)
    there = count_traces(db, search.experiment_ids, _COUNTED)
    return there * there > (search.limit + search.offset) * everything


def _walked(db: sqlite3.Connection, search: TraceSearch) -> list[str]:
    """A page in the order of a tag: traces that have it, then those that do not."""
    (order,) = search.orders
    tagged = Sql(" FROM trace_tags o CROSS JOIN live_traces t ON t.trace_id = o.trace_id")
    tagged += trace_conditions(db, search)
    tagged.add(" AND o.key = ? AND o.value IS NOT NULL", order.key)
    sql = Sql(f"SELECT t.trace_id{tagged.text}", tagged.values)
    found = _page(db, search, sql, [f"o.value {'ASC' if order.ascending else 'DESC'}"])
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
    return found + _sorted(db, rest, Sql("SELECT t.trace_id FROM live_traces t"), untagged)


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
        sql.add(" AND session_id IN (SELECT t.session_id FROM live_traces t")
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
    sql.add(" FROM live_traces t")
    sql += trace_conditions(db, TraceSearch(experiment_ids, base))
    sql.add(") SELECT count(*), total(a), total(b), total(a AND b) FROM looked_at")
    everything, ones, others, both = db.execute(sql.text, sql.values).fetchone()
    return everything, int(ones), int(others), int(both)
