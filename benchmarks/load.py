"""Made-up runs, the same in every store."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from mlflow.entities import Metric, Param, RunTag
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from .rows import KAFKA, Kind
from .stores import Store

__all__ = ["MadeRun", "Shape", "load", "made_runs"]

_SEED = 20
_START_MS = 1_760_000_000_000
_MAX_BATCH = 1000
_RUNS_A_TRANSACTION = 500
_TEAMS = ("vision", "speech", "search", "ranking", "pricing")


@dataclass(frozen=True)
class Shape:
    """How many runs there are, and what each holds."""

    runs: int
    params: int = 20
    tags: int = 10
    metrics: int = 15
    history_every: int = 100
    history_steps: int = 1000


@dataclass(frozen=True)
class MadeRun:
    """One run; the first metric is apart, with all its points."""

    name: str
    start_ms: int
    params: list[Param]
    tags: list[RunTag]
    metrics: list[Metric]
    history: list[Metric]


def load(store: Store, shape: Shape, *, first: int = 0) -> None:
    """Load runs ``first`` to ``shape.runs``: by ``log_batch`` into a ledger, else by bulk inserts.

    A run takes a ``create_run`` and four ``log_batch``: params, tags, metrics, and the metric that
    may have a history. Bulk inserts leave the same rows in MLflow's tables, in the same order.
    """
    if store.kind is Kind.LEDGER or store.kind in KAFKA:
        load_by_client(store, shape, first=first)
    else:
        load_directly(store, shape, first=first)


def load_by_client(store: Store, shape: Shape, *, first: int = 0) -> None:
    """Load runs as a script would log them."""
    for run in made_runs(shape, first):
        info = store.client.create_run(
            store.experiment_id, start_time=run.start_ms, run_name=run.name
        ).info
        log = store.client.log_batch
        if run.params:
            log(info.run_id, params=run.params)
        if run.tags:
            log(info.run_id, tags=run.tags)
        if run.metrics:
            log(info.run_id, metrics=run.metrics)
        for begin in range(0, len(run.history), _MAX_BATCH):
            log(info.run_id, metrics=run.history[begin : begin + _MAX_BATCH])


def load_directly(store: Store, shape: Shape, *, first: int = 0) -> None:
    """Load runs into the tables of MLflow's SQL store."""
    engine = sqlalchemy.create_engine(store.uri)
    location = store.artifact_location()
    runs = made_runs(shape, first)
    try:
        while chunk := list(itertools.islice(runs, _RUNS_A_TRANSACTION)):
            with engine.begin() as connection:
                for table, rows in _table_rows(chunk, int(store.experiment_id), location):
                    if rows:
                        connection.execute(table.__table__.insert(), rows)
    finally:
        engine.dispose()


def made_runs(shape: Shape, first: int) -> Iterator[MadeRun]:
    """The runs from ``first`` on, each the same whatever was made before it."""
    for number in range(first, shape.runs):
        yield _made_run(shape, number)


def _made_run(shape: Shape, number: int) -> MadeRun:
    """Run ``number``, whatever was made before it."""
    rng = random.Random(_SEED * 1_000_003 + number)
    start_ms = _START_MS + number * 1000
    metrics = [
        Metric(f"metric_{i:02}", rng.random(), start_ms + 100, 0) for i in range(shape.metrics)
    ]
    steps = shape.history_steps if number % shape.history_every == 0 else 1
    history = [
        Metric("metric_00", rng.random(), start_ms + 100 + step, step)
        for step in range(steps if metrics else 0)
    ]
    return MadeRun(
        name=f"run-{number:06}",
        start_ms=start_ms,
        params=[Param(f"param_{i:02}", _value(rng, i)) for i in range(shape.params)],
        tags=[
            RunTag(f"tag_{i:02}", f"{rng.choice(_TEAMS)} {rng.randrange(10_000):04}")
            for i in range(shape.tags)
        ],
        metrics=metrics[1:],
        history=history,
    )


def _value(rng: random.Random, number: int) -> str:
    """Every second param is one of twenty choices, the others are numbers."""
    return f"choice-{rng.randrange(20)}" if number % 2 == 0 else repr(rng.random())


def _table_rows(
    runs: Sequence[MadeRun], experiment_id: int, location: str
) -> list[tuple[Any, list[dict[str, Any]]]]:
    """The rows that MLflow's SQL store would have written for these runs."""
    ids = [uuid.UUID(int=random.getrandbits(128), version=4).hex for _ in runs]
    pairs = list(zip(ids, runs, strict=True))
    return [
        (SqlRun, [_run_row(run_id, run, experiment_id, location) for run_id, run in pairs]),
        (
            SqlTag,
            [
                {"run_uuid": run_id, "key": tag.key, "value": tag.value}
                for run_id, run in pairs
                for tag in (RunTag(MLFLOW_RUN_NAME, run.name), *run.tags)
            ],
        ),
        (
            SqlParam,
            [
                {"run_uuid": run_id, "key": param.key, "value": param.value}
                for run_id, run in pairs
                for param in run.params
            ],
        ),
        (
            SqlMetric,
            [
                _metric_row(run_id, metric)
                for run_id, run in pairs
                for metric in (*run.metrics, *run.history)
            ],
        ),
        (
            SqlLatestMetric,
            [
                _metric_row(run_id, metric)
                for run_id, run in pairs
                for metric in (*run.metrics, *run.history[-1:])
            ],
        ),
    ]


def _run_row(run_id: str, run: MadeRun, experiment_id: int, location: str) -> dict[str, Any]:
    return {
        "run_uuid": run_id,
        "name": run.name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": "unknown",
        "status": "RUNNING",
        "start_time": run.start_ms,
        "end_time": None,
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": f"{location}/{run_id}/artifacts",
        "experiment_id": experiment_id,
    }


def _metric_row(run_id: str, metric: Metric) -> dict[str, Any]:
    return {
        "run_uuid": run_id,
        "key": metric.key,
        "value": metric.value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "is_nan": False,
    }
