"""The gateway's guardrails."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    GatewayGuardrailContent,
    GatewayGuardrailCreated,
    GatewayGuardrailDeleted,
    GatewayGuardrailUseContent,
    GatewayGuardrailUseCreated,
    GatewayGuardrailUseDeleted,
    GatewayGuardrailUseUpdated,
)

FULL: tuple[Event, ...] = (
    GatewayGuardrailCreated(
        guardrail_id="gr1",
        scorer_id="s1",
        scorer_version=1,
        version_uid="sv1",
        stage="BEFORE",
        action="SANITIZATION",
        action_endpoint_id="e1",
        content=GatewayGuardrailContent(name="no secrets", created_by="ann"),
    ),
    GatewayGuardrailUseCreated(
        use_id="e1/gr1",
        endpoint_id="e1",
        guardrail_id="gr1",
        execution_order=2,
        content=GatewayGuardrailUseContent(created_by="bob"),
    ),
    GatewayGuardrailUseUpdated(use_id="e1/gr1", execution_order=1, cleared=["execution_order"]),
    GatewayGuardrailUseDeleted(use_id="e1/gr1"),
    GatewayGuardrailDeleted(guardrail_id="gr1"),
)
