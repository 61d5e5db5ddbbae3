"""What uses endpoints of the gateway, as MLflow's tracking store keeps it."""

from __future__ import annotations

import sqlite3

from mlflow.entities import GatewayEndpointBinding
from mlflow.entities.gateway_endpoint import GatewayResourceType

from mlflow_ledger.query import Item, item_of, items_of
from mlflow_ledger.schemas import (
    Event,
    GatewayBindingContent,
    GatewayBindingCreated,
    GatewayBindingDeleted,
    Reason,
    Refused,
)

from .edge import LedgerStore
from .gateway_endpoints import existing_endpoint
from .items import existing_item

__all__ = ["GatewayBindings", "binding_created", "bindings_dropped"]

_KIND = GatewayBindingCreated.kind


class GatewayBindings(LedgerStore):
    """Bind resources to endpoints, list and delete bindings."""

    def create_endpoint_binding(
        self, endpoint_id: str, resource_type: str, resource_id: str, created_by: str | None = None
    ) -> GatewayEndpointBinding:
        """Bind a resource to an endpoint."""
        event = binding_created(endpoint_id, resource_type, resource_id, created_by=created_by)

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_endpoint(db, endpoint_id, event)
            if item_of(db, _KIND, event.binding_id):
                msg = f"The binding {event.binding_id} already exists"
                raise Refused(Reason.BAD_REQUEST, msg, event)
            GatewayResourceType(resource_type)  # MLflow finds out last that it knows no such type
            return [event]

        self._decide(decide)
        return _entity(self._ask(lambda db: existing_item(db, _KIND, event.binding_id, "gone")))

    def delete_endpoint_binding(
        self, endpoint_id: str, resource_type: str, resource_id: str
    ) -> None:
        """Delete a binding."""
        event = GatewayBindingDeleted(binding_id=f"{endpoint_id}/{resource_type}/{resource_id}")

        def decide(db: sqlite3.Connection) -> list[Event]:
            missing = (
                f"GatewayEndpointBinding not found (endpoint_id='{endpoint_id}', "
                f"resource_type='{resource_type}', resource_id='{resource_id}')"
            )
            existing_item(db, _KIND, event.binding_id, missing, event)
            return [event]

        self._decide(decide)

    def list_endpoint_bindings(
        self,
        endpoint_id: str | None = None,
        resource_type: str | None = None,
        resource_id: str | None = None,
    ) -> list[GatewayEndpointBinding]:
        """All bindings, or those of an endpoint, a type of resource, a resource; oldest first."""
        wanted = {
            "endpoint_id": endpoint_id, "resource_type": resource_type, "resource_id": resource_id,
        }  # fmt: skip
        matching = {field: value for field, value in wanted.items() if value is not None}
        items: list[Item] = self._ask(lambda db: items_of(db, _KIND, matching=matching))
        return [_entity(item) for item in sorted(items, key=lambda item: item.created_ms)]


def binding_created(
    endpoint_id: str,
    resource_type: str,
    resource_id: str,
    *,
    display_name: str | None = None,
    created_by: str | None = None,
) -> GatewayBindingCreated:
    """The event by which a resource is bound."""
    return GatewayBindingCreated(
        binding_id=f"{endpoint_id}/{resource_type}/{resource_id}",
        endpoint_id=endpoint_id,
        resource_type=resource_type,
        resource_id=resource_id,
        content=GatewayBindingContent(display_name=display_name, created_by=created_by),
    )


def bindings_dropped(
    db: sqlite3.Connection, resource_type: str, resource_id: str
) -> list[GatewayBindingDeleted]:
    """The events by which a resource is bound to nothing any more."""
    resource = {"resource_type": resource_type, "resource_id": resource_id}
    bound = items_of(db, _KIND, matching=resource)
    return [GatewayBindingDeleted(binding_id=item.item_id) for item in bound]


def _entity(item: Item) -> GatewayEndpointBinding:
    created_by = item.fields.get("created_by")
    return GatewayEndpointBinding(
        endpoint_id=item.fields["endpoint_id"],
        resource_type=GatewayResourceType(item.fields["resource_type"]),
        resource_id=item.fields["resource_id"],
        created_at=item.created_ms,
        last_updated_at=item.updated_ms,
        created_by=created_by,
        last_updated_by=created_by,
        display_name=item.fields.get("display_name"),
    )
