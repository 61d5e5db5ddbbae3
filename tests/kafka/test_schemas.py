"""The schemas on their topic: enough to read every event with an Avro library and nothing else."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from mlflow_ledger.bus import KafkaPlace, KafkaSettings
from mlflow_ledger.consumers import SchemaPublishing, find_replica
from mlflow_ledger.schemas import KeyValue, RunCreated, RunDataLogged, RunDataLoggedContent

from .hosts import new_place, on_hosts
from .servers import drop, servers

MARKER = b"\xc3\x01"


def messages(place: KafkaPlace, topic: str) -> list[Any]:
    """All messages of a topic, as any client reads them."""
    consumer = KafkaConsumer(bootstrap_servers=place.servers, group_id=None)
    count = len(consumer.partitions_for_topic(place.topic(topic)) or ())
    partitions = [TopicPartition(place.topic(topic), number) for number in range(count)]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    end = consumer.end_offsets(partitions)
    found: list[Any] = []
    while any(consumer.position(partition) < end[partition] for partition in partitions):
        for polled in consumer.poll(timeout_ms=100).values():
            found += polled
    consumer.close()
    return found


def test_events_are_read_with_what_stands_in_the_topics(tmp_path: Path) -> None:
    params = RunDataLoggedContent(params=[KeyValue(key="p", value="v")])
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        ledger.write(lambda _: [RunCreated(run_id="r", experiment_id="0", artifact_uri="x")])
        ledger.write(lambda _: [RunDataLogged(run_id="r", content=params)])
        place = ledger.kafka.place
        schemas = {m.key.decode(): json.loads(m.value) for m in messages(place, "schemas")}
        said = {}
        for message in (*messages(place, "catalog"), *messages(place, "runs")):
            assert message.value[:2] == MARKER
            schema = schemas[message.value[2:10].hex()]
            body = fastavro.schemaless_reader(io.BytesIO(message.value[10:]), schema, None)
            said[schema["name"]] = body
    assert set(said) == {"LedgerCreated", "RunCreated", "RunDataLogged"}
    assert said["RunDataLogged"]["content"]["params"] == [{"key": "p", "value": "v"}]


def test_a_service_publishes_them_once_a_start_and_the_topic_keeps_the_last(tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        place = ledger.kafka.place
        before = len(messages(place, "schemas"))
        duty = SchemaPublishing(ledger)
        for seq in range(3):
            duty.round(seq)
        assert duty.published == before
        assert len(messages(place, "schemas")) == 2 * before
        resource = ConfigResource(ConfigResourceType.TOPIC, place.topic("schemas"))
        admin = KafkaAdminClient(bootstrap_servers=place.servers)
        found = admin.describe_configs([resource], config_filter="all")["topic"]
        admin.close()
        assert found[place.topic("schemas")]["cleanup.policy"]["value"] == "compact"


def test_a_ledger_begins_without_the_topic(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An administrator may have made those of facts only."""
    place = new_place(servers())
    facts = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    facts["message.timestamp.type"] = "LogAppendTime"
    admin = KafkaAdminClient(bootstrap_servers=place.servers)
    names = [place.topic(topic) for topic in ("catalog", "runs", "traces", "artifacts")]
    one = {"num_partitions": 1, "replication_factor": 1, "configs": facts}
    admin.create_topics(dict.fromkeys(names, one))
    admin.wait_for_topics(names)
    admin.close()
    find_replica(place, tmp_path / "home", KafkaSettings())
    assert f"the topic {place.topic('schemas')} is missing" in caplog.text
    drop(place)
