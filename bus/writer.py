"""Who says an event: identities without gaps, and the rest of the envelope."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from mlflow_ledger.schemas import Encoded, Envelope, Event, LedgerError, Record, encode

from .log import Outgoing
from .partition import partition_of

if TYPE_CHECKING:  # only a ledger whose contents can be erased has one
    from .keyring import Keyring

__all__ = [
    "MAX_EVENT_BYTES",
    "RULES",
    "Actor",
    "EventTooLarge",
    "Writer",
    "acting_as",
    "acting_in",
    "prepare",
    "system_actor",
]

MAX_EVENT_BYTES = 512 * 1024
"""The most an encoded event may take; producers split before they get here."""

RULES = 1
"""The version of the rules that events name, but for types that came with a later one."""


class EventTooLarge(LedgerError, ValueError):
    """An event that no log would take."""


class Actor(NamedTuple):
    """Who acts, and what that is worth: ``os``, ``authenticated`` or ``claimed``."""

    name: str
    kind: str


acting_as: ContextVar[Actor | None] = ContextVar("acting_as", default=None)
"""The actor on whose behalf the current context writes; unset, it is the process's own."""

acting_in: ContextVar[str] = ContextVar("acting_in", default="default")
"""The workspace in which the current context reads and writes."""


class Writer:
    """One process's voice: gives each event of one partition the next id.

    Ids are 1, 2, 3 and so on, without gaps.

    Call :meth:`stamp` only under the lock under which the records are sent, and :meth:`renew`
    whenever it is not certain that what was stamped also stands in the log: a new source starts
    again at 1, so no id is ever used twice and none is missing. Size and form are checked before
    an id is given.
    """

    def __init__(
        self,
        actor: Actor | None = None,
        clock: Callable[[], int] | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        """Speak as ``actor`` (default: the user of this process), by ``clock`` in milliseconds.

        With a ``keyring`` contents are sealed, each with a key of its subject.
        """
        self.actor = actor or system_actor()
        self._keyring = keyring
        self._clock = clock or _now_ms
        self._host = _encodable(socket.gethostname())
        self._client = _client()
        self._mutex = threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Take a new source: after a fork, a failed append, or in a copied folder."""
        self._uuid = str(uuid.UUID(bytes=os.urandom(16), version=4))
        self._ids: dict[tuple[str, int], int] = {}
        self._sources: dict[tuple[str, int], str] = {}

    @property
    def name(self) -> str:
        """What the sources of this voice begin with, before ``/topic/partition``."""
        return self._uuid

    def stamp(
        self,
        event: Event,
        partitions: Mapping[str, int],
        correlation_id: str | None = None,
        encoded: Encoded | None = None,
    ) -> Outgoing:
        """Give an event its identity; ``encoded`` is what :func:`prepare` made of it, if it did.

        Raises:
            EventTooLarge: the encoded event exceeds 512 KiB; no id was given.
        """
        if encoded is None:
            encoded = prepare(event)
        partition = (event.topic, partition_of(event.key, partitions[event.topic]))
        actor = acting_as.get() or self.actor
        with self._mutex:
            number = self._ids.get(partition, 0) + 1
            self._ids[partition] = number
        source = self._source(partition)
        key_id, content = self._sealed(event, encoded.content, source, number)
        envelope = Envelope(
            source,
            number,
            type(event).__name__,
            self._clock(),
            event.subject,
            _encodable(actor.name),
            actor.kind,
            self._host,
            self._client,
            event.rules_version,
            acting_in.get(),
            correlation_id,
            key_id,
        )
        opener = None if self._keyring is None else self._keyring.open
        record = Record(envelope, encoded.head, content, opener=opener)
        return Outgoing(partition, record, event.key)

    def stamp_all(
        self,
        events: Sequence[Event],
        partitions: Mapping[str, int],
        encoded: Sequence[Encoded] | None = None,
    ) -> list[Outgoing]:
        """Give the events of one command their identities, and what they have in common.

        Raises:
            EventTooLarge: one of them is; no id was given.
        """
        bodies = [prepare(event) for event in events] if encoded is None else encoded
        correlation_id = secrets.token_hex(8) if len(events) > 1 else None
        return [
            self.stamp(event, partitions, correlation_id, body)
            for event, body in zip(events, bodies, strict=True)
        ]

    def _sealed(
        self, event: Event, content: bytes | None, source: str, number: int
    ) -> tuple[str | None, bytes | None]:
        """The content as it goes into the log, and the key that seals it, if one does."""
        if self._keyring is None or content is None or event.sealed_as is None:
            return None, content
        workspace = acting_in.get()
        subject = event.sealed_as if workspace == "default" else f"{event.sealed_as}@{workspace}"
        try:
            return self._keyring.seal(subject, content, source, number)
        except BaseException:
            self.renew()  # this id is never used
            raise

    def _source(self, partition: tuple[str, int]) -> str:
        source = self._sources.get(partition)
        if source is None:
            source = self._sources[partition] = f"{self._uuid}/{partition[0]}/{partition[1]}"
        return source

    def unsay(self, records: Sequence[Outgoing]) -> None:
        """Take back the ids of records that certainly never left this process; newest first."""
        with self._mutex:
            for partition, record, _ in reversed(records):
                if self._ids.get(partition) == record.envelope.id:
                    self._ids[partition] -= 1


def prepare(event: Event) -> Encoded:
    """Encode an event.

    Raises:
        EventTooLarge: it takes more than 512 KiB.
    """
    encoded = encode(event)
    size_bytes = len(encoded.head) + len(encoded.content or b"")
    if size_bytes > MAX_EVENT_BYTES:
        msg = (
            f"{type(event).__name__} about {event.subject} takes {size_bytes} bytes; an event takes"
            f" at most {MAX_EVENT_BYTES}: send it in parts, or large values as artifacts"
        )
        raise EventTooLarge(msg)
    return encoded


@lru_cache(maxsize=64)
def _encodable(name: str) -> str:
    """A name from outside as it fits into UTF-8: lone surrogates stand escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


@lru_cache(maxsize=1)
def system_actor() -> Actor:
    """The user of this process as the operating system knows it."""
    try:
        return Actor(pwd.getpwuid(os.getuid()).pw_name, "os")
    except KeyError:
        return Actor(f"uid-{os.getuid()}", "os")


@lru_cache(maxsize=1)
def _client() -> str:
    return f"mlflow-ledger/{version('mlflow-ledger')}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
