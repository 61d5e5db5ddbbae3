"""Searching runs: ids from analytics, in one order that never depends on chance."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .conditions import Filter, Order, Sql, compare, ilike_duckdb

if TYPE_CHECKING:
    from mlflow_ledger.consumers import RemoteView, View

__all__ = ["RunSearch", "find_runs"]

RUN_NAME_TAG = "mlflow.runName"
_WINDOW = 2000
_MOST_WINDOWS = 16
_TABLES = {"metric": "metrics", "parameter": "params", "tag": "tags"}
_ATTRIBUTES = {
    "run_id": "r.run_id", "run_name": "r.name", "user_id": "r.user_id", "status": "r.status",
    "start_time": "r.start_ms", "end_time": "r.end_ms", "artifact_uri": "r.artifact_uri",
    "experiment_id": "r.experiment_id",
}  # fmt: skip


class RunSearch(NamedTuple):
    """What is searched; ``lifecycles`` are those that match, ``limit`` None means all."""

    experiment_ids: Sequence[int]
    lifecycles: Sequence[str]
    filters: Sequence[Filter]
    orders: Sequence[Order]
    limit: int | None
    offset: int


def find_runs(view: View | RemoteView, search: RunSearch) -> list[int]:
    """The numbers of the runs that match, in order.

    Order: the given keys, values before NaN before missing whichever the direction; then start
    time, newest first; then run id. So pages joined together are the whole answer, ties included.
    """
    from mlflow_ledger.consumers import RemoteView

    if isinstance(view, RemoteView):
        return view.search(search._asdict())
    experiments = _experiments(view.keyed, search.experiment_ids)
    if not experiments:
        return []
    sql = Sql("SELECT r.run_no FROM fold.runs r JOIN (VALUES ")
    sql.add(", ".join("(?, ?, ?)" for _ in experiments))
    sql.values.extend(value for experiment in experiments for value in experiment)
    sql.add(") AS e (experiment_id, epoch, lifecycle) ON e.experiment_id = r.experiment_id")
    orders = _orders(sql, search.orders)
    marks = ", ".join("?" * len(search.lifecycles))
    sql.add(
        f" WHERE CASE WHEN e.epoch > r.epoch THEN e.lifecycle ELSE r.lifecycle END IN ({marks})",
        *search.lifecycles,
    )
    for condition in search.filters:
        sql.add(" AND ")
        sql += _condition(condition)
    sql.add(f" ORDER BY {', '.join(orders)}")
    return _page(view, sql, search.limit, search.offset)


def _page(view: View, sql: Sql, limit: int | None, offset: int) -> list[int]:
    """One page of the answer; pages behind the first come from a window that holds several.

    Analytics forgets its windows with the first change, so they never show an older state.
    """
    question = (sql.text, *sql.values)
    if limit is None or offset == 0:
        return _part(view, sql, limit, offset)
    start, numbers = view.windows.get(question, (0, []))
    if not start <= offset <= offset + limit <= start + len(numbers):
        start, numbers = offset, _part(view, sql, max(limit, _WINDOW), offset)
        if len(view.windows) >= _MOST_WINDOWS:
            view.windows.clear()
        view.windows[question] = (start, numbers)
    return numbers[offset - start : offset - start + limit]


def _part(view: View, sql: Sql, limit: int | None, offset: int) -> list[int]:
    text, values = f"{sql.text} OFFSET ?", [*sql.values, offset]
    if limit is not None:
        text, values = f"{text} LIMIT ?", [*values, limit]
    return [row[0] for row in view.columns.execute(text, values).fetchall()]


def _experiments(keyed: sqlite3.Connection, wanted: Sequence[int]) -> list[tuple[int, int, str]]:
    ids = set(wanted)
    return [
        row
        for row in keyed.execute(
            "SELECT experiment_id, epoch, lifecycle FROM experiments WHERE lifecycle <> 'purged'"
        )
        if row[0] in ids
    ]


def _condition(condition: Filter) -> Sql:
    kind, key, comparator, value = condition
    if kind == "attribute" and key == "run_name":
        # As MLflow: a run's name is searched in its tag.
        kind, key = "tag", RUN_NAME_TAG
    if kind == "attribute":
        return compare(_ATTRIBUTES[key], comparator, value, ilike_duckdb)
    if kind == "dataset":
        sql = Sql("EXISTS (SELECT 1 FROM fold.inputs i WHERE i.run_no = r.run_no AND ")
        sql += compare(f"i.{key}", comparator, value, ilike_duckdb)
        return sql.add(")")
    table = _TABLES[kind]
    sql = Sql(
        f"EXISTS (SELECT 1 FROM fold.{table} x WHERE x.run_no = r.run_no AND x.key = ?", [key]
    )
    if comparator in ("IS NULL", "IS NOT NULL"):
        sql.add(")")
        return Sql("NOT ").add(sql.text, *sql.values) if comparator == "IS NULL" else sql
    sql.add(" AND ")
    if kind == "metric":
        sql += _metric(comparator, value)
    else:
        sql += compare("x.value", comparator, value, ilike_duckdb)
    return sql.add(")")


def _metric(comparator: str, value: object) -> Sql:
    """NaN satisfies ``!=`` and nothing else."""
    plain = compare("x.value", comparator, value, ilike_duckdb)
    joined = "(x.is_nan OR " if comparator == "!=" else "(NOT x.is_nan AND "
    return Sql(joined).add(plain.text, *plain.values).add(")")


def _orders(sql: Sql, orders: Sequence[Order]) -> list[str]:
    """Join what is sorted by, and name the sort keys."""
    keys = []
    by_start = False
    for number, (kind, key, ascending) in enumerate(orders):
        direction = "ASC" if ascending else "DESC"
        if kind == "attribute":
            column = _ATTRIBUTES[key]
            by_start = by_start or key == "start_time"
            rank = f"{column} IS NULL"
        else:
            alias = f"o{number}"
            sql.add(
                f" LEFT JOIN fold.{_TABLES[kind]} {alias} "
                f"ON {alias}.run_no = r.run_no AND {alias}.key = ?",
                key,
            )
            column = f"{alias}.value"
            rank = f"{column} IS NULL"
            if kind == "metric":
                rank = f"CASE WHEN {alias}.is_nan THEN 1 WHEN {column} IS NULL THEN 2 ELSE 0 END"
        keys += [rank, f"{column} {direction}"]
    if not by_start:
        keys.append("r.start_ms DESC NULLS LAST")
    return [*keys, "r.run_id"]
