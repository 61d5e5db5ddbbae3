"""Counts, sums and percentiles over traces, their spans and their assessments."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .conditions import Filter, Sql
from .trace_conditions import (
    PART,
    TRACES,
    TraceSearch,
    count_most,
    trace_conditions,
    within,
)

__all__ = ["Aggregate", "MetricSearch", "gateway_cost", "metric_points"]

_ASSESSMENTS = "assessments a INDEXED BY assessments_by_experiment"
_VALUES = {
    ("TRACES", "trace_count"): "t.trace_id",
    ("TRACES", "session_count"): "t.session_id",
    ("TRACES", "latency"): "t.execution_time_ms",
    ("SPANS", "span_count"): "s.trace_id",
    ("SPANS", "latency"): "(s.end_ns - s.start_ns) / 1000000",
    ("ASSESSMENTS", "assessment_count"): "a.assessment_id",
    ("ASSESSMENTS", "assessment_value"): "a.number",
}
_OF = {"TRACES": "t", "SPANS": "s"}
_DIMENSIONS = {
    "trace_name": "t.trace_name",
    "trace_status": "t.status",
    "span_name": "s.name",
    "span_type": "s.type",
    "span_status": "s.status",
    "span_model_name": "s.model_name",
    "span_model_provider": "s.model_provider",
    "assessment_name": "a.name",
    "assessment_value": "a.value",
}
_TIMES = {"TRACES": "t.timestamp_ms", "SPANS": "s.start_ns", "ASSESSMENTS": "a.trace_ms"}
_NS = 1_000_000
_COSTS = ("input_cost", "output_cost", "total_cost")
_REAL = (*_COSTS, "assessment_value")
_MOST = 2**63 - 1


class Aggregate(NamedTuple):
    """What is made of many values: ``COUNT``, ``SUM``, ``AVG``, ``MIN``, ``MAX``, a percentile."""

    kind: str
    percent: float | None = None


class MetricSearch(NamedTuple):
    """What is asked. ``own`` are filters on spans or assessments, by column."""

    view: str
    metric: str
    experiment_ids: Sequence[int]
    aggregates: Sequence[Aggregate]
    dimensions: Sequence[str]
    filters: Sequence[Filter]
    own: Sequence[tuple[str, str]]
    interval_s: int | None
    start_ms: int | None
    end_ms: int | None
    limit: int


def metric_points(
    db: sqlite3.Connection, search: MetricSearch
) -> list[tuple[tuple[Any, ...], list[float | None]]]:
    """Of each group its dimensions, the beginning of its time first, and its aggregates."""
    value = _VALUES.get((search.view, search.metric)) or f"{_OF[search.view]}.{search.metric}"
    keys = [_DIMENSIONS[name] for name in search.dimensions]
    if search.interval_s:
        keys.insert(0, _bucket(search.view, search.interval_s))
    rest = _from_and_where(db, search, value)
    plain = [_plain(search, a, value) for a in search.aggregates if a.percent is None]
    ranked = len(plain) < len(search.aggregates)
    packed = ranked and search.metric not in _REAL
    sql = Sql("SELECT ")
    sql.add(", ".join([*keys, *plain, f"json_group_array({value})" if packed else "count(*)"]))
    sql += rest
    _grouped(sql, keys)
    sql.add(" LIMIT ?", search.limit)
    rows = db.execute(sql.text, sql.values).fetchall()
    lists = _values(db, keys, value, rest) if ranked and not packed else {}
    points = []
    for row in rows:
        group, found = tuple(row[: len(keys)]), iter(row[len(keys) :])
        ordered = sorted(json.loads(row[-1]) if packed else lists.get(group, ()))
        points.append(
            (
                group,
                [
                    next(found) if a.percent is None else _percentile(ordered, a.percent)
                    for a in search.aggregates
                ],
            )
        )
    return points


def _from_and_where(db: sqlite3.Connection, search: MetricSearch, value: str) -> Sql:
    by_span = search.view == "SPANS" and search.metric in _COSTS
    sql = _TABLES[search.view](db, search, by_span)
    if by_span:
        sql += _between(search, _TIMES["SPANS"], _NS)
    for column, wanted in search.own:
        sql.add(f" AND {column} = ?", wanted)
    sql.add(f" AND {value} IS NOT NULL")
    for name in search.dimensions:
        sql.add(f" AND {_DIMENSIONS[name]} IS NOT NULL")
    return sql


def _of_traces(db: sqlite3.Connection, search: MetricSearch, by_span: bool) -> Sql:
    sql = Sql(f" FROM {TRACES}")
    sql += trace_conditions(db, TraceSearch(search.experiment_ids, search.filters))
    if not by_span:
        sql += _between(search, "t.timestamp_ms", 1)
    return sql


def _of_spans(db: sqlite3.Connection, search: MetricSearch, by_span: bool) -> Sql:
    bounded = not by_span and (search.start_ms is not None or search.end_ms is not None)
    if not search.filters and not bounded:
        return _within("spans s INDEXED BY spans_by_name", "s", search)
    traces = _of_traces(db, search, by_span)
    if not _is_wide(db, search, traces):
        sql = Sql(traces.text.replace(TRACES, f"{TRACES} JOIN spans s USING (trace_id)", 1))
        sql.values = traces.values
        return sql
    # The plus keeps SQLite from looking up trace by trace: an index holds all of each span.
    sql = _within("spans s INDEXED BY spans_by_name", "s", search)
    sql.add(f" AND +s.trace_id IN (SELECT t.trace_id{traces.text})", *traces.values)
    return sql


def _of_assessments(db: sqlite3.Connection, search: MetricSearch, by_span: bool) -> Sql:
    sql = _within(_ASSESSMENTS, "a", search)
    sql.add(" AND a.valid = 1")
    sql += _between(search, _TIMES["ASSESSMENTS"], 1)
    if search.filters:
        traces = _of_traces(db, search, by_span)
        sql.add(f" AND a.trace_id IN (SELECT t.trace_id{traces.text})", *traces.values)
    return sql


_TABLES = {"TRACES": _of_traces, "SPANS": _of_spans, "ASSESSMENTS": _of_assessments}


def _within(tables: str, name: str, search: MetricSearch) -> Sql:
    sql = Sql(f" FROM {tables} WHERE ")
    sql += within(search.experiment_ids, name)
    return sql


def _is_wide(db: sqlite3.Connection, search: MetricSearch, traces: Sql) -> bool:
    """Whether the spans of a good part of all traces are counted."""
    if search.filters:
        return False
    least = count_most(db) // PART
    sql = f"SELECT 1{traces.text} LIMIT 1 OFFSET ?"
    return db.execute(sql, [*traces.values, least]).fetchone() is not None


def _between(search: MetricSearch, time: str, size: int) -> Sql:
    sql = Sql()
    if search.start_ms is not None:
        sql.add(f" AND {time} >= ?", _bound(search.start_ms * size))
    if search.end_ms is not None:  # all of the last millisecond counts
        sql.add(f" AND {time} < ?", _bound((search.end_ms + 1) * size))
    return sql


def _bound(time: int) -> int:
    return max(min(time, _MOST), -_MOST)


def _bucket(view: str, interval_s: int) -> str:
    time, size_ms = _TIMES[view], int(interval_s) * 1000
    if view == "SPANS":
        time = f"({time} / ({_NS} + 0.0))"
    return f"floor({time} / ({size_ms} + 0.0)) * {size_ms}"


def _plain(search: MetricSearch, aggregate: Aggregate, value: str) -> str:
    if search.metric == "session_count":
        value = f"DISTINCT {value}"
    return f"{aggregate.kind}({value})"


def _grouped(sql: Sql, keys: Sequence[str]) -> None:
    if keys:
        places = ", ".join(str(place) for place in range(1, len(keys) + 1))
        sql.add(f" GROUP BY {places} ORDER BY {places}")


def _values(
    db: sqlite3.Connection, keys: Sequence[str], value: str, rest: Sql
) -> dict[tuple[Any, ...], list[float]]:
    """All values by group, row by row: in JSON a real number loses its last digits."""
    found: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    columns = ", ".join([*keys, value])
    for row in db.execute(f"SELECT {columns}{rest.text}", rest.values).fetchall():
        found[tuple(row[:-1])].append(float(row[-1]))
    return found


def _percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Between the two values next to it, as far as it lies between them."""
    if not ordered:
        return None
    place = percent / 100.0 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def gateway_cost(
    db: sqlite3.Connection,
    start_ms: int,
    end_ms: int,
    metadata: Mapping[str, str | None],
    workspace: str | None = None,
) -> float:
    """What the traces from ``start_ms`` until before ``end_ms`` cost together.

    Of those only that have all of ``metadata``, with some value where None is given; of all
    workspaces, as in MLflow, where none is named.
    """
    where = "t.timestamp_ms >= ? AND t.timestamp_ms < ?"
    given: list[Any] = [start_ms, end_ms]
    if workspace is not None:
        where, given = f"{where} AND e.workspace = ?", [*given, workspace]
    for key, value in metadata.items():
        where += (
            " AND EXISTS (SELECT 1 FROM trace_metadata m "
            "WHERE m.trace_id = t.trace_id AND m.key = ? AND (? IS NULL OR m.value = ?))"
        )
        given += [key, value, value]
    (cost,) = db.execute(
        "SELECT total(t.total_cost) FROM main.experiments e JOIN main.traces t "
        f"USING (experiment_id) WHERE e.lifecycle <> 'purged' AND {where}",
        given,
    ).fetchone()
    return float(cost)
