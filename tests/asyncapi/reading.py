"""A reader of messages that has nothing of ours but docs/asyncapi.json."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
from jsonschema import Draft7Validator, FormatChecker

__all__ = ["DOCUMENT", "Reader", "same"]

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs/asyncapi.json").read_text("utf-8")
)


class Reader:
    """Reads messages by an AsyncAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._schemas = {
            bytes.fromhex(name.rpartition(".")[2]): schema["schema"]
            for name, schema in document["components"]["schemas"].items()
            if "schemaFormat" in schema
        }

    def at(self, reference: str) -> Any:
        """What a reference inside the document names."""
        node: Any = self._document
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]
        return node

    def faults(self, headers: Sequence[tuple[str, bytes]]) -> list[str]:
        """What is wrong with a message's headers."""
        texts = {name: data.decode("utf-8") for name, data in headers}
        messages = self._document["components"]["messages"]
        if texts.get("ce_type") not in messages:
            return [f"no message is called {texts.get('ce_type')}"]
        schema = {**messages[texts["ce_type"]]["headers"], "components": self.at("components")}
        validator = Draft7Validator(schema, format_checker=_FORMATS)
        return [error.message for error in validator.iter_errors(texts)]

    def decode(self, value: bytes) -> dict[str, Any]:
        """What a message's value says."""
        assert value[:2] == b"\xc3\x01"
        body = io.BytesIO(value[10:])
        found: Any = fastavro.schemaless_reader(body, self._schemas[value[2:10]], None)
        assert body.read() == b""
        return dict(found)


def same(found: dict[str, Any], event: Any) -> bool:
    """Whether a decoded payload says what an event of ours says; the nonce says nothing."""
    if isinstance(found.get("content"), dict):
        content = {k: v for k, v in found["content"].items() if k != "nonce"}
        found = {**found, "content": content}
    expected = event.model_dump()
    if event.content_type is None:
        del expected["content"]
    return _text(found) == _text(expected)


def _text(said: Any) -> str:
    """As text, in which NaN is like NaN."""
    return json.dumps(said, sort_keys=True, default=bytes.hex)


_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(text: object) -> bool:
    """RFC 3339 as Python reads it: jsonschema's own check needs one package more."""
    return datetime.fromisoformat(str(text)).tzinfo is not None
