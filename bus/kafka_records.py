"""Records as Kafka messages: the envelope in headers ``ce_*`` (CloudEvents binary mode).

The value is one Avro single object, head and content together, so that any reader that has the
schemas can decode it; the header ``headbytes`` says where the content begins.

A message that carries no event of ours (a foreign writer's, garbage) becomes a record of type
``Unreadable``, the same one on every replica: the fold keeps it for the audit and goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_ledger.schemas import DecodeError, Envelope, Record, parse_time, takes_content

from .position import Partition
from .writer import RULES

__all__ = ["UNREADABLE", "Headers", "message_of", "record_of_message", "unreadable_record"]

UNREADABLE = "Unreadable"
"""The type of a record that stands for a message that cannot be read; its head says why."""

Headers = Sequence[tuple[str, bytes]]

_PREFIX = "ce_"
_CONTENT_TYPE = ("content-type", b"application/avro")
_HEAD_BYTES = "headbytes"
_CONTENT_DIGEST = "contentdigest"
_MOST_REASON_BYTES = 1024
_MOST = 2**63 - 1
_MOST_DIGITS = len(str(_MOST))
_ABSENT, _PRESENT = b"\x00", b"\x02"  # the branches of Avro's union of null and a content
_REQUIRED = frozenset(Envelope._fields) - frozenset(Envelope._field_defaults) - {"time_ms"}


def message_of(record: Record) -> tuple[list[tuple[str, bytes]], bytes]:
    """Headers and value of a record."""
    headers = [
        (_PREFIX + name, text.encode("utf-8"))
        for name, text in record.envelope.attributes().items()
    ]
    headers += [_CONTENT_TYPE, (_HEAD_BYTES, b"%d" % len(record.head))]
    if record.content_digest is not None:
        headers.append((_CONTENT_DIGEST, record.content_digest.hex().encode()))
    if record.content is not None:
        return headers, record.head + _PRESENT + record.content
    whole = not takes_content(record.envelope.type, record.head)
    return headers, record.head if whole else record.head + _ABSENT


def record_of_message(headers: Headers, value: bytes | None) -> Record:
    """The record that a message carries.

    Raises:
        DecodeError: it carries none: a foreign writer's, or garbage.
    """
    if value is None:
        msg = "the message has no value"
        raise DecodeError(msg)
    try:
        texts = {name: data.decode("utf-8") for name, data in headers}
        envelope = _envelope(
            {
                name.removeprefix(_PREFIX): text
                for name, text in texts.items()
                if name.startswith(_PREFIX)
            }
        )
        split = int(texts[_HEAD_BYTES])
        digest = bytes.fromhex(texts[_CONTENT_DIGEST]) if _CONTENT_DIGEST in texts else None
    except KeyError as error:
        msg = f"the message has no header {error.args[0]!r}"
        raise DecodeError(msg) from error
    except (ValueError, AttributeError) as error:
        msg = f"the message's headers make no sense: {error}"
        raise DecodeError(msg) from error
    head, mark, content = value[:split], value[split : split + 1], value[split + 1 :]
    if split < 0 or len(head) != split or mark not in (b"", _ABSENT, _PRESENT):
        msg = f"the message's value of {len(value)} bytes has no content behind byte {split}"
        raise DecodeError(msg)
    if mark != _PRESENT and content:
        msg = f"{len(content)} bytes are left over behind the record"
        raise DecodeError(msg)
    return Record(envelope, head, content if mark == _PRESENT else None, digest)


def unreadable_record(partition: Partition, offset: int, time_ms: int, why: str) -> Record:
    """The record that stands for a message that carries none."""
    topic, number = partition
    envelope = Envelope(
        source=f"unreadable/{topic}/{number}",
        id=offset + 1,
        type=UNREADABLE,
        time_ms=time_ms,
        subject=f"topics:/{topic}/{number}/{offset}",
        actor="unknown",
        actorkind="claimed",
        host="unknown",
        client="unknown",
        rules=RULES,
    )
    return Record(envelope, why.encode("utf-8", "replace")[:_MOST_REASON_BYTES])


def _envelope(texts: dict[str, str]) -> Envelope:
    missing = _REQUIRED - texts.keys() or {"time"} - texts.keys()
    if missing:
        raise KeyError(_PREFIX + min(missing))
    known = {name: texts[name] for name in Envelope._fields if name in texts}
    number, rules = _count(texts, "id"), _count(texts, "rules")
    return Envelope(
        **{  # type: ignore[arg-type]  # the numbers among them are put in as such
            **known,
            "id": number,
            "time_ms": parse_time(texts["time"]),
            "rules": rules,
        }
    )


def _count(texts: dict[str, str], name: str) -> int:
    """A header's number, which SQLite must be able to keep."""
    text = texts[name]
    if len(text) > _MOST_DIGITS or not 1 <= int(text) <= _MOST or str(int(text)) != text:
        msg = f"{name} {text[:40]!r} is no count"
        raise ValueError(msg)
    return int(text)
