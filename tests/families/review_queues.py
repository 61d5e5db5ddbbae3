"""Review queues."""

from __future__ import annotations

from mlflow_ledger.schemas import (
    Event,
    ReviewQueueContent,
    ReviewQueueCreated,
    ReviewQueueDeleted,
    ReviewQueueItemsAdded,
    ReviewQueueItemsRemoved,
    ReviewQueueItemStatusSet,
    ReviewQueueItemStatusSetContent,
    ReviewQueueUpdated,
)

FULL: tuple[Event, ...] = (
    ReviewQueueCreated(
        queue_id="rq1",
        experiment_id="17",
        name="Night Shift",
        name_key="night shift",
        queue_type="custom",
        schema_ids=["ls1"],
        content=ReviewQueueContent(created_by="ann", users=["bob", "eve"]),
    ),
    ReviewQueueUpdated(
        queue_id="rq1",
        name="Day Shift",
        name_key="day shift",
        schema_ids=["ls1", "ls2"],
        content=ReviewQueueContent(created_by="bob", users=["eve"]),
    ),
    ReviewQueueItemsAdded(
        queue_id="rq1", item_type="trace", item_ids=["tr-1", "tr-2"], added_ms=1_700_000_000_000
    ),
    ReviewQueueItemStatusSet(
        queue_id="rq1",
        item_id="tr-1",
        status="complete",
        content=ReviewQueueItemStatusSetContent(completed_by="eve"),
    ),
    ReviewQueueItemsRemoved(queue_id="rq1", item_ids=["tr-2"]),
    ReviewQueueDeleted(queue_id="rq1"),
)
