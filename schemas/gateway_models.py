"""Events about the gateway's model definitions: a provider's model and its secret."""

from __future__ import annotations

from typing import ClassVar

from .event import Content
from .items import ItemEvent

__all__ = [
    "GatewayModelContent",
    "GatewayModelCreated",
    "GatewayModelDeleted",
    "GatewayModelEvent",
    "GatewayModelUpdated",
]


class GatewayModelEvent(ItemEvent):
    """Anything that happens to one model definition."""

    kind: ClassVar[str] = "gateway_models"
    id_field: ClassVar[str] = "model_definition_id"
    model_definition_id: str


class GatewayModelContent(Content):
    """Who defined the model, and who changed the definition last."""

    created_by: str | None = None
    last_updated_by: str | None = None


class GatewayModelCreated(GatewayModelEvent):
    """A model was defined; the name of a definition is unique."""

    topic_name: ClassVar[str] = "catalog"
    name: str
    secret_id: str
    provider: str
    model_name: str
    content: GatewayModelContent | None = None


class GatewayModelUpdated(GatewayModelEvent):
    """A model definition changed; what is absent stays as it was."""

    topic_name: ClassVar[str] = "catalog"
    name: str | None = None
    secret_id: str | None = None
    provider: str | None = None
    model_name: str | None = None
    content: GatewayModelContent | None = None


class GatewayModelDeleted(GatewayModelEvent):
    """A model definition that no endpoint uses was deleted."""

    topic_name: ClassVar[str] = "catalog"
