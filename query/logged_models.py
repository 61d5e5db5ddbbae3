"""Reading and searching logged models in the keyed state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from .conditions import Filter, Sql, compare, ilike_sqlite
from .rows import rows_of_each

__all__ = [
    "LoggedModelRow",
    "ModelDataset",
    "ModelOrder",
    "deleted_logged_models",
    "find_logged_models",
    "is_logged_model",
    "logged_model_row",
    "model_attribute",
]

_BY_STEP = "step DESC, timestamp_ms DESC, value DESC"
_BY_TIME = "timestamp_ms DESC, step DESC, run_id ASC"
_ATTRIBUTES = {
    "model_id": "model_id", "experiment_id": "experiment_id", "name": "name",
    "artifact_location": "artifact_location", "creation_timestamp_ms": "created_ms",
    "last_updated_timestamp_ms": "updated_ms", "status": "status_code",
    "model_type": "model_type", "source_run_id": "source_run_id", "lifecycle_stage": "lifecycle",
    "status_message": "status_message",
}  # fmt: skip


class LoggedModelRow(NamedTuple):
    """A logged model with what hangs on it; times in milliseconds."""

    number: int
    model_id: str
    experiment_id: int
    name: str
    artifact_location: str
    created_ms: int
    updated_ms: int
    status: str
    model_type: str | None
    source_run_id: str | None
    lifecycle: str
    params: list[tuple[str, str]]
    tags: list[tuple[str, Any]]
    metrics: list[tuple[str, float, int, int, str, str | None, str | None]]


class ModelDataset(NamedTuple):
    """A data set that metrics of a model are restricted to; the digest may be left open."""

    name: str
    digest: str | None = None
    any_digest: bool = True


class ModelOrder(NamedTuple):
    """One sort key: an attribute, or ``metrics.<key>`` measured on a data set."""

    field: str
    ascending: bool
    dataset: tuple[str | None, str | None] = (None, None)


_SELECT = (
    "SELECT logged_model_no, m.model_id, experiment_id, name, artifact_location, created_ms, "
    "updated_ms, status, model_type, source_run_id, lifecycle FROM models m"
)
_WITH = (
    "WITH models AS (SELECT *, NULL AS status_message, CAST(CASE status WHEN 'PENDING' THEN 1 "
    "WHEN 'READY' THEN 2 WHEN 'FAILED' THEN 3 ELSE 0 END AS INTEGER) AS status_code "
    "FROM logged_models l "
    "WHERE EXISTS (SELECT 1 FROM experiments e WHERE e.experiment_id = l.experiment_id "
    "AND e.lifecycle <> 'purged')) "
)


def logged_model_row(db: sqlite3.Connection, model_id: str) -> LoggedModelRow | None:
    """One logged model, deleted or not, or None."""
    rows = db.execute(f"{_WITH}{_SELECT} WHERE m.model_id = ?", (model_id,)).fetchall()
    return next(iter(_whole(db, rows)), None)


def is_logged_model(db: sqlite3.Connection, model_id: str) -> bool:
    """Whether there is a logged model of this id, deleted or not."""
    found = db.execute(f"{_WITH}SELECT 1 FROM models WHERE model_id = ?", (model_id,))
    return found.fetchone() is not None


def deleted_logged_models(db: sqlite3.Connection, before_ms: int) -> list[str]:
    """The ids of logged models that were soft-deleted at or before a moment."""
    return [
        model_id
        for (model_id,) in db.execute(
            f"{_WITH}SELECT model_id FROM models WHERE lifecycle = 'deleted' AND updated_ms <= ? "
            "ORDER BY logged_model_no",
            (before_ms,),
        )
    ]


def find_logged_models(
    db: sqlite3.Connection,
    experiment_ids: Sequence[int],
    filters: Sequence[Filter],
    datasets: Sequence[ModelDataset],
    orders: Sequence[ModelOrder],
    limit: int,
    offset: int,
    *,
    latest: bool,
) -> list[LoggedModelRow]:
    """The logged models that match and are not deleted, in order.

    With data sets, metrics in filters are those measured on one of them, and without a metric in
    the filters there must be some metric measured on one of them. ``latest``, as MLflow 3.18 has
    it: filters and orders look at one value of a metric, that of the highest step; else filters
    look at all values, and orders at the last in time, on whichever data set.
    """
    sql = Sql(f"{_WITH}{_SELECT}")
    keys = _order_keys(sql, orders, datasets, latest=latest)
    sql.add(
        " WHERE lifecycle <> 'deleted' AND experiment_id IN (SELECT value FROM json_each(?))",
        json.dumps(list(experiment_ids)),
    )
    for condition in filters:
        sql.add(" AND ")
        sql += _condition(condition, datasets, latest=latest)
    if datasets and not any(condition.kind == "metrics" for condition in filters):
        sql.add(
            " AND EXISTS (SELECT 1 FROM live_model_metrics x WHERE x.model_id = m.model_id AND "
        )
        sql += _on(datasets)
        sql.add(")")
    sql.add(f" ORDER BY {', '.join(keys)} LIMIT ? OFFSET ?", limit, offset)
    return _whole(db, db.execute(sql.text, sql.values).fetchall())


def _condition(condition: Filter, datasets: Sequence[ModelDataset], *, latest: bool) -> Sql:
    kind, key, comparator, value = condition
    if kind == "attributes":
        return compare(f"m.{_ATTRIBUTES[key]}", comparator, value, ilike_sqlite)
    if kind == "metrics" and latest:
        sql = Sql("m.model_id IN (SELECT model_id FROM (")
        sql += _ranked(key, _BY_STEP, datasets)
        sql.add(") x WHERE x.place = 1 AND ")
    elif kind == "metrics":
        sql = Sql(
            "EXISTS (SELECT 1 FROM live_model_metrics x WHERE x.model_id = m.model_id "
            "AND x.key = ? AND ",
            [key],
        )
        if datasets:
            sql += _on(datasets)
            sql.add(" AND ")
    else:
        table = "logged_model_params" if kind == "params" else "logged_model_tags"
        sql = Sql(
            f"EXISTS (SELECT 1 FROM {table} x WHERE x.logged_model_no = m.logged_model_no "
            "AND x.key = ? AND ",
            [key],
        )
    sql += compare("x.value", comparator, value, ilike_sqlite)
    return sql.add(")")


def _on(datasets: Sequence[ModelDataset]) -> Sql:
    sql = Sql("(")
    for number, dataset in enumerate(datasets):
        sql.add(" OR " if number else "")
        sql.add("(x.dataset_name = ?", dataset.name)
        if not dataset.any_digest:
            sql.add(" AND x.dataset_digest IS ?", dataset.digest)
        sql.add(")")
    return sql.add(")")


def _order_keys(
    sql: Sql, orders: Sequence[ModelOrder], datasets: Sequence[ModelDataset], *, latest: bool
) -> list[str]:
    keys = []
    for number, (field, ascending, dataset) in enumerate(orders):
        if field.startswith("metrics."):
            column = f"o{number}.value"
            sql.add(" LEFT JOIN (")
            key = field.removeprefix("metrics.")
            sql += _ranked(key, *((_BY_STEP, datasets) if latest else (_BY_TIME, ())), dataset)
            alias = f"o{number}"
            sql.add(f") {alias} ON {alias}.model_id = m.model_id AND {alias}.place = 1")
        else:
            column = f"m.{_ATTRIBUTES[field]}"
        keys += [f"{column} IS NULL", f"{column} {'ASC' if ascending else 'DESC'}"]
    fields = {order.field for order in orders}
    if "creation_timestamp_ms" not in fields:
        keys.append("created_ms DESC")
    if "model_id" not in fields:
        keys.append("m.model_id ASC")
    return keys


def _ranked(
    key: str,
    order: str,
    datasets: Sequence[ModelDataset],
    dataset: tuple[str | None, str | None] = (None, None),
) -> Sql:
    """Each model's values of a metric with their places, the latest first."""
    sql = Sql(
        f"SELECT model_id, value, row_number() OVER (PARTITION BY model_id ORDER BY {order}) "
        "AS place FROM live_model_metrics x WHERE x.key = ?",
        [key],
    )
    if datasets:
        sql.add(" AND ")
        sql += _on(datasets)
    for column, value in zip(("dataset_name", "dataset_digest"), dataset, strict=True):
        if value:
            sql.add(f" AND x.{column} = ?", value)
    return sql


def _whole(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[LoggedModelRow]:
    params, tags = (
        rows_of_each(
            db,
            f"SELECT key, value FROM {table} WHERE logged_model_no = ?",
            (row[:1] for row in rows),
        )
        for table in ("logged_model_params", "logged_model_tags")
    )
    metrics = rows_of_each(
        db,
        "SELECT key, value, timestamp_ms, step, run_id, dataset_name, dataset_digest "
        "FROM live_model_metrics WHERE model_id = ?",
        (row[1:2] for row in rows),
    )
    return [
        LoggedModelRow._make((*row, *more))
        for row, *more in zip(rows, params, tags, metrics, strict=True)
    ]


def model_attribute(name: str) -> bool:
    """Whether logged models have an attribute of this name (as MLflow's SQL store calls it)."""
    return name in _ATTRIBUTES
