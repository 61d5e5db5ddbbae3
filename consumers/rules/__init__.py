"""The rules: what each event type does to the state, and when it is refused.

A rule looks at nothing but the event, its envelope and the state; it refuses by raising
:class:`~mlflow_ledger.schemas.Refused` before it changes anything. What it looks at in the state
must come from the event's own partition, so that any interleaving of partitions folds alike.
"""

from . import (
    artifacts,
    experiments,
    gateway_bindings,
    gateway_budgets,
    gateway_endpoints,
    gateway_models,
    gateway_secrets,
    items,
    label_schemas,
    ledger,
    logged_models,
    registry,
    runs,
    webhooks,
)
from .context import Context, Numbers, Rule, rules_of
from .pending import Pending

__all__ = [
    "Context",
    "Numbers",
    "Pending",
    "Rule",
    "artifacts",
    "experiments",
    "gateway_bindings",
    "gateway_budgets",
    "gateway_endpoints",
    "gateway_models",
    "gateway_secrets",
    "items",
    "label_schemas",
    "ledger",
    "logged_models",
    "registry",
    "rules_of",
    "runs",
    "webhooks",
]
