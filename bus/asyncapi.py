"""The topics described for those who read them without us: an AsyncAPI 3 document."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from typing import Any

from mlflow_ledger.schemas import (
    CommandRejected,
    Envelope,
    Event,
    LedgerCreated,
    ModelVersionStageChanged,
    Record,
    RegisteredModelAliasSet,
    TopicPartitions,
    avro_schema,
    event_types,
    fingerprint,
    released_schemas,
)

from .kafka_records import message_of
from .kafka_settings import KafkaSettings
from .log import TOPICS
from .writer import RULES

__all__ = ["asyncapi"]

_AVRO = "application/vnd.apache.avro;version=1.9.0"
_BINDING = "0.5.0"
_COPIES = 3

_DESCRIPTION = """\
Every change to an MLflow run, model or artifact is one event, and the topics are all of them.

A message is a [CloudEvents 1.0](https://cloudevents.io) event in binary mode: the envelope is \
in headers `ce_*`, the value is one Avro single object (`C3 01`, the fingerprint of its schema in \
8 bytes, the body). `#/components/schemas` holds every schema that was ever released, named \
`<Type>.<fingerprint>`; they are compatible with each other in both directions (FULL_TRANSITIVE).

- **At least once.** (`ce_source`, `ce_id`) is the identity of an event; what bears one that was \
seen is to be dropped.
- **First in log order wins.** An event that lost a race (a name taken, a version deleted) stands \
in the topic all the same, and changes nothing.
- **Order** holds along a partition, and nowhere else. Offsets have holes.
- **What is no such message**, or is of a type that is not known, is to be skipped: the fold keeps \
it for the audit and goes on.

`docs/topics.md` tells how to write a consumer, `examples/consumers` shows two."""

_CHANNELS = {
    "catalog": "What has unique names or numbers: experiments, registered models, their versions, "
    "aliases and stages, webhooks. One partition, so all of it stands in one order. Its first "
    "record says which ledger this is.",
    "runs": "Runs, what is logged to them, logged models. What happens to one run stands in one "
    "partition, in order.",
    "traces": "Traces, their spans and assessments.",
    "artifacts": "The manifest of artifacts: which path holds which bytes.",
}

_HEADERS: dict[str, dict[str, Any]] = {
    "ce_specversion": {"const": "1.0", "description": "The version of CloudEvents."},
    "ce_source": {
        "minLength": 1,
        "description": "One writer to one partition, `<uuid>/<topic>/<partition>`.",
    },
    "ce_id": {
        "pattern": "^[1-9][0-9]*$",
        "description": "Counts the events of a source: 1, 2, 3 … without gaps.",
    },
    "ce_type": {"minLength": 1, "description": "The name of the message."},
    "ce_time": {"format": "date-time", "description": "The writer's clock, RFC 3339 in UTC."},
    "ce_subject": {"description": "What the event is about, such as `runs:/<id>`."},
    "ce_actor": {"description": "Who said it."},
    "ce_actorkind": {
        "enum": ["os", "authenticated", "claimed"],
        "description": "What the actor's name is worth: known to the operating system of the "
        "writer, authenticated by a server, or only claimed.",
    },
    "ce_workspace": {"description": "The workspace, `default` where there is none."},
    "ce_host": {"description": "The writer's host."},
    "ce_client": {"description": "The writer's program and its version."},
    "ce_rules": {
        "pattern": "^[0-9]+$",
        "description": "The version of the rules that decide about the event, for ever. "
        f"Today's is {RULES}; events about promotion rules name 2.",
    },
    "ce_correlationid": {"description": "Shared by events that one call has caused."},
    "ce_keyid": {"description": "The key that the content is sealed with."},
    "ce_originsource": {"description": "`ce_source` in the ledger it was imported from."},
    "ce_originid": {"description": "`ce_id` in the ledger it was imported from."},
    "content-type": {"const": "application/avro"},
    "headbytes": {
        "pattern": "^[0-9]+$",
        "description": "How many bytes of the value are structure; the content, which can be "
        "redacted, stands behind. Only who checks digests needs it.",
    },
    "contentdigest": {
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256 of a content that was redacted.",
    },
}

_VERSION = {"model_uid": "0f8a…", "name": "wine", "version_uid": "77c1…", "version": 2}
_EXAMPLES: dict[str, Event] = {
    type(event).__name__: event
    for event in (
        LedgerCreated(
            ledger_id="6a8820c505e58050",
            partitions=[TopicPartitions(topic=topic, count=1) for topic in TOPICS],
            rules=RULES,
            artifact_root="ledger-artifacts://6a8820c505e58050",
        ),
        RegisteredModelAliasSet.model_validate({**_VERSION, "alias": "champion"}),
        ModelVersionStageChanged.model_validate(
            {**_VERSION, "stage": "Production", "archive_existing": True}
        ),
    )
}


def asyncapi() -> dict[str, Any]:
    """The document, as JSON can say it: servers, channels, messages, every released schema."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:mlflow-ledger:topics",
        "info": {
            "title": "mlflow-ledger",
            "version": version("mlflow-ledger"),
            "description": _DESCRIPTION,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/avro",
        "servers": _servers(),
        "channels": {topic: _channel(topic) for topic in TOPICS},
        "operations": {f"receive{topic.capitalize()}": _operation(topic) for topic in TOPICS},
        "components": {
            "messages": {name: _message(event) for name, event in event_types().items()},
            "schemas": {"headers": _headers(), **_schemas()},
            "securitySchemes": {
                name: {"type": name} for name in ("plain", "scramSha256", "scramSha512", "X509")
            },
        },
    }


def _servers() -> dict[str, Any]:
    host = {"host": {"default": "localhost:9092", "description": "A bootstrap server, host:port."}}
    schemes = [
        {"$ref": f"#/components/securitySchemes/{name}"}
        for name in ("plain", "scramSha256", "scramSha512", "X509")
    ]
    return {
        "plaintext": {
            "host": "{host}",
            "protocol": "kafka",
            "summary": "A cluster that asks nobody who they are.",
            "variables": host,
        },
        "secured": {
            "host": "{host}",
            "protocol": "kafka-secure",
            "summary": "A cluster behind TLS, that may ask for SASL or for a certificate.",
            "variables": host,
            "security": schemes,
        },
    }


def _channel(topic: str) -> dict[str, Any]:
    from .kafka_topics import FACTS  # imports Kafka's client

    numbers = {"retention.ms", "retention.bytes"}
    configuration: dict[str, Any] = {
        name: int(value) if name in numbers else value for name, value in FACTS.items()
    }
    configuration["cleanup.policy"] = [configuration["cleanup.policy"]]
    partitions = 1 if topic == "catalog" else KafkaSettings.model_fields["partitions"].default
    return {
        "address": f"{{ledger}}.{topic}",
        "title": f"The topic {topic} of a ledger",
        "description": f"{_CHANNELS[topic]}\n\nThe partition is that of Kafka's default "
        "partitioner: murmur2 of the message's key. Partitions and replicas are those that a new "
        "ledger gets where nothing else is asked for; how many there are, `LedgerCreated` says.",
        "parameters": {
            "ledger": {
                "description": "The ledger's name: the path of `ledger+kafka://host:9092/<name>`.",
                "examples": ["team"],
            }
        },
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"}
            for name, event in event_types().items()
            if event.topic_name == topic or event is CommandRejected
        },
        "bindings": {
            "kafka": {
                "partitions": partitions,
                "replicas": _COPIES,
                "topicConfiguration": {**configuration, "min.insync.replicas": 2},
                "bindingVersion": _BINDING,
            }
        },
    }


