"""Rules about the gateway's budget policies."""

from __future__ import annotations

from mlflow_ledger.schemas import GatewayBudgetCreated, GatewayBudgetDeleted, GatewayBudgetUpdated

from .items import Family

__all__: list[str] = []

(
    Family(
        missing="BudgetPolicy not found (budget_policy_id='{id}')",
        exists="The budget policy {id} already exists",
    )
    .created(GatewayBudgetCreated)
    .updated(GatewayBudgetUpdated)
    .deleted(GatewayBudgetDeleted)
)
