"""Review queues of a ledger in Kafka: what two hosts do to one at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlflow_ledger.producers import LedgerTrackingStore

from .hosts import digests, on_hosts
from .servers import servers

Store = Any  # MLflow's errors are raised by what a decorator makes of the methods


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Store]]:
    with on_hosts(servers(), tmp_path) as hosts:
        stores = []
        for ledger in hosts:
            store = LedgerTrackingStore(f"ledger:{tmp_path}/unused")
            store._ledger = ledger
            stores.append(store)
        yield stores


def at_once(stores: list[Store], call: Callable[[Store, int], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(call, stores, range(len(stores))))


def test_two_hosts_work_on_one_queue(two: list[Store]) -> None:
    for number in range(5):
        queue, same = at_once(
            two, lambda store, _, n=number: store.get_or_create_user_queue("0", user=f"u{n}")
        )
        assert queue == same
        of_queue = {"queue_id": queue.queue_id}
        items, others = at_once(
            two,
            lambda store, _, q=of_queue: store.add_items_to_review_queue(
                **q, item_ids=["tr-1", "tr-2"]
            ),
        )
        assert items == others
        done, also = at_once(
            two,
            lambda store, n, q=of_queue: store.set_review_queue_item_status(
                **q, item_id="tr-1", status="complete", completed_by=f"host{n}"
            ),
        )
        assert done == also
        at_once(two, lambda store, _, q=of_queue: store.delete_review_queue(**q))
    assert digests(two[0]._ledger) == digests(two[1]._ledger)
