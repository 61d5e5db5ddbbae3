"""Rules about webhooks."""

from __future__ import annotations

import json

from mlflow_ledger.schemas import (
    Reason,
    Refused,
    WebhookContent,
    WebhookCreated,
    WebhookDeleted,
    WebhookEvent,
    WebhookUpdated,
)

from .context import Context, rule

__all__: list[str] = []


@rule(WebhookCreated)
def webhook_created(context: Context, event: WebhookCreated) -> None:
    """A webhook id is given once."""
    if context.row("SELECT 1 FROM webhooks WHERE webhook_id = ?", event.webhook_id):
        raise Refused(Reason.EXISTS, f"Webhook with ID {event.webhook_id} already exists.")
    content, now_ms = event.content or WebhookContent(), context.envelope.time_ms
    context.write(
        "INSERT INTO webhooks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        event.webhook_id,
        context.envelope.workspace,
        content.name,
        content.url,
        content.description,
        content.secret,
        event.status,
        json.dumps(event.actions),
        now_ms,
        now_ms,
    )
    context.catalog = True


@rule(WebhookUpdated)
def webhook_updated(context: Context, event: WebhookUpdated) -> None:
    """What the event does not name stays."""
    _check_there(context, event)
    content = event.content or WebhookContent()
    context.write(
        "UPDATE webhooks SET name = coalesce(?, name), url = coalesce(?, url), "
        "description = coalesce(?, description), secret = coalesce(?, secret), "
        "status = coalesce(?, status), actions = coalesce(?, actions), updated_ms = ? "
        "WHERE webhook_id = ?",
        content.name,
        content.url,
        content.description,
        content.secret,
        event.status,
        None if event.actions is None else json.dumps(event.actions),
        context.envelope.time_ms,
        event.webhook_id,
    )
    context.catalog = True


@rule(WebhookDeleted)
def webhook_deleted(context: Context, event: WebhookDeleted) -> None:
    """A webhook is soft-deleted."""
    _check_there(context, event)
    now_ms = context.envelope.time_ms
    context.write(
        "UPDATE webhooks SET deleted_ms = ?, updated_ms = ? WHERE webhook_id = ?",
        now_ms,
        now_ms,
        event.webhook_id,
    )
    context.catalog = True


def _check_there(context: Context, event: WebhookEvent) -> None:
    if not context.row(
        "SELECT 1 FROM webhooks WHERE webhook_id = ? AND workspace = ? AND deleted_ms IS NULL",
        event.webhook_id,
        context.envelope.workspace,
    ):
        raise Refused(Reason.MISSING, f"Webhook with ID {event.webhook_id} not found.")
