"""The topic of a ledger's keys: where hosts find each other's, and where they are taken out."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Sequence

from mlflow_ledger.schemas import DecodeError, LogDamaged

from .fork import abandon, forkable
from .kafka_client import Message, open_client
from .kafka_failures import unavailable
from .kafka_records import Headers, unreadable_record
from .kafka_settings import KafkaPlace, KafkaSettings
from .kafka_topics import KEYS, check_keys
from .key_file import KeyFile, SubjectKey
from .log import Outgoing, Stored
from .position import Partition

__all__ = ["KeyTopic"]

_log = logging.getLogger(__name__)

_PARTITION: Partition = (KEYS, 0)
_KEY, _REPLICA = "keyid", "replicaid"
_JSON = ("content-type", b"application/json")
_MOST_RECORDS = 2000
_FETCH_S = 0.1
_GRACE_S = 2.0
_MOST_KNOWN = 100_000


class KeyTopic:
    """``<ledger>.keys``, between a cluster and the keys of one host or process.

    It is compacted. A key's message is named by the key's id and says, as JSON, whose contents it
    seals and the key in base64; without a value it takes the key out. A replica's message says how
    far that host is.
    """

    fork_order = 1

    def __init__(self, place: KafkaPlace, settings: KafkaSettings, file: KeyFile) -> None:
        """Keep ``file`` up with the topic; nothing is connected before it is needed."""
        self._place = place
        self._settings = settings
        self._file = file
        self._client = open_client(place, settings)
        self._sending, self._reading = threading.Lock(), threading.Lock()
        self._known: set[str] = set()
        """Keys that the topic certainly has."""
        forkable(self)

    def check(self) -> None:
        """Do nothing where the topic is there and is set as it should be.

        Raises:
            LogMissing, LogForeign, LogUnavailable: it is not, or nobody says.
        """
        check_keys(self._place, self._settings)

    def deliver(self, records: Sequence[Outgoing]) -> None:
        """See to it that the topic has the keys of what is to be sent; waits for the brokers.

        Raises:
            LogUnavailable: it is not known to have them: nothing may be sent now.
        """
        named = {outgoing.record.envelope.keyid for outgoing in records} - {None} - self._known
        if not named:
            return
        unsent = self._file.unsent(key_id for key_id in named if key_id)
        if unsent:
            self._send([_message_of(key) for key in unsent])
            self._file.sent(key.key_id for key in unsent)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.update(key_id for key_id in named if key_id)

    def say(self, keys: Sequence[SubjectKey]) -> None:
        """Put keys into the topic."""
        for first in range(0, len(keys), _MOST_RECORDS):
            self._send([_message_of(key) for key in keys[first : first + _MOST_RECORDS]])

    def bury(self, key_ids: Sequence[str]) -> None:
        """Take keys out of the topic."""
        self._send([Message(_PARTITION, k.encode(), None, [(_KEY, k.encode())]) for k in key_ids])

    def tell(self, replica_id: str, said: str | None) -> None:
        """Say something of a replica, or that there is nothing more to say of it."""
        named = replica_id.encode()
        value = None if said is None else said.encode()
        self._send([Message(_PARTITION, b"replica/" + named, value, [(_REPLICA, named), _JSON])])

    def follow(self) -> None:
        """Copy what is new in the topic, up to its end as it is now.

        Raises:
            LogUnavailable: the brokers are away.
            LogDamaged: the topic is not the one that was copied.
        """
        with self._reading:
            end = self._client.ends([_PARTITION])[_PARTITION]
            offset = int(self._file.note_of("next") or 0)
            if offset > end:
                msg = (
                    f"{self._place.topic(KEYS)} ends at {end}, and this host has read it up to "
                    f"{offset}: it was deleted and made anew, and holds no longer the keys that "
                    "were in it. Restore it from a backup"
                )
                raise LogDamaged(msg)
            deadline = time.monotonic() + self._settings.timeout_s
            while offset < end:
                offset, moved = self._copy(offset, end)
                if moved:
                    deadline = time.monotonic() + self._settings.timeout_s
                elif time.monotonic() > deadline:
                    raise unavailable(self._place, f"no keys behind {offset}")

    def close(self) -> None:
        """Disconnect."""
        with self._sending, self._reading:
            self._client.close()

    def before_fork(self) -> None:
        """Do not wait: with the brokers away, a thread may be asking them for half a minute."""

    def after_fork_in_parent(self) -> None:
        """Nothing stood still."""

    def after_fork_in_child(self) -> None:
        """Leave the inherited connections alone."""
        self._client.leave()
        abandon(self._client)
        self._client = open_client(self._place, self._settings)
        self._sending, self._reading = threading.Lock(), threading.Lock()

    def _copy(self, offset: int, end: int) -> tuple[int, bool]:
        """Copy some; how far that led, and whether anywhere."""
        found: list[tuple[dict[str, str], bytes | None]] = []

        def read(
            partition: Partition, offset: int, append_ms: int, headers: Headers, value: bytes | None
        ) -> Stored:
            found.append(({name: data.decode() for name, data in headers}, value))
            return Stored(
                partition, offset, append_ms, unreadable_record(partition, offset, append_ms, KEYS)
            )

        _, reached = self._client.fetch(
            {_PARTITION: offset}, {_PARTITION: end}, _MOST_RECORDS, _FETCH_S, read
        )
        following = reached[_PARTITION]
        keys: dict[str, SubjectKey] = {}
        replicas: dict[str, str | None] = {}
        for headers, value in found:
            if _REPLICA in headers:
                replicas[headers[_REPLICA]] = None if value is None else value.decode()
            elif _KEY in headers and value is None:
                keys.pop(headers[_KEY], None)
            elif _KEY in headers and value is not None:
                self._note(keys, headers[_KEY], value)
        if following != offset:
            self._file.take(keys.values(), replicas, following)
        return following, following != offset

    def _note(self, keys: dict[str, SubjectKey], key_id: str, value: bytes) -> None:
        try:
            keys[key_id] = _key_of(key_id, value)
        except DecodeError as error:
            _log.warning("%s: %s", self._place.topic(KEYS), error)

    def _send(self, messages: Sequence[Message]) -> None:
        if messages:
            with self._sending:
                delivery = self._client.send(messages)
            delivery.wait(self._settings.timeout_s + _GRACE_S)


def _message_of(key: SubjectKey) -> Message:
    said = {"subject": key.subject, "key": base64.b64encode(key.key).decode()}
    named = key.key_id.encode()
    return Message(_PARTITION, named, json.dumps(said).encode(), [(_KEY, named), _JSON])


def _key_of(key_id: str, value: bytes) -> SubjectKey:
    """The key that a message says.

    Raises:
        DecodeError: it says none.
    """
    try:
        said = json.loads(value)
        return SubjectKey(key_id, str(said["subject"]), base64.b64decode(said["key"]))
    except (ValueError, KeyError, TypeError) as error:
        msg = f"what it says of key {key_id[:40]!r} is no key: {error}"
        raise DecodeError(msg) from error
