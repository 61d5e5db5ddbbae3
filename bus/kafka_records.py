"""Records as Kafka messages: the envelope in headers ``ce_*`` (CloudEvents binary mode).

The value is one Avro single object, head and content together, so that any reader that has the
schemas can decode it; the header ``headbytes`` says where the content begins.

A message that carries no event of ours (a foreign writer's, garbage) becomes a record of type
``Unreadable``, the same one on every replica: the fold keeps it for the audit and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter

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
_ABSENT, _PRESENT, _SEALED = b"\x00", b"\x02", b"\x04"
"""The branches of Avro's union of null, a content, and bytes that are one when they are opened."""

_REQUIRED = frozenset(Envelope._fields) - frozenset(Envelope._field_defaults) - {"time_ms"}

_COMMON = (
    "ce_specversion", "content-type", "ce_source", "ce_type", "ce_actor", "ce_actorkind", "ce_host",
    "ce_client", "ce_rules", "ce_workspace",
)  # fmt: skip
"""What many messages have in common: it is decoded once."""
_OWN = ("ce_id", "ce_time", "ce_subject", _HEAD_BYTES)
_RARE = ("ce_correlationid", "ce_keyid", "ce_originsource", "ce_originid")
_NEEDED = frozenset({*_COMMON, *_OWN}) - {"ce_specversion", "content-type", "ce_workspace"}
_MOST_LAYOUTS = 16
_MOST_CACHED = 1024
_MOST_CACHED_BYTES = 4096
_SECOND = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_MILLIS = re.compile(rb"\.[0-9]{3}Z")
_SECOND_BYTES = len("2026-03-03T12:00:00")
_ZERO = ord("0")
_SEVEN_BITS, _MORE, _MOST_LONG = 0x7F, 0x80, 10

_Voice = tuple[str, str, str, str, str, str, int, str]


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
        if record.envelope.keyid is not None:
            return headers, record.head + _SEALED + _long(len(record.content)) + record.content
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
        envelope, split = _quick(headers)
        digest = None
    except (ValueError, TypeError, AttributeError):
        envelope, split, digest = _careful(headers)
    head, mark, content = value[:split], value[split : split + 1], value[split + 1 :]
    with_content = _PRESENT if envelope.keyid is None else _SEALED
    if split < 0 or len(head) != split or mark not in (b"", _ABSENT, with_content):
        msg = f"the message's value of {len(value)} bytes has no content behind byte {split}"
        raise DecodeError(msg)
    if mark != with_content and content:
        msg = f"{len(content)} bytes are left over behind the record"
        raise DecodeError(msg)
    if mark == _SEALED:
        content = _behind_length(content)
    return Record(envelope, head, content if mark == with_content else None, digest)


def _long(number: int) -> bytes:
    """A count as Avro writes a long: zigzag, seven bits a byte, the lowest first."""
    number <<= 1
    written = bytearray()
    while number > _SEVEN_BITS:
        written.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    return bytes((*written, number))


def _behind_length(data: bytes) -> bytes:
    """The bytes behind their length.

    Raises:
        DecodeError: there are more or fewer of them, or the length is written otherwise than ours.
    """
    behind = next((n for n, byte in enumerate(data[:_MOST_LONG], 1) if not byte & _MORE), 0)
    found = data[behind:]
    if not behind or _long(len(found)) != data[:behind]:
        msg = f"{len(data)} bytes of a sealed content do not have the length that they say"
        raise DecodeError(msg)
    return found


def _careful(headers: Headers) -> tuple[Envelope, int, bytes | None]:
    """Envelope, where the content begins and its digest; errors say what is odd."""
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
    return envelope, split, digest


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


