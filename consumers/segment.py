"""A segment: a part of one partition of a log, in a file that can be read without any other."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import fastavro

from mlflow_ledger.bus import Partition, Stored
from mlflow_ledger.schemas import ArtifactError, Envelope, Record, released_schemas

__all__ = ["NO_CHAIN", "Segment", "chained", "packed", "partition_name", "unpacked"]

_EMBEDDED_NAME = "log"
_SCHEMAS = "mlflow_ledger.schemas"
_FINGERPRINT = slice(2, 10)  # of a single object: behind its marker
_SHA256_BYTES, _MARKER_BYTES = 32, 16
NO_CHAIN = bytes(_SHA256_BYTES).hex()
"""What the first segment of a partition is chained to."""

_ENVELOPE: dict[str, Any] = {
    name: "long" if name in ("id", "time_ms", "rules") else "string" for name in Envelope._fields
} | {name: ["null", "string"] for name in ("correlationid", "keyid", "originsource", "originid")}
_SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "namespace": "mlflow_ledger",
        "name": "ArchivedRecord",
        "doc": "A record as it stands in the log. head is an Avro single object without its last "
        "field; content is that field (16 bytes of nonce, then the record); the file's metadata "
        f"{_SCHEMAS} holds the schemas by fingerprint.",
        "fields": [
            {"name": "offset", "type": "long"},
            {"name": "append_ms", "type": "long"},
            *({"name": name, "type": kind} for name, kind in _ENVELOPE.items()),
            {"name": "head", "type": "bytes"},
            {"name": "content", "type": ["null", "bytes"]},
            {"name": "content_digest", "type": ["null", "bytes"]},
        ],
    }
)


@dataclass(frozen=True)
class Segment:
    """What the manifest of a segment says.

    It covers the offsets from ``first`` up to, and without, ``following``; ``chain`` is SHA-256
    over all records of the partition up to its end, from ``previous`` on: equal for equal
    histories, however they are cut, and after a redaction too.
    """

    ledger_id: str
    topic: str
    partition: int
    first: int
    following: int
    events: int
    first_ms: int
    last_ms: int
    previous: str
    chain: str
    key: str
    sha256: str
    packed_bytes: int

    @property
    def where(self) -> Partition:
        """The partition it is of."""
        return self.topic, self.partition

    def encoded(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def parse(cls, data: bytes, what: str) -> Segment:
        """Read what :meth:`encoded` gave.

        Raises:
            ArtifactError: it is something else.
        """
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError) as error:
            msg = f"{what} is no manifest of a segment: {error}"
            raise ArtifactError(msg) from error


def partition_name(partition: Partition) -> str:
    """A partition as a folder's name: ``runs-3``, and ``log`` for an embedded log."""
    topic, number = partition
    return f"{topic}-{number}" if topic else _EMBEDDED_NAME


def chained(previous: str, records: Iterable[Stored]) -> str:
    """The chain behind some records: SHA-256 over the one before, offset, time and digest."""
    chain = bytes.fromhex(previous)
    for stored in records:
        place = stored.offset.to_bytes(8, "big") + stored.append_ms.to_bytes(8, "big")
        chain = hashlib.sha256(chain + place + stored.record.digest()).digest()
    return chain.hex()


def packed(records: Sequence[Stored]) -> bytes:
    """Records as an Avro object container file, compressed, with the schemas of their events."""
    known = released_schemas()
    used = {stored.record.head[_FINGERPRINT] for stored in records} & known.keys()
    schemas = {found.hex(): known[found] for found in sorted(used)}
    out = io.BytesIO()
    fastavro.writer(
        out,
        _SCHEMA,
        map(_row, records),
        codec="deflate",
        metadata={_SCHEMAS: json.dumps(schemas, sort_keys=True)},
        sync_marker=bytes.fromhex(chained(NO_CHAIN, records))[:_MARKER_BYTES],  # not a random one
    )
    return out.getvalue()


def unpacked(data: bytes, segment: Segment, where: str) -> list[Stored]:
    """The records of a segment's file, each of which is what it was.

    Raises:
        ArtifactError: the file was changed, or is not what the manifest says.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != segment.sha256:
        msg = (
            f"{segment.key} in {where} was changed: its SHA-256 is {found}, and its manifest says "
            f"{segment.sha256}; put it back from a copy"
        )
        raise ArtifactError(msg)
    try:
        rows = fastavro.reader(io.BytesIO(data))
        records = [_stored(segment.where, row) for row in rows if isinstance(row, dict)]
    except (ValueError, TypeError, KeyError, EOFError, IndexError) as error:
        msg = f"{segment.key} in {where} cannot be read: {error}"
        raise ArtifactError(msg) from error
    offsets = [stored.offset for stored in records]
    whole = (
        len(records) == segment.events
        and offsets == sorted(set(offsets))
        and all(segment.first <= offset < segment.following for offset in offsets)
        and chained(segment.previous, records) == segment.chain
    )
    if not whole:
        msg = (
            f"{segment.key} in {where} does not hold what its manifest says: the records and the "
            "chain of their digests do not match; put both back from a copy"
        )
        raise ArtifactError(msg)
    return records


def _row(stored: Stored) -> dict[str, Any]:
    record = stored.record
    return {
        "offset": stored.offset,
        "append_ms": stored.append_ms,
        **record.envelope._asdict(),
        "head": record.head,
        "content": record.content,
        "content_digest": record.content_digest,
    }


def _stored(partition: Partition, row: dict[str, Any]) -> Stored:
    envelope = Envelope(**{name: row[name] for name in Envelope._fields})
    record = Record(envelope, row["head"], row["content"], row["content_digest"])
    return Stored(partition, row["offset"], row["append_ms"], record)
