"""Records as rows of the embedded log and back; what is constant for a source is stored once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from mlflow_ledger.schemas import Envelope, Opener, Record

__all__ = [
    "COLUMNS",
    "INSERT",
    "Dictionary",
    "Fetch",
    "is_as_written",
    "is_cut",
    "record_of",
    "some",
]

Fetch = Callable[[sqlite3.Cursor], list[Any]]
"""Takes rows from a cursor."""

HEADER_BYTES = 10

COLUMNS = """
    seq, append_ms, source, id, type, time_ms, subject, actor, actorkind, host, client, rules,
    workspace, header, head, content, extra
    FROM events JOIN sources USING (source_no) JOIN schemas USING (schema_no)
"""
"""What :func:`record_of` reads, with the tables it stands in."""

INSERT = """
    INSERT INTO events (
        seq, append_ms, source_no, id, schema_no, time_ms, subject, head, content, extra
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_CONTENT = 15  # its place in COLUMNS
_MOST_BYTES = 8 * 1024 * 1024
_AT_ONCE = 16
_BYTES = (bytes, type(None))
_LAST_MS = 253_402_300_799_999  # the end of the year 9999
_RARE = ("correlationid", "keyid", "originsource", "originid")
_OF_SOURCE = ("actor", "actorkind", "host", "client", "rules", "workspace")


class Dictionary:
    """The numbers of sources and schemas in one log file, remembered by one connection."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._sources: dict[str, tuple[int, tuple[object, ...]]] = {}
        self._schemas: dict[bytes, tuple[int, str]] = {}

    def forget(self) -> None:
        """Forget everything: a transaction was rolled back, or the connection is another."""
        self._sources.clear()
        self._schemas.clear()

    def row(
        self, connection: sqlite3.Connection, seq: int, append_ms: int, record: Record
    ) -> tuple[Any, ...]:
        """The row of a record, adding its source and schema to the file where they are new."""
        envelope = record.envelope
        source_no, constants = self._source(connection, envelope)
        header, head = record.head[:HEADER_BYTES], record.head[HEADER_BYTES:]
        schema_no, type_name = self._schema(connection, header, envelope.type)
        return (
            seq, append_ms, source_no, envelope.id, schema_no, envelope.time_ms, envelope.subject,
            head, record.content, _extra(record, constants, type_name),
        )  # fmt: skip

    def _source(
        self, connection: sqlite3.Connection, envelope: Envelope
    ) -> tuple[int, tuple[object, ...]]:
        known = self._sources.get(envelope.source)
        if known is None:
            connection.execute(
                "INSERT INTO sources (source, actor, actorkind, host, client, rules, workspace) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    envelope.source, envelope.actor, envelope.actorkind, envelope.host,
                    envelope.client, envelope.rules, envelope.workspace,
                ),
            )  # fmt: skip
            number, *constants = connection.execute(
                f"SELECT source_no, {', '.join(_OF_SOURCE)} FROM sources WHERE source = ?",
                (envelope.source,),
            ).fetchone()
            known = self._sources[envelope.source] = (number, tuple(constants))
        return known

    def _schema(
        self, connection: sqlite3.Connection, header: bytes, type_name: str
    ) -> tuple[int, str]:
        known = self._schemas.get(header)
        if known is None:
            connection.execute(
                "INSERT INTO schemas (header, type) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (header, type_name),
            )
            row = connection.execute(
                "SELECT schema_no, type FROM schemas WHERE header = ?", (header,)
            ).fetchone()
            known = self._schemas[header] = (row[0], row[1])
        return known


def some(cursor: sqlite3.Cursor) -> list[Any]:
    """Rows of :data:`COLUMNS`, as many as fit into memory at once; :func:`is_cut` tells of more."""
    rows: list[Any] = []
    size_bytes = 0
    while size_bytes < _MOST_BYTES and (more := cursor.fetchmany(_AT_ONCE)):
        rows += more
        size_bytes += _size_bytes(more)
    cursor.close()
    return rows


def is_as_written(extra: bytes) -> bool:
    """Whether a row's ``extra`` is written as we write it: there are other ways to say the same."""
    try:
        said = json.loads(extra)
        digest = said.get("contentdigest", "")
        return json.dumps(said).encode() == extra and digest == digest.lower()
    except (ValueError, AttributeError):
        return False


def is_cut(rows: list[Any]) -> bool:
    """Whether :func:`some` has stopped early."""
    return _size_bytes(rows) >= _MOST_BYTES


def _size_bytes(rows: list[Any]) -> int:
    return sum(len(row[_CONTENT]) for row in rows if row[_CONTENT] is not None)


def record_of(row: tuple[Any, ...], opener: Opener | None = None) -> Record:
    """The record of a row of :data:`COLUMNS`, whose content ``opener`` opens where it is sealed.

    Raises:
        ValueError, TypeError: the row is not what was written.
    """
    (
        _, append_ms, source, number, type_name, time_ms, subject, actor, actorkind, host, client,
        rules, workspace, header, head, content, extra,
    ) = row  # fmt: skip
    envelope = Envelope(
        source,
        number,
        type_name,
        time_ms,
        subject,
        actor,
        actorkind,
        host,
        client,
        rules,
        workspace,
    )
    if type(number) is not int or type(subject) is not str or type(content) not in _BYTES:
        kinds = ", ".join(type(value).__name__ for value in (number, subject, content))
        msg = f"id, subject and content are stored as {kinds}, and not as int, str, bytes"
        raise TypeError(msg)
    if not 0 <= time_ms <= _LAST_MS or not 0 <= append_ms <= _LAST_MS:
        msg = f"{time_ms} ms, or {append_ms} ms, is no time"
        raise ValueError(msg)
    if extra is None:
        return Record(envelope, header + head, content)
    more = json.loads(extra)
    digest = more.pop("contentdigest", None)
    return Record(
        envelope._replace(**more),
        header + head,
        content,
        bytes.fromhex(digest) if digest else None,
        opener,
    )


def _extra(record: Record, constants: tuple[object, ...], type_name: str) -> str | None:
    envelope = record.envelope
    if (
        record.content_digest is None
        and envelope[-4:] == (None, None, None, None)
        and envelope[5:11] == constants
        and envelope.type == type_name
    ):
        return None
    extra = {n: v for n in _RARE if (v := getattr(envelope, n)) is not None}
    extra |= {
        name: value
        for name, constant in zip(_OF_SOURCE, constants, strict=True)
        if (value := getattr(envelope, name)) != constant
    }
    if envelope.type != type_name:
        extra["type"] = envelope.type
    if record.content_digest is not None:
        extra["contentdigest"] = record.content_digest.hex()
    return json.dumps(extra) if extra else None
