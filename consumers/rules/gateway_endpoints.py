"""Rules about the gateway's endpoints; each use of a model is an item of its own below one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlflow_ledger.schemas import (
    GatewayEndpointContent,
    GatewayEndpointCreated,
    GatewayEndpointDeleted,
    GatewayEndpointEvent,
    GatewayEndpointModel,
    GatewayEndpointTagDeleted,
    GatewayEndpointTagsSet,
    GatewayEndpointUpdated,
    GatewayModelAttached,
    GatewayModelDetached,
    GatewayModelEvent,
    Reason,
    Refused,
)

from .context import Context, rule
from .items import Family, Reference, add_item, forget_item

__all__: list[str] = []

_MAPPINGS = "gateway_mappings"

_ENDPOINTS = (
    Family(
        name="name",
        missing="GatewayEndpoint not found (endpoint_id='{id}')",
        exists="Endpoint with name '{name}' already exists",
        taken=Reason.BAD_REQUEST,
        references=(
            *(
                Reference(
                    f"{field}.model_definition_id",
                    GatewayModelEvent.kind,
                    "GatewayModelDefinition not found (model_definition_id='{id}')",
                )
                for field in ("models", "model")
            ),
            Reference(
                "experiment_id",
                "experiments",
                "No Experiment with id={id} exists",
                Reason.BAD_REQUEST,
            ),
        ),
        apart=frozenset({"models", "model", "mapping_id"}),
    )
    .created(GatewayEndpointCreated)
    .deleted(GatewayEndpointDeleted)
    .tags_set(GatewayEndpointTagsSet)
    .tag_deleted(GatewayEndpointTagDeleted)
)


@rule(GatewayEndpointCreated)
def endpoint_created(context: Context, event: GatewayEndpointCreated) -> None:
    """An endpoint comes with the models it uses."""
    _check_uses(context, event.models)
    _ENDPOINTS.create(context, event)
    content = event.content or GatewayEndpointContent()
    _add_models(context, event, event.models, content.created_by)


@rule(GatewayEndpointUpdated)
def endpoint_updated(context: Context, event: GatewayEndpointUpdated) -> None:
    """Models that are given take the place of those that were used."""
    _ENDPOINTS.existing(context, event)
    _check_uses(context, event.models or ())
    _ENDPOINTS.update(context, event)
    if event.models is not None:
        for (mapping_id,) in context.db.execute(
            "SELECT item_id FROM items WHERE kind = ? AND parent = ?", (_MAPPINGS, event.subject)
        ).fetchall():
            forget_item(context, _MAPPINGS, mapping_id)
        content = event.content or GatewayEndpointContent()
        _add_models(context, event, event.models, content.last_updated_by)


@rule(GatewayModelAttached)
def model_attached(context: Context, event: GatewayModelAttached) -> None:
    """A model is attached once for each type of linkage."""
    _ENDPOINTS.existing(context, event)
    _check_uses(context, [event.model])
    if context.row(
        "SELECT 1 FROM items WHERE kind = ? AND parent = ? AND name = ?",
        _MAPPINGS,
        event.subject,
        _linkage(event.model),
    ):
        msg = (
            f"Model definition '{event.model.model_definition_id}' is already attached to "
            f"endpoint '{event.endpoint_id}'"
        )
        raise Refused(Reason.EXISTS, msg)
    content = event.content or GatewayEndpointContent()
    touched = content.model_copy(update={"created_by": None})
    _ENDPOINTS.update(context, event.model_copy(update={"content": touched}))
    _add_models(context, event, [event.model], content.created_by)


@rule(GatewayModelDetached)
def model_detached(context: Context, event: GatewayModelDetached) -> None:
    """The definition stays."""
    _ENDPOINTS.existing(context, event)
    if not context.row(
        "SELECT 1 FROM items WHERE kind = ? AND item_id = ? AND parent = ?",
        _MAPPINGS,
        event.mapping_id,
        event.subject,
    ):
        msg = f"Mapping '{event.mapping_id}' is not attached to endpoint '{event.endpoint_id}'"
        raise Refused(Reason.MISSING, msg)
    forget_item(context, _MAPPINGS, event.mapping_id)


def _add_models(
    context: Context,
    event: GatewayEndpointEvent,
    models: Sequence[GatewayEndpointModel],
    created_by: str | None,
) -> None:
    for position, model in enumerate(models):
        said = model.model_dump(exclude={"mapping_id"}) | {
            "position": position,
            "created_by": created_by,
        }
        fields = {name: value for name, value in said.items() if value is not None}
        add_item(context, _MAPPINGS, model.mapping_id, event.subject, fields, _linkage(model))


def _linkage(model: GatewayEndpointModel) -> str:
    return f"{model.model_definition_id}/{model.linkage_type}"


def _check_uses(context: Context, models: Sequence[GatewayEndpointModel]) -> None:
    linkages = [_linkage(model) for model in models]
    if len(set(linkages)) < len(linkages):
        raise Refused(Reason.BAD_REQUEST, "A model definition is named twice for one linkage type")
    if not all(math.isfinite(model.weight) for model in models):
        raise Refused(Reason.INVALID, "A weight must be a finite number")
    ids = [model.mapping_id for model in models]
    sql = "SELECT 1 FROM items WHERE kind = ? AND item_id = ?"
    if len(set(ids)) < len(ids) or any(context.row(sql, _MAPPINGS, found) for found in ids):
        raise Refused(Reason.EXISTS, f"One of the mappings {', '.join(ids)} already exists")
