"""The forwarder and a real Kafka: a broker that goes and comes back, and what it will not take."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.bus import Forwarder, KafkaLog, KafkaSettings, Outgoing, Spool, kafka_place
from mlflow_ledger.schemas import Record, RecordRefused
from tests.kafka.broker import Cluster, missing
from tests.kafka.servers import servers
from tests.kafka.topics import configure

from .records import many, outgoing

LEDGER_ID = "0123456789abcdef"
PARTITIONS = 3


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool.sqlite")
    yield made
    made.close()


def log_at(addresses: str) -> KafkaLog:
    place = kafka_place(f"ledger+kafka://{addresses}/forward-{uuid.uuid4().hex}")
    log = KafkaLog(place, KafkaSettings(partitions=PARTITIONS, timeout_s=3), LEDGER_ID)
    log.create()
    return log


def spread(first: int, last: int) -> list[Outgoing]:
    """Records of one source for each partition, with the same ids."""
    return [
        outgoing(number, f"p/runs/{part}", partition=("runs", part))
        for number in range(first, last + 1)
        for part in range(PARTITIONS)
    ]


@pytest.mark.brokers
def test_a_broker_is_killed_and_comes_back(tmp_path: Path, spool: Spool) -> None:
    servers()  # skips or fails where there is no Kafka
    why = missing()
    if why is not None:
        pytest.skip(why)
    with Cluster(tmp_path / "kafka") as cluster:
        log = log_at(cluster.servers)
        sender = Forwarder(spool, log, str(log.place))
        spool.append(spread(1, 100))
        sender.notify()
        assert sender.drain(60) == 0
        spool.append(spread(101, 400))
        sender.notify()  # it is killed with batches on their way
        cluster.kill(0)
        spool.append(spread(401, 500))
        sender.notify()
        while sender.status().error is None:
            os.sched_yield()
        assert "did not answer" in str(sender.status().error)
        assert sender.drain(0.1) >= 300
        cluster.start(0)
        cluster.wait()
        assert sender.drain(100) == 0
        spool.append(spread(501, 520))
        sender.notify()
        assert sender.drain(60) == 0
        assert sender.status() == (spool.depth(), 0, None, None)
        found: dict[tuple[str, int], dict[int, None]] = {}
        for stored in log.read(log.start()):
            source = stored.record.envelope.source
            assert source == f"p/runs/{stored.partition[1]}"
            found.setdefault(stored.partition, {})[stored.record.envelope.id] = None
        sender.close(1)
        log.close()
    assert found == {("runs", n): dict.fromkeys(range(1, 521)) for n in range(PARTITIONS)}
    assert all(list(ids) == list(range(1, 521)) for ids in found.values())


def test_an_event_that_the_brokers_do_not_take_holds_up_no_other(spool: Spool) -> None:
    log = log_at(servers())
    configure(log.place, "runs", max_message_bytes="20000")
    sender = Forwarder(spool, log, str(log.place))
    records = many(60)
    envelope, head = records[41].record.envelope, records[41].record.head
    records[41] = records[41]._replace(record=Record(envelope, head, os.urandom(50_000)))
    with pytest.raises(RecordRefused, match=r"max\.message\.bytes"):
        log.append([records[41]])
    spool.append(records)
    sender.notify()
    assert sender.drain(60) == 0
    (refused,) = spool.refused()
    assert refused.outgoing == records[41]
    assert "max.message.bytes" in refused.error
    ids = list(dict.fromkeys(s.record.envelope.id for s in log.read(log.start())))
    assert ids == [*range(1, 42), *range(43, 61)]
    sender.close(1)
    log.close()
