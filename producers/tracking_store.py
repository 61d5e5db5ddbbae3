"""The tracking store: MLflow's interface over a ledger, put together by noun."""

from __future__ import annotations

import os

from mlflow.store.tracking.abstract_store import AbstractStore

from .edge import mlflow_errors
from .empty_families import EmptyFamilies
from .empty_traces import EmptyTraces
from .gateway_bindings import GatewayBindings
from .gateway_budgets import GatewayBudgets
from .gateway_endpoints import GatewayEndpoints
from .gateway_models import GatewayModels
from .gateway_secrets import GatewaySecrets
from .inputs import RunInputsLogging
from .label_schemas import LabelSchemas
from .later import later_families
from .logged_models import LoggedModels
from .metric_history import MetricHistories
from .run_data import RunDataLogging
from .runs import Runs

__all__ = ["LedgerTrackingStore"]

_SERVER_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"


@mlflow_errors
@later_families
class LedgerTrackingStore(
    GatewaySecrets,
    GatewayBindings,
    GatewayBudgets,
    GatewayEndpoints,
    GatewayModels,
    LabelSchemas,
    EmptyFamilies,
    EmptyTraces,
    Runs,
    RunDataLogging,
    MetricHistories,
    RunInputsLogging,
    LoggedModels,
    AbstractStore,
):
    """MLflow's tracking store on a ledger: ``MLFLOW_TRACKING_URI=ledger:./store``."""

    def __init__(self, store_uri: str, artifact_uri: str | None = None) -> None:
        """Use the ledger at ``store_uri``; artifacts of new experiments go below ``artifact_uri``.

        Without one they go into the ledger. Nothing is opened before it is needed.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # MLflow's
        root = artifact_uri or os.environ.get(_SERVER_ARTIFACT_ROOT)
        self._use(store_uri, root)
