"""Rules about what uses endpoints of the gateway."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    GatewayBindingCreated,
    GatewayBindingDeleted,
    GatewayEndpointEvent,
)

from .items import Family

__all__: list[str] = []

(
    Family(
        parent="endpoint_id",
        parent_kind=GatewayEndpointEvent.kind,
        parent_missing="GatewayEndpoint not found (endpoint_id='{id}')",
        missing="GatewayEndpointBinding not found (binding_id='{id}')",
        exists="The binding {id} already exists",
    )
    .created(GatewayBindingCreated)
    .deleted(GatewayBindingDeleted)
)
