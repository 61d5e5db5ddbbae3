"""Whether everything still holds: the log, what was folded from it, and the artifacts' bytes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from mlflow_ledger.bus import Partition, Stored
from mlflow_ledger.consumers import (
    CLAIM_CHECKS,
    STATE_TABLES,
    Analytics,
    AnalyticsDamaged,
    Fold,
    Ledger,
    PublicKey,
    StateDamaged,
    StateFailures,
    create,
    looked_at,
    state_digest,
)
from mlflow_ledger.schemas import ArtifactError, LogError, format_time

from .state_difference import Difference, differences
from .tree_check import TreeCheck, TreeReport, oddity

__all__ = ["Finding", "Progress", "Report", "verify"]

Progress = Callable[[str, int, int], None]
"""Is told which part is being checked, how much of it is done, and of how much."""

_BATCH = 1000
_AT_ONCE = 50
_PARTS = ("log", "trees", "state", "analytics", "artifacts")
_GARBLED = (LogError, ValueError, TypeError, sqlite3.Error)
"""What reading or folding a record raises whose bytes are not what was written."""

_MAX_JUMP = 100_000
_SHOWN_HOLES = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """A place where something does not hold; ``part`` is one of those of a report."""

    part: str
    place: str
    message: str


@dataclass
class Report:
    """What was checked, and where it does not hold.

    ``state`` is the live state's file, None where there is none yet; ``tables`` counts the rows of
    the replayed one. Analytics are only looked at where everything else holds.
    """

    ledger_id: str
    position: str = ""
    events: int = 0
    sources: int = 0
    state: str | None = None
    state_digest: str = ""
    tables: dict[str, int] = field(default_factory=dict)
    analytics: bool | None = None
    artifacts: int = 0
    artifact_bytes: int = 0
    trees: list[TreeReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def signed(self) -> bool:
        """Whether there was a checkpoint to compare the log with."""
        return any(tree.checkpoints for tree in self.trees)


def verify(
    ledger: Ledger,
    progress: Progress | None = None,
    keys: Sequence[PublicKey] = (),
    held: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """Replay the log into a fresh state, compare it with the live one, read every artifact.

    The log is compared with what was signed of it: by one of ``keys``; without any, signatures are
    not checked. ``held`` are checkpoints that somebody has kept, by a name for each.

    Nothing is repaired: a state that is damaged, or not the fold of the log, is reported and left
    as it is. A state that is merely behind the log is compared at the position where it stands.
    """
    trees = TreeCheck(ledger, keys, held)
    return _Verification(ledger, progress or (lambda *_: None), trees).report


class _Verification:
    """One run through everything, finding by finding."""

    def __init__(self, ledger: Ledger, progress: Progress, trees: TreeCheck) -> None:
        self._ledger = ledger
        self._trees = trees
        self._progress = progress
        self._offset = 0
        self._append_ms: dict[Partition, int] = {}
        self._sources: dict[str, tuple[int, set[int]]] = {}
        self._readable = True
        self.report = Report(ledger.ledger_id)
        self._end = ledger.log.last_offset()
        with closing(create(":memory:")) as replayed:
            self._fold = Fold(replayed)
            with self._live() as live:
                self._replay(replayed, self._next(live) - 1 if live else 0)
                if live:
                    live.execute("BEGIN")  # only now: a long view would keep writers' files growing
                    following = self._next(live)
                    self._replay(replayed, following - 1)
                    self._compare(live, replayed, following)
            self._replay(replayed, self._end)
            self._holes()
            self._rows()
            self._signed()
            self._artifacts(replayed)
            self.report.position = str(ledger.log.reached(self._offset + 1))
            self.report.state_digest = state_digest(replayed)
        if self.report.holds and self.report.state is not None:
            self._analytics()
        self.report.findings.sort(key=lambda finding: _PARTS.index(finding.part))

    def _found(self, part: str, place: str, message: str) -> None:
        self.report.findings.append(Finding(part, place, message))

    # --- the log

    def _replay(self, replayed: sqlite3.Connection, last: int) -> None:
        """Fold the records up to an offset, and look at each on the way."""
        last = min(last, self._end)
        while self._readable and self._offset < last:
            replayed.execute("BEGIN")
            self._fold.refresh()
            for stored in self._records(last):
                self._look(stored)
                try:
                    verdict = self._fold.apply(stored)
                except _GARBLED as error:
                    self._unreadable(stored.offset, str(error))
                    break
                if verdict.kind in ("conflict", "unreadable"):
                    self._found("log", f"event {stored.offset}", verdict.message)
            self._fold.save_progress()
            replayed.execute("COMMIT")
            self._progress("log", self._offset, self._end)

    def _records(self, last: int) -> Iterator[Stored]:
        """The next records up to an offset, at most a batch; a few of them in memory at a time."""
        first = self._offset
        while self._readable and self._offset < last and self._offset - first < _BATCH:
            yield from self._some_records(last)

    def _some_records(self, last: int) -> Iterator[Stored]:
        offsets = self._ledger.log.offsets(self._offset + 1, last, _AT_ONCE)
        if not offsets:
            self._expect(last + 1)
            return
        try:
            among = "AND seq <= ?"
            batch = list(self._ledger.log.rows(offsets[0], len(offsets), among, (offsets[-1],)))
        except _GARBLED:
            batch = None
        if batch is not None:
            yield from batch
            self._expect(offsets[-1] + 1)
            return
        for offset in offsets:
            try:
                stored = self._ledger.log.at(offset)
            except _GARBLED as error:
                self._expect(offset)
                self._unreadable(offset, str(error))
                return
            if stored is not None:
                yield stored
        self._expect(offsets[-1] + 1)

    def _unreadable(self, offset: int, why: str) -> None:
        self._found("log", f"event {offset}", f"cannot be read: {why}")
        self._readable = False

    def _expect(self, offset: int) -> None:
        """Report the offsets that are missing before this one."""
        missing = range(self._offset + 1, offset)
        if missing:
            place = f"event {missing[0]}"
            if len(missing) > 1:
                place = f"events {missing[0]} to {missing[-1]}"
            self._found("log", place, "missing: offsets follow one another without holes")
        self._offset = offset - 1

    def _look(self, stored: Stored) -> None:
        """Look at the order of one record and at its identity."""
        self._expect(stored.offset)
        self._offset = stored.offset
        self.report.events += 1
        partition = self._trees.note(stored)
        first = self._trees.is_first(partition)
        if (odd := oddity(stored.record, self.report.ledger_id, first=first)) is not None:
            self._found("log", f"event {stored.offset}", odd)
        append_ms = self._append_ms.get(partition, 0)
        if stored.append_ms < append_ms:
            self._found(
                "log",
                f"event {stored.offset}",
                f"was appended at {format_time(stored.append_ms)}, before the one in front of it "
                f"({format_time(append_ms)})",
            )
        self._append_ms[partition] = max(append_ms, stored.append_ms)
        envelope = stored.record.envelope
        highest, gaps = self._sources.get(envelope.source, (0, set()))
        if envelope.id - highest > _MAX_JUMP:
            message = f"ids {highest + 1} to {envelope.id - 1} are missing"
            self._found("log", f"event {stored.offset} of source {envelope.source}", message)
        else:
            gaps.update(range(highest + 1, envelope.id))
        gaps.discard(envelope.id)
        self._sources[envelope.source] = (max(highest, envelope.id), gaps)

    def _rows(self) -> None:
        """Report rows that are not written as we write them, though they still say the same."""
        for place, message in self._ledger.log.odd_rows():
            self._found("log", place, message)

    def _holes(self) -> None:
        """Report the identities that no record has."""
        self.report.sources = len(self._sources)
        for source, (highest, gaps) in self._sources.items():
            if gaps:
                shown = ", ".join(map(str, sorted(gaps)[:_SHOWN_HOLES]))
                more = f" and {len(gaps) - _SHOWN_HOLES} more" if len(gaps) > _SHOWN_HOLES else ""
                message = f"ids {shown}{more} of 1 to {highest} are missing"
                self._found("log", f"source {source}", message)

    def _signed(self) -> None:
        """Compare the log with its trees, and a copy of it with what it is a copy of."""
        for part, place, message in self._trees.findings(self._progress, whole=self._readable):
            self._found(part, place, message)
        self.report.trees = self._trees.reports

    # --- the state

    @contextmanager
    def _live(self) -> Iterator[sqlite3.Connection | None]:
        """The live state as it is, or None where there is none that can be compared."""
        path = self._ledger.files.current()
        if path is None:
            yield None
            return
        self.report.state = path.name
        with ExitStack() as stack:
            try:
                live = stack.enter_context(looked_at(path))
            except StateDamaged as error:
                self._damaged(error)
                yield None
                return
            try:
                with StateFailures(path):
                    yield live
            except StateDamaged as error:
                self._damaged(error)

    def _damaged(self, error: StateDamaged) -> None:
        place = str(self.report.state)
        self._found("state", place, f"{error}; `mlflow-ledger rebuild` folds it again")

    def _next(self, live: sqlite3.Connection) -> int:
        row = live.execute("SELECT next FROM progress").fetchone()
        return int(row[0]) if row else 1

    def _compare(
        self, live: sqlite3.Connection, replayed: sqlite3.Connection, following: int
    ) -> None:
        name = str(self.report.state)
        if following - 1 > self._end:
            message = f"it has folded up to event {following - 1}; the log ends at {self._end}"
            self._found("state", name, message)
            return
        if not self._readable:
            return
        rows = [
            db.execute("SELECT next, digest FROM progress").fetchone() for db in (live, replayed)
        ]
        if rows[0] != rows[1]:
            message = f"the last event it has folded, {following - 1}, is another one in the log"
            self._found("state", name, message)
        for number, table in enumerate(STATE_TABLES):
            count, different = differences(live, replayed, table)
            self.report.tables[table] = count
            for difference in different:
                self._found("state", f"{table} {difference.key}", self._explained(difference))
            self._progress("state", number + 1, len(STATE_TABLES))

    def _explained(self, difference: Difference) -> str:
        """What differs; of an identity also the event whose bytes are not what they were."""
        if difference.table == "identities" and len(difference.values) > 1:
            where = "AND source = ? AND id = ?"
            for stored in self._ledger.log.rows(1, 1, where, difference.values):
                return f"event {stored.offset} is not the one that was folded: {difference.message}"
        return difference.message

    # --- what was folded into columns, and the bytes of artifacts

    def _analytics(self) -> None:
        self._progress("analytics", 0, 1)
        analytics = Analytics(self._ledger)
        try:
            found, expected = analytics.digest()
        except AnalyticsDamaged as error:
            self.report.analytics = False
            self._found("analytics", "snapshot", f"{error}: the snapshot was dropped")
            return
        finally:
            analytics.close()
        self.report.analytics = found == expected
        if found != expected:
            message = f"its digest is {found}, that of the state's rows {expected}"
            self._found("analytics", "snapshot and what was added to it", message)
        self._progress("analytics", 1, 1)

    def _artifacts(self, replayed: sqlite3.Connection) -> None:
        """Read every blob that a manifest or a claim check names."""
        wanted: dict[str, tuple[str, int]] = {}
        for path, digest, size_bytes in replayed.execute(
            "SELECT path, digest, size_bytes FROM artifacts WHERE deleted = 0 ORDER BY path"
        ):
            wanted.setdefault(digest, (path, size_bytes))
        for place, query in CLAIM_CHECKS.items():
            for (text,) in replayed.execute(query):
                check = json.loads(text)
                wanted.setdefault(check["digest"], (place, check["size_bytes"]))
        for number, (digest, (place, expected)) in enumerate(wanted.items()):
            self._artifact(place, digest, expected)
            self._progress("artifacts", number + 1, len(wanted))

    def _artifact(self, place: str, digest: str, expected: int) -> None:
        size_bytes = 0
        self.report.artifacts += 1
        try:
            for piece in self._ledger.carrier.read(digest, wait_s=0):
                size_bytes += len(piece)
        except ArtifactError as error:
            self._found("artifacts", place, str(error))
            return
        self.report.artifact_bytes += size_bytes
        if size_bytes != expected:
            message = f"blob {digest} has {size_bytes} bytes, its manifest says {expected}"
            self._found("artifacts", place, message)
