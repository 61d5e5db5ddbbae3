"""Events to bytes and back: Avro single-object encoding, with every released schema at hand."""

from __future__ import annotations

import io
import json
import os
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import fastavro
import fastavro.schema
from pydantic import ValidationError

from .avro import NONCE_BYTES, AvroSchema, avro_schema, content_schema, fingerprint, head_schema
from .errors import DecodeError
from .event import Event, event_types

__all__ = ["Encoded", "decode", "encode", "released_schemas", "takes_content", "wire_value"]

MARKER = b"\xc3\x01"
_HEADER_BYTES = len(MARKER) + 8


class Encoded(NamedTuple):
    """An encoded event: the structure as single object, and the content after its nonce."""

    head: bytes
    content: bytes | None


class _Schema(NamedTuple):
    """One schema in the forms that reading and writing need."""

    name: str
    header: bytes
    head: Any
    content: Any


def encode(event: Event, nonce: bytes | None = None) -> Encoded:
    """Encode an event; a content gets a fresh random nonce unless one is given (for tests)."""
    schema = _current(type(event))
    out = io.BytesIO()
    out.write(schema.header)
    values = event.model_dump(exclude={"content"})
    fastavro.schemaless_writer(out, schema.head, values)
    if event.content is None:
        return Encoded(out.getvalue(), None)
    body = io.BytesIO()
    body.write(nonce if nonce is not None else os.urandom(NONCE_BYTES))
    fastavro.schemaless_writer(body, schema.content, event.content.model_dump())
    return Encoded(out.getvalue(), body.getvalue())


def decode(type_name: str, head: bytes, content: bytes | None = None) -> Event:
    """Read an event written with any released schema as today's class of that name.

    Raises:
        DecodeError: the bytes are no such event.
    """
    event = event_types().get(type_name)
    if event is None:
        msg = (
            f"event type {type_name!r} is not known here; a newer mlflow-ledger may have written it"
        )
        raise DecodeError(msg)
    writer = _writer(type_name, head[:_HEADER_BYTES])
    reader = _current(event)
    try:
        values = _read(head[_HEADER_BYTES:], writer.head, reader.head)
        if content is not None:
            body = _read(content[NONCE_BYTES:], writer.content, reader.content)
            if event.content_type is not None:
                values["content"] = body
        return event.model_validate(values)
    except (ValidationError, EOFError, IndexError, ValueError, TypeError) as error:
        msg = f"a {type_name} of {len(head)} bytes cannot be read: {error or type(error).__name__}"
        raise DecodeError(msg) from error


def wire_value(encoded: Encoded, schema_has_content: bool, sealed: bool = False) -> bytes:
    """The whole event as one Avro single object: what a foreign reader of a topic sees."""
    if not schema_has_content:
        return encoded.head
    if encoded.content is None:
        return encoded.head + b"\x00"
    if sealed:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, {"type": "bytes"}, encoded.content)
        return encoded.head + b"\x04" + out.getvalue()
    return encoded.head + b"\x02" + encoded.content


def takes_content(type_name: str, head: bytes) -> bool:
    """Whether the schema of an encoded head has a content behind it; False where it is unknown."""
    try:
        return _writer(type_name, head[:_HEADER_BYTES]).content is not None
    except (DecodeError, KeyError):
        return False


@cache
def released_schemas() -> dict[bytes, AvroSchema]:
    """Every schema ever released, by fingerprint; today's are among them."""
    schemas: dict[bytes, AvroSchema] = {}
    for entry in files(__package__).joinpath("history").iterdir():
        if entry.name.endswith(".avsc"):
            schema = json.loads(entry.read_text("utf-8"))
            schemas[fingerprint(schema)] = schema
    return schemas


def _read(data: bytes, writer: Any, reader: Any) -> dict[str, Any]:
    if writer is None:
        msg = "the type has no content"
        raise DecodeError(msg)
    stream = io.BytesIO(data)
    values: Any = fastavro.schemaless_reader(stream, writer, None if writer is reader else reader)
    if stream.read(1):
        msg = "bytes are left over behind the record"
        raise DecodeError(msg)
    return dict(values)


@cache
def _current(event: type[Event]) -> _Schema:
    return _forms(event.__name__, avro_schema(event))


def _writer(type_name: str, header: bytes) -> _Schema:
    current = _current(event_types()[type_name])
    return current if header == current.header else _old_writer(type_name, header)


@cache
def _old_writer(type_name: str, header: bytes) -> _Schema:
    schema = released_schemas().get(header[len(MARKER) :])
    if schema is None or schema["name"] != type_name or not header.startswith(MARKER):
        msg = (
            f"schema fingerprint {header[len(MARKER) :].hex()} of a {type_name} is not known here; "
            "a newer mlflow-ledger may have written it: upgrade this one"
        )
        raise DecodeError(msg)
    return _forms(type_name, schema)


def _forms(name: str, schema: AvroSchema) -> _Schema:
    content = content_schema(schema)
    return _Schema(
        name,
        MARKER + fingerprint(schema),
        fastavro.schema.parse_schema(head_schema(schema)),
        None if content is None else fastavro.schema.parse_schema(content),
    )
