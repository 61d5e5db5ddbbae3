"""Reading what the items of the gateway name, as far as it is still there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from .experiments import experiment_row
from .items import Item, item_of, item_tags, items_of

__all__ = [
    "GatewayEndpointRow",
    "GatewayMapping",
    "GatewayModelRow",
    "definition_of",
    "gateway_endpoint_rows",
    "gateway_model_rows",
    "model_is_used",
    "with_secret",
]

_SECRETS, _MODELS = "gateway_secrets", "gateway_models"
_ENDPOINTS, _MAPPINGS = "gateway_endpoints", "gateway_mappings"


class GatewayModelRow(NamedTuple):
    """A model definition; a secret that was deleted is none."""

    item: Item
    secret_id: str | None
    secret_name: str | None


def with_secret(db: sqlite3.Connection, item: Item) -> GatewayModelRow:
    """A model definition with what it says of its secret."""
    secret = item_of(db, _SECRETS, item.fields["secret_id"])
    return GatewayModelRow(item, secret and secret.item_id, secret and secret.name)


def gateway_model_rows(db: sqlite3.Connection) -> list[GatewayModelRow]:
    """All model definitions, oldest first."""
    names = {secret.item_id: secret.name for secret in items_of(db, _SECRETS)}
    rows = []
    for item in sorted(items_of(db, _MODELS), key=lambda item: item.created_ms):
        secret_id = item.fields["secret_id"]
        known = secret_id in names
        rows.append(GatewayModelRow(item, secret_id if known else None, names.get(secret_id)))
    return rows


def model_is_used(db: sqlite3.Connection, model_definition_id: str) -> bool:
    """Whether an endpoint uses a model definition."""
    found = db.execute(
        "SELECT 1 FROM items WHERE kind = ? AND json_extract(fields, '$.model_definition_id') = ?",
        (_MAPPINGS, model_definition_id),
    ).fetchone()
    return found is not None


class GatewayMapping(NamedTuple):
    """A model definition as an endpoint uses it."""

    item: Item
    model: GatewayModelRow


class GatewayEndpointRow(NamedTuple):
    """An endpoint; an experiment that was deleted for good is none."""

    item: Item
    experiment_id: str | None
    mappings: list[GatewayMapping]
    tags: dict[str, str]


def gateway_endpoint_rows(
    db: sqlite3.Connection, endpoint_ids: Iterable[str] | None = None
) -> list[GatewayEndpointRow]:
    """All endpoints, or some of them, by id."""
    models = {row.item.item_id: row for row in gateway_model_rows(db)}
    mappings = [GatewayMapping(item, models[definition_of(item)]) for item in _mappings(db)]
    wanted = None if endpoint_ids is None else set(endpoint_ids)
    items = [i for i in items_of(db, _ENDPOINTS) if wanted is None or i.item_id in wanted]
    tags = item_tags(db, _ENDPOINTS, [item.item_id for item in items])
    return [
        GatewayEndpointRow(
            item,
            _experiment_id(db, item),
            [mapping for mapping in mappings if mapping.item.parent_id == item.item_id],
            tags[item.item_id],
        )
        for item in sorted(items, key=lambda item: item.item_id)
    ]


def definition_of(mapping: Item) -> str:
    """The id of the model definition that a mapping names."""
    return str(mapping.fields["model_definition_id"])


def _mappings(db: sqlite3.Connection) -> list[Item]:
    return sorted(
        items_of(db, _MAPPINGS), key=lambda item: (item.created_ms, item.fields["position"])
    )


def _experiment_id(db: sqlite3.Connection, item: Item) -> str | None:
    experiment_id: str | None = item.fields.get("experiment_id")
    if experiment_id is None or experiment_row(db, int(experiment_id)) is None:
        return None
    return experiment_id
