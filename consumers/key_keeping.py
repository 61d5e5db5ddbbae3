"""A host's keys of a ledger in Kafka, kept up with the topic of the keys and with redactions."""

from __future__ import annotations

import json
import logging
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any

from mlflow_ledger.bus import (
    FileLock,
    KafkaSettings,
    KeyFile,
    Keyring,
    KeyTopic,
    MirrorLog,
    Position,
    Selection,
    Stored,
)
from mlflow_ledger.schemas import ContentRedacted, DecodeError, LogError, decode, format_time

from .redaction_plan import ReplicaReport
from .redaction_scope import CATALOG
from .replica import Replica

__all__ = ["KeyKeeping"]

_log = logging.getLogger(__name__)

_TELL_S = 300.0
"""How often a host says how far it is, while it moves."""


class KeyKeeping:
    """The keys of a replica; nothing is opened or asked before it is needed.

    Whoever copies the topics shows each batch first: so a key is here before what it opens, and a
    redaction is noted before anybody can believe that nothing is to be erased.
    """

    def __init__(self, replica: Replica, settings: KafkaSettings) -> None:
        """Keep the keys in the replica's folder."""
        self.file = KeyFile(replica.folder / "keys.sqlite")
        self.keyring = Keyring(self.file)
        self.topic = KeyTopic(replica.place, settings, self.file)
        self._replica = replica
        self._tell_at = 0.0
        self._told: str | None = None

    def register(self) -> None:
        """Say that there is a replica here, before anything is copied to it.

        Raises:
            LogError: the topic of the keys is not there, or may not be written.
        """
        if self.file.note_of("replica_id") is not None:
            return
        lock = FileLock(self._replica.folder / "keys.lock")
        try:
            with lock:
                if self.file.note_of("replica_id") is None:
                    self.topic.check()
                    replica_id = secrets.token_hex(8)
                    self.topic.tell(replica_id, self._said(Position(self._replica.ledger_id)))
                    self.file.note(replica_id=replica_id)
        finally:
            lock.close()

    def begin(self, mirror: MirrorLog) -> None:
        """Have all keys, and know all redactions, of a mirror that may have come as a whole."""
        mark = str(mirror.mark())
        if self.file.note_of("mirror") == mark:
            return
        self.topic.follow()
        for stored in mirror.select(Selection((ContentRedacted.__name__,))):
            self._meet_redaction(mirror.origin(stored.offset)[1], stored)
        self.file.note(mirror=mark)

    def meet(self, batch: Sequence[Stored]) -> None:
        """Get ready for records of the topics that are about to be copied."""
        named = {stored.record.envelope.keyid for stored in batch} - {None}
        if named and self.file.unknown(key_id for key_id in named if key_id):
            self.topic.follow()
        for stored in batch:
            if stored.partition == CATALOG:
                self._meet_redaction(stored.offset, stored)

    def tell(self, position: Position, *, now: bool = False) -> None:
        """Say how far this host is, if it has not just done so; ``now``: in any case.

        Everything before that position that was to be erased must be gone.
        """
        if not now and time.monotonic() < self._tell_at:
            return
        self._tell_at = time.monotonic() + _TELL_S
        replica_id = self.file.note_of("replica_id")
        if replica_id is None or (str(position) == self._told and not now):
            return
        try:
            self.topic.tell(replica_id, self._said(position))
            self._told = str(position)
        except LogError as error:  # it is said again, and until then we are thought to be behind
            _log.warning("cannot say how far the replica in %s is: %s", self._replica.folder, error)

    def reports(self, places: Sequence[int]) -> list[ReplicaReport]:
        """What hosts have last said of their replicas, those that are furthest behind first.

        ``places`` are offsets of redactions in the catalog.

        Raises:
            LogUnavailable: the brokers are away.
        """
        self.topic.follow()
        found = []
        for replica_id, said in self.file.replicas().items():
            try:
                found.append(_report(replica_id, json.loads(said), places))
            except (ValueError, TypeError, KeyError) as error:
                _log.warning("what replica %s says of itself is left out: %s", replica_id, error)
        return sorted(found, key=lambda report: (-report.behind, report.host, report.replica_id))

    def forget_replica(self, replica_id: str) -> bool:
        """Ask no more after a replica that is no more; whether there was one of that id."""
        self.topic.follow()
        if replica_id not in self.file.replicas():
            return False
        self.topic.tell(replica_id, None)
        return True

    def own_id(self) -> str | None:
        """This replica's id."""
        return self.file.note_of("replica_id")

    def close(self) -> None:
        """Close and disconnect."""
        self.topic.close()
        self.file.close()

    def bury(self) -> None:
        """Take the keys out of the topic whose redaction this host has said."""
        key_ids = self.file.tombstones()
        self.topic.bury(key_ids)
        self.file.buried(key_ids)

    def intend(self, key_ids: Iterable[str]) -> None:
        """These keys are to be taken out of the topic, once that stands in the log."""
        self.file.intend(key_ids)

    def _meet_redaction(self, place: int, stored: Stored) -> None:
        envelope = stored.record.envelope
        if envelope.type != ContentRedacted.__name__:
            return
        try:
            event = decode(envelope.type, stored.record.head)
        except DecodeError:  # the fold keeps it as unreadable
            return
        if isinstance(event, ContentRedacted) and event.key_ids:
            self.file.lose(place, event.key_ids)
            self.keyring.forget()

    def _said(self, position: Position) -> str:
        return json.dumps(
            {
                "host": socket.gethostname(),
                "folder": str(self._replica.folder),
                "position": str(Position(position.ledger_id, {CATALOG: 0} | {**position.offsets})),
                "told_ms": time.time_ns() // 1_000_000,
            }
        )


def _report(replica_id: str, said: dict[str, Any], places: Sequence[int]) -> ReplicaReport:
    """What a host has said, as it stands to some redactions."""
    position = str(said["position"])
    reached = Position.parse(position).offset(CATALOG)
    return ReplicaReport(
        replica_id=replica_id,
        host=str(said["host"]),
        folder=str(said["folder"]),
        position=position,
        told=format_time(int(said["told_ms"])),
        behind=sum(place >= reached for place in places),
    )
