"""Families of MLflow's interface that this store does not have yet."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import NOT_IMPLEMENTED
from mlflow.store.tracking.abstract_store import AbstractStore

__all__ = ["later_families", "later_methods"]

C = TypeVar("C", bound=type)

_INHERITED = {
    # MLflow's own code, written on top of methods that we have.
    "end_async_logging", "flush_async_logging", "log_batch_async", "log_metric_async",
    "log_param_async", "resolve_trace_archival_config", "search_runs", "set_model_versions_tags",
    "set_tag_async", "shut_down_async_logging", "supports_workspaces",
}  # fmt: skip


def later_methods(store: type) -> list[str]:
    """The public methods of MLflow's abstract tracking store that a store class lacks."""
    return sorted(
        name
        for name, _ in inspect.getmembers(AbstractStore, inspect.isfunction)
        if not name.startswith("_")
        and name not in _INHERITED
        and not _defined_here(getattr(store, name))
    )


def later_families(store: C) -> C:
    """Have every method that a store class lacks say so, by its name."""
    for name in later_methods(store):
        setattr(store, name, _says_later(name))
    return store


def _defined_here(method: Callable[..., Any]) -> bool:
    return method.__module__.startswith("mlflow_ledger.")


def _says_later(name: str) -> Callable[..., NoReturn]:
    def later(*_: Any, **__: Any) -> NoReturn:
        raise MlflowException(
            f"A ledger has no {name} yet; docs/differences.md lists what is missing.",
            NOT_IMPLEMENTED,
        )

    later.__name__ = name
    later.__module__ = AbstractStore.__module__
    return later
