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
    "TRACES",
    "TraceSearch",
    "all_met",
    "count_most",
    "has_more_traces",
    "order_column",
    "page_conditions",
    "trace_conditions",
    "within",
]

_OF_SESSION = """instr(a.metadata, '"mlflow.trace.session":') > 0"""
PAIRS = {"tag": "trace_tags", "request_metadata": "trace_metadata"}
TRACES = "main.traces t"
"""Traces of all workspaces and experiments: conditions say of which."""

_TRIED = 32
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

_LIVING = "SELECT experiment_id FROM experiments WHERE lifecycle <> 'purged'"
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


def has_more_traces(
    db: sqlite3.Connection, experiment_ids: Sequence[int] | None, count: int
) -> bool:
    """Whether more traces than that are searched."""
    sql = Sql("SELECT 1 FROM main.traces t WHERE ")
    sql += within(experiment_ids)
    sql.add(" LIMIT 1 OFFSET ?", count)
    return db.execute(sql.text, sql.values).fetchone() is not None


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
    return _where(all_met(db, search))


def page_conditions(db: sqlite3.Connection, search: TraceSearch) -> tuple[str, Sql]:
    """Where a page of traces that are called ``t`` is found: the table, and the conditions."""
    conditions = _Conditions(db, search)
    met = conditions.all()
    if not conditions.are_listed:
        return TRACES, _where(_joined(within(search.experiment_ids), met))
    # The plus keeps SQLite from walking through the traces of an experiment, in their order.
    unwalked = Sql("+")
    unwalked += within(search.experiment_ids)
    return f"{TRACES} INDEXED BY traces_by_id", _where(_joined(unwalked, met))


def all_met(db: sqlite3.Connection, search: TraceSearch) -> Sql:
    """Whether a trace that is called ``t`` meets a search: one expression, perhaps NULL."""
    return _joined(within(search.experiment_ids), _Conditions(db, search).all())


def _where(conditions: Sql) -> Sql:
    return Sql(f" WHERE {conditions.text}", conditions.values)


def _joined(first: Sql, others: Sequence[Sql]) -> Sql:
    for condition in others:
        first.add(" AND ")
        first += condition
    return first


def within(experiment_ids: Sequence[int] | None, table: str = "t") -> Sql:
    """Rows of some experiments that are there; these are looked up once, not for each row."""
    if experiment_ids is None:
        return Sql(f"{table}.experiment_id IN ({_LIVING})")
    if len(experiment_ids) == 1:  # the traces of one stand in indexes in order
        return Sql(f"{table}.experiment_id = ({_LIVING} AND experiment_id = ?)", experiment_ids)
    marks = ", ".join("?" * len(experiment_ids))
    these = f"{table}.experiment_id IN ({_LIVING} AND experiment_id IN ({marks}))"
    return Sql(these, experiment_ids)


