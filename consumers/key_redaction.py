"""Redaction of a ledger in Kafka whose contents are sealed: their keys are lost."""

from __future__ import annotations

from mlflow_ledger.bus import Selection, reach
from mlflow_ledger.schemas import BlobChunkLogged, ContentRedacted, LogUnavailable

from .collection import collect_blob
from .erasing import erase_pending
from .kafka_ledger import KafkaLedger
from .redaction_plan import (
    Marker,
    Redacted,
    ReplicaReport,
    Told,
    covered,
    delete_files,
    said,
)
from .redaction_scope import Scope, scope_of
from .replicated import Replicated

__all__ = ["KeyRedaction"]

_MOST_KEYS = 5000
"""How many keys one event names."""
_MOST_SUBJECTS = 200


class KeyRedaction:
    """Says which keys are lost, and does on this host what each host does that reads it.

    First go the keys of the entity's contents. Once the state is folded without them, it tells
    which of the entity's blobs nothing else names: those are collected, and the keys of their
    chunks go as well.
    """

    def __init__(self, ledger: Replicated) -> None:
        """Redact on a ledger with a replica here."""
        assert ledger.keeping is not None
        self._ledger = ledger
        self._keeping = ledger.keeping

    def prepare(self) -> None:
        """Have all in the log that this host has said, and all here that is in the log.

        Raises:
            LogUnavailable: the brokers are away.
        """
        self._send_all()
        self._ledger.catch_up()
        erase_pending(self._ledger, self._keeping, wait=True)

    def say(self, event: ContentRedacted, scope: Scope) -> None:
        """Say that contents are erased, and which keys are lost by that."""
        behind = self._ledger.log.last_offset() + 1
        self._lose(event, self._sealed_with(scope, behind))

    def finish(self, marker: Marker, told: Told) -> Redacted:
        """Do what is left to do of what was said."""
        self._erase()
        first, event = next(said(self._ledger, marker.redaction_id))
        scope = scope_of(event)
        contents = self._sealed_with(scope, first.offset)
        reach("redact.blanked")
        delete_files(self._ledger, scope)
        gone: list[str] = []
        kept: list[str] = []
        for number, digest in enumerate(marker.blobs, 1):
            (gone if collect_blob(self._ledger, digest) else kept).append(digest)
            told("removing artifacts", number, len(marker.blobs))
        reach("redact.collected")
        self._send_all()
        chunks = self._chunks_of(gone)
        if chunks:
            self._lose(event.model_copy(update={"content": None}), chunks)
            self._erase()
        waiting = self._keeping.reports(self._places(marker.redaction_id))
        return Redacted(
            entity=event.entity,
            redaction_id=event.redaction_id,
            position=self._ledger.log.place(first),
            contents=sum(contents.values()),
            segments=0,
            blobs=gone,
            kept=kept,
            keys=len(contents) + len(chunks),
            waiting=[report for report in waiting if report.behind],
        )

    def reports(self) -> list[ReplicaReport]:
        """What hosts have last said of their replicas, those that are furthest behind first."""
        self._ledger.follow()
        return self._keeping.reports(self._places())

    def forget_replica(self, replica_id: str) -> bool:
        """Ask no more after a replica that is no more; whether there was one of that id."""
        return self._keeping.forget_replica(replica_id)

    def _lose(self, event: ContentRedacted, key_ids: dict[str, int]) -> None:
        named = sorted(key_ids)
        self._keeping.intend(named)
        for first in range(0, max(len(named), 1), _MOST_KEYS):
            part = event.model_copy(update={"key_ids": named[first : first + _MOST_KEYS]})
            self._ledger.write(lambda _, part=part: [part])  # type: ignore[misc]  # mypy: lambda default

    def _erase(self) -> None:
        """Erase on this host, then for those who read the topic of the keys from now on."""
        self._ledger.copy_rest()
        erase_pending(self._ledger, self._keeping, wait=True)
        self._keeping.bury()

    def _sealed_with(self, scope: Scope, behind: int) -> dict[str, int]:
        """The keys of an entity's contents before an offset, and how many each seals."""
        found: dict[str, int] = {}
        for stored in covered(self._ledger, scope, behind):
            key_id = stored.record.envelope.keyid
            if key_id is not None:
                found[key_id] = found.get(key_id, 0) + 1
        return found

    def _chunks_of(self, digests: list[str]) -> dict[str, int]:
        """The keys of the chunks of blobs."""
        if not digests:
            return {}
        self._ledger.catch_up()
        subjects = tuple(f"blobs:/{digest}" for digest in digests)
        found: dict[str, int] = {}
        for first in range(0, len(subjects), _MOST_SUBJECTS):
            some = subjects[first : first + _MOST_SUBJECTS]
            selection = Selection((BlobChunkLogged.__name__,), some)
            for stored in self._ledger.log.select(selection):
                key_id = stored.record.envelope.keyid
                if key_id is not None:
                    found[key_id] = found.get(key_id, 0) + 1
        return {key_id: found[key_id] for key_id in self._keeping.file.living(found)}

    def _send_all(self) -> None:
        ledger = self._ledger
        if not isinstance(ledger, KafkaLedger):
            return
        left = ledger.forwarder.run(ledger.settings.drain_s)
        if left:
            msg = f"{left} events wait on this host to be sent: redact when the brokers are back"
            raise LogUnavailable(msg)

    def _places(self, redaction_id: str | None = None) -> list[int]:
        """Where in the catalog a redaction has named keys, or all have."""
        log = self._ledger.log
        found = said(self._ledger, redaction_id)
        return [log.origin(stored.offset)[1] for stored, event in found if event.key_ids]
