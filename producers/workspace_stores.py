"""The tracking store and the registry store for MLflow with workspaces switched on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mlflow.entities import ExperimentTag, Run
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE
from mlflow.store.workspace.abstract_store import AbstractStore as AbstractWorkspaceStore
from mlflow.tracking._workspace.registry import get_workspace_store
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.workspace_context import ServerWorkspaceContext
from mlflow.utils.workspace_utils import WORKSPACES_DIR_NAME, resolve_workspace_store_uri

from mlflow_ledger.query import experiment_row

from .artifact_repository import ARTIFACT_SCHEME
from .experiments import experiment_no
from .in_workspace import InWorkspace, in_workspaces
from .registry_store import LedgerRegistryStore
from .tracking_store import LedgerTrackingStore
from .workspace_checks import DatasetsInWorkspace, LinksInWorkspace, looking_first

__all__ = ["WorkspaceRegistryStore", "WorkspaceTrackingStore", "registry_in"]


@in_workspaces
@looking_first
class WorkspaceTrackingStore(LinksInWorkspace, DatasetsInWorkspace, LedgerTrackingStore):
    """MLflow's tracking store on a ledger, each call of which is in one workspace."""

    def __init__(self, store_uri: str, artifact_uri: str | None = None) -> None:
        """Use the ledger at ``store_uri``; see :class:`LedgerTrackingStore`."""
        super().__init__(store_uri, artifact_uri)
        _check_root(self._artifact_root)

    @property
    def artifact_root_uri(self) -> str:
        """Below what artifacts go by default; MLflow's server asks whether there is something."""
        return self._artifact_root or f"{ARTIFACT_SCHEME}:"

    def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: list[ExperimentTag] | None = None,
    ) -> str:
        """Create an experiment, whose artifacts go where those of its workspace go."""
        if artifact_location:
            raise MlflowException.invalid_parameter_value(
                "artifact_location cannot be specified when workspaces are enabled"
            )
        return super().create_experiment(name, None, tags)

    def _placing(self) -> Callable[[], str]:
        workspace = self._workspace()
        given, prefixed = self._provider.resolve_artifact_root(
            self._ledger.artifact_root, workspace
        )

        def place() -> str:
            root = given or self._ledger.root()
            if not prefixed:
                return root
            placed: str = append_to_uri_path(root, WORKSPACES_DIR_NAME, workspace)
            return placed

        return place

    @functools.cached_property
    def _provider(self) -> AbstractWorkspaceStore:
        """Who knows the workspaces: a ledger, or whatever MLflow is told to ask."""
        uri = resolve_workspace_store_uri(tracking_uri=self._uri) or self._uri
        provider: AbstractWorkspaceStore = get_workspace_store(workspace_uri=uri)
        return provider

    def resolve_trace_archival_config(
        self, *, default_trace_archival_location: str, default_retention: str
    ) -> Any:
        """Where traces of this workspace are archived, and after how long."""
        return self._provider.resolve_trace_archival_config(
            default_trace_archival_location, default_retention, self._workspace()
        )

    def _search_runs(
        self, experiment_ids: Sequence[str], *args: Any, **kwargs: Any
    ) -> tuple[list[Run], str | None]:
        """As everywhere, in those of the experiments that are here."""
        numbers = [experiment_no(given) for given in experiment_ids]
        here = self._ask(lambda db: [n for n in numbers if experiment_row(db, n) is not None])
        return super()._search_runs([str(number) for number in here], *args, **kwargs)


@in_workspaces
class WorkspaceRegistryStore(InWorkspace, LedgerRegistryStore):
    """MLflow's model registry on a ledger, each call of which is in one workspace."""


@contextmanager
def registry_in(uri: str, workspace: str | None) -> Iterator[LedgerRegistryStore]:
    """The registry of a ledger for a program of its own, in a workspace where one is named."""
    if workspace is None:
        store = LedgerRegistryStore(uri)
        try:
            yield store
        finally:
            store.close()
        return
    enabled = MLFLOW_ENABLE_WORKSPACES.get_raw()
    MLFLOW_ENABLE_WORKSPACES.set(True)
    store = WorkspaceRegistryStore(uri)
    try:
        with ServerWorkspaceContext(workspace):
            yield store
    finally:
        store.close()
        MLFLOW_ENABLE_WORKSPACES.unset()
        if enabled is not None:
            MLFLOW_ENABLE_WORKSPACES.set(enabled)


def _check_root(root: str | None) -> None:
    """Make sure that no artifact root looks like a workspace's own, in MLflow's words."""
    segments = [part for part in urlsplit(root or "").path.split("/") if part]
    if segments[-1:] == [WORKSPACES_DIR_NAME]:
        raise MlflowException(
            f"Cannot enable workspace mode because the default artifact root {root} ends with the "
            f"reserved '{WORKSPACES_DIR_NAME}' segment. Choose a different artifact root before "
            "enabling workspaces.",
            INVALID_STATE,
        )
    if segments[-2:-1] == [WORKSPACES_DIR_NAME]:
        raise MlflowException(
            f"Cannot enable workspace mode because the default artifact root {root} is already "
            f"scoped under the reserved '{WORKSPACES_DIR_NAME}/<name>' prefix. Configure a "
            "different artifact root before enabling workspaces.",
            INVALID_STATE,
        )
