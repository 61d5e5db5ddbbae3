"""FULL_TRANSITIVE: every released schema reads what every other one wrote."""

from __future__ import annotations

import copy
import io
import itertools
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fastavro
import fastavro.utils
import pytest

from mlflow_ledger.schemas import (
    AvroSchema,
    avro_schema,
    decode,
    encode,
    event_types,
    fingerprint,
    released_schemas,
    wire_value,
)
from mlflow_ledger.schemas.release import release

from .samples import FULL, bare

SCHEMAS = Path(__file__).parents[2] / "schemas"
Change = Callable[[AvroSchema], None]


def problems(versions: Iterable[AvroSchema]) -> list[str]:
    """What one version of a type cannot read of what another wrote, made-up values included."""
    found = []
    for writer, reader in itertools.permutations(versions, 2):
        written = fastavro.parse_schema(copy.deepcopy(writer))
        wanted = fastavro.parse_schema(copy.deepcopy(reader))
        for value in fastavro.utils.generate_many(written, 20):
            try:
                convert(value, written, wanted)
            except Exception as error:  # noqa: BLE001  # whatever goes wrong is the finding
                found.append(f"{writer['name']}: {error!r}")
                break
    return found


def convert(value: Any, writer: Any, reader: Any) -> Any:
    """A value written with one schema and read with another."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, writer, value)
    return fastavro.schemaless_reader(io.BytesIO(out.getvalue()), writer, reader)


def versions_of(name: str) -> list[AvroSchema]:
    return [schema for schema in released_schemas().values() if schema["name"] == name]


@pytest.mark.parametrize("name", event_types())
def test_every_version_reads_every_other(name: str) -> None:
    random.seed(name)  # what generate_many draws from
    today = avro_schema(event_types()[name])
    assert not problems([today, *versions_of(name)])


@pytest.mark.parametrize("event", FULL, ids=lambda e: type(e).__name__)
def test_todays_events_are_read_with_every_old_schema(event: Any) -> None:
    today = fastavro.parse_schema(avro_schema(type(event)))
    for said in (event, bare(event)):
        body = wire_value(encode(said), type(event).content_type is not None)[10:]
        for old in versions_of(type(event).__name__):
            read: Any = fastavro.schemaless_reader(
                io.BytesIO(body), today, fastavro.parse_schema(copy.deepcopy(old))
            )
            assert read.keys() == {field["name"] for field in old["fields"]}


def test_every_schema_of_the_history_has_its_reader_today() -> None:
    for print_, schema in released_schemas().items():
        random.seed(schema["name"])
        writer = {**schema, "fields": [f for f in schema["fields"] if f["name"] != "content"]}
        parsed: Any = fastavro.parse_schema(copy.deepcopy(writer))
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, fastavro.utils.generate_one(parsed))
        event = decode(schema["name"], b"\xc3\x01" + print_ + out.getvalue())
        assert type(event).__name__ == schema["name"]


def field(schema: AvroSchema, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(f for f in schema["fields"] if f["name"] == name)
    return found


def content_field(schema: AvroSchema, name: str) -> dict[str, Any]:
    return field(field(schema, "content")["type"][1], name)


BREAKING: dict[str, Change] = {
    "a new field without default": lambda s: s["fields"].append({"name": "x", "type": "string"}),
    "a field without default gone": lambda s: s["fields"].remove(field(s, "artifact_uri")),
    "another name": lambda s: field(s, "artifact_uri").update(name="uri"),
    "another type": lambda s: field(s, "experiment_epoch").update(type="string", default=""),
    "no longer optional": lambda s: field(s, "start_time_ms").update(type="long", default=0),
    "another type in the content": lambda s: content_field(s, "name").update(type="bytes"),
    "a tag's value no longer optional": lambda s: content_field(s, "tags")["type"]["items"][
        "fields"
    ][1].update(type="string", default=""),
}
HARMLESS: dict[str, Change] = {
    "a new field with default": lambda s: s["fields"].insert(
        1, {"name": "x", "type": ["null", "string"], "default": None}
    ),
    "a field with default gone": lambda s: s["fields"].remove(field(s, "start_time_ms")),
    "a new field with default in the content": lambda s: field(s, "content")["type"][1][
        "fields"
    ].append({"name": "x", "type": "long", "default": 7}),
    "other words": lambda s: s.update(doc="something else"),
}


@pytest.mark.parametrize("change", BREAKING)
def test_an_incompatible_change_is_caught(change: str) -> None:
    random.seed(change)
    today = avro_schema(event_types()["RunCreated"])
    changed = copy.deepcopy(today)
    BREAKING[change](changed)
    assert problems([today, changed]), change


@pytest.mark.parametrize("change", HARMLESS)
def test_a_compatible_change_is_let_through(change: str) -> None:
    random.seed(change)
    today = avro_schema(event_types()["RunCreated"])
    changed = copy.deepcopy(today)
    HARMLESS[change](changed)
    assert changed != today
    assert not problems([today, changed]), change


def test_checked_in_schemas_are_the_generated_ones(tmp_path: Path) -> None:
    release(tmp_path)
    made = {path.name: path.read_text("utf-8") for path in (tmp_path / "avsc").iterdir()}
    kept = {path.name: path.read_text("utf-8") for path in (SCHEMAS / "avsc").iterdir()}
    assert kept == made, "run: python -m mlflow_ledger.schemas.release schemas"


def test_the_history_holds_todays_schemas_under_their_fingerprints() -> None:
    kept = {path.name for path in (SCHEMAS / "history").iterdir()}
    for name, event in event_types().items():
        assert f"{name}.{fingerprint(avro_schema(event)).hex()}.avsc" in kept
    for path in (SCHEMAS / "history").iterdir():
        schema = json.loads(path.read_text("utf-8"))
        assert path.name == f"{schema['name']}.{fingerprint(schema).hex()}.avsc"


def test_a_release_changes_nothing_in_the_history(tmp_path: Path) -> None:
    release(tmp_path)
    kept = min((tmp_path / "history").iterdir())
    kept.write_text("as it was", "utf-8")
    assert release(tmp_path) == []
    assert kept.read_text("utf-8") == "as it was"
