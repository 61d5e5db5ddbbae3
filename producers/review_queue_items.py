"""What is to be reviewed, as MLflow's tracking store keeps it: the items of review queues."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList

from mlflow_ledger.query import Item, items_named, items_of, parents_of_named
from mlflow_ledger.schemas import (
    Event,
    ReviewQueueItemsAdded,
    ReviewQueueItemsRemoved,
    ReviewQueueItemStatusSet,
    ReviewQueueItemStatusSetContent,
)

from .edge import LedgerStore, now_ms, start_offset
from .items import existing_item, found_page
from .review_queues import existing_queue, page_size, subject_of

if TYPE_CHECKING:
    from mlflow.genai.review_queues import ReviewQueueItem

__all__ = ["ReviewQueueItems", "removals_of"]

_KIND = ReviewQueueItemsAdded.item_kind
_PENDING = "pending"
_PER_EVENT = 2000
"""How many items one event names at most: an id takes up to 200 bytes, an event 512 KiB."""


class ReviewQueueItems(LedgerStore):
    """Add, list, finish and remove what is to be reviewed."""

    def add_items_to_review_queue(
        self, queue_id: str, *, item_ids: list[str], item_type: str = "trace"
    ) -> list[ReviewQueueItem]:
        """Have items reviewed; those that are there stay as they are."""
        from mlflow.genai.review_queues.validation import (
            coerce_item_type,
            validate_item_ids_for_attach,
        )

        kind, ids = str(coerce_item_type(item_type)), validate_item_ids_for_attach(item_ids)
        added_ms = now_ms()

        def said(batch: list[str]) -> ReviewQueueItemsAdded:
            return ReviewQueueItemsAdded(
                queue_id=queue_id, item_type=kind, item_ids=batch, added_ms=added_ms
            )

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_queue(db, queue_id, said(ids[:_PER_EVENT]))
            there = items_named(db, _KIND, subject_of(queue_id), ids)
            return [said(batch) for batch in _batches(i for i in ids if i not in there)]

        there = self._decide_and_ask(
            decide, lambda db: items_named(db, _KIND, subject_of(queue_id), ids)
        )
        return [_item(there[item_id]) for item_id in ids if item_id in there]

    def remove_items_from_review_queue(self, queue_id: str, *, item_ids: list[str]) -> None:
        """Take items off a queue; those that are not there need not go."""
        from mlflow.genai.review_queues.validation import validate_item_ids_for_attach

        ids = validate_item_ids_for_attach(item_ids)

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_queue(
                db, queue_id, ReviewQueueItemsRemoved(queue_id=queue_id, item_ids=ids[:1])
            )
            return _removals(db, queue_id, ids)

        self._decide(decide)

    def list_review_queue_items(
        self,
        queue_id: str,
        *,
        status: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> PagedList[ReviewQueueItem]:
        """A page of a queue's items, those that came last first."""
        from mlflow.genai.review_queues.validation import coerce_status

        size, offset = page_size(max_results), start_offset(page_token)
        matching = {} if status is None else {"status": str(coerce_status(status))}

        def ask(db: sqlite3.Connection) -> list[Item]:
            existing_queue(db, queue_id)
            return items_of(
                db, _KIND, subject_of(queue_id), matching=matching, limit=size + 1, offset=offset
            )

        return found_page(self._ask(ask), size, offset, _item)

    def set_review_queue_item_status(
        self, queue_id: str, *, item_id: str, status: str, completed_by: str | None = None
    ) -> ReviewQueueItem:
        """Complete, decline or reopen an item; what it is already stays with whoever did it."""
        event = _status_set(queue_id, item_id, status, completed_by)

        def decide(db: sqlite3.Connection) -> list[Event]:
            existing_queue(db, queue_id, event)
            return [] if ask(db).fields["status"] == event.status else [event]

        def ask(db: sqlite3.Connection) -> Item:
            msg = f"Item '{event.item_id}' is not attached to review queue '{queue_id}'."
            return existing_item(db, _KIND, f"{queue_id}/{event.item_id}", msg, event)

        return _item(self._decide_and_ask(decide, ask))


def removals_of(db: sqlite3.Connection, trace_ids: Iterable[str]) -> list[Event]:
    """What has to be said so that no queue holds traces that are deleted."""
    by_queue: dict[str, list[str]] = {}
    for trace_id in trace_ids:
        for queue in sorted(parents_of_named(db, _KIND, trace_id)):
            by_queue.setdefault(queue.removeprefix(subject_of("")), []).append(trace_id)
    return [event for queue_id, ids in by_queue.items() for event in _removals(db, queue_id, ids)]


def _removals(db: sqlite3.Connection, queue_id: str, ids: list[str]) -> list[Event]:
    there = items_named(db, _KIND, subject_of(queue_id), ids)
    return [
        ReviewQueueItemsRemoved(queue_id=queue_id, item_ids=batch)
        for batch in _batches(item_id for item_id in ids if item_id in there)
    ]


def _status_set(
    queue_id: str, item_id: str, status: str, completed_by: str | None
) -> ReviewQueueItemStatusSet:
    from mlflow.genai.review_queues.validation import (
        USER_MAX_LENGTH,
        coerce_status,
        normalize_item_id,
        normalize_user,
    )

    new, item_id = str(coerce_status(status)), normalize_item_id(item_id)
    by = None if completed_by is None else normalize_user(completed_by)
    if new == _PENDING and by is not None:
        raise _invalid("`completed_by` must not be set when reopening an item to `pending`.")
    if new != _PENDING and not by:
        raise _invalid(f"`completed_by` is required when setting status to `{new}`.")
    if by is not None and len(by) > USER_MAX_LENGTH:
        raise _invalid(
            f"`completed_by` must be at most {USER_MAX_LENGTH} characters; got {len(by)}."
        )
    content = None if by is None else ReviewQueueItemStatusSetContent(completed_by=by)
    return ReviewQueueItemStatusSet(queue_id=queue_id, item_id=item_id, status=new, content=content)


def _invalid(message: str) -> MlflowException:
    return MlflowException(message, INVALID_PARAMETER_VALUE)


def _batches(item_ids: Iterable[str]) -> list[list[str]]:
    ids = list(item_ids)
    return [ids[i : i + _PER_EVENT] for i in range(0, len(ids), _PER_EVENT)]


def _item(item: Item) -> ReviewQueueItem:
    from mlflow.genai.review_queues import ReviewItemType, ReviewQueueItem, ReviewStatus

    status = ReviewStatus(item.fields["status"])
    return ReviewQueueItem(
        queue_id=item.parent_id,
        item_type=ReviewItemType(item.fields["item_type"]),
        item_id=item.name or "",
        status=status,
        creation_time_ms=item.created_ms,
        last_update_time_ms=item.updated_ms,
        completed_by=item.fields.get("completed_by"),
        completed_time_ms=None if status == ReviewStatus.PENDING else item.updated_ms,
    )
