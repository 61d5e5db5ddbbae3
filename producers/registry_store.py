"""The registry store: MLflow's interface over a ledger, put together by noun."""

from __future__ import annotations

import sqlite3
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE
from mlflow.store.model_registry.abstract_store import AbstractStore

from mlflow_ledger.schemas import DEFAULT_WORKSPACE

from .edge import mlflow_errors
from .promotions import Promotions
from .webhooks import Webhooks

__all__ = ["LedgerRegistryStore"]


@mlflow_errors
class LedgerRegistryStore(
    Promotions,
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

    def _check_usable(self, db: sqlite3.Connection) -> None:
        """Refuse to show as one what lies in several workspaces, as MLflow does."""
        for table, column, shown, one in (
            ("registered_models", "name", "registered models", "model"),
            ("webhooks", "webhook_id", "webhooks", "webhook"),
        ):
            row = db.execute(
                f"SELECT {column}, workspace FROM {table} WHERE workspace <> ? LIMIT 1",
                (DEFAULT_WORKSPACE,),
            ).fetchone()
            if row is not None:
                raise MlflowException(
                    f"Cannot disable workspaces because {shown} exist outside the default "
                    f"workspace (for example, {one} '{row[0]}' in workspace '{row[1]}'). "
                    f"Either remove those {one}s or re-enable workspaces before starting.",
                    INVALID_STATE,
                )

    def _await_model_version_creation(self, mv: ModelVersion, await_creation_for: Any) -> None:
        """Do not wait: a version is ready as soon as it is created."""
