"""Rules about the gateway's model definitions."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    GatewayModelCreated,
    GatewayModelDeleted,
    GatewayModelUpdated,
    GatewaySecretEvent,
)

from .items import Family, Held, Reference

__all__: list[str] = []

(
    Family(
        name="name",
        missing="GatewayModelDefinition not found (model_definition_id='{id}')",
        exists="Model definition with name '{name}' already exists",
        references=(
            Reference(
                "secret_id", GatewaySecretEvent.kind, "GatewaySecret not found (secret_id='{id}')"
            ),
        ),
        held_by=(
            Held(
                "gateway_mappings",
                "model_definition_id",
                "Cannot delete model definition that is currently in use by endpoints. "
                "Detach it from all endpoints first.",
            ),
        ),
    )
    .created(GatewayModelCreated)
    .updated(GatewayModelUpdated)
    .deleted(GatewayModelDeleted)
)
