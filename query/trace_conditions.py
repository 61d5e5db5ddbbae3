"""The conditions of a search of traces, with MLflow's meaning of each filter.

Filters come parsed. Kinds are MLflow's: ``attribute``, ``tag``, ``request_metadata``, ``span``,
``feedback``, ``expectation``, ``issue``, and of ours ``run`` and ``prompt``, to which a trace may
be linked, and ``figures``, tokens or costs as MLflow writes them in metadata.
"""

from __future__ import annotations

import functools
import json
import re
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from .conditions import Filter, Order, Sql, compare, ilike_sqlite

__all__ = [
    "PAIRS",
    "PART",
    "TraceSearch",
    "all_met",
    "count_most",
    "count_traces",
    "order_column",
    "trace_conditions",
]

_SESSION_KEY = '"mlflow.trace.session":'
PAIRS = {"tag": "trace_tags", "request_metadata": "trace_metadata"}
_TOLERANCE_MS = 10_000
PART = 8
"""Of so many traces one has to be searched, for what they hold to be looked up in indexes."""

_LITERAL = re.compile(r'"[\w .]+": "(?=\\)')
"""How a pattern for a span's attribute begins."""

_SPAN_TEXT = "CASE WHEN s.excerpt IS NULL THEN s.text ELSE s.excerpt END"
_LINKED = {
    "run": "(EXISTS (SELECT 1 FROM trace_links l WHERE l.trace_id = t.trace_id "
    "AND l.kind = 'run' AND l.target = ?) OR EXISTS (SELECT 1 FROM trace_metadata m "
    "WHERE m.trace_id = t.trace_id AND m.key = 'mlflow.sourceRun' AND m.value = ?))",
    "prompt": "t.trace_id IN (SELECT trace_id FROM trace_links "
    "WHERE kind = 'prompt_version' AND target = ?)",
    "issue": "t.trace_id IN (SELECT trace_id FROM assessments "
    "WHERE assessment_type = 'issue' AND name = ?)",
}
"""What a trace is linked to by a row of another table."""

_END = "(t.timestamp_ms + coalesce(t.execution_time_ms, 0))"


class TraceSearch(NamedTuple):
    """What is looked for. No ``experiment_ids`` means all experiments."""

    experiment_ids: Sequence[int] | None
    filters: Sequence[Filter] = ()
    orders: Sequence[Order] = ()
    limit: int = -1
    offset: int = 0


def count_most(db: sqlite3.Connection) -> int:
    """About how many traces there are."""
    # Of all workspaces: what one of them sees of a table has no row ids.
    return db.execute("SELECT max(rowid) FROM main.traces").fetchone()[0] or 0


def count_traces(db: sqlite3.Connection, experiment_ids: Sequence[int] | None, most: int) -> int:
    """How many traces are searched; a count stops at ``most``."""
    sql = Sql("SELECT count(*) FROM (SELECT 1 FROM traces t WHERE ")
    sql += _within(experiment_ids)
    sql.add(" LIMIT ?)", most)
    return int(db.execute(sql.text, sql.values).fetchone()[0])


def order_column(order: Order) -> str | None:
    """The column of a trace itself that is ordered by, if it is one."""
    if order.kind == "attribute" and order.key == "end_time_ms":
        return _END
    if order.kind == "attribute":
        return "t.trace_id" if order.key == "request_id" else f"t.{order.key}"
    if order.key == "mlflow.traceName" and order.kind == "tag":
        return "t.trace_name"
    if order.key == "mlflow.trace.session" and order.kind == "request_metadata":
        return "t.session_id"
    return None


def trace_conditions(db: sqlite3.Connection, search: TraceSearch) -> Sql:
    """The conditions of a search on traces that are called ``t``."""
    sql = Sql(" WHERE ")
    sql += all_met(db, search)
    return sql


def all_met(db: sqlite3.Connection, search: TraceSearch) -> Sql:
    """Whether a trace that is called ``t`` meets a search: one expression, perhaps NULL."""
    sql = _within(search.experiment_ids)
    for condition in _Conditions(db, search).all():
        sql.add(" AND ")
        sql += condition
    return sql


