"""The tracking store: MLflow's interface over a ledger, put together by noun."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE
from mlflow.store.tracking.abstract_store import AbstractStore

from mlflow_ledger.schemas import DEFAULT_WORKSPACE

from .assessments import Assessments
from .edge import mlflow_errors
from .evaluation_datasets import EvaluationDatasets
from .evaluation_records import EvaluationRecords
from .gateway_bindings import GatewayBindings
from .gateway_budgets import GatewayBudgets
from .gateway_endpoints import GatewayEndpoints
from .gateway_guardrails import GatewayGuardrails
from .gateway_models import GatewayModels
from .gateway_secrets import GatewaySecrets
from .inputs import RunInputsLogging
from .issues import Issues
from .label_schemas import LabelSchemas
from .later import later_families
from .logged_models import LoggedModels
from .metric_history import MetricHistories
from .review_queue_items import ReviewQueueItems
from .review_queues import ReviewQueues
from .run_data import RunDataLogging
from .runs import Runs
from .scorers import Scorers
from .span_logging import SpanLogging
from .trace_archival import TraceArchival
from .trace_links import TraceLinks
from .trace_metrics import TraceMetrics
from .trace_searching import TraceSearching
from .traces import Traces

__all__ = ["LedgerTrackingStore"]

if TYPE_CHECKING or hasattr(AbstractStore, "create_mcp_server"):
    from .mcp_access_endpoints import McpAccessEndpoints
    from .mcp_server_versions import McpServerVersions
    from .mcp_servers import McpServers

    class MCPServerRegistry(McpServers, McpServerVersions, McpAccessEndpoints):
        """MLflow's registry of MCP servers."""

else:

    class MCPServerRegistry:
        """MLflow 3.12 has no MCP servers."""


_SERVER_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"


@mlflow_errors
@later_families
class LedgerTrackingStore(
    Issues,
    GatewaySecrets,
    GatewayBindings,
    GatewayBudgets,
    GatewayEndpoints,
    GatewayGuardrails,
    GatewayModels,
    LabelSchemas,
    EvaluationDatasets,
    EvaluationRecords,
    ReviewQueues,
    ReviewQueueItems,
    Scorers,
    MCPServerRegistry,
    Traces,
    SpanLogging,
    Assessments,
    TraceSearching,
    TraceLinks,
    TraceMetrics,
    TraceArchival,
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

    def _check_usable(self, db: sqlite3.Connection) -> None:
        """Refuse to show as one what lies in several workspaces, as MLflow does."""
        sql = "SELECT 1 FROM experiments WHERE workspace <> ? AND lifecycle <> 'purged' LIMIT 1"
        if db.execute(sql, (DEFAULT_WORKSPACE,)).fetchone() is not None:
            raise MlflowException(
                "Cannot disable workspaces because experiments exist outside the default "
                "workspace (i.e., assigned to non-default workspaces). Enable workspace "
                "support (MLFLOW_ENABLE_WORKSPACES=true) or move those experiments back to the "
                "default workspace before starting the tracking store in single-tenant mode.",
                INVALID_STATE,
            )
