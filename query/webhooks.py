"""Reading webhooks from the keyed state."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

__all__ = ["WebhookRow", "all_webhooks", "webhook_row", "webhook_rows"]


class WebhookRow(NamedTuple):
    """A webhook that is not deleted; ``actions`` are ``entity.action`` names."""

    webhook_id: str
    workspace: str
    name: str | None
    url: str | None
    description: str | None
    secret: str | None
    status: str
    actions: list[str]
    created_ms: int
    updated_ms: int


_SELECT = (
    "SELECT webhook_id, workspace, name, url, description, secret, status, actions, created_ms, "
    "updated_ms FROM webhooks WHERE deleted_ms IS NULL"
)


def webhook_row(db: sqlite3.Connection, webhook_id: str) -> WebhookRow | None:
    """One webhook, or None."""
    row = db.execute(f"{_SELECT} AND webhook_id = ?", (webhook_id,)).fetchone()
    return _row(row) if row else None


def webhook_rows(
    db: sqlite3.Connection, limit: int, offset: int, action: str | None = None
) -> list[WebhookRow]:
    """Webhooks, newest first; with ``action`` those that listen for it."""
    rows = db.execute(
        f"{_SELECT} AND (? IS NULL OR EXISTS (SELECT 1 FROM json_each(actions) WHERE value = ?)) "
        "ORDER BY created_ms DESC, webhook_id LIMIT ? OFFSET ?",
        (action, action, limit, offset),
    ).fetchall()
    return [_row(row) for row in rows]


def all_webhooks(db: sqlite3.Connection) -> list[WebhookRow]:
    """Every webhook, newest first."""
    return webhook_rows(db, -1, 0)


def _row(row: tuple[str, ...]) -> WebhookRow:
    fields = list(row)
    fields[7] = json.loads(row[7])
    return WebhookRow(*fields)  # type: ignore[arg-type]  # the columns are named in _SELECT
