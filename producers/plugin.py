"""The entry points: functions that MLflow calls with keywords to get a store or a repository.

Nothing of MLflow's is imported before one is called: MLflow reads its entry points while it is
itself being imported, and by then this module has to be whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.genai.scorers.registry import MlflowTrackingStore

    from .artifact_repository import LedgerArtifactRepository
    from .registry_store import LedgerRegistryStore
    from .tracking_store import LedgerTrackingStore
    from .workspaces import LedgerWorkspaceStore

__all__ = [
    "artifact_repository",
    "registry_store",
    "scorer_store",
    "tracking_store",
    "workspace_store",
]


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> LedgerTrackingStore:
    """MLflow's tracking store on the ledger of a URI."""
    if _workspaces_are_on():
        from .workspace_stores import WorkspaceTrackingStore

        return WorkspaceTrackingStore(store_uri=store_uri, artifact_uri=artifact_uri)
    from .tracking_store import LedgerTrackingStore

    return LedgerTrackingStore(store_uri=store_uri, artifact_uri=artifact_uri)


def registry_store(store_uri: str, tracking_uri: str | None = None) -> LedgerRegistryStore:
    """MLflow's model registry on the ledger of a URI."""
    if _workspaces_are_on():
        from .workspace_stores import WorkspaceRegistryStore

        return WorkspaceRegistryStore(store_uri=store_uri, tracking_uri=tracking_uri)
    from .registry_store import LedgerRegistryStore

    return LedgerRegistryStore(store_uri=store_uri, tracking_uri=tracking_uri)


def scorer_store(tracking_uri: str | None = None) -> MlflowTrackingStore:
    """MLflow's own registry of scorers, which keeps them in the tracking store of a URI."""
    from mlflow.genai.scorers.registry import MlflowTrackingStore

    return MlflowTrackingStore(tracking_uri)


def workspace_store(workspace_uri: str) -> LedgerWorkspaceStore:
    """MLflow's store of workspaces on the ledger of a URI."""
    from .workspaces import LedgerWorkspaceStore

    return LedgerWorkspaceStore(workspace_uri)


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> LedgerArtifactRepository:
    """MLflow's artifact repository for a ``ledger-artifacts`` URI."""
    from .artifact_repository import LedgerArtifactRepository

    repository: LedgerArtifactRepository = LedgerArtifactRepository(
        artifact_uri, tracking_uri, registry_uri
    )
    return repository


def _workspaces_are_on() -> bool:
    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES

    return bool(MLFLOW_ENABLE_WORKSPACES.get())
