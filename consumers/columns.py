"""Rows of the keyed state as Arrow tables for analytics."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

__all__ = ["CATALOG", "RUN_TABLES", "catalog_table", "history_table", "inputs_table", "table"]

_DATASET_CONTEXT_TAG = "mlflow.data.context"

_TYPES = {
    "run_no": pa.int32(), "epoch": pa.int32(), "version": pa.int32(), "value": pa.string(),
    "experiment_id": pa.int64(), "start_ms": pa.int64(), "end_ms": pa.int64(),
    "deleted_ms": pa.int64(), "timestamp_ms": pa.int64(), "step": pa.int64(),
    "epoch_ms": pa.int64(), "created_ms": pa.int64(), "updated_ms": pa.int64(), "id": pa.int64(),
    "offset": pa.int64(), "append_ms": pa.int64(), "time_ms": pa.int64(), "is_nan": pa.bool_(),
}  # fmt: skip

RUN_TABLES: dict[str, tuple[str, ...]] = {
    "runs": (
        "run_no", "run_id", "experiment_id", "name", "user_id", "status", "start_ms", "end_ms",
        "artifact_uri", "lifecycle", "epoch", "deleted_ms",
    ),
    "params": ("run_no", "key", "value"),
    "tags": ("run_no", "key", "value"),
    "metrics": ("run_no", "key", "value", "is_nan", "timestamp_ms", "step"),
}  # fmt: skip
"""The tables of runs that are copied column by column, and their columns."""

CATALOG: dict[str, str] = {
    "experiments": "SELECT experiment_id, workspace, name, artifact_location, lifecycle, epoch, "
    "epoch_ms, created_ms, updated_ms FROM experiments",
    "experiment_tags": "SELECT experiment_id, key, value FROM experiment_tags",
    "model_versions": "SELECT workspace, name, version, v.uid, v.created_ms, v.updated_ms, "
    "CASE typeof(v.description) WHEN 'text' THEN v.description END AS description, user_id, "
    "stage, source, run_id, model_id FROM model_versions v JOIN registered_models USING (model_no)",
    "model_version_tags": "SELECT name, version, key, value FROM model_version_tags "
    "JOIN registered_models USING (model_no)",
    "model_aliases": "SELECT name, alias, version FROM model_aliases "
    "JOIN registered_models USING (model_no)",
    "rejections": "SELECT source, id, type AS command, code, message FROM rejections",
}
"""Small tables, copied whole whenever they are asked for and something in them has changed."""


def table(name: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows of one table in columns."""
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return pa.table(
        {
            column: _column(name, column, of_column)
            for column, of_column in zip(columns, values, strict=True)
        }
    )


def catalog_table(db: sqlite3.Connection, name: str) -> pa.Table:
    """One of the small tables as it is."""
    cursor = db.execute(CATALOG[name])
    columns = [description[0] for description in cursor.description]
    return table(name, columns, cursor.fetchall())


def inputs_table(rows: Iterable[tuple[int, str, str, str]]) -> pa.Table:
    """Data set inputs (run_no, name, digest, tags as JSON) with the context that a tag names."""
    flat = [
        (run_no, name, digest, dict(json.loads(tags)).get(_DATASET_CONTEXT_TAG))
        for run_no, name, digest, tags in rows
    ]
    return table("inputs", ("run_no", "name", "digest", "context"), flat)


def history_table(chunks: Iterable[tuple[int, str, bytes]]) -> pa.Table:
    """Chunks of metric history (run_no, key, points) as one row a point."""
    runs, keys, counts = array("i"), [], []
    timestamps, steps, values = bytearray(), bytearray(), bytearray()
    for run_no, key, points in chunks:
        n = len(points) // 24
        runs.append(run_no)
        keys.append(key)
        counts.append(n)
        timestamps += points[: 8 * n]
        steps += points[8 * n : 16 * n]
        values += points[16 * n :]
    total = sum(counts)
    index = pa.array(
        array("i", (i for i, n in enumerate(counts) for _ in range(n))), type=pa.int32()
    )
    raw = _buffer(pa.float64(), total, values)
    is_nan = pa.compute.is_nan(raw)
    return pa.table(
        {
            "run_no": pa.array(runs, type=pa.int32()).take(index),
            "key": pa.array(keys, type=pa.string()).take(index),
            "value": pa.compute.if_else(is_nan, 0.0, raw),
            "is_nan": is_nan,
            "timestamp_ms": _buffer(pa.int64(), total, timestamps),
            "step": _buffer(pa.int64(), total, steps),
        }
    )


def _buffer(kind: pa.DataType, length: int, data: bytearray) -> pa.Array[Any]:
    return pa.Array.from_buffers(kind, length, [None, pa.py_buffer(bytes(data))])


def _column(name: str, column: str, values: Iterable[Any]) -> pa.Array[Any]:
    if column == "value" and name == "metrics":
        return pa.array(values, type=pa.float64())
    if column == "is_nan":
        return pa.array([bool(value) for value in values], type=pa.bool_())
    return pa.array(values, type=_TYPES.get(column, pa.string()))
