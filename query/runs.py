"""Reading runs from the keyed state, as plain rows."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

__all__ = [
    "DatasetRow",
    "Details",
    "MetricPoint",
    "RunRow",
    "deleted_run_ids",
    "metric_history",
    "run_details",
    "run_row",
    "run_rows",
]


class RunRow(NamedTuple):
    """A run as it is; times in milliseconds, lifecycle joined with its experiment's."""

    run_no: int
    run_id: str
    experiment_id: int
    name: str | None
    user_id: str | None
    status: str
    start_ms: int | None
    end_ms: int | None
    artifact_uri: str
    lifecycle: str
    deleted_ms: int | None
    experiment_epoch: int


class DatasetRow(NamedTuple):
    """A data set as input of a run; texts may be claim checks (bytes of JSON)."""

    name: str
    digest: str
    source_type: str
    source: str | bytes | None
    dataset_schema: str | bytes | None
    profile: str | bytes | None
    tags: list[tuple[str, str]]


MetricPoint = tuple[int, int, float, bool]
"""One point of a history: timestamp in milliseconds, step, value, whether it is NaN (value 0.0).

A plain tuple: a history of 100 000 points is built and sorted several times as fast.
"""


class Details(NamedTuple):
    """What hangs on some runs: by run number rows that begin with it."""

    params: dict[int, list[tuple[int, str, str]]]
    tags: dict[int, list[tuple[int, str, Any]]]
    metrics: dict[int, list[tuple[int, str, float, int, int, int]]]
    """Key, value, whether it is NaN, timestamp in milliseconds, step."""
    datasets: dict[int, list[DatasetRow]]
    model_inputs: dict[int, list[tuple[int, str]]]
    model_outputs: dict[int, list[tuple[int, str, int]]]


def run_row(db: sqlite3.Connection, run_id: str) -> RunRow | None:
    """One run, or None where there is none (any more)."""
    row = db.execute(f"SELECT {_COLUMNS} FROM live_runs WHERE run_id = ?", (run_id,)).fetchone()
    return RunRow._make(row) if row else None


def run_rows(db: sqlite3.Connection, numbers: Sequence[int]) -> list[RunRow]:
    """The runs of these numbers, in this order."""
    rows = {
        row[0]: RunRow._make(row)
        for row in db.execute(
            f"SELECT {_COLUMNS} FROM live_runs WHERE run_no IN {_LIST}", _list(numbers)
        )
    }
    return [rows[number] for number in numbers if number in rows]


def run_details(db: sqlite3.Connection, numbers: Sequence[int]) -> Details:
    """Params, tags, latest metrics, inputs and outputs of these runs, by key or as logged."""
    wanted = _list(numbers)

    def of_runs(columns: str, order: str = "") -> Iterable[tuple[Any, ...]]:
        return db.execute(
            f"SELECT run_no, {columns} WHERE run_no IN {_LIST} ORDER BY run_no{order}", wanted
        )

    # All are asked before the first is read: a remote state answers them in one go.
    params = of_runs("key, value FROM params")
    tags = of_runs("key, value FROM tags")
    metrics = of_runs("key, value, is_nan, timestamp_ms, step FROM metrics")
    datasets = of_runs(
        "i.tags, d.name, d.digest, source_type, source, dataset_schema, profile "
        "FROM run_inputs i JOIN runs USING (run_no) "
        "JOIN datasets d USING (experiment_id, name, digest)",
        ", ord",
    )
    model_inputs = of_runs("model_id FROM run_model_inputs", ", ord")
    model_outputs = of_runs("model_id, step FROM run_model_outputs", ", ord")
    return Details(
        _by_run(params),
        _by_run(tags),
        _by_run(metrics),
        {n: [_dataset(row) for row in rows] for n, rows in _by_run(datasets).items()},
        _by_run(model_inputs),
        _by_run(model_outputs),
    )


def metric_history(db: sqlite3.Connection, run_id: str, key: str) -> list[MetricPoint]:
    """All points of a metric in the order they were logged; exact duplicates fall out."""
    chunks = db.execute(
        "SELECT points FROM metric_chunks JOIN live_runs USING (run_no) "
        "JOIN metric_keys USING (key_no) "
        "WHERE run_id = ? AND key = ? ORDER BY seq",
        (run_id, key),
    )
    seen: dict[MetricPoint, None] = {}
    for (points,) in chunks:
        seen |= dict.fromkeys(_points(points))
    return list(seen)


def deleted_run_ids(db: sqlite3.Connection, before_ms: int) -> list[str]:
    """The ids of runs that were soft-deleted at or before a moment."""
    return [
        run_id
        for (run_id,) in db.execute(
            "SELECT run_id FROM live_runs WHERE lifecycle = 'deleted' AND deleted_ms <= ? "
            "ORDER BY run_no",
            (before_ms,),
        )
    ]


def _by_run(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[Any]]:
    """Rows that are ordered by their first column, the run's number, by that number."""
    return {run_no: list(of_run) for run_no, of_run in groupby(list(rows), itemgetter(0))}


def _dataset(row: tuple[Any, ...]) -> DatasetRow:
    _, tags, *dataset = row
    return DatasetRow._make((*dataset, [(key, value) for key, value in json.loads(tags)]))


_COLUMNS = ", ".join(RunRow._fields)
_LIST = "(SELECT value FROM json_each(?))"


def _list(numbers: Sequence[int]) -> tuple[str]:
    return (json.dumps(list(numbers)),)


def _points(data: bytes) -> Iterable[MetricPoint]:
    n = len(data) // 24
    numbers: tuple[Any, ...] = struct.unpack(f"<{2 * n}q{n}d", data)
    timestamps, steps, values = numbers[:n], numbers[n : 2 * n], numbers[2 * n :]
    is_nan = [value != value for value in values]  # noqa: PLR0124  # NaN differs from itself
    if any(is_nan):
        values = tuple(0.0 if nan else value for value, nan in zip(values, is_nan, strict=True))
    return zip(timestamps, steps, values, is_nan, strict=True)
