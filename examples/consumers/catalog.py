"""The catalog topic of a ledger, read without mlflow-ledger.

`asyncapi.json` (`docs/asyncapi.json`, or what `mlflow-ledger asyncapi` prints) is all that it needs
to know; kafka-python and fastavro are all that it imports. Copy it with what follows it.
"""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import fastavro
from kafka import KafkaConsumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

SINGLE_OBJECT = b"\xc3\x01"
HEADER_BYTES = 10  # the mark and the fingerprint of the schema
KNOWN_RULES = "1"


class Event(NamedTuple):
    """What one message says; (source, id) is the identity of the event."""

    offset: int
    source: str
    id: str
    type: str
    headers: dict[str, str]
    data: dict[str, Any]


class NoEventError(Exception):
    """A message that carries no event."""


class Reader:
    """Turns messages into events, each of them once."""

    def __init__(self, document: dict[str, Any], types: Collection[str]) -> None:
        """Read messages of these types as an AsyncAPI document describes them."""
        schemas = document["components"]["schemas"]
        self._required = set(schemas["headers"]["required"])
        self._schemas = {  # every schema ever released is named <Type>.<fingerprint>
            bytes.fromhex(name.rpartition(".")[2]): fastavro.parse_schema(said["schema"])
            for name, said in schemas.items()
            if "schemaFormat" in said
        }
        self._types = types
        self._seen: set[tuple[str, str]] = set()

    def read(
        self, offset: int, headers: Sequence[tuple[str, bytes]], value: bytes | None
    ) -> Event | None:
        """Give the event of a message; None where it came before or is of another type.

        What a newer mlflow-ledger wrote ends the program: skipping it might miss something.

        Raises:
            NoEventError: a stranger wrote the message.
        """
        try:
            texts = {name: data.decode() for name, data in headers}
            source, number, type_ = (texts[f"ce_{name}"] for name in ("source", "id", "type"))
        except (AttributeError, KeyError, UnicodeDecodeError) as error:
            raise NoEventError(f"its headers are no event's: {error}") from error
        if not self._required <= texts.keys():
            raise NoEventError(f"it has no header {min(self._required - texts.keys())}")
        if (source, number) in self._seen:
            return None  # delivered again: the first one holds
        self._seen.add((source, number))
        if type_ not in self._types:
            return None
        if texts["ce_rules"] != KNOWN_RULES:
            raise SystemExit(f"offset {offset} follows rules {texts['ce_rules']}: take newer code")
        return Event(
            offset, source, number, type_, texts, self._decode(offset, type_, value or b"")
        )

    def _decode(self, offset: int, type_: str, value: bytes) -> dict[str, Any]:
        if not value.startswith(SINGLE_OBJECT) or len(value) < HEADER_BYTES:
            raise NoEventError("its value is no Avro single object")
        schema = self._schemas.get(value[len(SINGLE_OBJECT) : HEADER_BYTES])
        if schema is None:
            raise SystemExit(f"offset {offset}: unknown schema; take a newer asyncapi.json")
        if schema["name"].rpartition(".")[2] != type_:
            raise NoEventError(f"its value is a {schema['name']}, and no {type_}")
        body = io.BytesIO(value[HEADER_BYTES:])
        try:
            data = fastavro.schemaless_reader(body, schema, None)
        except (EOFError, IndexError, ValueError) as error:
            raise NoEventError(f"its value makes no sense: {error}") from error
        if body.read(1):
            raise NoEventError("bytes are left over behind its value")
        return data


class Catalog:
    """The catalog of one ledger, from its first event on.

    The topic is small and never forgets, so whoever starts reads all of it and stores no state.
    """

    def __init__(
        self, servers: str, ledger: str, document: Path, types: Collection[str], **options: Any
    ) -> None:
        """Begin at the beginning; ``options`` are kafka-python's, such as security_protocol."""
        self._reader = Reader(json.loads(document.read_text("utf-8")), types)
        self._consumer = KafkaConsumer(
            bootstrap_servers=servers.split(","),
            group_id=None,  # every reader reads everything
            auto_offset_reset="none",  # what was dropped must be told, not jumped over
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            isolation_level="read_committed",
            **options,
        )
        self._partition = TopicPartition(f"{ledger}.catalog", 0)
        if not self._consumer.partitions_for_topic(self._partition.topic):
            raise SystemExit(f"there is no topic {self._partition.topic} at {servers}")
        self._consumer.assign([self._partition])
        self._consumer.seek(self._partition, 0)

    def poll(self, timeout_s: float) -> Iterator[Event]:
        """Give the next events, if any come within this time."""
        polled = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        for message in polled.get(self._partition, ()):
            try:
                event = self._reader.read(message.offset, message.headers, message.value)
            except NoEventError as error:  # skipped, as every reader does
                print(f"skipped offset {message.offset}: {error}", file=sys.stderr, flush=True)
                continue
            if event is not None:
                yield event

    def is_read(self) -> bool:
        """Whether all that stands in the topic now was given."""
        end = self._consumer.end_offsets([self._partition])[self._partition]
        return self._consumer.position(self._partition) >= end

    def close(self) -> None:
        """Leave."""
        self._consumer.close()
