"""Events about the gateway's endpoints, and the models that they send requests to."""

from __future__ import annotations

from typing import ClassVar

from .event import Content, Part
from .items import ItemEvent, ItemTagsContent

__all__ = [
    "GatewayEndpointContent",
    "GatewayEndpointCreated",
    "GatewayEndpointDeleted",
    "GatewayEndpointEvent",
    "GatewayEndpointModel",
    "GatewayEndpointTagDeleted",
    "GatewayEndpointTagsSet",
    "GatewayEndpointUpdated",
    "GatewayModelAttached",
    "GatewayModelDetached",
]


class GatewayEndpointModel(Part):
    """A model definition as an endpoint uses it; ``linkage_type`` is MLflow's word."""

    mapping_id: str
    model_definition_id: str
    linkage_type: str
    weight: float
    fallback_order: int | None = None


class GatewayEndpointEvent(ItemEvent):
    """Anything that happens to one endpoint."""

    kind: ClassVar[str] = "gateway_endpoints"
    id_field: ClassVar[str] = "endpoint_id"
    endpoint_id: str


class GatewayEndpointContent(Content):
    """Who made the endpoint, and who changed it or its models last."""

    created_by: str | None = None
    last_updated_by: str | None = None


class GatewayEndpointCreated(GatewayEndpointEvent):
    """An endpoint was created; its name is unique.

    ``fallback`` is MLflow's strategy in JSON; the traces of requests go to the experiment.
    """

    topic_name: ClassVar[str] = "catalog"
    name: str | None = None
    models: list[GatewayEndpointModel]
    routing_strategy: str | None = None
    fallback: str | None = None
    experiment_id: str | None = None
    usage_tracking: bool = True
    content: GatewayEndpointContent | None = None


class GatewayEndpointUpdated(GatewayEndpointEvent):
    """An endpoint changed; what is absent stays as it was, ``models`` replace those before."""

    topic_name: ClassVar[str] = "catalog"
    name: str | None = None
    models: list[GatewayEndpointModel] | None = None
    routing_strategy: str | None = None
    fallback: str | None = None
    experiment_id: str | None = None
    usage_tracking: bool | None = None
    content: GatewayEndpointContent | None = None


class GatewayModelAttached(GatewayEndpointEvent):
    """An endpoint uses one more model, which it may use once for each type of linkage."""

    topic_name: ClassVar[str] = "catalog"
    model: GatewayEndpointModel
    content: GatewayEndpointContent | None = None


class GatewayModelDetached(GatewayEndpointEvent):
    """An endpoint uses one model less."""

    topic_name: ClassVar[str] = "catalog"
    mapping_id: str


class GatewayEndpointTagsSet(GatewayEndpointEvent):
    """Tags of an endpoint were set."""

    topic_name: ClassVar[str] = "catalog"
    content: ItemTagsContent | None = None


class GatewayEndpointTagDeleted(GatewayEndpointEvent):
    """A tag of an endpoint was deleted."""

    topic_name: ClassVar[str] = "catalog"
    tag: str


class GatewayEndpointDeleted(GatewayEndpointEvent):
    """An endpoint was deleted, with its tags, its bindings and its use of models."""

    topic_name: ClassVar[str] = "catalog"
