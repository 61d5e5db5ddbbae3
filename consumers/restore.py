"""Restoring a ledger from a backup, to any position it reaches; checked before it is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mlflow_ledger.bus import Position, Settings, SqliteLog, Stored, reach, share
from mlflow_ledger.schemas import (
    ArtifactError,
    BlobMissing,
    LogForeign,
    LogUnavailable,
    SettingsError,
)

from .archive import Archive, ArchivedLedger, archived_ledgers
from .backups import BackupPoint, backup_points, fold_archive
from .blob_place import place_of
from .blobs import Blobs, write_file
from .collection import named_blobs
from .digest import state_digest
from .fold import FOLD_VERSION
from .key_backup import get_keys
from .ledger import Ledger
from .object_place import ObjectPlace
from .segment import partition_name
from .state_file import create

__all__ = ["Cut", "Restored", "Source", "restore_blobs", "restore_to_folder", "source_at"]

Told = Callable[[str, int, int], None]

_UNFINISHED = ".restoring"


@dataclass(frozen=True)
class Cut:
    """Up to where: before a position, or up to and with what was appended at a time."""

    position: Position | None = None
    until_ms: int | None = None

    def holds(self, stored: Stored) -> bool:
        """Whether a record still belongs to it."""
        if self.position is not None:
            return stored.offset < self.position.offset(stored.partition)
        return self.until_ms is None or stored.append_ms <= self.until_ms


@dataclass(frozen=True)
class Restored:
    """What stands there now; ``missing`` are blobs that the backup no longer has."""

    ledger_id: str
    position: str
    events: int
    state_digest: str
    blobs: int
    blob_bytes: int
    missing: list[str]


class Source:
    """A ledger's archive at a place, with the backups that were made there."""

    def __init__(self, place: Path | str, ledger: ArchivedLedger) -> None:
        """Look at what :func:`source_at` has found."""
        self.place = place
        self.ledger = ledger
        self.keys = get_keys(ObjectPlace(place), ledger.ledger_id)
        keyring = None if self.keys is None else self.keys.keyring()
        self.archive = Archive(place, ledger.ledger_id, keyring)
        self.blobs = Blobs(place)
        self.points = backup_points(place, ledger.ledger_id)

    def cut(self, to: int | Position | None) -> Cut:
        """Up to where to restore: a time, a position, or the newest backup.

        Raises:
            SettingsError: it is of another ledger, or the backup does not reach that far.
        """
        newest = self.points[-1] if self.points else None
        if to is None:
            return Cut() if newest is None else Cut(Position.parse(newest.position))
        if isinstance(to, int):
            self._check_taken_after(to, newest)
            return Cut(until_ms=to)
        if to.ledger_id != self.ledger.ledger_id:
            msg = f"{to} is a position of another ledger; this backup is of {self.ledger.ledger_id}"
            raise SettingsError(msg)
        for partition in self.ledger.all():
            segments = self.archive.segments(partition)
            reached = segments[-1].following if segments else 0
            if to.offset(partition) > reached:
                msg = (
                    f"{to} lies behind what was backed up: {partition_name(partition)} reaches up "
                    f"to {reached} in {self.archive}; back up again, or name an earlier position"
                )
                raise SettingsError(msg)
        return Cut(to)

    def point_at(self, cut: Cut) -> BackupPoint | None:
        """The backup of just that position, if one was made with this version of the fold."""
        lost = 0 if self.keys is None else self.keys.lost  # it folds to less than it did before
        named = {
            p.position: p for p in self.points if (p.fold_version, p.lost) == (FOLD_VERSION, lost)
        }
        return None if cut.position is None else named.get(str(cut.position))

    def records(self, cut: Cut, told: Told) -> Iterator[Stored]:
        """The records up to there, each partition in its order, the catalog's first."""
        for partition in self.ledger.all():
            segments = self.archive.segments(partition)
            for number, segment in enumerate(segments, 1):
                held = [stored for stored in self.archive.read(segment) if cut.holds(stored)]
                yield from held
                told(f"reading {partition_name(partition)}", number, len(segments))
                if len(held) < segment.events:
                    break

    def expected(self, cut: Cut, told: Told) -> tuple[int | None, str]:
        """How many events there should be, and the digest of their state."""
        point = self.point_at(cut)
        if point is not None:
            return point.events, point.state_digest
        with closing(create(":memory:")) as db:
            events = fold_archive(db, self.archive, self.ledger, told, cut.holds)
            return events, state_digest(db)

    def _check_taken_after(self, time_ms: int, newest: BackupPoint | None) -> None:
        if newest is not None and time_ms > newest.taken_ms:
            msg = (
                "that time lies behind the newest backup: what came between the two is not in it; "
                "back up again, or leave --to away to restore the newest one"
            )
            raise SettingsError(msg)


