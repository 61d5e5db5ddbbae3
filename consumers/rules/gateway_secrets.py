"""Rules about the gateway's secrets."""

from __future__ import annotations

from mlflow_ledger.schemas import GatewaySecretCreated, GatewaySecretDeleted, GatewaySecretUpdated

from .items import Family

__all__: list[str] = []

(
    Family(
        name="name",
        missing="GatewaySecret not found (secret_id='{id}')",
        exists="Secret with name '{name}' already exists",
    )
    .created(GatewaySecretCreated)
    .updated(GatewaySecretUpdated)
    .deleted(GatewaySecretDeleted)
)
