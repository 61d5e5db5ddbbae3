"""The schemas on their topic: enough to read every event with an Avro library and nothing else."""

from __future__ import annotations

import io
import json
from pathlib import Path

import fastavro
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from mlflow_ledger.bus import KafkaSettings
from mlflow_ledger.consumers import SchemaPublishing, find_replica
from mlflow_ledger.schemas import KeyValue, RunCreated, RunDataLogged, RunDataLoggedContent

from .hosts import new_place, on_hosts
from .servers import drop, servers
from .topics import messages

MARKER = b"\xc3\x01"


def test_events_are_read_with_what_stands_in_the_topics(tmp_path: Path) -> None:
    params = RunDataLoggedContent(params=[KeyValue(key="p", value="v")])
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        ledger.write(lambda _: [RunCreated(run_id="r", experiment_id="0", artifact_uri="x")])
        ledger.write(lambda _: [RunDataLogged(run_id="r", content=params)])
        place = ledger.kafka.place
        published = messages(place, place.topic("schemas"))
        schemas = {message.key.decode(): json.loads(message.value) for message in published}
        said = {}
        events = [m for topic in ("catalog", "runs") for m in messages(place, place.topic(topic))]
        for message in events:
            assert message.value[:2] == MARKER
            schema = schemas[message.value[2:10].hex()]
            body = fastavro.schemaless_reader(io.BytesIO(message.value[10:]), schema, None)
            said[schema["name"]] = body
    assert set(said) == {"LedgerCreated", "RunCreated", "RunDataLogged"}
    assert said["RunDataLogged"]["content"]["params"] == [{"key": "p", "value": "v"}]


def test_a_service_publishes_them_once_a_start_and_the_topic_keeps_the_last(tmp_path: Path) -> None:
    with on_hosts(servers(), tmp_path, 1) as (ledger,):
        place = ledger.kafka.place
        before = len(messages(place, place.topic("schemas")))
        duty = SchemaPublishing(ledger)
        for seq in range(3):
            duty.round(seq)
        assert duty.published == before
        assert len(messages(place, place.topic("schemas"))) == 2 * before
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
