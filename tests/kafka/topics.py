"""A ledger's topics, as an administrator changes them and any client reads them."""

from __future__ import annotations

from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from mlflow_ledger.bus import KafkaPlace

__all__ = ["configure", "messages"]


def configure(place: KafkaPlace, topic: str, **settings: str) -> None:
    """Set a topic's settings, and wait until the broker goes by them."""
    admin = KafkaAdminClient(bootstrap_servers=place.servers)
    names = {name.replace("_", "."): value for name, value in settings.items()}
    resource = ConfigResource(ConfigResourceType.TOPIC, place.topic(topic), names)
    admin.alter_configs([resource])
    asked = ConfigResource(ConfigResourceType.TOPIC, place.topic(topic))
    while True:  # a broker takes a moment to follow the controller
        found = admin.describe_configs([asked], config_filter="all")["topic"][place.topic(topic)]
        if all(found[name]["value"] == value for name, value in names.items()):
            break
    admin.close()


def messages(place: KafkaPlace, name: str) -> list[Any]:
    """All messages of a topic, which goes by its name on the cluster."""
    consumer = KafkaConsumer(bootstrap_servers=place.servers, group_id=None)
    partitions = [TopicPartition(name, number) for number in consumer.partitions_for_topic(name)]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    end = consumer.end_offsets(partitions)
    found: list[Any] = []
    while any(consumer.position(partition) < end[partition] for partition in partitions):
        for batch in consumer.poll(timeout_ms=1000).values():
            found += batch
    consumer.close()
    return found
