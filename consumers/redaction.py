"""Redaction: the contents of an entity's events go, and with them whatever was made of them."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from mlflow_ledger.bus import EMBEDDED, PrivateFolder, blank, compact, reach
from mlflow_ledger.schemas import ContentRedacted, ContentRedactedContent

from .collection import collect_blob
from .ledger import Ledger
from .past_states import drop_cached_states
from .place import REDACTING
from .redaction_plan import (
    Marker,
    Redacted,
    Told,
    check_can_forget,
    covered,
    delete_files,
    plan_redaction,
    redacting,
    redacting_lock,
    said,
)
from .redaction_scope import Scope, scope_of
from .sealing import archive_of, sealing_lock
from .snapshots import Snapshots
from .state_file import remove_all

if TYPE_CHECKING:
    from .key_redaction import KeyRedaction

__all__ = ["by_keys", "finish_redaction", "redact"]

_log = logging.getLogger(__name__)


def by_keys(ledger: Ledger) -> KeyRedaction:
    """How a ledger in Kafka erases whose contents are sealed."""
    from .key_redaction import KeyRedaction  # needs Kafka's client
    from .replicated import Replicated

    assert isinstance(ledger, Replicated)
    return KeyRedaction(ledger)


def redact(ledger: Ledger, scope: Scope, reason: str, told: Told | None = None) -> Redacted:
    """Erase what was said about an entity up to now: from the log, and all that was made of it.

    That it was erased, when, by whom and why is an event. Ids, names, paths, times and kinds stay,
    digests too; numbers stay taken. One that breaks off is finished by whoever comes next.

    Raises:
        LogForeign: the ledger's log cannot forget.
        LogUnavailable: it cannot be written now.
    """
    check_can_forget(ledger)
    ledger.write(lambda _: [])  # refuses where nothing may be written, a past moment for instance
    with redacting(ledger):
        _finish(ledger, told)
        if ledger.erasable:
            by_keys(ledger).prepare()
        plan = plan_redaction(ledger, scope)
        marker = Marker(secrets.token_hex(8), sorted({*plan.blobs, *plan.kept}))
        marker.write(ledger.folder)
        reach("redact.marked")
        event = ContentRedacted(
            redaction_id=marker.redaction_id,
            entity=scope.entity,
            subjects=list(scope.subjects),
            model_uids=list(scope.model_uids),
            version_uids=list(scope.version_uids),
            content=ContentRedactedContent(reason=reason),
        )
        if ledger.erasable:
            by_keys(ledger).say(event, scope)
        else:
            ledger.write(lambda _: [event])
        reach("redact.said")
        done = _finish(ledger, told)
        assert done is not None
        return done


def finish_redaction(ledger: Ledger) -> Redacted | None:
    """Finish what a process has left that was killed, unless another is just about it."""
    if not (ledger.folder / REDACTING).exists() or ledger.log.read_only:
        return None
    lock = redacting_lock(ledger)
    try:
        if not lock.try_acquire():
            return None
        try:
            _log.warning("finishing a redaction that was broken off in %s", ledger.folder)
            return _finish(ledger, None)
        finally:
            lock.release()
    finally:
        lock.close()


def _finish(ledger: Ledger, told: Told | None) -> Redacted | None:
    """Do what is left to do of the redaction whose marker stands in the folder."""
    marker = Marker.read(ledger.folder)
    if marker is None:
        return None
    found = next(said(ledger, marker.redaction_id), None)
    done = None
    told = told or (lambda *_: None)
    if found is not None and ledger.erasable:
        done = by_keys(ledger).finish(marker, told)
    elif found is not None:
        stored, event = found
        done = _Eraser(ledger, marker, stored.offset, event, told).run()
    (ledger.folder / REDACTING).unlink()
    return done


class _Eraser:
    """One redaction, from its event on; each step may be done again."""

    def __init__(
        self, ledger: Ledger, marker: Marker, seq: int, event: ContentRedacted, told: Told
    ) -> None:
        self._ledger = ledger
        self._marker = marker
        self._seq = seq
        self._event = event
        self._scope = scope_of(event)
        self._told = told

    def run(self) -> Redacted:
        ledger = self._ledger
        delete_files(ledger, self._scope)
        contents = self._blank()
        reach("redact.blanked")
        ledger.rebuild(lambda done, of: self._told("folding the events", done, of))
        self._drop_copies()
        reach("redact.rebuilt")
        segments = self._rewrite_archive()
        gone: list[str] = []
        kept: list[str] = []
        for number, digest in enumerate(self._marker.blobs, 1):
            (gone if collect_blob(ledger, digest) else kept).append(digest)
            self._told("removing artifacts", number, len(self._marker.blobs))
        reach("redact.collected")
        return Redacted(
            entity=self._event.entity,
            redaction_id=self._event.redaction_id,
            position=f"v1~{ledger.ledger_id}~{self._seq}",
            contents=contents,
            segments=segments,
            blobs=gone,
            kept=kept,
        )

    def _blank(self) -> int:
        log = self._ledger.log
        offsets = [
            stored.offset
            for stored in covered(self._ledger, self._scope, self._seq)
            if stored.record.content is not None
        ]
        with log.lock:
            contents = blank(log, offsets)
            self._told("erasing", 1, 2)
            compact(log)
            self._told("erasing", 2, 2)
        return contents

    def _drop_copies(self) -> None:
        """Remove what was folded or copied from the log as it was."""
        ledger = self._ledger
        current = ledger.files.current()
        remove_all(path for path in ledger.folder.glob("state-*.sqlite") if path != current)
        drop_cached_states(ledger)
        Snapshots(ledger).remove_all()
        PrivateFolder().remove()  # with those of processes that are no more

    def _rewrite_archive(self) -> int:
        """Write the sealed segments anew that held what is gone; how many."""
        archive, lock = archive_of(self._ledger), sealing_lock(self._ledger)
        rewritten = 0
        with lock:
            segments = archive.segments(EMBEDDED)
            gone = {s.offset for s in covered(self._ledger, self._scope, self._seq)}
            for number, segment in enumerate(segments, 1):
                if any(segment.first <= offset < segment.following for offset in gone):
                    bare = self._ledger.log.rows(segment.first, segment.events)
                    rewritten += archive.rewrite(segment, list(bare)).key != segment.key
                self._told("archive", number, len(segments))
            archive.drop_strays(EMBEDDED)
        lock.close()
        return rewritten
