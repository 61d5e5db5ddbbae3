"""The past of topics: what they have forgotten, and the archive still holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlflow_ledger.bus import KafkaLog, MirrorLog, Partition, Position, Stored, reach
from mlflow_ledger.schemas import ArtifactError, LedgerCreated, LogDamaged, decode

from .archive import Archive, archived_ledgers
from .keyed_state import Progress
from .segment import Segment, partition_name

__all__ = ["Past", "archived_beginning"]

_CATALOG: Partition = ("catalog", 0)


class Past:
    """Stands in for the beginning of topics from which it was dropped."""

    def __init__(self, archive: Archive, kafka: KafkaLog) -> None:
        """Look into ``archive`` where ``kafka`` no longer has its beginning."""
        self._archive = archive
        self._kafka = kafka

    def check(self, dropped: Mapping[Partition, int]) -> None:
        """The archive must hold what was dropped: topics that begin at these offsets.

        Raises:
            LogDamaged: something is in neither, or they are of two histories; says where.
            ArtifactError: the archive cannot be read.
        """
        lasts = {}
        for partition, start in dropped.items():
            segments = self._archive.segments(partition)
            self._check_covered(partition, segments, start)
            lasts[partition] = segments[-1]
        self._check_joined({p: last for p, last in lasts.items() if last.following > dropped[p]})

    def copy(
        self,
        mirror: MirrorLog,
        dropped: Mapping[Partition, int],
        progress: Progress | None,
        meet: Callable[[Sequence[Stored]], None],
    ) -> None:
        """Copy to a mirror what it lacks and the topics no longer have; ``meet`` is shown it."""
        here = mirror.position()
        missing = {p: start for p, start in dropped.items() if here.offset(p) < start}
        done, behind = 0, here.distance(Position(here.ledger_id, missing))
        for partition, start in missing.items():
            for segment, records in self._archive.records(partition, here.offset(partition)):
                if segment.first >= start:
                    break
                meet(records)
                mirror.take(records, Position(here.ledger_id, {partition: segment.following}))
                reach("past.taken")
                done += segment.events
                if progress is not None:
                    progress(min(done, behind), behind)

    def digest_at(self, partition: Partition, offset: int) -> bytes | None:
        """The digest of an event that was archived, None where there is none."""
        for segment in self._archive.segments(partition):
            if segment.first <= offset < segment.following:
                found = [s for s in self._archive.read(segment) if s.offset == offset]
                return found[0].record.digest() if found else None
        return None

    def _check_covered(self, partition: Partition, segments: list[Segment], start: int) -> None:
        reached = segments[-1].following if segments and segments[0].first == 0 else 0
        if reached < start:
            name = partition_name(partition)
            msg = (
                f"{name}: events {reached} to {start - 1} are missing: {self._kafka.place} begins "
                f"at {start}, and the archive {self._archive} "
                + (f"ends at {reached - 1}" if reached else "holds none of it")
                + ". Put the segments back from a copy of the archive, or restore the topics"
            )
            raise LogDamaged(msg)

    def _check_joined(self, overlapping: Mapping[Partition, Segment]) -> None:
        """Where archive and topic both hold an event it must be the same."""
        newest = {p: self._archive.read(segment)[-1] for p, segment in overlapping.items()}
        start = self._kafka.start()
        there = self._kafka.at_each(
            {p: stored.offset for p, stored in newest.items() if stored.offset >= start.offset(p)}
        )
        for partition, found in there.items():
            if found.record.digest() != newest[partition].record.digest():
                msg = (
                    f"{partition_name(partition)}: the archive {self._archive} and "
                    f"{self._kafka.place} hold different events at {found.offset}: one of them was "
                    "changed, or is of another history. Compare both before anything else is done"
                )
                raise LogDamaged(msg)


def archived_beginning(place: Path | str, facts: Mapping[str, str]) -> LedgerCreated | None:
    """The creation of the ledger of these topics, from the archive; None where it holds none.

    Raises:
        ArtifactError: the archive cannot be read.
    """
    for ledger in archived_ledgers(place):
        if ledger.facts != facts:
            continue
        for _, records in Archive(place, ledger.ledger_id).records(_CATALOG):
            record = records[0].record
            event = decode(record.envelope.type, record.head, record.content)
            if isinstance(event, LedgerCreated) and event.ledger_id == ledger.ledger_id:
                return event
            break
        msg = f"the archive of {ledger.ledger_id} in {place} does not begin with its creation"
        raise ArtifactError(msg)
    return None
