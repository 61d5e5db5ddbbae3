"""Review queues as MLflow's tracking store keeps them."""

from __future__ import annotations

import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_MAX_RESULTS_DEFAULT

from mlflow_ledger.consumers.rules.review_queues import FIXED, LOCKED
from mlflow_ledger.query import (
    Item,
    item_named,
    item_of,
    items_of,
    parents_of_named,
)
from mlflow_ledger.schemas import (
    Event,
    LabelSchemaCreated,
    Reason,
    Refused,
    ReviewQueueContent,
    ReviewQueueCreated,
    ReviewQueueDeleted,
    ReviewQueueUpdated,
)

from .edge import LedgerStore, start_offset
from .experiments import check_max_results, experiment_no, seen_experiment
from .items import existing_item, of_experiment, page_of

if TYPE_CHECKING:
    from mlflow.genai.review_queues import ReviewQueue

__all__ = ["ReviewQueues", "existing_queue", "page_size", "subject_of"]

_KIND, _ITEM_KIND = ReviewQueueCreated.kind, ReviewQueueCreated.item_kind
_USER = "user"


class ReviewQueues(LedgerStore):
    """Create, get, list, change and delete review queues."""

    def create_review_queue(
        self,
        experiment_id: str,
        *,
        name: str,
        queue_type: str,
        created_by: str | None = None,
        users: list[str] | None = None,
        schema_ids: list[str] | None = None,
    ) -> ReviewQueue:
        """Create a review queue; its name is unique in its experiment, whatever its case."""
        event = _created(experiment_id, name, queue_type, created_by, users, schema_ids)

        def decide(db: sqlite3.Connection) -> list[Event]:
            seen_experiment(db, experiment_id)
            _check_schemas(db, experiment_id, event.schema_ids, event)
            if item_named(db, _KIND, event.name_key, of_experiment(experiment_id)):
                raise _taken(Reason.EXISTS, event)
            return [event]

        return _queue(self._decide_and_ask(decide, lambda db: existing_queue(db, event.queue_id)))

    def get_or_create_user_queue(self, experiment_id: str, *, user: str) -> ReviewQueue:
        """The queue of one user, which is named for them."""
        from mlflow.genai.review_queues.validation import normalize_user

        name = normalize_user(user)
        event = _created(experiment_id, name, _USER, name)

        def decide(db: sqlite3.Connection) -> list[Event]:
            seen_experiment(db, experiment_id)
            return [] if item_named(db, _KIND, name, of_experiment(experiment_id)) else [event]

        found = self._decide_and_ask(decide, lambda db: _named(db, experiment_id, name))
        if found.fields["queue_type"] != _USER:
            msg = (
                f"A non-user queue named '{name}' already exists; cannot get-or-create "
                "a user queue with that name."
            )
            raise Refused(Reason.EXISTS, msg)
        return _queue(found)

    def get_review_queue(self, queue_id: str) -> ReviewQueue:
        """A review queue by its id."""
        return _queue(self._ask(lambda db: existing_queue(db, queue_id)))

    def get_review_queue_by_name(self, experiment_id: str, *, name: str) -> ReviewQueue:
        """A review queue by its name, in any case."""
        return _queue(self._ask(lambda db: _named(db, experiment_id, name)))

    def list_review_queues(
        self,
        experiment_id: str,
        *,
        user: str | None = None,
        item_id: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> PagedList[ReviewQueue]:
        """A page of an experiment's queues, newest first: all, one user's, those with an item."""
        from mlflow.genai.review_queues.validation import normalize_user

        size = page_size(max_results)
        start_offset(page_token)

        def ask(db: sqlite3.Connection) -> list[Item]:
            seen_experiment(db, experiment_id)
            items = items_of(db, _KIND, of_experiment(experiment_id))
            if user is not None:
                name = normalize_user(user)
                items = [item for item in items if name in _users(item)]
            if item_id is not None:
                holding = parents_of_named(db, _ITEM_KIND, item_id)
                items = [item for item in items if f"{_KIND}:/{item.item_id}" in holding]
            return items

        return page_of(self._ask(ask), size, page_token, _queue)

    def update_review_queue(
        self,
        queue_id: str,
        *,
        users: list[str] | None = None,
        schema_ids: list[str] | None = None,
        name: str | None = None,
        new_owner: str | None = None,
    ) -> ReviewQueue:
        """Change what is given of a custom queue; its questions while it holds no items."""
        attempt = ReviewQueueUpdated(queue_id=queue_id)
        given = (users, schema_ids, name, new_owner)

        def decide(db: sqlite3.Connection) -> list[Event]:
            queue = existing_queue(db, queue_id, attempt)
            if queue.fields["queue_type"] == _USER:
                raise Refused(Reason.INVALID, FIXED, attempt)
            if all(value is None for value in given):
                return []
            return [_updated(db, queue, users, schema_ids, name, new_owner)]

        return _queue(self._decide_and_ask(decide, lambda db: existing_queue(db, queue_id)))

    def delete_review_queue(self, queue_id: str) -> None:
        """Delete a queue with its items; one that is not there is no error."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            return [ReviewQueueDeleted(queue_id=queue_id)] if item_of(db, _KIND, queue_id) else []

        self._decide(decide)


def _created(
    experiment_id: str,
    name: str,
    queue_type: str,
    created_by: str | None,
    users: list[str] | None = None,
    schema_ids: list[str] | None = None,
) -> ReviewQueueCreated:
    from mlflow.genai.review_queues.validation import validate_queue_for_create

    valid = validate_queue_for_create(
        name=name, queue_type=queue_type, users=users, schema_ids=schema_ids
    )
    kind = str(valid.queue_type)
    return ReviewQueueCreated(
        queue_id=f"rq-{uuid.uuid4().hex}",
        experiment_id=str(experiment_no(experiment_id)),
        name=valid.name,
        name_key=valid.name.lower(),
        queue_type=kind,
        schema_ids=valid.schema_ids,
        content=ReviewQueueContent(
            created_by=created_by, users=None if kind == _USER else valid.users
        ),
    )


def _updated(
    db: sqlite3.Connection,
    queue: Item,
    users: list[str] | None,
    schema_ids: list[str] | None,
    name: str | None,
    new_owner: str | None,
) -> ReviewQueueUpdated:
    from mlflow.genai.review_queues.validation import (
        normalize_schema_ids,
        normalize_users,
        validate_custom_queue_name,
        validate_queue_owner,
    )

    owner = None if new_owner is None else validate_queue_owner(new_owner)
    new_name = None if name is None else validate_custom_queue_name(name)
    content = ReviewQueueContent(
        created_by=owner, users=None if users is None else normalize_users(users)
    )
    event = ReviewQueueUpdated(
        queue_id=queue.item_id,
        name=new_name,
        name_key=new_name and new_name.lower(),
        content=None if owner is None and users is None else content,
    )
    taken = event.name_key not in (None, queue.name) and item_named(
        db, _KIND, event.name_key or "", queue.parent
    )
    if taken and (users is not None or schema_ids is not None):
        # MLflow sends its database the name with the first of these, and expects no error there.
        raise _taken(Reason.BAD_REQUEST, event)
    if schema_ids is not None:
        if items_of(db, _ITEM_KIND, subject_of(queue.item_id), limit=1):
            raise Refused(Reason.INVALID, LOCKED, event)
        event = event.model_copy(update={"schema_ids": normalize_schema_ids(schema_ids)})
        _check_schemas(db, queue.parent_id, event.schema_ids or [], event)
    if taken:
        raise _taken(Reason.EXISTS, event)
    return event


def page_size(max_results: int | None) -> int:
    """How many of them a page holds."""
    if max_results is None:
        return SEARCH_MAX_RESULTS_DEFAULT
    check_max_results(max_results)
    return max_results


def subject_of(queue_id: str) -> str:
    """A queue as events name it."""
    return f"{_KIND}:/{queue_id}"


def existing_queue(db: sqlite3.Connection, queue_id: str, event: Event | None = None) -> Item:
    """A queue that must be there.

    Raises:
        Refused: it is not; ``event`` is what the command would have said.
    """
    return existing_item(
        db, _KIND, queue_id, f"Review queue with id '{queue_id}' not found.", event
    )


def _named(db: sqlite3.Connection, experiment_id: str, name: str) -> Item:
    seen_experiment(db, experiment_id)
    item = item_named(db, _KIND, name.lower(), of_experiment(experiment_id))
    if item is None:
        msg = f"Review queue with name '{name}' not found for experiment '{experiment_id}'."
        raise Refused(Reason.MISSING, msg)
    return item


def _check_schemas(
    db: sqlite3.Connection, experiment_id: str, schema_ids: list[str], event: Event
) -> None:
    missing = []
    for schema_id in schema_ids:
        schema = item_of(db, LabelSchemaCreated.kind, schema_id)
        if schema is None or schema.parent != of_experiment(experiment_id):
            missing.append(schema_id)
    if missing:
        msg = f"Label schema id(s) {missing} not found for experiment '{experiment_id}'."
        raise Refused(Reason.INVALID, msg, event)


def _taken(reason: Reason, event: ReviewQueueCreated | ReviewQueueUpdated) -> Refused:
    msg = f"Review queue with name '{event.name}' already exists (names are case-insensitive)."
    return Refused(reason, msg, event)


def _users(queue: Item) -> list[str]:
    if queue.fields["queue_type"] == _USER:
        return [queue.name or ""]
    return sorted(queue.fields.get("users", ()))


def _queue(item: Item) -> ReviewQueue:
    from mlflow.genai.review_queues import ReviewQueue, ReviewQueueType

    fields: dict[str, Any] = item.fields
    return ReviewQueue(
        queue_id=item.item_id,
        experiment_id=item.parent_id,
        name=fields["name"],
        queue_type=ReviewQueueType(fields["queue_type"]),
        created_by=fields.get("created_by"),
        creation_time_ms=item.created_ms,
        last_update_time_ms=item.updated_ms,
        users=_users(item),
        schema_ids=sorted(fields["schema_ids"]),
    )
