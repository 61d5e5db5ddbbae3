"""Redaction: the contents of an entity's events go, and with them whatever was made of them."""

from __future__ import annotations

import json
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mlflow_ledger.bus import (
    EMBEDDED,
    FileLock,
    PrivateFolder,
    Selection,
    Stored,
    blank,
    compact,
    reach,
    share,
)
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactEvent,
    ClaimCheck,
    ContentRedacted,
    ContentRedactedContent,
    DecodeError,
    Event,
    LogForeign,
    decode,
)

from .collection import collect_blob
from .ledger import Ledger
from .past_states import drop_cached_states
from .place import REDACTING
from .redaction_scope import Scope, scope_of
from .sealing import archive_of, sealing_lock
from .snapshots import Snapshots
from .state_file import remove_all

__all__ = [
    "Redacted",
    "RedactionPlan",
    "Scope",
    "check_can_forget",
    "finish_redaction",
    "plan_redaction",
    "redact",
]

_log = logging.getLogger(__name__)

_AT_ONCE = 200

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RedactionPlan:
    """What there is to erase: so many of so many events, and blobs that nothing else names.

    ``kept`` are blobs that something else names too; ``paths`` are the files that go.
    """

    scope: Scope
    events: int
    contents: int
    blobs: list[str]
    kept: list[str]
    paths: list[str]


@dataclass(frozen=True)
class Redacted:
    """What was erased."""

    entity: str
    redaction_id: str
    position: str
    contents: int
    segments: int
    blobs: list[str]
    kept: list[str]


@dataclass
class _Marker:
    """What a redaction that is under way is about; it stands in the folder until all is done.

    It is written before the event, and holds no content: whoever finds it finishes the work.
    """

    redaction_id: str
    blobs: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> _Marker | None:
        """The one of a folder, if there is one."""
        try:
            return cls(**json.loads((folder / REDACTING).read_text("utf-8")))
        except FileNotFoundError:
            return None

    def write(self, folder: Path) -> None:
        """Keep it, before anything is erased."""
        unfinished = folder / f"{REDACTING}.new"
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        share(unfinished)
        unfinished.replace(folder / REDACTING)


def plan_redaction(ledger: Ledger, scope: Scope) -> RedactionPlan:
    """Look what a redaction would erase.

    Raises:
        LogForeign: the ledger's log cannot forget.
    """
    check_can_forget(ledger)
    records = list(_covered(ledger, scope, ledger.log.last_offset() + 1))
    mine = _blobs_of(records)
    kept = ledger.query(lambda db: _named_by_others(db, scope))
    paths = ledger.query(lambda db: [row[0] for row in _manifest(db, scope)])
    return RedactionPlan(
        scope=scope,
        events=len(records),
        contents=sum(stored.record.content is not None for stored in records),
        blobs=sorted(mine - kept),
        kept=sorted(mine & kept),
        paths=paths,
    )


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
    with _locked(ledger):
        _finish(ledger, told)
        plan = plan_redaction(ledger, scope)
        marker = _Marker(secrets.token_hex(8), sorted({*plan.blobs, *plan.kept}))
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
        ledger.write(lambda _: [event])
        reach("redact.said")
        done = _finish(ledger, told)
        assert done is not None
        return done


def finish_redaction(ledger: Ledger) -> Redacted | None:
    """Finish what a process has left that was killed, unless another is just about it."""
    if not (ledger.folder / REDACTING).exists() or ledger.log.read_only:
        return None
    lock = _lock(ledger)
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
    marker = _Marker.read(ledger.folder)
    if marker is None:
        return None
    found = _said(ledger, marker.redaction_id)
    done = None
    if found is not None:
        done = _Eraser(ledger, marker, *found, told or (lambda *_: None)).run()
    (ledger.folder / REDACTING).unlink()
    return done