class _Conditions:
    """The conditions of a search, on traces that are called ``t``."""

    def __init__(self, db: sqlite3.Connection, search: TraceSearch) -> None:
        self._db = db
        self._search = search
        self.are_listed = False
        """Whether one of the conditions lists so few traces that these are best looked up."""

    def all(self) -> list[Sql]:
        """Each filter a condition; those on spans are one, since one span has to meet them all."""
        of_spans = [f for f in self._search.filters if f.kind == "span"]
        others = [f for f in self._search.filters if f.kind != "span"]
        found = [self._condition(wanted) for wanted in others]
        return [*found, self._of_one_span(of_spans)] if of_spans else found

    def _condition(self, wanted: Filter) -> Sql:
        kind, key, comparator, value = wanted
        if kind == "attribute":
            return self._compare("main.traces t", "t.trace_id", _attribute(key), wanted)
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
        if own is not None and comparator in ("IS NULL", "IS NOT NULL"):
            return Sql(f"{own} {comparator}")
        if own is not None:
            return self._compare("main.traces t", "t.trace_id", own, wanted)
        there = Sql(
            f"EXISTS (SELECT 1 FROM {PAIRS[kind]} p WHERE p.trace_id = t.trace_id AND p.key = ?",
            [key],
        )
        if comparator in ("IS NULL", "IS NOT NULL"):
            negated = "NOT " if comparator == "IS NULL" else ""
            return Sql(f"{negated}{there.text})", there.values)
        if comparator == "RLIKE":
            table = f"{PAIRS[kind]} p JOIN main.traces t ON t.trace_id = p.trace_id AND p.key = ?"
            return self._matching(table, [key], "p.trace_id", "p.value", wanted)
        met = Sql(" AND ")
        met += compare("p.value", comparator, wanted.value, ilike_sqlite)
        there += met.add(")")
        if kind != "tag":
            return there
        listed = Sql("t.trace_id IN (SELECT p.trace_id FROM trace_tags p WHERE p.key = ?", [key])
        listed += met
        return self._chosen(there, listed) if self._is_wide else there

    @functools.cached_property
    def _is_wide(self) -> bool:
        """Whether a good part of all traces is searched."""
        least = count_most(self._db) // PART
        return has_more_traces(self._db, self._search.experiment_ids, least)

    def _chosen(self, there: Sql, listed: Sql) -> Sql:
        """One condition as it is best asked: trace by trace, or by a list of all that meet it.

        A page of what many traces meet is full after looking at some of them.
        """
        if self._search.limit < 0:
            return listed
        sql = Sql("SELECT count(*) FROM (SELECT t.trace_id, t.session_id FROM main.traces t WHERE ")
        sql += within(self._search.experiment_ids)
        sql.add(" ORDER BY t.timestamp_ms DESC LIMIT ?) t WHERE ", _TRIED)
        sql += there
        (met,) = self._db.execute(sql.text, sql.values).fetchone()
        if met * PART >= _TRIED:
            return there
        self.are_listed = True
        return listed

    def _of_one_span(self, filters: Sequence[Filter]) -> Sql:
        bounds = [
            wanted.value
            for wanted in self._search.filters
            if wanted.kind == "attribute"
            and wanted.key == "timestamp_ms"
            and wanted.comparator in (">", ">=")
            and isinstance(wanted.value, int | float)
        ]
        met = Sql()
        if bounds:
            met.add(" AND s.start_ns >= ?", (max(bounds) - _TOLERANCE_MS) * 1_000_000)
        for wanted in filters:
            met.add(" AND ")
            met += self._of_span(wanted)
        there = Sql("EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id")
        there += met
        there.add(")")
        if bounds or any(wanted.key == "text" for wanted in filters):
            return there
        listed = Sql("t.trace_id IN (SELECT s.trace_id FROM spans s WHERE ")
        listed += within(self._search.experiment_ids, "s")
        listed += met
        return self._chosen(there, listed.add(")"))

    def _of_span(self, wanted: Filter) -> Sql:
        table = "spans s CROSS JOIN main.traces t ON t.trace_id = s.trace_id"
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
        of_session = Sql(
            "SELECT s.session_id FROM assessments a INDEXED BY assessments_of_sessions "
        )
        of_session.add("CROSS JOIN main.traces s ON s.trace_id = a.trace_id WHERE ")
        of_session += within(self._search.experiment_ids, "a")
        of_session.add(f" AND {_OF_SESSION} AND ")
        of_session += met
        either = self._chosen(self._assessed_one(met, of_session), self._listed(met, of_session))
        if wanted.comparator == "IS NULL":
            return Sql("NOT ").add(either.text, *either.values)
        return either

    def _assessed_one(self, met: Sql, of_session: Sql) -> Sql:
        """Whether a trace, or its session, is assessed: looked up for it alone."""
        sql = Sql("(EXISTS (SELECT 1 FROM assessments a INDEXED BY sqlite_autoindex_assessments_1 ")
        sql.add("WHERE a.trace_id = t.trace_id AND ")
        sql += met
        sql.add(") OR coalesce(t.session_id IN (")
        sql += of_session
        return sql.add("), 0))")

    def _listed(self, met: Sql, of_session: Sql) -> Sql:
        """The same by a list of all traces that are assessed."""
        sql = Sql("t.trace_id IN (SELECT a.trace_id FROM assessments a WHERE ")
        sql += within(self._search.experiment_ids, "a")
        sql.add(" AND ")
        sql += met
        sql.add(" UNION ALL SELECT o.trace_id FROM (SELECT DISTINCT session_id FROM (")
        sql += of_session
        sql.add(")) f CROSS JOIN main.traces o INDEXED BY traces_by_session ")
        sql.add("ON o.session_id = f.session_id AND ")
        sql += within(self._search.experiment_ids, "o")
        return sql.add(")")

    def _assessed_as(self, wanted: Filter) -> Sql:
        comparator, value = wanted.comparator, wanted.value
        if comparator in ("<", "<=", ">", ">="):
            return Sql(f"a.is_number = 1 AND a.number {comparator} ?", [value])
        if comparator in ("=", "!="):
            negated = "NOT " if comparator == "!=" else ""
            return Sql(f"{negated}(a.value = ? OR a.value = ?)", [value, json.dumps(value)])
        table = "assessments a JOIN main.traces t ON t.trace_id = a.trace_id"
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
        sql += within(self._search.experiment_ids)
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
