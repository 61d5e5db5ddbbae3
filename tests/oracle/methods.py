"""The methods of MLflow's stores that are compared; those that are not, each with its reason."""

from __future__ import annotations

import inspect

from mlflow.store.model_registry.abstract_store import AbstractStore as AbstractRegistry
from mlflow.store.tracking.abstract_store import AbstractStore as AbstractTracking

from mlflow_ledger.producers import LedgerRegistryStore, LedgerTrackingStore
from mlflow_ledger.producers.assessments import Assessments
from mlflow_ledger.producers.evaluation_datasets import EvaluationDatasets
from mlflow_ledger.producers.evaluation_records import EvaluationRecords
from mlflow_ledger.producers.gateway_bindings import GatewayBindings
from mlflow_ledger.producers.gateway_budgets import GatewayBudgets
from mlflow_ledger.producers.gateway_endpoints import GatewayEndpoints
from mlflow_ledger.producers.gateway_guardrails import GatewayGuardrails
from mlflow_ledger.producers.gateway_models import GatewayModels
from mlflow_ledger.producers.gateway_secrets import GatewaySecrets
from mlflow_ledger.producers.issues import Issues
from mlflow_ledger.producers.label_schemas import LabelSchemas
from mlflow_ledger.producers.later import later_methods
from mlflow_ledger.producers.mcp_access_endpoints import McpAccessEndpoints
from mlflow_ledger.producers.mcp_server_versions import McpServerVersions
from mlflow_ledger.producers.mcp_servers import McpServers
from mlflow_ledger.producers.promotions import Promotions
from mlflow_ledger.producers.review_queue_items import ReviewQueueItems
from mlflow_ledger.producers.review_queues import ReviewQueues
from mlflow_ledger.producers.scorers import Scorers
from mlflow_ledger.producers.span_logging import SpanLogging
from mlflow_ledger.producers.trace_archival import TraceArchival
from mlflow_ledger.producers.trace_links import TraceLinks
from mlflow_ledger.producers.trace_metrics import TraceMetrics
from mlflow_ledger.producers.trace_searching import TraceSearching
from mlflow_ledger.producers.traces import Traces

__all__ = [
    "INHERITED",
    "METHODS",
    "NEVER_REFUSED",
    "REGISTRY",
    "SMALL_FAMILIES",
    "TRACKING",
]

_QUEUE = "MLflow's queue in front of log_batch, which no store overrides"
INHERITED = {
    "end_async_logging": _QUEUE,
    "flush_async_logging": _QUEUE,
    "log_batch_async": _QUEUE,
    "log_metric_async": _QUEUE,
    "log_param_async": _QUEUE,
    "set_tag_async": _QUEUE,
    "shut_down_async_logging": _QUEUE,
    "log_spans_async": "log_spans in another thread",
    "close": "ours: lets go of files",
    **dict.fromkeys(vars(Promotions).keys() - vars(AbstractRegistry).keys(), "ours"),
    "test_webhook": "sends a request over the network",
}


def _public(kind: type) -> set[str]:
    return {
        name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")
    }


TRACKING = (_public(AbstractTracking) | _public(LedgerTrackingStore)) - set(
    later_methods(LedgerTrackingStore)
)
_KINDS = (
    Assessments, EvaluationDatasets, EvaluationRecords, GatewayBindings, GatewayBudgets,
    GatewayEndpoints, GatewayGuardrails, GatewayModels, GatewaySecrets, Issues, LabelSchemas,
    McpAccessEndpoints, McpServerVersions, McpServers, ReviewQueueItems, ReviewQueues, Scorers,
    SpanLogging, TraceArchival, TraceLinks, TraceMetrics, TraceSearching, Traces,
)  # fmt: skip
SMALL_FAMILIES = {name for kind in _KINDS for name in vars(kind) if name[0] != "_"} | {
    "resolve_trace_archival_config",  # a workspace's setting: test_workspaces.py
}
REGISTRY = _public(AbstractRegistry) | _public(LedgerRegistryStore)

# What the machine calls: the private ones are those of `mlflow gc` and of the UI.
# Those of small families have machines of their own (family_machine.py).
METHODS = (TRACKING | REGISTRY) - INHERITED.keys() - SMALL_FAMILIES | {
    "_hard_delete_experiment",
    "_hard_delete_logged_model",
    "_hard_delete_run",
    "_search_datasets",
}
# Reads that find nothing where there is nothing.
NEVER_REFUSED = {
    "_search_datasets",
    "filter_active_experiment_ids",
    "get_experiment_by_name",
    "get_max_step_for_metric",
    "get_metric_history_bulk",
    "get_metric_history_bulk_interval",
    "get_metric_history_bulk_interval_from_steps",
    "get_prompt",
    "get_prompt_version",
    "get_prompt_version_by_alias",
    "list_webhooks_by_event",
}
