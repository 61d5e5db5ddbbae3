"""Backups: a ledger's archive and blobs at a place of their own, with a manifest for each time."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mlflow_ledger.bus import Stored, reach
from mlflow_ledger.schemas import ArtifactError, BlobMissing

from .archive import Archive, ArchivedLedger, archived_ledgers
from .blobs import Blobs, write_file
from .collection import named_blobs
from .digest import state_digest
from .fold import FOLD_VERSION, Fold
from .key_backup import put_keys
from .keyed_state import next_offset, transaction
from .ledger import Ledger
from .object_place import ObjectPlace
from .sealing import check_archive, seal
from .state_file import create

__all__ = ["Backup", "BackupPoint", "backup", "backup_points", "fold_archive", "fold_records"]

Told = Callable[[str, int, int], None]

_BATCH = 1000


@dataclass(frozen=True)
class BackupPoint:
    """What is said of a ledger as it was when it was backed up.

    ``state_digest`` is of the state that its events fold to with ``fold_version``, and ``lost`` is
    how many keys of an erasable ledger were lost by then.
    """

    ledger_id: str
    position: str
    events: int
    fold_version: int
    state_digest: str
    blobs: int
    blob_bytes: int
    taken_ms: int
    lost: int = 0

    @property
    def key(self) -> str:
        """Where it stands: the same for equal positions, later ones behind earlier ones."""
        found = hashlib.sha256(self.position.encode()).hexdigest()
        return f"backups/{self.ledger_id}/{self.events:015d}-{found[:16]}.json"


@dataclass(frozen=True)
class Backup:
    """What a backup has added, and the point it leads to; ``missing`` are blobs that are lost."""

    point: BackupPoint
    new_events: int
    new_segments: int
    new_blobs: int
    new_bytes: int
    missing: list[str]


def backup(ledger: Ledger, target: Path | str, told: Told | None = None) -> Backup:
    """Copy a ledger, as it is at one moment, to a folder or an object store; others may write on.

    Only what is not there yet is copied. At last everything is read back and folded, and must come
    to the ledger's own state; only then is it said to be there.

    Raises:
        ArtifactError: it is not, or the target does not take it.
    """
    told = told or (lambda *_: None)
    _check_alone(ledger, target)
    ledger.catch_up()
    last, digest, blobs = ledger.query(
        lambda db: (next_offset(db) - 1, state_digest(db), named_blobs(db))
    )
    keyring = ledger.log.keyring
    archive = Archive(target, ledger.ledger_id, keyring)
    sealed = seal(ledger, archive, until=last, told=told)
    lost = 0 if keyring is None else put_keys(archive.objects, ledger.ledger_id, keyring.file)
    reach("backup.sealed")
    copied = _copy_blobs(ledger, Blobs(target), blobs, told)
    with closing(create(":memory:")) as db:
        events = fold_archive(db, archive, sealed.archived, told)
        found = state_digest(db)
    if events == last and found != digest:
        check_archive(ledger, archive, told)  # says more, where something was erased meanwhile
        msg = (
            f"the copy in {archive} folds to another state ({found}) than the ledger is in "
            f"({digest}): run `mlflow-ledger verify` on the ledger; nothing is said of this backup"
        )
        raise ArtifactError(msg)
    point = BackupPoint(
        ledger_id=ledger.ledger_id,
        position=str(sealed.position),
        events=events,
        fold_version=FOLD_VERSION,
        state_digest=found,
        blobs=len(blobs) - len(copied.missing),
        blob_bytes=sum(size for blob, size in blobs.items() if blob not in copied.missing),
        taken_ms=time.time_ns() // 1_000_000,
        lost=lost,
    )
    archive.objects.put(point.key, json.dumps(asdict(point), indent=1).encode())
    return Backup(
        point=point,
        new_events=sealed.events,
        new_segments=len(sealed.segments),
        new_blobs=copied.new,
        new_bytes=copied.new_bytes + sealed.packed_bytes,
        missing=copied.missing,
    )


def _check_alone(ledger: Ledger, target: Path | str) -> None:
    """Who restores from a place names no ledger: a place holds one."""
    others = {found.ledger_id for found in archived_ledgers(target)} - {ledger.ledger_id}
    if others:
        msg = (
            f"{target} holds backups of another ledger ({', '.join(sorted(others))}), and this one "
            f"is {ledger.ledger_id}: name a place of its own"
        )
        raise ArtifactError(msg)
    if isinstance(target, Path):
        place = target.resolve()
        for folder in (place, *place.parents):
            if folder == ledger.folder.resolve() or (folder / "log.sqlite").exists():
                msg = f"{target} lies within the ledger {folder}: name a place outside"
                raise ArtifactError(msg)


def backup_points(place: Path | str, ledger_id: str) -> list[BackupPoint]:
    """The backups of a ledger at a place, the oldest first.

    Raises:
        ArtifactError: one of their manifests cannot be read.
    """
    objects = ObjectPlace(place)
    points = []
    for key in objects.keys(f"backups/{ledger_id}/"):
        try:
            points.append(BackupPoint(**json.loads(objects.get(key))))
        except (ValueError, TypeError) as error:
            msg = f"{key} in {objects} is no manifest of a backup: {error}"
            raise ArtifactError(msg) from error
    return points


def fold_archive(
    db: sqlite3.Connection,
    archive: Archive,
    ledger: ArchivedLedger,
    told: Told,
    cut: Callable[[Stored], bool] = lambda _: True,
) -> int:
    """Fold what an archive holds, up to where ``cut`` says no; how many events that were."""
    manifests = {partition: archive.segments(partition) for partition in ledger.all()}
    total = sum(segment.events for found in manifests.values() for segment in found)
    done = 0
    for found in manifests.values():
        for segment in found:
            records = [stored for stored in archive.read(segment) if cut(stored)]
            fold_records(db, records)
            done += len(records)
            told("checking the events", done, total)
            if len(records) < segment.events:
                break
    return done


def fold_records(db: sqlite3.Connection, records: Iterable[Stored]) -> None:
    """Fold records, each partition in its order, into a state."""
    fold, batch = Fold(db), list(records)
    for first in range(0, len(batch), _BATCH):
        with transaction(db, fold):
            fold.apply_all(iter(batch[first : first + _BATCH]))
            fold.save_progress()


@dataclass
class _Copied:
    """Which blobs were copied, and which are nowhere."""

    new: int = 0
    new_bytes: int = 0
    missing: list[str] = field(default_factory=list)


def _copy_blobs(ledger: Ledger, target: Blobs, named: dict[str, int], told: Told) -> _Copied:
    """Copy the blobs that are not there."""
    there, copied = dict(target.all()), _Copied()
    for number, (digest, size_bytes) in enumerate(sorted(named.items()), 1):
        if there.get(digest) != size_bytes:
            try:
                _copy(ledger, target, digest)
            except BlobMissing:
                copied.missing.append(digest)
            else:
                copied.new += 1
                copied.new_bytes += size_bytes
        told("copying artifacts", number, len(named))
    return copied


def _copy(ledger: Ledger, target: Blobs, digest: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mlflow-ledger-backup-") as folder:
        whole = Path(folder) / "blob"
        write_file(ledger.carrier.read(digest, wait_s=0), whole)
        target.keep(digest, whole, whole.stat().st_size)
    for _ in target.read(digest):  # it must be there as it was
        pass
    reach("backup.copied")
