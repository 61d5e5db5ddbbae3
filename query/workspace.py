"""Workspaces of MLflow's, as those who ask about a ledger name them."""

from __future__ import annotations

import sqlite3

from mlflow_ledger.bus import Selection
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import DEFAULT_WORKSPACE

from .address import Unknown
from .fields import Entity

__all__ = ["check_workspace", "workspaces_of"]

_IN_STATE = """
SELECT name FROM (
    SELECT item_id AS name FROM items WHERE kind = 'workspaces'
    UNION SELECT workspace FROM experiments UNION SELECT workspace FROM registered_models
    UNION SELECT workspace FROM items UNION SELECT workspace FROM webhooks
) WHERE name <> '' ORDER BY name
"""
_MOST_NAMED = 10
_OF_EXPERIMENT = (
    "SELECT e.workspace FROM {} t JOIN experiments e USING (experiment_id) WHERE {} = ?"
)
_WHERE = {
    "experiments": "SELECT workspace FROM experiments WHERE experiment_id = ?",
    "runs": _OF_EXPERIMENT.format("runs", "run_id"),
    "logged_models": _OF_EXPERIMENT.format("logged_models", "model_id"),
    "traces": _OF_EXPERIMENT.format("traces", "trace_id"),
    "models": "SELECT workspace FROM registered_models WHERE uid = ?",
    "webhooks": "SELECT workspace FROM webhooks WHERE webhook_id = ?",
}
_OF_ITEM = "SELECT workspace FROM items WHERE item_id = ? AND kind = ?"


def check_workspace(ledger: Ledger, workspace: str | None) -> None:
    """Do nothing where a workspace is, or was, there; None stands for any.

    Raises:
        Unknown: nothing in the ledger is, or was, in it.
    """
    if workspace in (None, DEFAULT_WORKSPACE):
        return

    def names(db: sqlite3.Connection) -> list[str]:
        return [name for (name,) in db.execute(_IN_STATE)]

    known = ledger.query(names)
    if workspace in known:
        return
    selection = Selection(subjects=(f"workspaces:/{workspace}",))
    if ledger.has_log and any(True for _ in ledger.log.select(selection, limit=1)):
        return
    there = ", ".join(list(dict.fromkeys([DEFAULT_WORKSPACE, *known]))[:_MOST_NAMED])
    msg = f"there is no workspace {workspace!r} in {ledger.folder}; there are: {there}"
    raise Unknown(msg)


def workspaces_of(entity: Entity, *states: sqlite3.Connection) -> set[str]:
    """The workspaces that an entity lies in, as some states have it."""
    statement = _OF_ITEM
    values: tuple[str, ...] = (entity.id, entity.kind)
    if entity.kind in _WHERE:
        statement, values = _WHERE[entity.kind], (entity.id,)
    elif entity.kind == "workspaces":
        return {entity.id}
    return {name for state in states for (name,) in state.execute(statement, values)}
