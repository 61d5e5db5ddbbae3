"""Every released schema on a topic of its own, for readers who have no copy of them."""

from __future__ import annotations

import json

from mlflow_ledger.schemas import LogUnavailable, released_schemas

from .kafka_client import Message
from .kafka_settings import KafkaPlace, KafkaSettings
from .kafka_topics import COMPACTED, SCHEMAS, is_there, spelt

__all__ = ["schema_messages"]

_CONTENT_TYPE = ("content-type", b"application/json")


def schema_messages(place: KafkaPlace, settings: KafkaSettings) -> list[Message]:
    """Every released schema, as it is put on ``<ledger>.schemas``.

    A message's key is a fingerprint as it stands in the value of an event, in hex, its value the
    Avro schema as JSON. The topic is compacted: to say it again changes nothing for readers.

    Raises:
        LogUnavailable: the topic is not there, or the brokers are away.
    """
    topic = place.topic(SCHEMAS)
    if not is_there(place, settings, SCHEMAS):
        msg = (
            f"the topic {topic} is missing, from which foreign readers take the schemas of events; "
            f"let an administrator create it, with 1 partition and {spelt(COMPACTED)}"
        )
        raise LogUnavailable(msg)
    return [
        Message(
            (SCHEMAS, 0),
            fingerprint.hex().encode(),
            json.dumps(schema, sort_keys=True).encode(),
            [_CONTENT_TYPE],
        )
        for fingerprint, schema in sorted(released_schemas().items())
    ]
