"""Sealing: what stands in the log is put into the archive, segment by segment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_ledger.bus import (
    EMBEDDED,
    FileLock,
    MirrorLog,
    Partition,
    Position,
    SqliteLog,
    Stored,
)
from mlflow_ledger.schemas import ArtifactError

from .archive import Archive, ArchivedLedger
from .blob_place import check_shared
from .ledger import Ledger
from .segment import Segment, partition_name

__all__ = [
    "Sealed",
    "Sealing",
    "archive_of",
    "archived_ledger",
    "check_archive",
    "seal",
    "sealing_lock",
]

_MOST_EVENTS = 10_000
_MOST_BYTES = 4 * 1024 * 1024
_SEAL_AFTER_MS = 60 * 60 * 1000
_LOOK_S = 30.0
_TOLD_EVERY = 1000

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Sealed:
    """What was sealed, and up to which position the archive now reaches."""

    position: Position
    segments: list[Segment]
    archived: ArchivedLedger

    @property
    def events(self) -> int:
        """How many events were sealed."""
        return sum(segment.events for segment in self.segments)

    @property
    def packed_bytes(self) -> int:
        """What they take in the archive."""
        return sum(segment.packed_bytes for segment in self.segments)


def archive_of(ledger: Ledger) -> Archive:
    """The archive in the ledger's blob store.

    Raises:
        ArtifactError: no other host would find it there.
    """
    if ledger.shared and ledger.settings.blobs is None:
        check_shared(ledger.blobs.place)
    return Archive(ledger.blobs.place, ledger.ledger_id)


def archived_ledger(ledger: Ledger) -> ArchivedLedger:
    """What an archive says of a ledger."""
    facts = ledger.log.facts() if isinstance(ledger.log, MirrorLog) else {}
    return ArchivedLedger(ledger.ledger_id, dict(ledger.log.partitions()), facts)


def sealing_lock(ledger: Ledger) -> FileLock:
    """Who seals, or rewrites what is sealed, on this host."""
    return FileLock(ledger.folder / "archive.lock")


def seal(
    ledger: Ledger,
    archive: Archive,
    *,
    whole: bool = True,
    now_ms: int = 0,
    until: int | None = None,
    told: Told | None = None,
) -> Sealed:
    """Put what is not there yet into an archive, up to the end of the log as this host knows it.

    ``until`` is the last offset in this host's log to be sealed.

    Without ``whole`` a last segment that is not full waits for more, unless its first event is an
    hour old. What is there already must be what the log says at that place.

    Raises:
        ArtifactError: the archive does not take it, or is of another history.
    """
    archive.describe(archived_ledger(ledger))
    lock = sealing_lock(ledger)
    try:
        with lock:
            sealer = _Sealer(ledger, archive, until, told or (lambda *_: None))
            return sealer.run(None if whole else now_ms - _SEAL_AFTER_MS)
    finally:
        lock.close()


def check_archive(ledger: Ledger, archive: Archive, told: Told | None = None) -> int:
    """Read every segment and compare it with the log; how many events were compared.

    Raises:
        ArtifactError: a segment is missing, was changed, or is not what the log says; names it.
    """
    compared = 0
    for partition, end in ends_of(ledger).items():
        segments = archive.segments(partition)
        for number, segment in enumerate(segments, 1):
            for stored in archive.read(segment):
                if stored.offset < end:
                    _check_stands(ledger.log, archive, stored)
                    compared += 1
            if told is not None:
                told(f"checking {partition_name(partition)}", number, len(segments))
    return compared


def _check_stands(log: SqliteLog, archive: Archive, stored: Stored) -> None:
    """What was sealed must be what the log says at that place, its content included."""
    found = log.at(_local(log, stored.partition, stored.offset))
    there = None if found is None else _placed(log, found)
    if (
        there is None
        or there[:3] != stored[:3]
        or (there.record.digest() != stored.record.digest())
    ):
        msg = (
            f"{archive} is of another history: {partition_name(stored.partition)} holds at "
            f"{stored.offset} another event than the log. The log was cut back or restored: "
            "compare both, and move the archive away to begin another one"
        )
        raise ArtifactError(msg)
    if there.record.content is None and stored.record.content is not None:
        msg = (
            f"{archive} still holds the content of {partition_name(stored.partition)} at "
            f"{stored.offset}, which was erased from the log since. Remove this copy, and make "
            "another one in an empty place"
        )
        raise ArtifactError(msg)


class _Sealer:
    """One pass over the log, from the oldest event that is not in the archive."""

    def __init__(self, ledger: Ledger, archive: Archive, until: int | None, told: Told) -> None:
        self._log = ledger.log
        self._archive = archive
        self._until = until
        self._told = told
        self._ledger = archived_ledger(ledger)
        self._ends = ends_of(ledger)
        self._last: dict[Partition, Segment | None] = {}
        self._waiting: dict[Partition, list[Stored]] = {}
        self._bytes: dict[Partition, int] = {}
        self._made: list[Segment] = []

    def run(self, before_ms: int | None) -> Sealed:
        """Seal; a last segment that is not full only if it begins before that time."""
        first = self._begin()
        end = self._log.last_offset() if self._until is None else self._until
        if first is not None:
            for stored in self._log.rows(first, None, "AND seq <= ?", (end,)):
                self._take(_placed(self._log, stored))
                if stored.offset % _TOLD_EVERY == 0 or stored.offset == end:
                    self._told("sealing", stored.offset - first + 1, end - first + 1)
        for partition, records in self._waiting.items():
            if records and (before_ms is None or records[0].append_ms < before_ms):
                whole = self._until is None
                following = self._ends[partition] if whole else records[-1].offset + 1
                self._seal(partition, following)
        reached = {
            partition: last.following for partition, last in self._last.items() if last is not None
        }
        return Sealed(Position(self._archive.ledger_id, reached), self._made, self._ledger)

    def _begin(self) -> int | None:
        """Where in the log to begin: at the first event that any partition still lacks."""
        firsts = []
        for partition, end in self._ends.items():
            segments = self._archive.segments(partition)
            last = self._last[partition] = segments[-1] if segments else None
            self._waiting[partition], self._bytes[partition] = [], 0
            if last is not None:
                self._check(last)
            begun = last.following if last else 0
            if begun < end:
                firsts.append(max(1, _local(self._log, partition, begun)))
        return min(firsts, default=None)

    def _check(self, last: Segment) -> None:
        """What was sealed last must stand in the log, where the log still has it."""
        if last.following > self._ends[last.where]:
            return  # another host has sealed what this one does not know yet
        *_, newest = self._archive.read(last)
        _check_stands(self._log, self._archive, newest)

    def _take(self, stored: Stored) -> None:
        partition = stored.partition
        last, waiting = self._last[partition], self._waiting[partition]
        if stored.offset >= self._ends[partition] or (last and stored.offset < last.following):
            return
        waiting.append(stored)
        self._bytes[partition] += stored.record.size_bytes()
        if len(waiting) >= _MOST_EVENTS or self._bytes[partition] >= _MOST_BYTES:
            self._seal(partition, stored.offset + 1)

    def _seal(self, partition: Partition, following: int) -> None:
        """Seal what waits; where another has sealed more than that, or less, go on behind it."""
        waiting = self._waiting[partition]
        while waiting:
            made = self._archive.add(self._last[partition], waiting, following)
            self._last[partition] = made
            self._made.append(made)
            waiting = [stored for stored in waiting if stored.offset >= made.following]
        self._waiting[partition], self._bytes[partition] = [], 0


class Sealing:
    """Sealing as a duty: full segments, and those that have waited for an hour."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        """Seal into the archive in the ledger's blob store."""
        self.sealed = 0
        self._ledger = ledger
        self._archive = archive_of(ledger)
        self._clock = clock
        self._look_at_s = 0.0

    def round(self, seq: int) -> None:
        """Seal what is due; ``seq`` does not matter.

        Raises:
            ArtifactError: the archive does not take it.
        """
        if self._clock() < self._look_at_s:
            return
        self._look_at_s = self._clock() + _LOOK_S
        now_ms = time.time_ns() // 1_000_000
        self.sealed += seal(self._ledger, self._archive, whole=False, now_ms=now_ms).events


def ends_of(ledger: Ledger) -> dict[Partition, int]:
    """Behind the last record of each partition that this host knows."""
    log = ledger.log
    if isinstance(log, MirrorLog):
        here = log.position()
        partitions = archived_ledger(ledger).all()
        return {partition: here.offset(partition) for partition in partitions}
    return {EMBEDDED: log.last_offset() + 1}


def _local(log: SqliteLog, partition: Partition, offset: int) -> int:
    """Where in this host's log a record of a partition is, or the first behind it."""
    if isinstance(log, MirrorLog):
        return log.first_of(partition, offset)
    return offset


def _placed(log: SqliteLog, stored: Stored) -> Stored:
    """A record as it stands in its partition."""
    if not isinstance(log, MirrorLog):
        return stored
    partition, offset = log.origin(stored.offset)
    return stored._replace(partition=partition, offset=offset)
