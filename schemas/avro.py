"""Avro schemas generated from the event models."""

from __future__ import annotations

import types
import typing
from typing import Any, Union

import fastavro.schema
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .event import Content, Event

__all__ = ["AvroSchema", "avro_schema", "content_schema", "fingerprint", "head_schema"]

AvroSchema = dict[str, Any]

NAMESPACE = "mlflow_ledger"
NONCE_BYTES = 16
_PRIMITIVES = {str: "string", int: "long", float: "double", bool: "boolean", bytes: "bytes"}
_NONCE = {"name": "nonce", "type": {"type": "fixed", "name": "Nonce", "size": NONCE_BYTES}}


def avro_schema(event: type[Event]) -> AvroSchema:
    """The schema of a whole event: its structure, then its content, if the type has one.

    The content is ``null`` (none), a record, or ``bytes`` (sealed with the key that the envelope
    names). It stands last, so that structure and content are a prefix and a suffix of the body.
    """
    schema = _record(event, set())
    if event.content_type is not None:
        content = _record(event.content_type, {"nonce", *_names(schema)})
        schema["fields"].append({"name": "content", "type": ["null", content, "bytes"]})
    return schema


def head_schema(schema: AvroSchema) -> AvroSchema:
    """The schema of a body's prefix: everything but the content."""
    fields = [field for field in schema["fields"] if field["name"] != "content"]
    return {**schema, "fields": fields}


def content_schema(schema: AvroSchema) -> AvroSchema | None:
    """The schema of the content record without its nonce, or None where the type has none.

    Records that the head defines are defined again, so that it stands on its own.
    """
    field = next((f for f in schema["fields"] if f["name"] == "content"), None)
    if field is None:
        return None
    record = field["type"][1]
    defined = {r["name"]: r for r in _records(head_schema(schema))}
    fields = [f for f in record["fields"] if f["name"] != "nonce"]
    alone: AvroSchema = _with_definitions({**record, "fields": fields}, defined, set())
    return alone


def fingerprint(schema: AvroSchema) -> bytes:
    """The 8-byte CRC-64-AVRO fingerprint of a schema, little-endian as single objects carry it."""
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


def _record(model: type[BaseModel], defined: set[str]) -> AvroSchema:
    defined.add(model.__name__)
    fields = [
        _field(name, info, defined)
        for name, info in model.model_fields.items()
        if not (issubclass(model, Event) and name == "content")
    ]
    if issubclass(model, Content):
        fields.insert(0, dict(_NONCE))
    return {
        "type": "record",
        "namespace": NAMESPACE,
        "name": model.__name__,
        "doc": (model.__doc__ or "").strip().split("\n")[0],
        "fields": fields,
    }


def _field(name: str, info: FieldInfo, defined: set[str]) -> AvroSchema:
    field: AvroSchema = {"name": name, "type": _type(info.annotation, defined)}
    default = info.get_default(call_default_factory=True, validated_data={})
    if default is not PydanticUndefined:
        field["default"] = "" if default == b"" else default
    return field


def _type(annotation: Any, defined: set[str]) -> Any:
    if annotation in _PRIMITIVES:
        return _PRIMITIVES[annotation]
    if annotation is type(None):
        return "null"
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return {"type": "array", "items": _type(args[0], defined)}
    if origin in (Union, types.UnionType):
        ordered = sorted(args, key=lambda a: a is not type(None))
        return [_type(option, defined) for option in ordered]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation.__name__ in defined:
            return f"{NAMESPACE}.{annotation.__name__}"
        return _record(annotation, defined)
    msg = f"no Avro type for {annotation!r}; use str, int, float, bool, bytes, list, a Part, | None"
    raise TypeError(msg)


def _records(node: Any) -> typing.Iterator[AvroSchema]:
    if isinstance(node, list):
        for item in node:
            yield from _records(item)
    elif isinstance(node, dict):
        if node.get("type") == "record":
            yield node
            for field in node["fields"]:
                yield from _records(field["type"])
        elif node.get("type") == "array":
            yield from _records(node["items"])


def _names(schema: AvroSchema) -> set[str]:
    return {record["name"] for record in _records(schema)}


def _with_definitions(node: Any, defined: dict[str, AvroSchema], seen: set[str]) -> Any:
    if isinstance(node, str):
        name = node.removeprefix(f"{NAMESPACE}.")
        if name in defined and name not in seen:
            seen.add(name)
            return _with_definitions(defined[name], defined, seen)
        return node
    if isinstance(node, list):
        return [_with_definitions(item, defined, seen) for item in node]
    if node.get("type") == "record":
        seen.add(node["name"])
        fields = [
            {**f, "type": _with_definitions(f["type"], defined, seen)} for f in node["fields"]
        ]
        return {**node, "fields": fields}
    if node.get("type") == "array":
        return {**node, "items": _with_definitions(node["items"], defined, seen)}
    return node
