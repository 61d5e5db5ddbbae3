"""What a real broker holds is what docs/asyncapi.json says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from mlflow_ledger.bus import KafkaLog, KafkaSettings, Writer, kafka_place
from mlflow_ledger.schemas import event_types
from tests.kafka.servers import servers
from tests.kafka.topics import messages
from tests.schemas.samples import FULL, bare

from .reading import DOCUMENT, Reader, same


@pytest.fixture(scope="module")
def said() -> list[Any]:
    return [*FULL, *map(bare, FULL)]


@pytest.fixture(scope="module")
def log(said: list[Any]) -> Iterator[KafkaLog]:
    place = kafka_place(f"ledger+kafka://{servers()}/page-{uuid.uuid4().hex}")
    made = KafkaLog(place, KafkaSettings(), "0123456789abcdef")
    made.create()
    writer = Writer()
    made.append([writer.stamp(event, made.partitions(), "call-1") for event in said])
    yield made
    made.close()


def address(log: KafkaLog, topic: str) -> str:
    """The name of a topic on the cluster, by its address in the document."""
    named: str = DOCUMENT["channels"][topic]["address"]
    return named.format(ledger=log.place.name)


def test_every_message_conforms_and_is_read_with_the_document_alone(
    log: KafkaLog, said: list[Any]
) -> None:
    reader, read = Reader(DOCUMENT), 0
    types = set()
    for topic, channel in DOCUMENT["channels"].items():
        for message in messages(log.place, address(log, topic)):
            assert reader.faults(message.headers) == []
            headers = {name: data.decode() for name, data in message.headers}
            name = headers["ce_type"]
            assert name in channel["messages"]
            assert headers["ce_correlationid"] == "call-1"
            found = reader.decode(message.value)
            candidates = [event for event in said if type(event).__name__ == name]
            event = next(event for event in candidates if same(found, event))
            assert message.key.decode() == event.key
            assert headers["ce_subject"] == event.subject
            types.add(name)
            read += 1
    assert read == len(said)
    assert types == set(event_types())


def test_the_topics_are_made_as_the_document_says(log: KafkaLog) -> None:
    admin = KafkaAdminClient(bootstrap_servers=log.place.servers)
    for topic, channel in DOCUMENT["channels"].items():
        binding = channel["bindings"]["kafka"]
        assert log.partitions()[topic] == binding["partitions"]
        name = log.place.topic(topic)
        resource = ConfigResource(ConfigResourceType.TOPIC, name)
        found = admin.describe_configs([resource], config_filter="all")["topic"][name]
        for key, value in binding["topicConfiguration"].items():
            if key == "min.insync.replicas":
                continue  # 2 needs the three brokers that the document's replicas need
            expected = ",".join(value) if isinstance(value, list) else str(value)
            assert found[key]["value"] == expected
    admin.close()
