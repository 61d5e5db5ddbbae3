"""Rules about workspaces: what becomes of all that is in one when it is deleted.

MLflow names the tables that hold something, so they have its names here.
"""

from __future__ import annotations

import sqlite3

from mlflow_ledger.schemas import (
    DEFAULT_WORKSPACE,
    Reason,
    Refused,
    WorkspaceCreated,
    WorkspaceDeleted,
    WorkspaceUpdated,
)

from .context import Context, rule
from .experiments import forget_experiment
from .items import Family, add_item
from .registry import forget_model

__all__ = ["name_conflicts"]

_KIND = WorkspaceCreated.kind
_TABLES = {
    "registered_models": "registered_models", "experiments": "experiments",
    "evaluation_datasets": "evaluation_datasets", "webhooks": "webhooks",
    "gateway_secrets": "secrets", "gateway_endpoints": "endpoints",
    "gateway_models": "model_definitions", "gateway_budgets": "budget_policies",
    "gateway_guardrails": "guardrails", "mcp_servers": "mcp_servers",
}  # fmt: skip
"""MLflow's names of the tables that it looks into, in its order, by ours."""

_NAMED = (
    "SELECT 'registered_models' AS kind, workspace, name FROM registered_models "
    "UNION ALL SELECT 'experiments', workspace, name FROM experiments WHERE lifecycle <> 'purged' "
    "UNION ALL SELECT 'webhooks', workspace, name FROM webhooks "
    "UNION ALL SELECT kind, workspace, coalesce(name, json_extract(fields, '$.name')) FROM items "
    f"WHERE parent = '' AND kind <> '{_KIND}'"
)
"""What stands in a workspace by itself; all else goes with it."""

_NOT_UNIQUE = ("webhooks", "evaluation_datasets")
"""Their names are content: no verdict depends on them."""

_WORKSPACES = Family(
    missing="Workspace '{id}' not found", exists="Workspace '{id}' already exists."
).created(WorkspaceCreated)


@rule(WorkspaceCreated)
def workspace_created(context: Context, event: WorkspaceCreated) -> None:
    """The default workspace is there already."""
    if event.name == DEFAULT_WORKSPACE:
        raise Refused(Reason.EXISTS, f"Workspace '{event.name}' already exists.")
    _WORKSPACES.create(context, event)


@rule(WorkspaceUpdated)
def workspace_updated(context: Context, event: WorkspaceUpdated) -> None:
    """The default workspace is there, though nobody has created it."""
    there = context.row("SELECT 1 FROM items WHERE kind = ? AND item_id = ?", _KIND, event.name)
    if event.name == DEFAULT_WORKSPACE and not there:
        add_item(context, _KIND, event.name, "", {})
    _WORKSPACES.update(context, event)


@rule(WorkspaceDeleted)
def workspace_deleted(context: Context, event: WorkspaceDeleted) -> None:
    """What is in it forbids that, or goes to the default workspace, or goes for good."""
    if event.name == DEFAULT_WORKSPACE:
        raise Refused(Reason.STATE, f"Cannot delete the reserved '{event.name}' workspace")
    _WORKSPACES.existing(context, event)
    if event.mode == "RESTRICT":
        _refuse_filled(context, event.name)
    elif event.mode == "SET_DEFAULT":
        _move(context, event.name)
    elif event.mode == "CASCADE":
        _empty(context, event.name)
    else:
        raise Refused(
            Reason.INVALID,
            f"Invalid workspace deletion mode {event.mode!r}. "
            "Expected one of: RESTRICT, CASCADE, SET_DEFAULT.",
        )
    context.write("DELETE FROM items WHERE kind = ? AND item_id = ?", _KIND, event.name)
    context.catalog = True


def name_conflicts(db: sqlite3.Connection, workspace: str) -> list[tuple[str, str]]:
    """What has the name of something in the default workspace: MLflow's table, and the name."""
    rows = db.execute(
        f"WITH named AS ({_NAMED}) SELECT DISTINCT kind, name FROM named a WHERE workspace = ? "
        "AND EXISTS (SELECT 1 FROM named b "
        "WHERE b.workspace = ? AND b.kind = a.kind AND b.name = a.name) ORDER BY name",
        (workspace, DEFAULT_WORKSPACE),
    ).fetchall()
    order = list(_TABLES.values())
    found = [(_TABLES.get(kind, kind), name) for kind, name in rows]
    return sorted(found, key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))


def _refuse_filled(context: Context, workspace: str) -> None:
    counts = dict(
        context.db.execute(
            f"SELECT kind, count(*) FROM ({_NAMED}) WHERE workspace = ? GROUP BY kind", (workspace,)
        ).fetchall()
    )
    for kind in (*_TABLES, *sorted(counts.keys() - _TABLES.keys())):
        if kind in counts:
            raise Refused(
                Reason.STATE,
                f"Cannot delete workspace '{workspace}': table '{_TABLES.get(kind, kind)}' "
                f"still contains {counts[kind]} resource(s). "
                "Remove or reassign them before deleting the workspace.",
            )


def _move(context: Context, workspace: str) -> None:
    for table, name in name_conflicts(context.db, workspace):
        if table not in _NOT_UNIQUE:
            raise Refused(
                Reason.STATE,
                f"Cannot delete workspace '{workspace}': resources in this workspace conflict "
                f"with existing resources in the '{DEFAULT_WORKSPACE}' workspace. Resolve naming "
                f"conflicts before deleting. Error: {table}: {name!r}",
            )
    for table in ("registered_models", "experiments", "webhooks", "items"):
        context.write(
            f"UPDATE {table} SET workspace = ? WHERE workspace = ?", DEFAULT_WORKSPACE, workspace
        )


def _empty(context: Context, workspace: str) -> None:
    for (number,) in context.db.execute(
        "SELECT experiment_id FROM experiments WHERE workspace = ? AND lifecycle <> 'purged'",
        (workspace,),
    ).fetchall():
        forget_experiment(context, number)
    for (number,) in context.db.execute(
        "SELECT model_no FROM registered_models WHERE workspace = ?", (workspace,)
    ).fetchall():
        forget_model(context, number)
    context.write("DELETE FROM webhooks WHERE workspace = ?", workspace)
    context.write(
        "DELETE FROM item_tags WHERE EXISTS (SELECT 1 FROM items i WHERE i.workspace = ? "
        "AND i.kind = item_tags.kind AND i.item_id = item_tags.item_id)",
        workspace,
    )
    context.write("DELETE FROM items WHERE workspace = ?", workspace)
