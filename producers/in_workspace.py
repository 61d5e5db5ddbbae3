"""What a store does with MLflow's workspaces switched on: all it says and reads is in one."""

from __future__ import annotations

import functools
import inspect
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.utils.workspace_context import get_request_workspace

from mlflow_ledger.bus import acting_in
from mlflow_ledger.consumers import Decide, Foreseen, scoped
from mlflow_ledger.schemas import DEFAULT_WORKSPACE, Envelope, Event

from .edge import LedgerStore, asked_for, with_mlflow_errors

__all__ = ["InWorkspace", "current_workspace", "in_workspace", "in_workspaces"]

C = TypeVar("C", bound=type)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def current_workspace() -> str | None:
    """The workspace that is asked for here and now; None where one has to be, and is not."""
    return get_request_workspace() if MLFLOW_ENABLE_WORKSPACES.get() else DEFAULT_WORKSPACE


@contextmanager
def in_workspace(workspace: str) -> Iterator[None]:
    """Say what is said meanwhile in a workspace."""
    before = acting_in.set(workspace)
    try:
        yield
    finally:
        acting_in.reset(before)


class InWorkspace(LedgerStore):
    """Put before a store that knows nothing of workspaces, it keeps each call within one."""

    @property
    def supports_workspaces(self) -> bool:
        """They are."""
        return True

    def _check_usable(self, db: sqlite3.Connection) -> None:
        """Whatever is there may be in any workspace."""

    def _workspace(self) -> str:
        workspace = acting_in.get()
        if not workspace:
            raise MlflowException.invalid_parameter_value(
                "Active workspace is required. Configure a default workspace or call "
                "mlflow.set_workspace() before interacting with the store."
            )
        return workspace

    def _here(self, ask: Callable[[sqlite3.Connection], T]) -> Callable[[sqlite3.Connection], T]:
        workspace = self._workspace()
        return lambda db: ask(scoped(db, workspace))

    def _learning_here(self, foreseen: Foreseen | None) -> Foreseen | None:
        if foreseen is None:
            return None
        workspace, learn = self._workspace(), foreseen.learn
        return replace(foreseen, learn=lambda known, db: learn(known, scoped(db, workspace)))

    def _decide(self, decide: Decide, foreseen: Foreseen | None = None) -> list[Event]:
        return super()._decide(self._here(decide), self._learning_here(foreseen))

    def _decide_and_ask(
        self,
        decide: Decide,
        question: Callable[[sqlite3.Connection], Any],
        foreseen: Foreseen | None = None,
        answer: Callable[[Envelope], Any] | None = None,
    ) -> Any:
        learning = self._learning_here(foreseen)
        return super()._decide_and_ask(self._here(decide), self._here(question), learning, answer)

    def _ask(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        return super()._ask(self._here(question))


def in_workspaces(store: C) -> C:
    """Have every method of a store class that MLflow calls act in the workspace asked for."""
    for name, method in inspect.getmembers(store, inspect.isfunction):
        if asked_for(name) and method.__module__.startswith("mlflow_ledger."):
            setattr(store, name, _within(method))
    return store


def _within(method: F) -> F:
    @functools.wraps(method)
    def within(*args: Any, **kwargs: Any) -> Any:
        with in_workspace(current_workspace() or ""):
            return with_mlflow_errors(lambda: method(*args, **kwargs))

    return within  # type: ignore[return-value]  # functools.wraps keeps the signature
