"""Whether each record of a log can be read, and stands where it should: one after the other."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from mlflow_ledger.bus import Partition, Stored
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import (
    DecodeError,
    LedgerCreated,
    LogError,
    LogUnavailable,
    Record,
    decode,
    format_time,
)

from .report import Report
from .tree_check import TreeCheck

__all__ = ["GARBLED", "LogCheck", "why"]

GARBLED = (LogError, ValueError, TypeError, AttributeError, sqlite3.Error)
"""What reading or folding a record raises whose bytes are not what was written."""

_BATCH = 1000
_AT_ONCE = 50
_MAX_JUMP = 100_000
_SHOWN_HOLES = 10
_SHOWN_UNREADABLE = 1000


class LogCheck:
    """Reads every record once, looks at it, and goes on behind those that cannot be read."""

    def __init__(self, ledger: Ledger, trees: TreeCheck, report: Report) -> None:
        """Show what is read to ``trees``, and tell ``report``."""
        self.end = ledger.log.last_offset()
        self.offset = 0
        """The last offset that was looked at."""
        self._log = ledger.log
        self._trees = trees
        self._report = report
        self._append_ms: dict[Partition, int] = {}
        self._sources: dict[str, tuple[int, set[int]]] = {}

    def records(self, last: int) -> Iterator[Stored]:
        """The next records up to an offset that can be read, at most a batch; few in memory."""
        first = self.offset
        while self.offset < last and self.offset - first < _BATCH:
            offsets = self._offsets(last)
            for stored in self._read(offsets):
                if self._looked_at(stored):
                    yield stored
            self._expect((offsets[-1] if offsets else last) + 1)

    def finish(self) -> None:
        """Report what shows only at the end: identities that no record has, and odd rows."""
        self._holes()
        try:
            known = {finding.place for finding in self._report.findings if finding.part == "log"}
            for place, message in self._log.odd_rows():
                if place not in known:
                    self._report.found("log", place, message)
        except GARBLED as error:
            self._report.found("log", "its rows", f"not all of them can be read: {why(error)}")
        count = self._report.unreadable - _SHOWN_UNREADABLE
        if count > 0:
            self._report.found("log", "events", f"{count} more cannot be read")

    def _offsets(self, last: int) -> Sequence[int]:
        """The next offsets at which something stands; where that cannot be told, all next ones."""
        first = self.offset + 1
        try:
            return self._log.offsets(first, last, _AT_ONCE)
        except LogUnavailable:
            raise
        except GARBLED:
            return range(first, min(last, self.offset + _AT_ONCE) + 1)

    def _read(self, offsets: Sequence[int]) -> Iterable[Stored]:
        """The records at these offsets; those that cannot be read are reported."""
        if not offsets:
            return ()
        try:
            among = "AND seq <= ?"
            return list(self._log.rows(offsets[0], len(offsets), among, (offsets[-1],)))
        except LogUnavailable:
            raise
        except GARBLED:
            return self._read_singly(offsets)

    def _read_singly(self, offsets: Iterable[int]) -> Iterator[Stored]:
        for offset in offsets:
            try:
                stored = self._log.at(offset)
            except LogUnavailable:
                raise
            except GARBLED as error:
                self._unreadable(offset, error)
            else:
                if stored is not None:
                    yield stored

    def _unreadable(self, offset: int, error: Exception) -> None:
        self._expect(offset)
        self.offset = offset
        self._report.unreadable += 1
        self._trees.note_unreadable(offset)
        if self._report.unreadable <= _SHOWN_UNREADABLE:
            self._report.found("log", f"event {offset}", f"cannot be read: {why(error)}")

    def _expect(self, offset: int) -> None:
        """Report the offsets that are missing before this one."""
        missing = range(self.offset + 1, offset)
        if missing:
            place = f"event {missing[0]}"
            if len(missing) > 1:
                place = f"events {missing[0]} to {missing[-1]}"
            message = "missing: offsets follow one another without holes"
            self._report.found("log", place, message)
        self.offset = offset - 1

    def _looked_at(self, stored: Stored) -> bool:
        """Look at one record; whether it could be read after all."""
        try:
            partition = self._trees.note(stored)
        except GARBLED as error:  # its digest cannot be computed
            self._unreadable(stored.offset, error)
            return False
        self._expect(stored.offset)
        self.offset = stored.offset
        self._report.events += 1
        first = self._trees.is_first(partition)
        odd = oddity(stored.record, self._report.ledger_id, first=first)
        if odd is not None:
            self._report.found("log", f"event {stored.offset}", odd)
        self._look_at_time(stored, partition)
        self._look_at_identity(stored)
        return True

    def _look_at_time(self, stored: Stored, partition: Partition) -> None:
        before_ms = self._append_ms.get(partition, 0)
        if stored.append_ms < before_ms:
            message = (
                f"was appended at {format_time(stored.append_ms)}, before the one in front of it "
                f"({format_time(before_ms)})"
            )
            self._report.found("log", f"event {stored.offset}", message)
        self._append_ms[partition] = max(before_ms, stored.append_ms)

    def _look_at_identity(self, stored: Stored) -> None:
        envelope = stored.record.envelope
        highest, gaps = self._sources.get(envelope.source, (0, set()))
        if envelope.id - highest > _MAX_JUMP:
            message = f"ids {highest + 1} to {envelope.id - 1} are missing"
            place = f"event {stored.offset} of source {envelope.source}"
            self._report.found("log", place, message)
        else:
            gaps.update(range(highest + 1, envelope.id))
        gaps.discard(envelope.id)
        self._sources[envelope.source] = (max(highest, envelope.id), gaps)

    def _holes(self) -> None:
        """Report the identities that no record has."""
        self._report.sources = len(self._sources)
        for source, (highest, gaps) in self._sources.items():
            if gaps:
                some = ", ".join(map(str, sorted(gaps)[:_SHOWN_HOLES]))
                more = f" and {len(gaps) - _SHOWN_HOLES} more" if len(gaps) > _SHOWN_HOLES else ""
                message = f"ids {some}{more} of 1 to {highest} are missing"
                self._report.found("log", f"source {source}", message)


def oddity(record: Record, ledger_id: str, *, first: bool) -> str | None:
    """What is odd about a record, the first of its partition or not, and shows in no digest."""
    content, digest = record.content, record.content_digest
    if content is not None and digest is not None and hashlib.sha256(content).digest() != digest:
        return "has a content that is not the one that it keeps the digest of"
    if not first or record.envelope.type != LedgerCreated.__name__:
        return None
    try:
        begun = decode(record.envelope.type, record.head, record.content)
    except DecodeError:
        return None  # the fold says so
    if isinstance(begun, LedgerCreated) and begun.ledger_id != ledger_id:
        return f"begins ledger {begun.ledger_id}, and the log calls itself {ledger_id}"
    return None


def why(error: BaseException) -> str:
    """What an error says, without what is to be done where the whole log is damaged."""
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