class _Eraser:
    """One redaction, from its event on; each step may be done again."""

    def __init__(
        self, ledger: Ledger, marker: _Marker, seq: int, event: ContentRedacted, told: Told
    ) -> None:
        self._ledger = ledger
        self._marker = marker
        self._seq = seq
        self._event = event
        self._scope = scope_of(event)
        self._told = told

    def run(self) -> Redacted:
        ledger = self._ledger
        while ledger.write(self._delete_files):
            pass
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

    def _delete_files(self, db: sqlite3.Connection) -> list[Event]:
        """Take files of the entity out of the manifest: their bytes are to go."""
        return [
            ArtifactDeleted(
                path=path, digest=digest, owner=owner, written_ns=max(time.time_ns(), written + 1)
            )
            for path, digest, owner, written in _manifest(db, self._scope)[:_AT_ONCE]
        ]

    def _blank(self) -> int:
        log = self._ledger.log
        offsets = [
            stored.offset
            for stored in _covered(self._ledger, self._scope, self._seq)
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
            gone = {s.offset for s in _covered(self._ledger, self._scope, self._seq)}
            for number, segment in enumerate(segments, 1):
                if any(segment.first <= offset < segment.following for offset in gone):
                    bare = self._ledger.log.rows(segment.first, segment.events)
                    rewritten += archive.rewrite(segment, list(bare)).key != segment.key
                self._told("archive", number, len(segments))
            archive.drop_strays(EMBEDDED)
        lock.close()
        return rewritten


def check_can_forget(ledger: Ledger) -> None:
    """Do nothing where contents can be erased.

    Raises:
        LogForeign: the ledger is in Kafka.
    """
    if ledger.shared or not ledger.has_log:
        msg = (
            "this ledger is in Kafka, which keeps what it was told: nothing can be erased from it. "
            "Only a ledger that encrypts each subject's contents with a key of its own could "
            "forget, by losing the key, and this one was not created so. `mlflow-ledger backup`, a "
            "new ledger without the entity, and deleting these topics is what is left"
        )
        raise LogForeign(msg)


def _covered(ledger: Ledger, scope: Scope, before: int) -> Iterator[Stored]:
    """The records about the entity that stand before an offset."""
    for stored in ledger.log.select(scope.selection):
        if stored.offset >= before:
            return
        if scope.holds(stored):
            yield stored


def _said(ledger: Ledger, redaction_id: str) -> tuple[int, ContentRedacted] | None:
    """The event of a redaction and where it stands; None where it never came to be said."""
    for stored in ledger.log.select(Selection((ContentRedacted.__name__,))):
        record = stored.record
        event = decode(record.envelope.type, record.head)
        if isinstance(event, ContentRedacted) and event.redaction_id == redaction_id:
            return stored.offset, event
    return None


def _blobs_of(records: list[Stored]) -> set[str]:
    """The blobs that records name, in a manifest or instead of a text."""
    digests: set[str] = set()
    for stored in records:
        record = stored.record
        try:
            event = decode(record.envelope.type, record.head, record.content)
        except DecodeError:
            continue
        if isinstance(event, ArtifactEvent):
            digests.add(event.digest)
        digests.update(_claim_checks(event.content))
    return digests


def _claim_checks(value: Any) -> Iterator[str]:
    if isinstance(value, ClaimCheck):
        yield value.digest
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _claim_checks(getattr(value, name))
    elif isinstance(value, list):
        for entry in value:
            yield from _claim_checks(entry)


def _manifest(db: sqlite3.Connection, scope: Scope) -> list[tuple[str, str, str, int]]:
    """Path, digest, owner and time of the entity's files that are there."""
    marks = ", ".join("?" * len(scope.subjects))
    return db.execute(
        f"SELECT path, digest, owner, written_ns FROM artifacts WHERE NOT deleted AND owner IN "
        f"({marks}) ORDER BY path, digest",
        scope.subjects,
    ).fetchall()


def _named_by_others(db: sqlite3.Connection, scope: Scope) -> set[str]:
    """The blobs that a manifest of another entity names."""
    marks = ", ".join("?" * len(scope.subjects))
    owned = f"SELECT digest FROM artifacts WHERE NOT deleted AND owner NOT IN ({marks})"
    return {digest for (digest,) in db.execute(owned, scope.subjects)}


def _lock(ledger: Ledger) -> FileLock:
    return FileLock(ledger.folder / "redact.lock")


@contextmanager
def _locked(ledger: Ledger) -> Iterator[None]:
    lock = _lock(ledger)
    try:
        with lock:
            yield
    finally:
        lock.close()