def _operation(topic: str) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{topic}"},
        "title": f"Follow {topic}",
        "summary": "Read from the beginning, or from an offset of your own, without a consumer "
        "group: every reader reads everything.",
    }


def _message(event: type[Event]) -> dict[str, Any]:
    name = event.__name__
    says = _prose(event)
    message: dict[str, Any] = {
        "name": name,
        "title": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize(),
        "summary": says.split("\n")[0],
        "description": f"{says}\n\nSubject: {_prose(event.subject)}",
        "contentType": "application/avro",
        "headers": {
            "type": "object",
            "allOf": [{"$ref": "#/components/schemas/headers"}],
            "properties": {"ce_type": {"const": name}},
        },
        "payload": {"$ref": f"#/components/schemas/{_schema_name(avro_schema(event))}"},
        "correlationId": {
            "description": "Shared by events that one call has caused, where there are several.",
            "location": "$message.header#/ce_correlationid",
        },
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"UTF-8. {_prose(event.key)}"},
                "bindingVersion": _BINDING,
            }
        },
    }
    if name in _EXAMPLES:
        message["examples"] = [_example(_EXAMPLES[name])]
    return message


def _headers() -> dict[str, Any]:
    """The headers of every message: required is what a writer sets that has no more to say."""
    required = [name for name, _ in message_of(Record(_envelope(None), b""))[0]]
    return {
        "type": "object",
        "description": "Texts in UTF-8.",
        "required": required,
        "properties": {name: {"type": "string", **said} for name, said in _HEADERS.items()},
    }


def _schemas() -> dict[str, Any]:
    named = {_schema_name(schema): schema for schema in released_schemas().values()}
    return {name: {"schemaFormat": _AVRO, "schema": named[name]} for name in sorted(named)}


def _schema_name(schema: dict[str, Any]) -> str:
    return f"{schema['name']}.{fingerprint(schema).hex()}"


def _example(event: Event) -> dict[str, Any]:
    headers, _ = message_of(Record(_envelope(event), b""))
    payload = event.model_dump(mode="json")
    if event.content_type is None:
        del payload["content"]
    return {
        "name": "one",
        "headers": {name: data.decode() for name, data in headers if name != "headbytes"},
        "payload": payload,
    }


def _envelope(event: Event | None) -> Envelope:
    topic = event.topic if event else "catalog"
    return Envelope(
        source=f"a09a3de5-5025-4ffe-a775-85275c87fcf7/{topic}/0",
        id=17,
        type=type(event).__name__,
        time_ms=1_772_539_200_123,
        subject=event.subject if event else "",
        actor="alice",
        actorkind="os",
        host="laptop",
        client="mlflow-ledger/0.1.0",
        rules=RULES,
    )


def _prose(said: object) -> str:
    """A docstring as CommonMark."""
    return (inspect.getdoc(said) or "").replace("``", "`")