def _within(experiment_ids: Sequence[int] | None) -> Sql:
    if experiment_ids is None:
        return Sql("1")
    marks = ", ".join("?" * len(experiment_ids))
    return Sql(f"t.experiment_id IN ({marks})", experiment_ids)


class _Conditions:
    """The conditions of a search, on traces that are called ``t``."""

    def __init__(self, db: sqlite3.Connection, search: TraceSearch) -> None:
        self._db = db
        self._search = search

    def all(self) -> list[Sql]:
        """Each filter a condition; those on spans are one, since one span has to meet them all."""
        of_spans = [f for f in self._search.filters if f.kind == "span"]
        others = [f for f in self._search.filters if f.kind != "span"]
        found = [self._condition(wanted) for wanted in others]
        return [*found, self._of_one_span(of_spans)] if of_spans else found

    def _condition(self, wanted: Filter) -> Sql:
        kind, key, comparator, value = wanted
        if kind == "attribute":
            return self._compare("live_traces t", "t.trace_id", _attribute(key), wanted)
        if kind in PAIRS:
            return self._pair(wanted)
        if kind == "figures":
            return _figures(comparator, value)
        if kind in _LINKED:
            return Sql(_LINKED[kind], [value] * _LINKED[kind].count("?"))
        return self._assessed(Filter(kind, key, comparator, value))

    def _pair(self, wanted: Filter) -> Sql:
        """A tag or metadata; name and session are columns of the trace itself."""
        kind, key, comparator, _ = wanted
        own = order_column(Order(kind, key, ascending=True))
        if own is not None:
            if comparator in ("IS NULL", "IS NOT NULL"):
                return Sql(f"{own} {comparator}")
            return self._compare("live_traces t", "t.trace_id", own, wanted)
        there = Sql(
            f"EXISTS (SELECT 1 FROM {PAIRS[kind]} p WHERE p.trace_id = t.trace_id AND p.key = ?",
            [key],
        )
        if kind == "tag" and comparator not in ("IS NULL", "RLIKE") and self._is_wide:
            there = Sql("t.trace_id IN (SELECT p.trace_id FROM trace_tags p WHERE p.key = ?", [key])
        if comparator == "IS NULL":
            return Sql("NOT ").add(there.text, *there.values).add(")")
        if comparator == "IS NOT NULL":
            return there.add(")")
        if comparator == "RLIKE":
            table = f"{PAIRS[kind]} p JOIN live_traces t ON t.trace_id = p.trace_id AND p.key = ?"
            return self._matching(table, [key], "p.trace_id", "p.value", wanted)
        there.add(" AND ")
        there += compare("p.value", comparator, wanted.value, ilike_sqlite)
        return there.add(")")

    @functools.cached_property
    def _is_wide(self) -> bool:
        """Whether a good part of all traces is searched."""
        least = count_most(self._db) // PART
        return count_traces(self._db, self._search.experiment_ids, least + 1) > least

    def _of_one_span(self, filters: Sequence[Filter]) -> Sql:
        bounds = [
            wanted.value
            for wanted in self._search.filters
            if wanted.kind == "attribute"
            and wanted.key == "timestamp_ms"
            and wanted.comparator in (">", ">=")
            and isinstance(wanted.value, int | float)
        ]
        if bounds or any(wanted.key == "text" for wanted in filters) or not self._is_wide:
            sql = Sql("EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id")
        else:
            sql = Sql("t.trace_id IN (SELECT s.trace_id FROM spans s WHERE 1")
        if bounds:
            sql.add(" AND s.start_ns >= ?", (max(bounds) - _TOLERANCE_MS) * 1_000_000)
        for wanted in filters:
            sql.add(" AND ")
            sql += self._of_span(wanted)
        return sql.add(")")

    def _of_span(self, wanted: Filter) -> Sql:
        table = "spans s CROSS JOIN live_traces t ON t.trace_id = s.trace_id"
        if wanted.key != "text":
            return self._compare(table, "s.rowid", f"s.{wanted.key}", wanted)
        begin = _LITERAL.match(str(wanted.value))
        if wanted.comparator == "RLIKE" and begin and "|" not in str(wanted.value):
            # A dot is any letter in the pattern, as an underscore is in LIKE.
            table += f" AND {_SPAN_TEXT} LIKE '%{begin.group().replace('.', '_')}%'"
        return self._compare(table, "s.rowid", _SPAN_TEXT, wanted)

    def _assessed(self, wanted: Filter) -> Sql:
        """A trace is assessed itself, or another of its session on behalf of all of it."""
        met = Sql("a.assessment_type = ? AND a.name = ? AND a.valid = 1", [wanted.kind, wanted.key])
        if wanted.comparator not in ("IS NULL", "IS NOT NULL"):
            met.add(" AND ")
            met += self._assessed_as(wanted)
        covered = Sql("t.session_id IN (SELECT t.session_id FROM assessments a ")
        covered.add("CROSS JOIN live_traces t ON t.trace_id = a.trace_id WHERE ")
        covered += _within(self._search.experiment_ids)
        covered.add(" AND t.session_id IS NOT NULL AND ")
        covered += met
        covered.add(" AND a.metadata LIKE ?)", f"%{_SESSION_KEY}%")
        either = Sql("(t.trace_id IN (SELECT a.trace_id FROM assessments a WHERE ")
        either += met
        either.add(") OR coalesce(")
        either += covered
        either.add(", 0))")
        if wanted.comparator == "IS NULL":
            return Sql("NOT ").add(either.text, *either.values)
        return either

    def _assessed_as(self, wanted: Filter) -> Sql:
        comparator, value = wanted.comparator, wanted.value
        if comparator in ("<", "<=", ">", ">="):
            return Sql(f"a.is_number = 1 AND a.number {comparator} ?", [value])
        if comparator in ("=", "!="):
            negated = "NOT " if comparator == "!=" else ""
            return Sql(f"{negated}(a.value = ? OR a.value = ?)", [value, json.dumps(value)])
        table = "assessments a JOIN live_traces t ON t.trace_id = a.trace_id"
        return self._compare(table, "a.rowid", "a.value", wanted)

    def _compare(self, table: str, key: str, column: str, wanted: Filter) -> Sql:
        if wanted.comparator == "RLIKE":
            return self._matching(table, [], key, column, wanted)
        return compare(column, wanted.comparator, wanted.value, ilike_sqlite)

    def _matching(
        self, table: str, values: Sequence[object], key: str, column: str, wanted: Filter
    ) -> Sql:
        """RLIKE: SQLite knows no regular expressions, so the values are looked at here."""
        sql = Sql(f"SELECT {key}, {column} FROM {table} WHERE ", values)
        sql += _within(self._search.experiment_ids)
        try:
            pattern = re.compile(str(wanted.value))
        except re.error:
            return Sql("0")
        keys = [
            found
            for found, text in self._db.execute(sql.text, sql.values).fetchall()
            if isinstance(text, str) and pattern.search(text)
        ]
        wanted_key = "t.trace_id" if key.endswith("trace_id") else key
        return Sql(f"{wanted_key} IN (SELECT value FROM json_each(?))", [json.dumps(keys)])


def _attribute(key: str) -> str:
    if key in ("end_time", "end_time_ms"):
        return _END
    return "t.trace_id" if key == "request_id" else f"t.{key}"


def _figures(comparator: str, value: object) -> Sql:
    """Tokens or costs, a mapping of all their columns; an empty one is equal to none."""
    assert isinstance(value, dict)
    there = " OR ".join(f"t.{column} IS NOT NULL" for column in value)
    if comparator == "IS NULL":
        return Sql(f"NOT ({there})")
    if comparator == "IS NOT NULL":
        return Sql(f"({there})")
    same = Sql("0")
    if any(figure is not None for figure in value.values()):
        same = Sql("(")
        same.add(" AND ".join(f"t.{column} IS ?" for column in value), *value.values())
        same.add(")")
    if comparator == "=":
        return same
    return Sql(f"(({there}) AND NOT ").add(same.text, *same.values).add(")")
