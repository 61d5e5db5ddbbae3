"""The gateway's secrets."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    GatewaySecretContent,
    GatewaySecretCreated,
    GatewaySecretDeleted,
    GatewaySecretUpdated,
)

CREATED = GatewaySecretCreated(
    secret_id="s1",
    name="openai key",
    provider="openai",
    kek_version=1,
    content=GatewaySecretContent(
        secret="bm9uY2U=",
        secret_key="a2V5",
        masked_values='{"api_key": "sk-...1234"}',
        auth_config='{"auth_mode": "api_key"}',
        created_by="ann",
        last_updated_by="ann",
    ),
)
FULL: tuple[Event, ...] = (
    CREATED,
    GatewaySecretUpdated(
        secret_id="s1",
        kek_version=2,
        cleared=["auth_config"],
        content=GatewaySecretContent(
            secret="bmV4dA==",
            secret_key="bmV3",
            masked_values='{"api_key": "***"}',
            auth_config="{}",
            created_by="ann",
            last_updated_by="bob",
        ),
    ),
    GatewaySecretDeleted(secret_id="s1"),
)
