"""What the state holds of a model's origin: its run, data sets, logged model, files."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import dataclass
from typing import Any

from mlflow_ledger.schemas import format_time

from .artifacts import artifacts_of_owner
from .detail import shortened

__all__ = [
    "Artifact",
    "Dataset",
    "LoggedModel",
    "Run",
    "artifacts_of",
    "datasets_of",
    "find_logged_model",
    "find_run",
    "pairs_of",
    "text_of",
]

COMMIT_TAG = "mlflow.source.git.commit"
SOURCE_TAG = "mlflow.source.name"
USER_TAG = "mlflow.user"
PARENT_TAG = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that the run has read; ``tags`` are those of this use, such as its context."""

    name: str
    digest: str
    source_type: str
    source: str | None
    tags: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Run:
    """The run that made the model, with the latest value of each metric."""

    run_id: str
    name: str | None
    experiment_id: str
    experiment: str | None
    status: str
    user: str | None
    source: str | None
    commit: str | None
    started: str | None
    ended: str | None
    parent_run_id: str | None
    parent_name: str | None
    params: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """The logged model that the version was made from."""

    model_id: str
    name: str
    status: str
    model_type: str | None
    source_run_id: str | None
    params: dict[str, str]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of the logged model or of the run, as it is now."""

    path: str
    digest: str
    size_bytes: int
    owner: str


def find_run(
    db: sqlite3.Connection, run_id: str | None, notes: list[str]
) -> tuple[Run | None, int | None]:
    """The run and its number in this state; of one that is not there only a note."""
    if run_id is None:
        notes.append("the version names no run")
        return None, None
    row = db.execute(
        "SELECT r.run_no, r.name, r.experiment_id, e.name, r.status, r.user_id, r.start_ms, "
        "r.end_ms, coalesce(v.lifecycle, 'purged') FROM runs r LEFT JOIN experiments e "
        "USING (experiment_id) LEFT JOIN live_runs v USING (run_no) WHERE r.run_id = ?",
        (run_id,),
    ).fetchone()
    if row is None:
        notes.append(f"run {run_id} is not in this ledger: it was logged elsewhere, or is purged")
        return None, None
    number, name, experiment_id, experiment, status, user_id, start_ms, end_ms, lifecycle = row
    if lifecycle != "active":
        notes.append(f"run {run_id} is {lifecycle}")
    tags = pairs_of(db, "tags", "run_no = ?", number)
    parent = tags.get(PARENT_TAG)
    parent_row = db.execute("SELECT name FROM runs WHERE run_id = ?", (parent,)).fetchone()
    metrics = db.execute(
        "SELECT key, value, is_nan FROM metrics WHERE run_no = ? ORDER BY key", (number,)
    )
    run = Run(
        run_id=run_id,
        name=name,
        experiment_id=str(experiment_id),
        experiment=experiment,
        status=status,
        user=tags.get(USER_TAG) or user_id,
        source=tags.get(SOURCE_TAG),
        commit=tags.get(COMMIT_TAG),
        started=None if start_ms is None else format_time(start_ms),
        ended=None if end_ms is None else format_time(end_ms),
        parent_run_id=parent,
        parent_name=parent_row[0] if parent_row else None,
        params=pairs_of(db, "params", "run_no = ?", number),
        metrics={key: math.nan if is_nan else value for key, value, is_nan in metrics},
    )
    return run, number


def datasets_of(db: sqlite3.Connection, run_no: int) -> list[Dataset]:
    """The data sets that a run names as inputs, in that order."""
    rows = db.execute(
        "SELECT i.name, i.digest, d.source_type, d.source, i.tags FROM run_inputs i "
        "JOIN runs r USING (run_no) LEFT JOIN datasets d ON d.experiment_id = r.experiment_id "
        "AND d.name = i.name AND d.digest = i.digest WHERE run_no = ? ORDER BY i.ord",
        (run_no,),
    )
    return [
        Dataset(name, digest, source_type, text_of(source), dict(json.loads(tags)))
        for name, digest, source_type, source, tags in rows
    ]


def find_logged_model(
    db: sqlite3.Connection, model_id: str | None, notes: list[str]
) -> LoggedModel | None:
    """The logged model; of one that is not there only a note."""
    if model_id is None:
        notes.append("the version names no logged model")
        return None
    row = db.execute(
        "SELECT logged_model_no, name, status, model_type, source_run_id, lifecycle "
        "FROM logged_models WHERE model_id = ?",
        (model_id,),
    ).fetchone()
    if row is None:
        notes.append(f"logged model {model_id} is not in this ledger: logged elsewhere, or purged")
        return None
    number, name, status, model_type, source_run_id, lifecycle = row
    if lifecycle != "active":
        notes.append(f"logged model {model_id} is {lifecycle}")
    params = pairs_of(db, "logged_model_params", "logged_model_no = ?", number)
    return LoggedModel(model_id, name, status, model_type, source_run_id, params)


def artifacts_of(db: sqlite3.Connection, owner: str) -> list[Artifact]:
    """The files of one owner."""
    return [
        Artifact(row.path, row.digest, row.size_bytes, row.owner)
        for row in artifacts_of_owner(db, owner)
    ]


def pairs_of(db: sqlite3.Connection, table: str, where: str, *values: object) -> dict[str, Any]:
    """The keys and values of one entity's params or tags."""
    return dict(db.execute(f"SELECT key, value FROM {table} WHERE {where} ORDER BY key", values))


def text_of(value: str | bytes | None) -> str | None:
    """A text of the state, where a blob is the JSON of a claim check."""
    if isinstance(value, bytes):
        check = json.loads(value)
        return f"blob {check['digest']} ({check['size_bytes']} bytes)"
    return None if value is None else shortened(value)
