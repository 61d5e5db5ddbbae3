"""Workspaces, as MLflow's SQL store of them has them."""

from __future__ import annotations

import sqlite3
from typing import Any

from mlflow.entities import Workspace
from mlflow.entities.workspace import WorkspaceDeletionMode
from mlflow.exceptions import MlflowException
from mlflow.store.workspace.abstract_store import AbstractStore, WorkspaceNameValidator
from mlflow.utils import validation

from mlflow_ledger.consumers import name_conflicts
from mlflow_ledger.query import Item, item_of, items_of
from mlflow_ledger.schemas import (
    DEFAULT_WORKSPACE,
    Event,
    Reason,
    Refused,
    WorkspaceContent,
    WorkspaceCreated,
    WorkspaceDeleted,
    WorkspaceEvent,
    WorkspaceUpdated,
)

from .edge import LedgerStore, mlflow_errors
from .older_mlflow import SINCE_3_18

__all__ = ["LedgerWorkspaceStore"]

_KIND = WorkspaceEvent.kind
_DESCRIPTION = "Default workspace for legacy resources"
_LOCATION, _RETENTION = "trace_archival_location", "trace_archival_retention"
_SECRETS = "secrets"
_WHAT_IS_NAMED = "resources" if SINCE_3_18 else "names"


