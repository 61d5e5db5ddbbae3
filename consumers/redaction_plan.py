"""What a redaction is about: which contents, files and blobs there are to erase."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mlflow_ledger.bus import FileLock, Selection, Stored, share
from mlflow_ledger.schemas import (
    ArtifactDeleted,
    ArtifactEvent,
    ClaimCheck,
    ContentRedacted,
    DecodeError,
    Event,
    LogForeign,
    decode,
)

from .ledger import Ledger
from .place import REDACTING
from .redaction_scope import Scope

__all__ = [
    "Marker",
    "Redacted",
    "RedactionPlan",
    "ReplicaReport",
    "Told",
    "check_can_forget",
    "covered",
    "delete_files",
    "manifest",
    "plan_redaction",
    "redacting",
    "redacting_lock",
    "said",
]

_AT_ONCE = 200
_IN_LEDGER = ("ledger-artifacts:", "mlflow-artifacts:")
"""Places of the ledger's own; the second is an MLflow server's, which may keep it there."""

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RedactionPlan:
    """What there is to erase: so many of so many events, and blobs that nothing else names.

    ``kept`` are blobs that something else names too; ``paths`` are the files that go.
    ``elsewhere`` are places outside the ledger that its events name: what is there is left alone.
    """

    scope: Scope
    events: int
    contents: int
    blobs: list[str]
    kept: list[str]
    paths: list[str]
    elsewhere: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ReplicaReport:
    """What a host has last said of its replica of a ledger in Kafka, and when.

    ``behind`` is how many redactions it has not folded at ``position``: what they name may still be
    there.
    """

    replica_id: str
    host: str
    folder: str
    position: str
    told: str
    behind: int


@dataclass(frozen=True)
class Redacted:
    """What was erased; of a ledger in Kafka also how many keys, and which hosts have yet to."""

    entity: str
    redaction_id: str
    position: str
    contents: int
    segments: int
    blobs: list[str]
    kept: list[str]
    keys: int = 0
    waiting: list[ReplicaReport] = field(default_factory=list)


@dataclass
class Marker:
    """What a redaction that is under way is about; it stands in the folder until all is done.

    It is written before the event, and holds no content: whoever finds it finishes the work.
    """

    redaction_id: str
    blobs: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Marker | None:
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
    records = list(covered(ledger, scope, ledger.log.last_offset() + 1))
    events = list(_decoded(records))
    gone = ledger.query(_collected)
    mine = {
        digest
        for digest in _blobs_of(events)
        if digest not in gone or ledger.blobs.size_bytes(digest) is not None
    }
    kept = ledger.query(lambda db: _named_by_others(db, scope))
    paths = ledger.query(lambda db: [row[0] for row in manifest(db, scope)])
    return RedactionPlan(
        scope=scope,
        events=len(records),
        contents=sum(stored.record.clear() is not None for stored in records),
        blobs=sorted(mine - kept),
        kept=sorted(mine & kept),
        paths=paths,
        elsewhere=sorted(set(_places_elsewhere(events))),
    )


def check_can_forget(ledger: Ledger) -> None:
    """Do nothing where contents can be erased.

    Raises:
        LogForeign: the ledger is in Kafka, and its contents are not sealed with keys.
    """
    if ledger.erasable and ledger.has_log:
        return
    if ledger.erasable:
        msg = (
            "what reads through a query service has no log to look into: redact on a host that "
            "keeps a replica, that of the service for instance"
        )
        raise LogForeign(msg)
    if ledger.shared or not ledger.has_log:
        msg = (
            "this ledger is in Kafka, which keeps what it was told: nothing can be erased from it. "
            "Only a ledger that encrypts each subject's contents with a key of its own could "
            "forget, by losing the key, and this one was not created so (`mlflow-ledger create "
            "--erasable`). `mlflow-ledger backup`, a "
            "new ledger without the entity, and deleting these topics is what is left"
        )
        raise LogForeign(msg)


def covered(ledger: Ledger, scope: Scope, before: int) -> Iterator[Stored]:
    """The records about the entity that stand before an offset."""
    for stored in ledger.log.select(scope.selection):
        if stored.offset >= before:
            return
        if scope.holds(stored):
            yield stored


def said(
    ledger: Ledger, redaction_id: str | None = None
) -> Iterator[tuple[Stored, ContentRedacted]]:
    """The events of a redaction, or of all, in their order."""
    for stored in ledger.log.select(Selection((ContentRedacted.__name__,))):
        record = stored.record
        try:
            event = decode(record.envelope.type, record.head, record.clear())
        except DecodeError:
            continue
        if isinstance(event, ContentRedacted) and redaction_id in (None, event.redaction_id):
            yield stored, event


def _decoded(records: list[Stored]) -> Iterator[Event]:
    for stored in records:
        record = stored.record
        with suppress(DecodeError):
            yield decode(record.envelope.type, record.head, record.clear())


def _blobs_of(events: list[Event]) -> set[str]:
    """The blobs that events name, in a manifest or instead of a text."""
    digests: set[str] = set()
    for event in events:
        if isinstance(event, ArtifactEvent):
            digests.add(event.digest)
        digests.update(_claim_checks(event.content))
    return digests


def _collected(db: sqlite3.Connection) -> set[str]:
    """The blobs that were removed, perhaps to come again as something else's."""
    rows = db.execute("SELECT digest FROM blobs WHERE collected_ms IS NOT NULL")
    return {digest for (digest,) in rows}


def _places_elsewhere(events: list[Event]) -> Iterator[str]:
    """Where files of an entity lie, or may lie, that are not kept in the ledger."""
    for event in events:
        for name in ("artifact_uri", "artifact_location", "archive_uri"):
            place = getattr(event, name, None)
            if place and not place.startswith(_IN_LEDGER):
                yield place


def _claim_checks(value: Any) -> Iterator[str]:
    if isinstance(value, ClaimCheck):
        yield value.digest
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _claim_checks(getattr(value, name))
    elif isinstance(value, list):
        for entry in value:
            yield from _claim_checks(entry)


def manifest(db: sqlite3.Connection, scope: Scope) -> list[tuple[str, str, str, int]]:
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


def delete_files(ledger: Ledger, scope: Scope) -> None:
    """Take files of the entity out of the manifest: their bytes are to go."""

    def decide(db: sqlite3.Connection) -> list[Event]:
        return [
            ArtifactDeleted(
                path=path, digest=digest, owner=owner, written_ns=max(time.time_ns(), written + 1)
            )
            for path, digest, owner, written in manifest(db, scope)[:_AT_ONCE]
        ]

    while ledger.write(decide):
        pass


def redacting_lock(ledger: Ledger) -> FileLock:
    """Who redacts on this host."""
    return FileLock(ledger.folder / "redact.lock")


@contextmanager
def redacting(ledger: Ledger) -> Iterator[None]:
    """While this lasts nobody else on this host redacts."""
    lock = redacting_lock(ledger)
    try:
        with lock:
            yield
    finally:
        lock.close()
