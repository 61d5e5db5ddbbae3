"""Rules about review queues, and about the items that they hold.

That its questions exist is no rule: they may be deleted later just as well, and a queue then goes
on naming them.
"""

from __future__ import annotations

import json
from typing import Any

from mlflow_ledger.schemas import (
    Reason,
    Refused,
    ReviewQueueCreated,
    ReviewQueueDeleted,
    ReviewQueueEvent,
    ReviewQueueItemsAdded,
    ReviewQueueItemsRemoved,
    ReviewQueueItemStatusSet,
    ReviewQueueUpdated,
)

from .context import Context
from .items import Family

__all__ = ["FIXED", "LOCKED"]

FIXED = "A user queue's name, assigned user, schemas, and owner are fixed and cannot be updated."
LOCKED = (
    "A review queue's questions are locked once items are assigned to it. "
    "Remove the items before changing its questions."
)

_ITEM = "kind = ? AND item_id = ?"


_QUEUES = (
    Family(
        name="name_key",
        parent="experiment_id",
        missing="Review queue with id '{id}' not found.",
        exists="Review queue with name '{name}' already exists (names are case-insensitive).",
    )
    .created(ReviewQueueCreated)
    .deleted(ReviewQueueDeleted)
)


@_QUEUES.about(ReviewQueueUpdated)
def queue_updated(context: Context, event: ReviewQueueUpdated, fields: dict[str, Any]) -> None:
    """Only custom queues change, and their questions only while there is nothing to review."""
    if fields["queue_type"] == "user":
        raise Refused(Reason.INVALID, FIXED)
    if event.schema_ids is not None and context.row(
        "SELECT 1 FROM items WHERE parent = ? AND kind = ?", event.subject, event.item_kind
    ):
        raise Refused(Reason.INVALID, LOCKED)
    _QUEUES.update(context, event)


@_QUEUES.about(ReviewQueueItemsAdded)
def items_added(context: Context, event: ReviewQueueItemsAdded, _: dict[str, Any]) -> None:
    """An item is in a queue once, since it first came."""
    fields = json.dumps({"item_type": event.item_type, "status": "pending"}, sort_keys=True)
    context.db.executemany(
        "INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                event.item_kind,
                _item_key(event, item_id),
                context.envelope.workspace,
                event.subject,
                item_id,
                event.added_ms,
                event.added_ms,
                fields,
            )
            for item_id in event.item_ids
        ],
    )


@_QUEUES.about(ReviewQueueItemsRemoved)
def items_removed(context: Context, event: ReviewQueueItemsRemoved, _: dict[str, Any]) -> None:
    """Those that are not there need not go."""
    context.db.executemany(
        f"DELETE FROM items WHERE {_ITEM}",
        [(event.item_kind, _item_key(event, item_id)) for item_id in event.item_ids],
    )


@_QUEUES.about(ReviewQueueItemStatusSet)
def item_status_set(context: Context, event: ReviewQueueItemStatusSet, _: dict[str, Any]) -> None:
    """Who says again what an item is already is not taken for who did it."""
    at = (event.item_kind, _item_key(event, event.item_id))
    row = context.row(f"SELECT fields FROM items WHERE {_ITEM}", *at)
    if row is None:
        msg = f"Item '{event.item_id}' is not attached to review queue '{event.queue_id}'."
        raise Refused(Reason.MISSING, msg)
    fields = json.loads(row[0])
    if fields["status"] == event.status:
        return
    fields |= {"status": event.status, "completed_by": None}
    if event.content is not None:
        fields["completed_by"] = event.content.completed_by
    context.write(
        f"UPDATE items SET updated_ms = ?, fields = ? WHERE {_ITEM}",
        context.envelope.time_ms,
        json.dumps(fields, sort_keys=True),
        *at,
    )


def _item_key(event: ReviewQueueEvent, item_id: str) -> str:
    return f"{event.queue_id}/{item_id}"
