"""Rows of a spool: a record on its way, byte for byte, with what shows that it is still that."""

from __future__ import annotations

import json
import zlib
from typing import Any, NamedTuple

from mlflow_ledger.schemas import Envelope, Record

from .log import Outgoing

__all__ = ["BODY", "Refusal", "SpoolDepth", "Waiting", "body_of", "outgoing_of"]

BODY = "size_bytes, crc, said, head, content, content_digest"
"""The columns of :func:`body_of` and :func:`outgoing_of`."""


class SpoolDepth(NamedTuple):
    """How much waits: events, their encoded size, and when the oldest came."""

    events: int
    size_bytes: int
    oldest_ms: int | None


class Waiting(NamedTuple):
    """A record that waits, the number it has in the spool, and when it came."""

    number: int
    outgoing: Outgoing
    spooled_ms: int


class Refusal(NamedTuple):
    """A record that the log will not take, and what the log said."""

    number: int
    outgoing: Outgoing
    spooled_ms: int
    refused_ms: int
    error: str


def body_of(outgoing: Outgoing) -> tuple[Any, ...]:
    """The columns of a record."""
    (topic, number), record, key = outgoing
    # ASCII: escapes carry also what UTF-8, and so SQLite's text, cannot.
    said = _to_json((topic, number, key, *record.envelope))
    head, content, digest = record.head, record.content, record.content_digest
    size_bytes = len(said) + len(head) + len(content or b"")
    return (size_bytes, _crc(said, head, content, digest), said, head, content, digest)


def outgoing_of(body: tuple[Any, ...]) -> Outgoing:
    """The record of a row's columns.

    Raises:
        ValueError, TypeError: the row is not what was written.
    """
    _, crc, said, head, content, digest = body
    if _crc(said, head, content, digest) != crc:
        msg = "its checksum is another"
        raise ValueError(msg)
    topic, number, key, *envelope = json.loads(said)
    return Outgoing((topic, number), Record(Envelope(*envelope), head, content, digest), key)


_to_json = json.JSONEncoder(separators=(",", ":")).encode


def _crc(said: str, head: bytes, content: bytes | None, digest: bytes | None) -> int:
    crc = zlib.crc32(head, zlib.crc32(said.encode("ascii")))
    for part in (content, digest):
        # What is not there differs from what is empty.
        crc = zlib.crc32(b"\0" if part is None else b"\1", crc)
        crc = zlib.crc32(part or b"", crc)
    return crc
