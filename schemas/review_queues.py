"""Events about review queues: what is to be reviewed, by whom, by which questions."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .event import Content
from .items import ItemEvent

__all__ = [
    "ReviewQueueContent",
    "ReviewQueueCreated",
    "ReviewQueueDeleted",
    "ReviewQueueEvent",
    "ReviewQueueItemStatusSet",
    "ReviewQueueItemStatusSetContent",
    "ReviewQueueItemsAdded",
    "ReviewQueueItemsRemoved",
    "ReviewQueueUpdated",
]


class ReviewQueueEvent(ItemEvent):
    """Anything that happens to one review queue; what it holds are items of ``item_kind``."""

    kind: ClassVar[str] = "review_queues"
    item_kind: ClassVar[str] = "review_queue_items"
    id_field: ClassVar[str] = "queue_id"
    queue_id: str


class ReviewQueueContent(Content):
    """Whose a queue is, and who is to review; a user's own queue is named for its reviewer."""

    created_by: str | None = None
    users: list[str] | None = None


class ReviewQueueCreated(ReviewQueueEvent):
    """A queue was created; ``name_key``, its name in lower case, is unique in its experiment."""

    topic_name: ClassVar[str] = "catalog"
    experiment_id: str
    name: str
    name_key: str
    queue_type: str
    schema_ids: list[str] = Field(default_factory=list)
    content: ReviewQueueContent | None = None


class ReviewQueueUpdated(ReviewQueueEvent):
    """A queue changed; what is absent stays. Its questions change while it holds no items."""

    topic_name: ClassVar[str] = "catalog"
    name: str | None = None
    name_key: str | None = None
    schema_ids: list[str] | None = None
    content: ReviewQueueContent | None = None


class ReviewQueueDeleted(ReviewQueueEvent):
    """A queue was deleted, with its items."""

    topic_name: ClassVar[str] = "catalog"


class ReviewQueueItemsAdded(ReviewQueueEvent):
    """Items are to be reviewed, all since one moment; those that are there stay as they are."""

    topic_name: ClassVar[str] = "catalog"
    item_type: str
    item_ids: list[str]
    added_ms: int


class ReviewQueueItemsRemoved(ReviewQueueEvent):
    """Items left a queue, if they were there."""

    topic_name: ClassVar[str] = "catalog"
    item_ids: list[str]


class ReviewQueueItemStatusSetContent(Content):
    """Who has reviewed an item, or declined to."""

    completed_by: str | None = None


class ReviewQueueItemStatusSet(ReviewQueueEvent):
    """An item was completed, declined or opened again; whoever came first has done it."""

    topic_name: ClassVar[str] = "catalog"
    item_id: str
    status: str
    content: ReviewQueueItemStatusSetContent | None = None
