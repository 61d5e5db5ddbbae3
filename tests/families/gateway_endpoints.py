"""The gateway's endpoints."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    GatewayEndpointContent,
    GatewayEndpointCreated,
    GatewayEndpointDeleted,
    GatewayEndpointModel,
    GatewayEndpointTagDeleted,
    GatewayEndpointTagsSet,
    GatewayEndpointUpdated,
    GatewayModelAttached,
    GatewayModelDetached,
    ItemTagsContent,
    KeyValue,
)

_FALLBACK = '{"max_attempts": 2, "strategy": "SEQUENTIAL"}'


def _model(mapping_id: str, linkage_type: str) -> GatewayEndpointModel:
    return GatewayEndpointModel(
        mapping_id=mapping_id,
        model_definition_id="d1",
        linkage_type=linkage_type,
        weight=0.5,
        fallback_order=1,
    )


FULL: tuple[Event, ...] = (
    GatewayEndpointCreated(
        endpoint_id="e1",
        name="chat",
        models=[_model("m1", "PRIMARY"), _model("m2", "FALLBACK")],
        routing_strategy="REQUEST_BASED_TRAFFIC_SPLIT",
        fallback=_FALLBACK,
        experiment_id="17",
        usage_tracking=True,
        content=GatewayEndpointContent(created_by="ann", last_updated_by="ann"),
    ),
    GatewayEndpointUpdated(
        endpoint_id="e1",
        name="talk",
        models=[_model("m3", "PRIMARY")],
        routing_strategy="REQUEST_BASED_TRAFFIC_SPLIT",
        fallback=_FALLBACK,
        experiment_id="17",
        usage_tracking=False,
        content=GatewayEndpointContent(created_by="ann", last_updated_by="bob"),
    ),
    GatewayModelAttached(
        endpoint_id="e1",
        model=_model("m4", "FALLBACK"),
        content=GatewayEndpointContent(created_by="bob", last_updated_by="bob"),
    ),
    GatewayModelDetached(endpoint_id="e1", mapping_id="m4"),
    GatewayEndpointTagsSet(
        endpoint_id="e1", content=ItemTagsContent(tags=[KeyValue(key="team", value="a")])
    ),
    GatewayEndpointTagDeleted(endpoint_id="e1", tag="team"),
    GatewayEndpointDeleted(endpoint_id="e1"),
)