class Workspaces(LedgerStore):
    """Create, get, list, change and delete workspaces; ``default`` is always there."""

    def list_workspaces(self) -> list[Workspace]:
        """All workspaces by name."""
        items: list[Item] = self._ask(lambda db: items_of(db, _KIND))
        found = {item.item_id: self._entity(item) for item in items}
        found.setdefault(DEFAULT_WORKSPACE, _default())
        return [found[name] for name in sorted(found)]

    def get_workspace(self, workspace_name: str) -> Workspace:
        """A workspace by its name."""
        found: Item | None = self._ask(lambda db: _existing(db, workspace_name))
        return _default() if found is None else self._entity(found)

    def get_default_workspace(self) -> Workspace:
        """The one that is meant where none is named."""
        return self.get_workspace(DEFAULT_WORKSPACE)

    def create_workspace(self, workspace: Workspace) -> Workspace:
        """Create a workspace; its name is free."""
        WorkspaceNameValidator.validate(workspace.name)
        self._write(
            WorkspaceCreated(
                name=workspace.name,
                default_artifact_root=workspace.default_artifact_root or None,
                content=self._content(workspace),
                **_archival(workspace),
            )
        )
        return self.get_workspace(workspace.name)

    def update_workspace(self, workspace: Workspace) -> Workspace:
        """Change what is given; an empty text takes a setting away."""
        settings = {"default_artifact_root": workspace.default_artifact_root or None}
        settings |= _archival(workspace)
        given = {name for name in settings if getattr(workspace, name, None) is not None}
        event = WorkspaceUpdated(
            name=workspace.name,
            cleared=sorted(name for name in given if settings[name] is None),
            content=self._content(workspace),
            **settings,
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            _existing(db, workspace.name, event)
            return [event]

        self._decide(decide)
        return self.get_workspace(workspace.name)

    def delete_workspace(
        self,
        workspace_name: str,
        mode: WorkspaceDeletionMode = WorkspaceDeletionMode.RESTRICT,
    ) -> None:
        """Delete a workspace; ``mode`` says what becomes of what is in it."""
        word = str(getattr(mode, "value", mode))
        event = WorkspaceDeleted(name=workspace_name, mode=word)

        def decide(db: sqlite3.Connection) -> list[Event]:
            if workspace_name != DEFAULT_WORKSPACE:
                _existing(db, workspace_name, event)
                _check_mode(mode)
                if word == WorkspaceDeletionMode.SET_DEFAULT.value:
                    _refuse_conflicts(db, event)
            return [event]

        self._decide(decide)

    def resolve_artifact_root(
        self, default_artifact_root: str | None, workspace_name: str
    ) -> tuple[str | None, bool]:
        """Where artifacts of a workspace go, and whether its name is still to be added."""
        item: Item | None = self._ask(lambda db: item_of(db, _KIND, workspace_name))
        root = item and item.fields.get("default_artifact_root")
        return (root, False) if root else (default_artifact_root, True)

    def resolve_trace_archival_config(
        self, default_trace_archival_root: str, default_retention: str, workspace_name: str
    ) -> Any:
        """Where traces of a workspace are archived, and after how long."""
        from mlflow.entities.workspace import TraceArchivalConfig  # the oldest MLflow has none
        from mlflow.store.workspace.abstract_store import ResolvedTraceArchivalConfig

        item: Item | None = self._ask(lambda db: item_of(db, _KIND, workspace_name))
        fields = item.fields if item else {}
        return ResolvedTraceArchivalConfig(
            config=TraceArchivalConfig(
                location=fields.get(_LOCATION) or default_trace_archival_root,
                retention=fields.get(_RETENTION) or default_retention,
            ),
            append_workspace_prefix=not fields.get(_LOCATION),
        )

    def _content(self, workspace: Workspace) -> WorkspaceContent | None:
        if workspace.description is None:
            return None
        return WorkspaceContent(description=self._travelling(workspace.description))

    def _entity(self, item: Item) -> Workspace:
        description = self._arrived(item.fields.get("description"))
        if description is None and item.item_id == DEFAULT_WORKSPACE:
            description = _DESCRIPTION
        archival = {
            name: item.fields.get(name)
            for name in (_LOCATION, _RETENTION)
            if name in Workspace.__dataclass_fields__
        }
        return Workspace(
            name=item.item_id,
            description=description,
            default_artifact_root=item.fields.get("default_artifact_root"),
            **archival,
        )


@mlflow_errors
class LedgerWorkspaceStore(Workspaces, AbstractStore):
    """MLflow's store of workspaces on a ledger: the one that holds what is in them."""

    def __init__(self, workspace_uri: str) -> None:
        """Use the ledger at ``workspace_uri``. Nothing is opened before it is needed."""
        self._use(workspace_uri)


def _default() -> Workspace:
    return Workspace(name=DEFAULT_WORKSPACE, description=_DESCRIPTION)


def _existing(db: sqlite3.Connection, name: str, event: Event | None = None) -> Item | None:
    item = item_of(db, _KIND, name)
    if item is None and name != DEFAULT_WORKSPACE:
        raise Refused(Reason.MISSING, f"Workspace '{name}' not found", event)
    return item


def _archival(workspace: Workspace) -> dict[str, str | None]:
    """Where and when traces are archived, as MLflow checks it; an empty text is none."""
    location = getattr(workspace, _LOCATION, None) or None
    retention = getattr(workspace, _RETENTION, None) or None
    if location:
        location = validation._validate_trace_archival_repository_support(  # noqa: SLF001  # MLflow's
            location, parameter_name=_LOCATION
        )
    if retention:
        retention = validation._validate_trace_archival_retention_string(retention)  # noqa: SLF001  # MLflow's
    return {_LOCATION: location, _RETENTION: retention}


def _check_mode(mode: object) -> None:
    if not isinstance(mode, WorkspaceDeletionMode):
        raise MlflowException.invalid_parameter_value(
            f"Invalid workspace deletion mode {mode!r}. "
            "Expected one of: RESTRICT, CASCADE, SET_DEFAULT."
        )


def _refuse_conflicts(db: sqlite3.Connection, event: WorkspaceDeleted) -> None:
    """Tell of all names that the default workspace has too; of secrets' from MLflow 3.18 on."""
    found = [p for p in name_conflicts(db, event.name) if SINCE_3_18 or p[0] != _SECRETS]
    if found:
        details = "\n".join(f"  - {table}: {name!r}" for table, name in found)
        raise Refused(
            Reason.STATE,
            f"Cannot reassign resources from workspace '{event.name}' to '{DEFAULT_WORKSPACE}': "
            f"the following {_WHAT_IS_NAMED} already exist in the default workspace and would "
            f"cause conflicts:\n{details}\n"
            "Rename or remove the conflicting resources before retrying.",
            event,
        )
