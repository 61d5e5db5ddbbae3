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
        id_parts=("endpoint_id", "resource_type", "resource_id"),
        missing="GatewayEndpointBinding not found (endpoint_id='{endpoint_id}', "
        "resource_type='{resource_type}', resource_id='{resource_id}')",
        exists="The binding {id} already exists",
    )
    .created(GatewayBindingCreated)
    .deleted(GatewayBindingDeleted)
)
