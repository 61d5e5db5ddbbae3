"""Hosts that share one ledger in Kafka, each with a replica of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Literal

from mlflow_ledger.bus import KafkaPlace, KafkaSettings, Settings, kafka_place
from mlflow_ledger.consumers import Analytics, KafkaLedger, Telling, find_replica, state_digest

from .servers import drop

__all__ = ["KAFKA", "PARTITIONS", "digests", "host", "new_place", "on_hosts"]

PARTITIONS = 4
KAFKA = KafkaSettings(partitions=PARTITIONS, replication=1, timeout_s=20)


def new_place(servers: str) -> KafkaPlace:
    """A ledger that is not there yet."""
    return kafka_place(f"ledger+kafka://{servers}/test-{uuid.uuid4().hex}")


def host(
    place: KafkaPlace,
    home: Path,
    *,
    delivery: Literal["spool", "ack"] | None = "ack",
    blobs: Path | None = None,
    telling: Telling | None = None,
    erasable: bool = False,
) -> KafkaLedger:
    """The ledger as a host sees it that keeps its replica in ``home``."""
    shared = f"file://{blobs}" if blobs else None
    settings = Settings(home=home, blobs=shared, delivery=delivery)
    replica = find_replica(place, home, KAFKA, blobs=blobs, erasable=erasable)
    return KafkaLedger(replica, settings, KAFKA, telling)


@contextmanager
def on_hosts(servers: str, folder: Path, count: int = 2) -> Iterator[list[KafkaLedger]]:
    """A new ledger on some hosts; its topics are deleted in the end."""
    place = new_place(servers)
    with ExitStack() as stack:
        stack.callback(drop, place)
        yield [
            stack.enter_context(closing(host(place, folder / f"host-{number}")))
            for number in range(count)
        ]


def digests(ledger: KafkaLedger) -> tuple[str, str]:
    """Digests of the state and of analytics, at the end of the topics."""
    ledger.catch_up()
    with closing(Analytics(ledger)) as analytics:
        found, wanted = analytics.digest()
    assert found == wanted
    return ledger.query(state_digest), found