def source_at(place: Path | str) -> Source:
    """What there is to restore from at a place.

    Raises:
        ArtifactError: nothing, or several ledgers.
    """
    found = archived_ledgers(place)
    if len(found) != 1:
        names = ", ".join(ledger.ledger_id for ledger in found) or "none"
        msg = (
            f"{place} holds backups of {len(found)} ledgers ({names}), where one is needed; name "
            "the folder or URL that `mlflow-ledger backup` wrote to"
        )
        raise ArtifactError(msg)
    return Source(place, found[0])


def restore_to_folder(
    source: Source,
    folder: Path,
    cut: Cut,
    settings: Settings,
    *,
    allow_missing: bool = False,
    told: Told | None = None,
) -> Restored:
    """Make an embedded ledger of a backup in a folder that holds none.

    The log is written and folded aside, compared with what the backup says, and put in its place
    at last: a restore that breaks off leaves no ledger, and is begun anew by the next.

    Raises:
        LogForeign: the backup is of a ledger in Kafka.
        LogUnavailable: there is a ledger already.
        ArtifactError: the backup does not hold, or lacks artifacts.
    """
    told = told or (lambda *_: None)
    if not source.ledger.embedded:
        msg = (
            "this backup is of a ledger in Kafka, whose partitions and positions a folder cannot "
            "have; restore it to ledger+kafka://host:9092/NAME, a name that is not in use"
        )
        raise LogForeign(msg)
    _check_free(folder)
    unfinished = folder / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    for made in (folder, unfinished):
        made.mkdir(parents=True, exist_ok=True)
        share(made)
    records = source.records(cut, told)
    SqliteLog.filled(unfinished / "log.sqlite", source.ledger.ledger_id, records)
    reach("restore.written")
    ledger = Ledger(unfinished, settings.model_copy(update={"blobs": None}))
    try:
        position, events, found, named = _checked(source, ledger, cut, told)
    finally:
        ledger.close()
    missing = restore_blobs(
        source, Blobs(place_of(settings.blobs, folder / "blobs")), named, allow_missing, told
    )
    reach("restore.checked")
    _place(unfinished, folder)
    return Restored(
        ledger_id=source.ledger.ledger_id,
        position=position,
        events=events,
        state_digest=found,
        blobs=len(named) - len(missing),
        blob_bytes=sum(size for digest, size in named.items() if digest not in missing),
        missing=missing,
    )


def restore_blobs(
    source: Source, target: Blobs, named: dict[str, int], allow_missing: bool, told: Told
) -> list[str]:
    """Copy the blobs that a state names; those that the backup lacks.

    Raises:
        ArtifactError: one is not what its digest says; or is missing, which is not allowed.
    """
    missing = []
    for number, digest in enumerate(sorted(named), 1):
        try:
            with tempfile.TemporaryDirectory(prefix="mlflow-ledger-restore-") as folder:
                whole = Path(folder) / "blob"
                write_file(source.blobs.read(digest), whole)
                target.keep(digest, whole, whole.stat().st_size)
        except BlobMissing:
            missing.append(digest)
        told("copying artifacts", number, len(named))
    if missing and not allow_missing:
        msg = (
            f"{len(missing)} artifacts are not in {source.place}, for instance {missing[0]}: they "
            "had been collected, or no backup was made while they were there. Nothing was "
            "restored; --allow-missing restores what there is"
        )
        raise ArtifactError(msg)
    return missing


def _checked(
    source: Source, ledger: Ledger, cut: Cut, told: Told
) -> tuple[str, int, str, dict[str, int]]:
    """Fold the log; position, events, state digest and the blobs that are named."""
    events = ledger.log.last_offset()
    if events == 0:
        msg = "nothing stood in the log at that moment; name a later one"
        raise SettingsError(msg)
    position = ledger.catch_up(lambda done, of: told("folding the events", done, of))
    found, named = ledger.query(lambda db: (state_digest(db), named_blobs(db)))
    wanted_events, wanted = source.expected(cut, told)
    if (events, found) != (wanted_events, wanted):
        msg = (
            f"what was restored ({events} events, state {found}) is not what the backup says "
            f"({wanted_events} events, state {wanted}); nothing was put in place"
        )
        raise ArtifactError(msg)
    return str(position), events, found, named


def _check_free(folder: Path) -> None:
    if (folder / "log.sqlite").exists():
        msg = (
            f"there is a ledger in {folder}, and a restored one would take its place; name "
            "another folder, or move that one away"
        )
        raise LogUnavailable(msg)


def _place(unfinished: Path, folder: Path) -> None:
    """Put everything in its place; the log, whose presence counts, comes last."""
    log = unfinished / "log.sqlite"
    for path in (*unfinished.glob("state-*.sqlite"), *unfinished.glob("CURRENT-*"), log):
        _sync(path)
        path.replace(folder / path.name)
    _sync(folder)
    reach("restore.placed")
    shutil.rmtree(unfinished, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
