"""Races about review queues: the log decides, as MLflow's database would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_ledger.producers.review_queue_items import removals_of
from mlflow_ledger.query import Item, items_of
from mlflow_ledger.schemas import (
    Event,
    ExperimentCreated,
    Reason,
    ReviewQueueCreated,
    ReviewQueueDeleted,
    ReviewQueueItemsAdded,
    ReviewQueueItemsRemoved,
    ReviewQueueItemStatusSet,
    ReviewQueueItemStatusSetContent,
    ReviewQueueUpdated,
)

from .folding import Bench


def queue(queue_id: str, name: str, queue_type: str = "custom") -> Event:
    return ReviewQueueCreated(
        queue_id=queue_id,
        experiment_id="1",
        name=name,
        name_key=name.lower(),
        queue_type=queue_type,
    )


def added(queue_id: str, *item_ids: str, added_ms: int = 5) -> Event:
    return ReviewQueueItemsAdded(
        queue_id=queue_id, item_type="trace", item_ids=list(item_ids), added_ms=added_ms
    )


def done(by: str, status: str = "complete", item_id: str = "tr-1") -> Event:
    content = ReviewQueueItemStatusSetContent(completed_by=by)
    return ReviewQueueItemStatusSet(queue_id="rq1", item_id=item_id, status=status, content=content)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.accept(ExperimentCreated(experiment_id="1", name="one", artifact_location="x"))
    made.accept(queue("rq1", "Night"), queue("rq2", "Day"), queue("rq3", "ann", "user"))
    yield made
    made.close()


def refused(bench: Bench, event: Event) -> tuple[str | None, str | None]:
    (verdict,) = bench.say(event)
    assert verdict.kind == "rejected"
    return verdict.code, verdict.message


def held(bench: Bench, queue_id: str = "rq1") -> list[Item]:
    return items_of(bench.db, "review_queue_items", f"review_queues:/{queue_id}")


def test_two_hosts_add_the_same_item(bench: Bench) -> None:
    bench.accept(added("rq1", "tr-1", added_ms=5), added("rq1", "tr-1", "tr-2", added_ms=6))
    assert [(item.name, item.created_ms) for item in held(bench)] == [("tr-2", 6), ("tr-1", 5)]


def test_two_hosts_finish_the_same_item(bench: Bench) -> None:
    bench.accept(added("rq1", "tr-1"), done("ann"), done("bob"))
    (item,) = held(bench)
    assert item.fields["completed_by"] == "ann"
    bench.accept(done("bob", "declined"))
    (item,) = held(bench)
    assert (item.fields["status"], item.fields["completed_by"]) == ("declined", "bob")


def test_an_item_is_finished_that_another_host_has_removed(bench: Bench) -> None:
    bench.accept(added("rq1", "tr-1"), ReviewQueueItemsRemoved(queue_id="rq1", item_ids=["tr-1"]))
    assert refused(bench, done("ann")) == (
        Reason.MISSING.value, "Item 'tr-1' is not attached to review queue 'rq1'.",
    )  # fmt: skip


def test_questions_change_while_another_host_adds_items(bench: Bench) -> None:
    bench.accept(added("rq1", "tr-1"))
    code, message = refused(bench, ReviewQueueUpdated(queue_id="rq1", schema_ids=[]))
    assert code == Reason.INVALID.value
    assert "locked" in (message or "")
    bench.accept(ReviewQueueUpdated(queue_id="rq1", name="Noon", name_key="noon"))


def test_a_users_queue_never_changes(bench: Bench) -> None:
    code, message = refused(bench, ReviewQueueUpdated(queue_id="rq3"))
    assert code == Reason.INVALID.value
    assert "fixed" in (message or "")


def test_two_hosts_take_one_name(bench: Bench) -> None:
    for event in (
        queue("rq4", "NIGHT"),
        ReviewQueueUpdated(queue_id="rq2", name="NIGHT", name_key="night"),
    ):
        assert refused(bench, event) == (
            Reason.EXISTS.value,
            "Review queue with name 'NIGHT' already exists (names are case-insensitive).",
        )


def test_a_queue_goes_with_its_items_only(bench: Bench) -> None:
    bench.accept(added("rq1", "tr-1"), added("rq2", "tr-1"), ReviewQueueDeleted(queue_id="rq1"))
    assert held(bench) == []
    assert [item.item_id for item in held(bench, "rq2")] == ["rq2/tr-1"]


def test_deleted_traces_leave_all_queues(bench: Bench) -> None:
    bench.accept(added("rq1", "tr-1", "tr-2"), added("rq2", "tr-1"))
    removals = removals_of(bench.db, ["tr-1", "tr-9"])
    assert removals == [
        ReviewQueueItemsRemoved(queue_id="rq1", item_ids=["tr-1"]),
        ReviewQueueItemsRemoved(queue_id="rq2", item_ids=["tr-1"]),
    ]
    bench.accept(*removals)
    assert [item.name for item in held(bench)] == ["tr-2"]
    assert held(bench, "rq2") == []
