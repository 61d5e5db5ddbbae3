"""Changes to a ledger's topics, as an administrator makes them."""

from __future__ import annotations

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from mlflow_ledger.bus import KafkaPlace

__all__ = ["configure"]


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
