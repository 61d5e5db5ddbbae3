"""Events about the gateway's secrets, which are encrypted before they reach an event."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content
from .items import ItemEvent

__all__ = [
    "GatewaySecretContent",
    "GatewaySecretCreated",
    "GatewaySecretDeleted",
    "GatewaySecretEvent",
    "GatewaySecretUpdated",
]


class GatewaySecretEvent(ItemEvent):
    """Anything that happens to one secret."""

    kind: ClassVar[str] = "gateway_secrets"
    id_field: ClassVar[str] = "secret_id"
    secret_id: str


class GatewaySecretContent(Content):
    """The encrypted value and its wrapped key in base64; the rest in JSON, as MLflow writes it."""

    secret: str | None = None
    secret_key: str | None = None
    masked_values: str | None = None
    auth_config: str | None = None
    created_by: str | None = None
    last_updated_by: str | None = None


class GatewaySecretCreated(GatewaySecretEvent):
    """A secret was created; its name is unique, and the encryption is bound to id and name."""

    topic_name: ClassVar[str] = "catalog"
    name: str
    provider: str | None = None
    kek_version: int
    content: GatewaySecretContent | None = None


class GatewaySecretUpdated(GatewaySecretEvent):
    """A secret changed; what is absent stays as it was, what is ``cleared`` went."""

    topic_name: ClassVar[str] = "catalog"
    kek_version: int | None = None
    cleared: list[str] = Field(default_factory=list)
    content: GatewaySecretContent | None = None


class GatewaySecretDeleted(GatewaySecretEvent):
    """A secret was deleted; models that name it have none from now on."""

    topic_name: ClassVar[str] = "catalog"
