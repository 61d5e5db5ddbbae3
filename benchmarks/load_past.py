"""A ledger with a past: runs said many at a time, and looked at now and then, as by somebody."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Iterator
from functools import partial

from mlflow.entities import Metric

from mlflow_ledger.consumers import Ledger, open_ledger
from mlflow_ledger.producers.edge import analytics_of
from mlflow_ledger.query.progress import ProgressShown
from mlflow_ledger.schemas import (
    Event,
    KeyValue,
    MetricColumns,
    RunCreated,
    RunCreatedContent,
    RunDataLogged,
    RunDataLoggedContent,
    RunUpdated,
    pack_metrics,
)

from .load import MadeRun, Shape, made_runs
from .stores import Store

__all__ = ["load_with_moments", "run_id_of"]

_SEED = 11
_RUNS_A_WRITE = 500


def load_with_moments(store: Store, shape: Shape, moments: int) -> list[str]:
    """Load runs by four or more events each; gives positions spread over all of them.

    What scripts log call by call is said here 500 runs at a time. As often as a snapshot is due a
    search publishes it: whoever looks at a ledger now and then does as much.
    """
    ledger = open_ledger(store.uri)
    location = store.artifact_location()
    rng = random.Random(_SEED)
    wanted = {
        int(shape.runs * (part + rng.random()) / moments) // _RUNS_A_WRITE
        for part in range(moments)
    }
    looked, positions = _seq(ledger), []
    runs = enumerate(made_runs(shape, 0))
    shown = ProgressShown()
    for number in itertools.count():
        chunk = list(itertools.islice(runs, _RUNS_A_WRITE))
        if not chunk:
            break
        ledger.write(partial(_said, _events(chunk, store.experiment_id, location)))
        if number in wanted:
            positions.append(str(ledger.position()))
        seq = _seq(ledger)
        if seq - looked >= ledger.snapshots().enough(seq):
            with analytics_of(ledger).view():
                looked = seq
        shown("runs", (number + 1) * _RUNS_A_WRITE, shape.runs)
    shown.stop()
    return positions


def run_id_of(number: int) -> str:
    """The id of a run, as scattered as MLflow's are: an index of them grows everywhere."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def _said(events: list[Event], _state: object) -> list[Event]:
    return events


def _seq(ledger: Ledger) -> int:
    return ledger.log.last_offset()


def _events(runs: Iterable[tuple[int, MadeRun]], experiment_id: str, location: str) -> list[Event]:
    return [
        event for number, run in runs for event in _of_run(number, run, experiment_id, location)
    ]


def _of_run(number: int, run: MadeRun, experiment_id: str, location: str) -> Iterator[Event]:
    run_id = run_id_of(number)
    yield RunCreated(
        run_id=run_id,
        experiment_id=experiment_id,
        start_time_ms=run.start_ms,
        artifact_uri=f"{location}/{run_id}/artifacts",
        content=RunCreatedContent(
            name=run.name, user_id="unknown", tags=[KeyValue(key="mlflow.runName", value=run.name)]
        ),
    )
    params = [KeyValue(key=param.key, value=param.value) for param in run.params]
    tags = [KeyValue(key=tag.key, value=tag.value) for tag in run.tags]
    yield RunDataLogged(run_id=run_id, content=RunDataLoggedContent(params=params, tags=tags))
    for metrics in (run.metrics, run.history):
        packed = pack_metrics(_columns(metrics))
        yield RunDataLogged(run_id=run_id, content=RunDataLoggedContent(**packed))
    yield RunUpdated(run_id=run_id, status="FINISHED", end_time_ms=run.start_ms + 1000)


def _columns(metrics: list[Metric]) -> MetricColumns:
    return MetricColumns(
        [metric.key for metric in metrics],
        [metric.value for metric in metrics],
        [metric.timestamp for metric in metrics],
        [metric.step for metric in metrics],
        [],
    )
