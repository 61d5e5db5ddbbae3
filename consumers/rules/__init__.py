"""The rules: what each event type does to the state, and when it is refused.

A rule looks at nothing but the event, its envelope and the state; it refuses by raising
:class:`~mlflow_ledger.schemas.Refused` before it changes anything. What it looks at in the state
must come from the event's own partition, so that any interleaving of partitions folds alike.
"""

from . import (
    artifacts,
    assessments,
    evaluation_datasets,
    experiments,
    gateway_bindings,
    gateway_budgets,
    gateway_endpoints,
    gateway_guardrails,
    gateway_models,
    gateway_secrets,
    issues,
    items,
    label_schemas,
    ledger,
    logged_models,
    mcp_servers,
    promotions,
    registry,
    review_queues,
    runs,
    scorers,
    spans,
    trace_archival,
    traces,
    webhooks,
    workspaces,
)
from .context import Context, Numbers, Rule, rules_of
from .pending import Pending

__all__ = [
    "Context",
    "Numbers",
    "Pending",
    "Rule",
    "artifacts",
    "assessments",
    "evaluation_datasets",
    "experiments",
    "gateway_bindings",
    "gateway_budgets",
    "gateway_endpoints",
    "gateway_guardrails",
    "gateway_models",
    "gateway_secrets",
    "issues",
    "items",
    "label_schemas",
    "ledger",
    "logged_models",
    "mcp_servers",
    "promotions",
    "registry",
    "review_queues",
    "rules_of",
    "runs",
    "scorers",
    "spans",
    "trace_archival",
    "traces",
    "webhooks",
    "workspaces",
]
