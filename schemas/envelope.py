"""The envelope of an event (CloudEvents 1.0), and the digest of the two together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

__all__ = ["ActorKind", "Envelope", "Opener", "Record", "format_time", "parse_time"]

ActorKind = Literal["os", "authenticated", "claimed"]


class Envelope(NamedTuple):
    """Who said it, when, about what. (source, id) is the identity of the event.

    ``time_ms`` is the writer's clock, in milliseconds since 1970. ``actorkind`` tells what
    ``actor`` is worth: known to the operating system, authenticated by a server, or only claimed.
    ``rules`` is the version of the rules that decides about the event, for ever.
    """

    source: str
    id: int
    type: str
    time_ms: int
    subject: str
    actor: str
    actorkind: str
    host: str
    client: str
    rules: int
    workspace: str = "default"
    correlationid: str | None = None
    keyid: str | None = None
    originsource: str | None = None
    originid: str | None = None

    def attributes(self) -> dict[str, str]:
        """The CloudEvents attributes that are set, as text, by name."""
        values: dict[str, str | None] = {
            "specversion": "1.0",
            "source": self.source,
            "id": str(self.id),
            "type": self.type,
            "time": format_time(self.time_ms),
            "subject": self.subject,
            "actor": self.actor,
            "actorkind": self.actorkind,
            "workspace": self.workspace,
            "host": self.host,
            "client": self.client,
            "rules": str(self.rules),
            "correlationid": self.correlationid,
            "keyid": self.keyid,
            "originsource": self.originsource,
            "originid": self.originid,
        }
        return {name: value for name, value in values.items() if value is not None}

    def canonical(self) -> bytes:
        """The attributes as JSON, names sorted, no white space, UTF-8: what the digest covers."""
        text = (
            f"{_writer_json(self.actor, self.actorkind, self.client)}"
            f"{_opt('correlationid', self.correlationid)}"
            f',"host":{_json(self.host)},"id":"{self.id}"{_opt("keyid", self.keyid)}'
            f"{_opt('originid', self.originid)}{_opt('originsource', self.originsource)}"
            f',"rules":"{self.rules}","source":{_json(self.source)},"specversion":"1.0"'
            f',"subject":{_dumps(self.subject)},"time":"{format_time(self.time_ms)}"'
            f',"type":{_json(self.type)},"workspace":{_json(self.workspace)}}}'
        )
        return text.encode("utf-8", "surrogatepass")


_dumps = json.JSONEncoder(ensure_ascii=False).encode
_json = lru_cache(maxsize=4096)(_dumps)


@lru_cache(maxsize=256)
def _writer_json(actor: str, actorkind: str, client: str) -> str:
    return f'{{"actor":{_dumps(actor)},"actorkind":{_dumps(actorkind)},"client":{_dumps(client)}'


def _opt(name: str, value: str | None) -> str:
    return "" if value is None else f',"{name}":{_dumps(value)}'


Opener = Callable[["Record"], bytes | None]
"""Opens a record's sealed content; None where its key is not there."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event as it is stored: envelope, encoded structure, encoded content.

    ``head`` is an Avro single object without its content; ``content`` begins with the nonce, is
    None where the event has none, and also where it was redacted: then ``content_digest`` is set.
    Where the envelope names a key, ``content`` is sealed with it, and ``opener`` is who has keys.
    """

    envelope: Envelope
    head: bytes
    content: bytes | None = None
    content_digest: bytes | None = None
    opener: Opener | None = field(default=None, compare=False, repr=False)

    def clear(self) -> bytes | None:
        """The content as it can be decoded; None where there is none, or its key is not there.

        Raises:
            DecodeError: it was not sealed with the key that is named.
        """
        if self.envelope.keyid is None or self.content is None:
            return self.content
        return None if self.opener is None else self.opener(self)

    @property
    def redacted(self) -> bool:
        """Whether it had a content that cannot be read any more."""
        if self.content_digest is not None:
            return True
        return self.envelope.keyid is not None and self.clear() is None

    def digest(self) -> bytes:
        """SHA-256 over header, structure and the content's own digest.

        H(u32 length of header ‖ header ‖ u32 length of head ‖ head ‖ H(nonce ‖ content)), lengths
        big-endian. A redacted record keeps its digest, because it keeps the content's.
        """
        header = self.envelope.canonical()
        inner = self.inner_digest()
        framed = (
            len(header).to_bytes(4, "big"), header, len(self.head).to_bytes(4, "big"), self.head,
        )  # fmt: skip
        return hashlib.sha256(b"".join((*framed, inner))).digest()

    def inner_digest(self) -> bytes:
        """SHA-256 of the content as it is stored, which stays when the content goes."""
        return self.content_digest or hashlib.sha256(self.content or b"").digest()

    def size_bytes(self) -> int:
        """The size of body and content as encoded."""
        return len(self.head) + len(self.content or b"")


def format_time(time_ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC, such as ``2026-03-03T12:00:00.123Z``."""
    seconds, millis = divmod(time_ms, 1000)
    return f"{_second(seconds)}.{millis:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_time(text: str) -> int:
    """RFC 3339 text with an offset or Z as milliseconds since 1970.

    Raises:
        ValueError: not such a text, or one without offset: it would mean another moment on
            another machine.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = f"time {text!r} has no offset; add Z or an offset such as +01:00"
        raise ValueError(msg)
    return round(moment.timestamp() * 1000)
