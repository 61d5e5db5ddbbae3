"""Calls before which MLflow looks whether what they name is in the workspace.

Without workspaces it doesn't look, and answers with nothing, or says something where nothing is.
"""

from __future__ import annotations

import functools
import inspect
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from mlflow.entities import EvaluationDataset
from mlflow.store.entities.paged_list import PagedList

from mlflow_ledger.query import experiment_row, item_of, run_row, trace_row, trace_rows
from mlflow_ledger.schemas import EvaluationDatasetCreated, Reason, Refused

from .evaluation_datasets import EvaluationDatasets
from .in_workspace import InWorkspace
from .trace_links import TraceLinks

__all__ = ["DatasetsInWorkspace", "LinksInWorkspace", "looking_first"]

C = TypeVar("C", bound=type)
_NO_EXPERIMENT = ["none"]


class _Looked(NamedTuple):
    """What a call names in ``argument``, how to find that, and what is said where it is not."""

    argument: str
    find: Callable[[sqlite3.Connection, str], object]
    missing: str


def _dataset(db: sqlite3.Connection, dataset_id: str) -> object:
    return item_of(db, EvaluationDatasetCreated.kind, dataset_id)


_RUN = _Looked("run_id", run_row, "Run with id={} not found")
_TRACE = _Looked("trace_id", trace_row, "Trace with ID '{}' not found.")
_DATASET = _Looked("dataset_id", _dataset, "Dataset '{}' not found.")
_CALLS = {
    "get_metric_history": _RUN,
    "get_max_step_for_metric": _RUN,
    "get_metric_history_bulk_interval_from_steps": _RUN,
    "get_metric_history_bulk_interval": _RUN._replace(argument="run_ids"),
    "set_trace_tag": _TRACE,
    "delete_trace_tag": _TRACE,
    "create_assessment": _TRACE._replace(argument="assessment"),
    "get_assessment": _TRACE,
    "update_assessment": _TRACE,
    "delete_assessment": _TRACE,
    "_load_dataset_records": _DATASET,
    "upsert_dataset_records": _DATASET,
    "delete_dataset_records": _DATASET,
}


class LinksInWorkspace(InWorkspace, TraceLinks):
    """Links between traces and runs, as far as both are here."""

    def link_traces_to_run(self, trace_ids: list[str], run_id: str) -> None:
        """Link those of the traces that are here."""

        def here(db: sqlite3.Connection) -> list[str]:
            _refuse_missing(db, _RUN, [run_id])
            return _here(db, trace_ids)

        super().link_traces_to_run(self._ask(here) if trace_ids else trace_ids, run_id)

    def unlink_traces_from_run(self, trace_ids: list[str], run_id: str) -> None:
        """Take links away from those of the traces that are here."""
        super().unlink_traces_from_run(self._ask(lambda db: _here(db, trace_ids)), run_id)


def looking_first(store: C) -> C:
    """Have a store class look first, where MLflow does."""
    for name, looked in _CALLS.items():
        setattr(store, name, _looking(getattr(store, name), looked))
    return store


def _looking(method: Callable[..., Any], looked: _Looked) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def looking(self: InWorkspace, *args: Any, **kwargs: Any) -> Any:
        named = signature.bind(self, *args, **kwargs).arguments[looked.argument]
        named = getattr(named, "trace_id", named)
        ids = named if isinstance(named, list | tuple) else [named]
        self._ask(lambda db: _refuse_missing(db, looked, ids))
        return method(self, *args, **kwargs)

    return looking


def _refuse_missing(db: sqlite3.Connection, looked: _Looked, ids: Iterable[str]) -> None:
    for found in ids:
        if looked.find(db, found) is None:
            raise Refused(Reason.MISSING, looked.missing.format(found))


def _here(db: sqlite3.Connection, trace_ids: list[str]) -> list[str]:
    here = {row.trace_id for row in trace_rows(db, trace_ids)}
    return [trace_id for trace_id in trace_ids if trace_id in here]


class DatasetsInWorkspace(InWorkspace, EvaluationDatasets):
    """Evaluation data sets and the experiments they are for, as far as both are here."""

    def get_dataset_experiment_ids(self, dataset_id: str) -> list[str]:
        """The experiments that are here of those a data set is for."""
        ids = super().get_dataset_experiment_ids(dataset_id)
        here: list[str] = self._ask(lambda db: _experiments_here(db, ids))
        return here

    def search_datasets(
        self, experiment_ids: list[str] | None = None, *args: Any, **kwargs: Any
    ) -> PagedList[EvaluationDataset]:
        """As everywhere, for those of the experiments that are here."""
        if experiment_ids:
            wanted = list(experiment_ids)
            experiment_ids = self._ask(lambda db: _experiments_here(db, wanted)) or _NO_EXPERIMENT
        return super().search_datasets(experiment_ids, *args, **kwargs)


def _experiments_here(db: sqlite3.Connection, ids: Iterable[str]) -> list[str]:
    """Those of some experiments that are here; their ids are compared as texts."""
    numbers = {text: int(text) for text in map(str, ids) if text.isascii() and text.isdigit()}
    there = {text: experiment_row(db, number) for text, number in numbers.items()}
    return [text for text, row in there.items() if row and str(row.experiment_id) == text]
