"""The gateway's budget policies."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    GatewayBudgetContent,
    GatewayBudgetCreated,
    GatewayBudgetDeleted,
    GatewayBudgetUpdated,
)

FULL: tuple[Event, ...] = (
    GatewayBudgetCreated(
        budget_policy_id="bp1",
        budget_unit="USD",
        budget_amount=12.5,
        duration_unit="DAYS",
        duration_value=7,
        target_scope="USER",
        budget_action="ALERT",
        content=GatewayBudgetContent(target_value="ann", created_by="bob", last_updated_by="bob"),
    ),
    GatewayBudgetUpdated(
        budget_policy_id="bp1",
        budget_unit="USD",
        budget_amount=100.0,
        duration_unit="HOURS",
        duration_value=1,
        target_scope="GLOBAL",
        budget_action="REJECT",
        cleared=["target_value"],
        content=GatewayBudgetContent(target_value="ann", created_by="bob", last_updated_by="cid"),
    ),
    GatewayBudgetDeleted(budget_policy_id="bp1"),
)
