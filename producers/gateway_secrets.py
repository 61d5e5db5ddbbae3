"""The gateway's secrets as MLflow's tracking store keeps them; MLflow encrypts them first."""

from __future__ import annotations

import base64
import json
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from mlflow.entities import GatewaySecretInfo
from mlflow.utils.crypto import KEKManager, _decrypt_secret, _encrypt_secret, _mask_secret_value

from mlflow_ledger.query import Item, item_named, items_of
from mlflow_ledger.schemas import (
    Event,
    GatewaySecretContent,
    GatewaySecretCreated,
    GatewaySecretDeleted,
    GatewaySecretUpdated,
    Reason,
    Refused,
)

from .edge import LedgerStore
from .items import existing_item, item_by_either

__all__ = ["GatewaySecrets", "existing_secret"]

_KIND = GatewaySecretCreated.kind


class GatewaySecrets(LedgerStore):
    """Create, get, list, change and delete secrets."""

    def create_gateway_secret(
        self,
        secret_name: str,
        secret_value: dict[str, str],
        provider: str | None = None,
        auth_config: dict[str, Any] | None = None,
        created_by: str | None = None,
    ) -> GatewaySecretInfo:
        """Create a secret; its name is unique."""
        secret_id = f"s-{uuid.uuid4().hex}"
        said, kek_version = _encrypted(secret_id, secret_name, secret_value)
        event = GatewaySecretCreated(
            secret_id=secret_id,
            name=secret_name,
            provider=provider,
            kek_version=kek_version,
            content=GatewaySecretContent(
                **said,
                auth_config=json.dumps(auth_config) if auth_config else None,
                created_by=created_by,
                last_updated_by=created_by,
            ),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            if item_named(db, _KIND, secret_name):
                msg = f"Secret with name '{secret_name}' already exists"
                raise Refused(Reason.EXISTS, msg, event)
            return [event]

        self._decide(decide)
        return self.get_secret_info(secret_id)

    def get_secret_info(
        self, secret_id: str | None = None, secret_name: str | None = None
    ) -> GatewaySecretInfo:
        """What is known of a secret, by its id or its name; the value is masked."""
        named = {"secret_id": secret_id, "secret_name": secret_name}
        return _entity(self._ask(lambda db: item_by_either(db, _KIND, "GatewaySecret", named)))

    def list_secret_infos(self, provider: str | None = None) -> list[GatewaySecretInfo]:
        """What is known of all secrets, or of those for one provider, oldest first."""
        items: list[Item] = self._ask(lambda db: items_of(db, _KIND))
        return [
            _entity(item)
            for item in sorted(items, key=lambda item: item.created_ms)
            if provider is None or item.fields.get("provider") == provider
        ]

    def update_gateway_secret(
        self,
        secret_id: str,
        secret_value: dict[str, str] | None = None,
        auth_config: dict[str, Any] | None = None,
        updated_by: str | None = None,
    ) -> GatewaySecretInfo:
        """Change what is given; a configuration without entries goes."""
        attempt = GatewaySecretUpdated(secret_id=secret_id)
        # The name never changes, and the key takes too long to be made under the lock.
        name = self._ask(lambda db: existing_secret(db, secret_id).name)
        said: Mapping[str, str] = {}
        if secret_value is not None:
            said, kek_version = _encrypted(secret_id, name, secret_value)
            attempt = attempt.model_copy(update={"kek_version": kek_version})
        content = GatewaySecretContent(
            **said,
            auth_config=json.dumps(auth_config) if auth_config else None,
            last_updated_by=updated_by,
        )
        cleared = ["auth_config"] if auth_config is not None and not auth_config else []
        cleared += ["last_updated_by"] if updated_by is None else []
        event = attempt.model_copy(update={"cleared": cleared, "content": content})

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_secret(db, secret_id, event)
            return [event]

        self._decide(decide)
        return self.get_secret_info(secret_id)

    def delete_gateway_secret(self, secret_id: str) -> None:
        """Delete a secret; models that name it stay, without one."""
        event = GatewaySecretDeleted(secret_id=secret_id)

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_secret(db, secret_id, event)
            return [event]

        self._decide(decide)

    def _get_decrypted_secret(self, secret_id: str) -> Any:
        """The clear value, for MLflow's server only."""
        item: Item = self._ask(lambda db: existing_secret(db, secret_id))
        return _decrypt_secret(
            encrypted_value=base64.b64decode(item.fields.get("secret", "")),
            wrapped_dek=base64.b64decode(item.fields.get("secret_key", "")),
            kek_manager=KEKManager(),
            secret_id=secret_id,
            secret_name=item.name or "",
        )


def existing_secret(db: sqlite3.Connection, secret_id: str, event: Event | None = None) -> Item:
    """A secret that must be there.

    Raises:
        Refused: it is not; ``event`` is what the command would have said.
    """
    missing = f"GatewaySecret not found (secret_id='{secret_id}')"
    return existing_item(db, _KIND, secret_id, missing, event)


def _encrypted(
    secret_id: str, secret_name: str, secret_value: dict[str, str]
) -> tuple[dict[str, str], int]:
    """What an event may say of a value, and the version of the key that its key is wrapped in."""
    masked = _mask_secret_value(secret_value)
    encrypted = _encrypt_secret(
        secret_value=json.dumps(secret_value),
        kek_manager=KEKManager(),
        secret_id=secret_id,
        secret_name=secret_name,
    )
    said = {
        "secret": base64.b64encode(encrypted.encrypted_value).decode(),
        "secret_key": base64.b64encode(encrypted.wrapped_dek).decode(),
        "masked_values": json.dumps(masked),
    }
    return said, encrypted.kek_version


def _entity(item: Item) -> GatewaySecretInfo:
    fields = item.fields
    masked, auth_config = fields.get("masked_values"), fields.get("auth_config")
    return GatewaySecretInfo(
        secret_id=item.item_id,
        secret_name=item.name or "",
        # MLflow's words for a value that it cannot read.
        masked_values=json.loads(masked) if masked else {"value": "***"},
        created_at=item.created_ms,
        last_updated_at=item.updated_ms,
        provider=fields.get("provider"),
        auth_config=json.loads(auth_config) if auth_config else None,
        workspace=item.workspace,
        created_by=fields.get("created_by"),
        last_updated_by=fields.get("last_updated_by"),
    )
