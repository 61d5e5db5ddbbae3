"""docs/asyncapi.json: what the generator makes today, valid, and true of every event."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import fastavro.schema
import pytest
from jsonschema import Draft7Validator

from mlflow_ledger.bus import TOPICS, asyncapi, message_of
from mlflow_ledger.schemas import Record, encode, event_types
from tests.schemas.samples import FULL, bare, envelope_of

from .reading import DOCUMENT, Reader, same

OFFICIAL = json.loads(Path(__file__).with_name("asyncapi-3.0.0.json").read_text("utf-8"))
READER = Reader(DOCUMENT)
ENVELOPE = envelope_of(FULL[0])


def faults(document: Any) -> list[str]:
    return [error.message for error in Draft7Validator(OFFICIAL).iter_errors(document)]


def test_the_page_is_what_is_generated_today() -> None:
    assert asyncapi() == DOCUMENT, "run: mlflow-ledger asyncapi > docs/asyncapi.json"


def test_the_page_is_valid_asyncapi() -> None:
    assert faults(DOCUMENT) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("channels", "runs", "bindings", "kafka", "partitions"), 0),
        (("channels", "runs", "bindings", "kafka", "topicConfiguration", "retention.ms"), "-1"),
        (("components", "messages", "RunCreated", "bindings", "kafka", "keys"), {}),
        (("components", "messages", "RunCreated", "headers"), {"type": 3}),
        (("components", "messages", "RunCreated", "payload"), []),
        (("operations", "receiveRuns", "action"), "read"),
        (("servers", "plaintext", "protocol"), None),
    ],
)
def test_what_is_wrong_would_be_noticed(path: tuple[str, ...], value: Any) -> None:
    document = node = copy.deepcopy(DOCUMENT)
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    assert faults(document) != []


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for child in node.values() for ref in references(child)]
        if isinstance(node, list):
            return [ref for child in node for ref in references(child)]
        return []

    found = references(DOCUMENT)
    assert len(found) > 100
    for reference in found:
        assert READER.at(reference) is not None


def test_every_type_is_a_message_of_its_topic_and_of_no_other() -> None:
    assert set(DOCUMENT["channels"]) == set(TOPICS)
    everywhere = {"CommandRejected"}
    for topic, channel in DOCUMENT["channels"].items():
        own = {name for name, event in event_types().items() if event.topic_name == topic}
        assert set(channel["messages"]) == own | everywhere
        assert channel["address"] == f"{{ledger}}.{topic}"


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["messages"]))
def test_a_message_says_what_it_is(name: str) -> None:
    message = DOCUMENT["components"]["messages"][name]
    assert message["summary"].endswith(".")
    assert len(message["bindings"]["kafka"]["key"]["description"]) > len("UTF-8. ")
    assert "``" not in json.dumps(message)


@pytest.mark.parametrize("name", sorted(set(DOCUMENT["components"]["schemas"]) - {"headers"}))
def test_every_payload_is_an_avro_schema_named_for_its_fingerprint(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]["schema"]
    fastavro.schema.parse_schema(schema)
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    digest = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    assert name == f"{schema['name']}.{digest.hex()}"


@pytest.mark.parametrize("event", [*FULL, *map(bare, FULL)], ids=lambda e: type(e).__name__)
def test_a_message_of_every_type_is_read_with_the_page_alone(event: Any) -> None:
    encoded = encode(event)
    headers, value = message_of(Record(envelope_of(event), encoded.head, encoded.content))
    assert READER.faults(headers) == []
    assert same(READER.decode(value), event)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_id", b"0"), ("ce_id", None), ("ce_type", b"RunTeleported"), ("ce_actorkind", b"king"),
        ("ce_time", b"yesterday"), ("headbytes", None), ("content-type", b"text/plain"),
        ("ce_workspace", None), ("contentdigest", b"ab"), ("ce_specversion", b"2.0"),
    ],
)  # fmt: skip
def test_headers_that_no_event_has_do_not_conform(name: str, value: bytes | None) -> None:
    event = FULL[0]
    headers, _ = message_of(Record(envelope_of(event), encode(event).head))
    changed = [(n, data) for n, data in headers if n != name]
    if value is not None:
        changed.append((name, value))
    assert READER.faults(changed) != []


def test_the_page_names_every_header_that_there_is() -> None:
    full = ENVELOPE._replace(
        correlationid="c", keyid="k", originsource="s", originid="1", workspace="w"
    )
    headers, _ = message_of(Record(full, b"", None, bytes(32)))
    described = DOCUMENT["components"]["schemas"]["headers"]
    assert set(described["properties"]) == {name for name, _ in headers}
    least, _ = message_of(Record(ENVELOPE._replace(correlationid=None), b""))
    assert set(described["required"]) == {name for name, _ in least}


@pytest.mark.parametrize(
    ("name", "example"),
    [
        (name, example)
        for name, message in DOCUMENT["components"]["messages"].items()
        for example in message.get("examples", [])
    ],
)
def test_an_example_is_one(name: str, example: Any) -> None:
    event = event_types()[name].model_validate(example["payload"])
    headers = {**example["headers"], "headbytes": "1"}
    assert READER.faults([(n, text.encode()) for n, text in headers.items()]) == []
    schema = READER.at(DOCUMENT["components"]["messages"][name]["payload"]["$ref"])["schema"]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, example["payload"])
    assert out.getvalue() == encode(event).head[10:]
