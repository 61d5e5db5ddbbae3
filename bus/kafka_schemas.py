"""Every released schema on a topic of its own, for readers who have no copy of them."""

from __future__ import annotations

import json

from mlflow_ledger.schemas import LogUnavailable, released_schemas

from .kafka_client import Message, open_client
from .kafka_settings import KafkaPlace, KafkaSettings
from .kafka_topics import COMPACTED, SCHEMAS, is_there, spelt

__all__ = ["publish_schemas"]

_GRACE_S = 2.0
_CONTENT_TYPE = ("content-type", b"application/json")


def publish_schemas(place: KafkaPlace, settings: KafkaSettings) -> int:
    """Put every released schema on ``<ledger>.schemas``; returns how many there are.

    A message's key is a fingerprint as it stands in the value of an event, in hex, its value the
    Avro schema as JSON. The topic is compacted: to say it again changes nothing for readers.

    Raises:
        LogUnavailable: the topic is not there, may not be written, or the brokers are away.
    """
    topic = place.topic(SCHEMAS)
    if not is_there(place, settings, SCHEMAS):
        msg = (
            f"the topic {topic} is missing, from which foreign readers take the schemas of events; "
            f"let an administrator create it, with 1 partition and {spelt(COMPACTED)}"
        )
        raise LogUnavailable(msg)
    messages = [
        Message(
            (SCHEMAS, 0),
            fingerprint.hex().encode(),
            json.dumps(schema, sort_keys=True).encode(),
            [_CONTENT_TYPE],
        )
        for fingerprint, schema in sorted(released_schemas().items())
    ]
    client = open_client(place, settings)
    try:
        client.send(messages).wait(settings.timeout_s + _GRACE_S)
    finally:
        client.close()
    return len(messages)
