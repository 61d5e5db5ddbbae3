"""The registry store: MLflow's interface over a ledger, put together by noun."""

from __future__ import annotations

from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.store.model_registry.abstract_store import AbstractStore

from .edge import mlflow_errors
from .model_versions import ModelVersions
from .webhooks import Webhooks

__all__ = ["LedgerRegistryStore"]


@mlflow_errors
class LedgerRegistryStore(
    ModelVersions,
    Webhooks,
    AbstractStore,
):
    """MLflow's model registry on a ledger; the tracking store's URI is its URI too.

    Prompts are registered models with a tag, as MLflow has them.
    """

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        """Use the ledger at ``store_uri``. Nothing is opened before it is needed."""
        super().__init__(store_uri=store_uri, tracking_uri=tracking_uri)  # type: ignore[no-untyped-call]  # MLflow's
        self._use(store_uri)

    def _await_model_version_creation(self, mv: ModelVersion, await_creation_for: Any) -> None:
        """Do not wait: a version is ready as soon as it is created."""
