"""Reading what the items of the gateway name, as far as it is still there."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from .items import Item, item_of, items_of

__all__ = ["GatewayModelRow", "gateway_model_rows", "model_is_used", "with_secret"]

_SECRETS, _MODELS, _MAPPINGS = "gateway_secrets", "gateway_models", "gateway_mappings"


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
