"""Events about what uses an endpoint of the gateway, such as a scorer."""

from __future__ import annotations

from typing import ClassVar

from .event import Content
from .items import ItemEvent

__all__ = [
    "GatewayBindingContent",
    "GatewayBindingCreated",
    "GatewayBindingDeleted",
    "GatewayBindingEvent",
]


class GatewayBindingEvent(ItemEvent):
    """Anything that happens to one binding.

    ``binding_id`` is ``<endpoint>/<type of the resource>/<id of the resource>``.
    """

    kind: ClassVar[str] = "gateway_bindings"
    id_field: ClassVar[str] = "binding_id"
    binding_id: str


class GatewayBindingContent(Content):
    """What the resource is called, and who bound it."""

    display_name: str | None = None
    created_by: str | None = None


class GatewayBindingCreated(GatewayBindingEvent):
    """A resource was bound to an endpoint, which it is once."""

    topic_name: ClassVar[str] = "catalog"
    endpoint_id: str
    resource_type: str
    resource_id: str
    content: GatewayBindingContent | None = None


class GatewayBindingDeleted(GatewayBindingEvent):
    """A resource uses an endpoint no more."""

    topic_name: ClassVar[str] = "catalog"
