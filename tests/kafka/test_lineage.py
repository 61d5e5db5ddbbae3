"""Lineage, stories and events of OpenLineage on hosts that share a ledger in Kafka."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from mlflow_ledger.bus import TopicWriter
from mlflow_ledger.consumers import KafkaLedger
from mlflow_ledger.query.bundle_check import check
from mlflow_ledger.query.bundling import bundle
from mlflow_ledger.query.emitting import Emitting
from mlflow_ledger.query.emitting_targets import FileTarget, TopicTarget
from mlflow_ledger.query.lineage import entity_lineage, lineage
from mlflow_ledger.query.story import story_of
from mlflow_ledger.schemas import RunUpdated
from tests.query.family_tree import SWEEP, tell

from .hosts import KAFKA, on_hosts
from .servers import servers
from .topics import messages


def emitted(ledger: KafkaLedger, file: Path, cursor: Path) -> list[str]:
    """Deliver what is due to a file; all lines in it."""
    ledger.catch_up()
    target = FileTarget(file)
    Emitting(ledger, target, cursor, None).drain()
    target.close()
    return file.read_text().splitlines()


def test_every_host_tells_the_same(tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path) as hosts:
        tell(hosts[0])
        for ledger in hosts:
            ledger.catch_up()
        graphs = [entity_lineage(ledger, "datasets:/d-wine").graph for ledger in hosts]
        assert graphs[0] == graphs[1]
        files = [lineage(ledger, "models:/cellar/1").environment for ledger in hosts]
        assert files[0] == files[1]
        assert files[0][0].text is not None
        paths = [tmp_path / f"{number}.zip" for number in range(2)]
        for ledger, path in zip(hosts, paths, strict=True):
            bundle(story_of(ledger, "models:/cellar/1"), path)
        assert check(paths[0]) == []
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_cursor_holds_for_another_replica(tmp_path: Path) -> None:
    cursor, file = tmp_path / "cursor.json", tmp_path / "events.jsonl"
    with on_hosts(servers(), tmp_path) as hosts:
        tell(hosts[0])
        first = emitted(hosts[0], file, cursor)
        assert len(first) > 10
        assert emitted(hosts[1], file, cursor) == first
        hosts[1].write(lambda _: [RunUpdated(run_id=SWEEP, status="KILLED", end_time_ms=5)])
        (new,) = emitted(hosts[0], file, cursor)[len(first) :]
        assert json.loads(new)["eventType"] == "ABORT"


def test_a_topic_gets_what_happens(tmp_path: Path) -> None:
    where = servers()
    topic = f"lineage-{uuid.uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=where)
    admin.create_topics([NewTopic(topic, 3, 1)])
    admin.close()
    with on_hosts(where, tmp_path, 1) as (ledger,):
        tell(ledger)
        ledger.catch_up()
        target = TopicTarget(TopicWriter(f"kafka://{where}/{topic}", KAFKA))
        emitting = Emitting(ledger, target, tmp_path / "cursor.json", None)
        emitting.drain()
        target.close()
        found = messages(ledger.kafka.place, topic)
        expected = emitted(ledger, tmp_path / "events.jsonl", tmp_path / "other.json")
    assert sorted(message.value.decode() for message in found) == sorted(expected)
    assert len({m.partition for m in found if m.key == found[0].key}) == 1