class _Layout:
    """The headers of one writer's messages: their names in one order, and what they repeat."""

    __slots__ = ("_common", "_own", "_rare", "_voices", "names")

    def __init__(self, names: tuple[str, ...]) -> None:
        if len({*names}) < len(names) or not _NEEDED <= {*names} <= {*_COMMON, *_OWN, *_RARE}:
            raise ValueError
        places = {name: place for place, name in enumerate(names)}
        self.names = names
        self._common = itemgetter(*(places[name] for name in _COMMON if name in places))
        self._own = itemgetter(*(places[name] for name in _OWN))
        self._rare = tuple(places.get(name) for name in _RARE) if {*_RARE} & {*names} else ()
        self._voices: dict[tuple[bytes, ...], _Voice] = {}

    def read(self, texts: tuple[bytes, ...]) -> tuple[Envelope, int]:
        """Envelope, and where the content begins."""
        common = self._common(texts)
        voice = self._voices.get(common) or self._voice(common)
        source, type_, actor, kind, host, client, rules, workspace = voice
        number, moment, subject, split = self._own(texts)
        if not (number.isdigit() and number[0] != _ZERO and split.isdigit()):
            raise ValueError
        if len(number) >= _MOST_DIGITS:  # it may be more than SQLite can keep
            raise ValueError
        time_ms = _second_ms(moment[:_SECOND_BYTES]) + _millis(moment[_SECOND_BYTES:])
        rare = [None if place is None else texts[place].decode("utf-8") for place in self._rare]
        return Envelope(
            source, int(number), type_, time_ms, subject.decode("utf-8"),
            actor, kind, host, client, rules, workspace, *rare,
        ), int(split)  # fmt: skip

    def _voice(self, common: tuple[bytes, ...]) -> _Voice:
        """The fields of an envelope that these texts are."""
        present = [name for name in _COMMON if name in self.names]
        texts = dict(zip(present, (text.decode("utf-8") for text in common), strict=True))
        source, type_, actor, kind, host, client, rules = (
            texts[_PREFIX + name]
            for name in ("source", "type", "actor", "actorkind", "host", "client", "rules")
        )
        workspace = texts.get("ce_workspace", "default")
        count = _count("rules", rules)
        voice = source, type_, actor, kind, host, client, count, workspace
        if sum(map(len, common)) <= _MOST_CACHED_BYTES:
            if len(self._voices) >= _MOST_CACHED:
                self._voices.clear()
            self._voices[common] = voice
        return voice


_layouts: list[_Layout] = []


def _quick(headers: Headers) -> tuple[Envelope, int]:
    """Envelope and where the content begins, of headers as :func:`message_of` makes them.

    Raises:
        ValueError, TypeError, AttributeError: they are not quite such; :func:`_careful` may still
            read them, and says what is odd.
    """
    names, texts = zip(*headers, strict=True)
    for layout in _layouts:
        if layout.names == names:
            return layout.read(texts)
    layout = _Layout(names)
    if len(_layouts) < _MOST_LAYOUTS:
        _layouts.append(layout)
    return layout.read(texts)


@lru_cache(maxsize=1024)
def _second_ms(text: bytes) -> int:
    if not _SECOND.fullmatch(text):
        raise ValueError
    return parse_time(f"{text.decode()}Z")


@lru_cache(maxsize=1024)
def _millis(text: bytes) -> int:
    if not _MILLIS.fullmatch(text):
        raise ValueError
    return int(text[1:4])


def _envelope(texts: dict[str, str]) -> Envelope:
    missing = _REQUIRED - texts.keys() or {"time"} - texts.keys()
    if missing:
        raise KeyError(_PREFIX + min(missing))
    known = {name: texts[name] for name in Envelope._fields if name in texts}
    number, rules = _count("id", texts["id"]), _count("rules", texts["rules"])
    return Envelope(
        **{  # type: ignore[arg-type]  # the numbers among them are put in as such
            **known,
            "id": number,
            "time_ms": parse_time(texts["time"]),
            "rules": rules,
        }
    )


def _count(name: str, text: str) -> int:
    """A header's number, which SQLite must be able to keep."""
    if len(text) > _MOST_DIGITS or not 1 <= int(text) <= _MOST or str(int(text)) != text:
        msg = f"{name} {text[:40]!r} is no count"
        raise ValueError(msg)
    return int(text)
