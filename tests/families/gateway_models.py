"""The gateway's model definitions."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    GatewayModelContent,
    GatewayModelCreated,
    GatewayModelDeleted,
    GatewayModelUpdated,
)

FULL: tuple[Event, ...] = (
    GatewayModelCreated(
        model_definition_id="d1",
        name="small",
        secret_id="s1",
        provider="openai",
        model_name="gpt-5-mini",
        content=GatewayModelContent(created_by="ann", last_updated_by="ann"),
    ),
    GatewayModelUpdated(
        model_definition_id="d1",
        name="large",
        secret_id="s1",
        provider="openai",
        model_name="gpt-5",
        content=GatewayModelContent(created_by="ann", last_updated_by="bob"),
    ),
    GatewayModelDeleted(model_definition_id="d1"),
)
