"""The gateway's model definitions as MLflow's tracking store keeps them."""

from __future__ import annotations

import sqlite3
import uuid

from mlflow.entities import GatewayModelDefinition

from mlflow_ledger.query import (
    GatewayModelRow,
    Item,
    gateway_model_rows,
    item_named,
    model_is_used,
    with_secret,
)
from mlflow_ledger.schemas import (
    Event,
    GatewayModelContent,
    GatewayModelCreated,
    GatewayModelDeleted,
    GatewayModelUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore
from .gateway_secrets import existing_secret
from .items import existing_item, item_by_either

__all__ = ["GatewayModels", "existing_model", "model_entity"]

_KIND = GatewayModelCreated.kind


class GatewayModels(LedgerStore):
    """Define, get, list, change and delete models that endpoints use."""

    def create_gateway_model_definition(
        self,
        name: str,
        secret_id: str,
        provider: str,
        model_name: str,
        created_by: str | None = None,
    ) -> GatewayModelDefinition:
        """Define a model that is called with a secret; the definition's name is unique."""
        event = GatewayModelCreated(
            model_definition_id=f"d-{uuid.uuid4().hex}",
            name=name,
            secret_id=secret_id,
            provider=provider,
            model_name=model_name,
            content=GatewayModelContent(created_by=created_by, last_updated_by=created_by),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_secret(db, secret_id, event)
            _refuse_taken(db, name, Reason.EXISTS, event)
            return [event]

        self._decide(decide)
        return self.get_gateway_model_definition(event.model_definition_id)

    def get_gateway_model_definition(
        self, model_definition_id: str | None = None, name: str | None = None
    ) -> GatewayModelDefinition:
        """A model definition by its id or its name."""
        named = {"model_definition_id": model_definition_id, "name": name}

        def ask(db: sqlite3.Connection) -> GatewayModelRow:
            return with_secret(db, item_by_either(db, _KIND, "GatewayModelDefinition", named))

        return model_entity(self._ask(ask))

    def list_gateway_model_definitions(
        self, provider: str | None = None, secret_id: str | None = None
    ) -> list[GatewayModelDefinition]:
        """All model definitions, or those of a provider, with a secret; oldest first."""
        rows: list[GatewayModelRow] = self._ask(gateway_model_rows)
        return [
            model_entity(row)
            for row in rows
            if (provider is None or row.item.fields["provider"] == provider)
            and (secret_id is None or row.secret_id == secret_id)
        ]

    def update_gateway_model_definition(
        self,
        model_definition_id: str,
        name: str | None = None,
        secret_id: str | None = None,
        model_name: str | None = None,
        updated_by: str | None = None,
        provider: str | None = None,
    ) -> GatewayModelDefinition:
        """Change what is given."""
        event = GatewayModelUpdated(
            model_definition_id=model_definition_id,
            name=name,
            secret_id=secret_id,
            provider=provider,
            model_name=model_name,
            content=GatewayModelContent(last_updated_by=updated_by or None),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            item = existing_model(db, model_definition_id, event)
            if name is not None and name != item.name:
                # MLflow finds out while it looks for the secret, where it expects no such error.
                reason = Reason.EXISTS if secret_id is None else Reason.BAD_REQUEST
                _refuse_taken(db, name, reason, event)
            if secret_id is not None:
                existing_secret(db, secret_id, event)
            return [event]

        self._decide(decide)
        return self.get_gateway_model_definition(model_definition_id)

    def delete_gateway_model_definition(self, model_definition_id: str) -> None:
        """Delete a model definition that no endpoint uses."""
        event = GatewayModelDeleted(model_definition_id=model_definition_id)

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_model(db, model_definition_id, event)
            if model_is_used(db, model_definition_id):
                msg = (
                    "Cannot delete model definition that is currently in use by endpoints. "
                    "Detach it from all endpoints first."
                )
                raise Refused(Reason.STATE, msg, event)
            return [event]

        self._decide(decide)


def existing_model(
    db: sqlite3.Connection, model_definition_id: str, event: Event | None = None
) -> Item:
    """A model definition that must be there.

    Raises:
        Refused: it is not; ``event`` is what the command would have said.
    """
    missing = f"GatewayModelDefinition not found (model_definition_id='{model_definition_id}')"
    return existing_item(db, _KIND, model_definition_id, missing, event)


def model_entity(row: GatewayModelRow) -> GatewayModelDefinition:
    """A model definition as MLflow has it."""
    item = row.item
    return GatewayModelDefinition(
        model_definition_id=item.item_id,
        name=item.name or "",
        secret_id=row.secret_id,
        secret_name=row.secret_name,
        provider=item.fields["provider"],
        model_name=item.fields["model_name"],
        created_at=item.created_ms,
        last_updated_at=item.updated_ms,
        created_by=item.fields.get("created_by"),
        last_updated_by=item.fields.get("last_updated_by"),
        workspace=item.workspace,
    )


def _refuse_taken(db: sqlite3.Connection, name: str, reason: Reason, event: Event) -> None:
    if item_named(db, _KIND, name):
        raise Refused(reason, f"Model definition with name '{name}' already exists", event)
