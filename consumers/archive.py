"""The archive: sealed segments of a log, each with a manifest, at a place of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_ledger.bus import EMBEDDED, TOPICS, Partition, Stored, reach
from mlflow_ledger.schemas import ArtifactError, LogForeign

from .object_place import ObjectPlace
from .segment import NO_CHAIN, Segment, chained, packed, partition_name, unpacked

if TYPE_CHECKING:
    from mlflow_ledger.bus import Keyring

__all__ = ["Archive", "ArchivedLedger", "archived_ledgers", "opened_by"]

_ROOT = "archive"


@dataclass(frozen=True)
class ArchivedLedger:
    """Whose log an archive holds; ``facts`` tell a ledger's topics in Kafka from any others."""

    ledger_id: str
    partitions: dict[str, int]
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """Whether it is the log of a ledger in a folder."""
        return not self.facts

    def all(self) -> list[Partition]:
        """Its partitions, the catalog's first; an embedded log has one sequence."""
        if self.embedded:
            return [EMBEDDED]
        return [(topic, n) for topic in TOPICS for n in range(self.partitions[topic])]


class Archive:
    """The segments of one ledger, at ``archive/<ledger id>/<partition>/``.

    First the file is written, under a name that holds its digest, then the manifest, named by the
    first offset and only where there is none: of several who seal, one comes first.
    """

    def __init__(self, place: Path | str, ledger_id: str, keyring: Keyring | None = None) -> None:
        """Look at a folder, or an object store's URL; nothing is asked of it yet.

        ``keyring`` opens what is sealed in records that are read.
        """
        self.objects = ObjectPlace(place)
        self.keyring = keyring
        self.ledger_id = ledger_id
        self._prefix = f"{_ROOT}/{ledger_id}"

    def __str__(self) -> str:
        """Where it is, for messages."""
        return f"{self.objects}/{self._prefix}"

    def describe(self, ledger: ArchivedLedger) -> None:
        """Say whose log is archived here, before anything of it is.

        Raises:
            LogForeign: the archive is of other topics, which were deleted and made anew.
        """
        key, said = f"{self._prefix}/ledger.json", _encoded(ledger)
        if self.objects.put(key, said, create=True):
            return
        found = _parsed(self.objects.get(key), f"{key} in {self.objects}")
        if found != ledger:
            msg = (
                f"{self} holds the log of other topics than those that are there now, or of a "
                "ledger of another kind; move it away to begin another archive"
            )
            raise LogForeign(msg)

    def segments(self, partition: Partition) -> list[Segment]:
        """The manifests of a partition, in order and without a hole between them.

        Raises:
            ArtifactError: one is missing, or does not belong where it stands.
        """
        folder = f"{self._prefix}/{partition_name(partition)}/"
        keys = [key for key in self.objects.keys(folder) if key.endswith(".json")]
        found = [self._manifest(key) for key in keys]
        chain, following = NO_CHAIN, found[0].first if found else 0
        for key, segment in zip(keys, found, strict=True):
            if segment.first != following:
                msg = (
                    f"{self} lacks the segment of {partition_name(partition)} that begins at "
                    f"{following}; the next one begins at {segment.first}. Put it back from a copy"
                )
                raise ArtifactError(msg)
            if segment.previous != chain or segment.where != partition:
                msg = f"{key} in {self.objects} was changed: it does not follow the one before it"
                raise ArtifactError(msg)
            chain, following = segment.chain, segment.following
        return found

    def add(self, last: Segment | None, records: Sequence[Stored], following: int) -> Segment:
        """Seal records behind ``last``; where somebody else was quicker, theirs is the answer."""
        partition, first = records[0].partition, records[0].offset
        previous = last.chain if last else NO_CHAIN
        begun = last.following if last else min(first, 1 if partition == EMBEDDED else 0)
        data = packed(records)
        segment = Segment(
            ledger_id=self.ledger_id,
            topic=partition[0],
            partition=partition[1],
            first=begun,
            following=following,
            events=len(records),
            first_ms=records[0].append_ms,
            last_ms=records[-1].append_ms,
            previous=previous,
            chain=chained(previous, records),
            key=self._file_key(partition, begun, data),
            sha256=hashlib.sha256(data).hexdigest(),
            packed_bytes=len(data),
        )
        self.objects.put(segment.key, data, create=True)
        reach("archive.written")
        if self.objects.put(self._manifest_key(segment), segment.encoded(), create=True):
            return segment
        found = self._manifest(self._manifest_key(segment))
        if found.key != segment.key:
            self.objects.delete(segment.key)
        return found

    def read(self, segment: Segment) -> list[Stored]:
        """The records of a segment, checked.

        Raises:
            ArtifactError: it is missing, or was changed.
        """
        records = unpacked(self.objects.get(segment.key), segment, str(self.objects))
        return records if self.keyring is None else [opened_by(self.keyring, s) for s in records]

    def records(
        self, partition: Partition, first: int = 0
    ) -> Iterator[tuple[Segment, list[Stored]]]:
        """Each segment that covers offsets from ``first`` on, with its records, checked."""
        for segment in self.segments(partition):
            if segment.following > first:
                yield segment, self.read(segment)

    def rewrite(self, segment: Segment, records: Sequence[Stored]) -> Segment:
        """Replace a segment's records by the same without what was redacted.

        The chain stays as it is. At no moment is the segment missing.
        """
        data = packed(records)
        fresh = replace(
            segment,
            key=self._file_key(segment.where, segment.first, data),
            sha256=hashlib.sha256(data).hexdigest(),
            packed_bytes=len(data),
        )
        unpacked(data, fresh, str(self.objects))
        if fresh.key != segment.key:
            self.objects.put(fresh.key, data)
            self.objects.put(self._manifest_key(segment), fresh.encoded())
            reach("archive.rewritten")
        self._drop_others(fresh)
        return fresh

    def drop_strays(self, partition: Partition) -> None:
        """Remove files that no manifest names: of somebody who was killed while sealing."""
        named = {segment.key for segment in self.segments(partition)}
        for key in self.objects.keys(f"{self._prefix}/{partition_name(partition)}/"):
            if key.endswith(".avro") and key not in named:
                self.objects.delete(key)

    def _drop_others(self, segment: Segment) -> None:
        """Remove files that begin where this one does: earlier forms of it."""
        stem = segment.key.rsplit("-", 1)[0]
        for key in self.objects.keys(segment.key.rsplit("/", 1)[0] + "/"):
            if key.startswith(f"{stem}-") and key != segment.key:
                self.objects.delete(key)

    def _file_key(self, partition: Partition, first: int, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        return f"{self._prefix}/{partition_name(partition)}/{first:020d}-{digest[:16]}.avro"

    def _manifest_key(self, segment: Segment) -> str:
        return f"{self._prefix}/{partition_name(segment.where)}/{segment.first:020d}.json"

    def _manifest(self, key: str) -> Segment:
        segment = Segment.parse(self.objects.get(key), f"{key} in {self.objects}")
        if segment.ledger_id != self.ledger_id or self._manifest_key(segment) != key:
            msg = f"{key} in {self.objects} is the manifest of another segment"
            raise ArtifactError(msg)
        return segment


def archived_ledgers(place: Path | str) -> list[ArchivedLedger]:
    """The ledgers whose logs are archived at a place."""
    objects = ObjectPlace(place)
    return [
        _parsed(objects.get(key), f"{key} in {objects}")
        for key in objects.keys(f"{_ROOT}/")
        if key.endswith("/ledger.json") and key.count("/") == 2  # noqa: PLR2004  # root, id, name
    ]


def _encoded(ledger: ArchivedLedger) -> bytes:
    fields: Mapping[str, Any] = {
        "ledger_id": ledger.ledger_id,
        "partitions": ledger.partitions,
        "facts": ledger.facts,
    }
    return json.dumps(fields, indent=1, sort_keys=True).encode()


def _parsed(data: bytes, what: str) -> ArchivedLedger:
    try:
        return ArchivedLedger(**json.loads(data))
    except (ValueError, TypeError) as error:
        msg = f"{what} is no description of an archive: {error}"
        raise ArtifactError(msg) from error


def opened_by(keyring: Keyring, stored: Stored) -> Stored:
    """A record whose content can be read, where its key is there."""
    return stored._replace(record=replace(stored.record, opener=keyring.open))
