"""What uses endpoints of the gateway."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    GatewayBindingContent,
    GatewayBindingCreated,
    GatewayBindingDeleted,
)

FULL: tuple[Event, ...] = (
    GatewayBindingCreated(
        binding_id="e1/scorer/c1",
        endpoint_id="e1",
        resource_type="scorer",
        resource_id="c1",
        content=GatewayBindingContent(display_name="quality", created_by="ann"),
    ),
    GatewayBindingDeleted(binding_id="e1/scorer/c1"),
)
