"""Whether everything still holds: the log, what was folded from it, and the artifacts' bytes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from types import MappingProxyType

from mlflow_ledger.bus import Stored
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
from mlflow_ledger.schemas import ArtifactError

from .log_check import GARBLED, LogCheck, why
from .report import Finding, Report
from .state_difference import Difference, differences
from .tree_check import TreeCheck

__all__ = ["Finding", "Progress", "Report", "verify"]

Progress = Callable[[str, int, int], None]
"""Is told which part is being checked, how much of it is done, and of how much."""


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
        self._is_folded = True
        """Whether all that was read could be folded."""
        self.report = Report(ledger.ledger_id)
        self._log = LogCheck(ledger, trees, self.report)
        with closing(create(":memory:")) as replayed:
            self._fold = Fold(replayed)
            with self._live() as live:
                self._replay(replayed, self._next(live) - 1 if live else 0)
                if live:
                    live.execute("BEGIN")  # only now: a long view would keep writers' files growing
                    following = self._next(live)
                    self._replay(replayed, following - 1)
                    self._compare(live, replayed, following)
            self._replay(replayed, self._log.end)
            self._log.finish()
            self._signed()
            self._artifacts(replayed)
            self.report.position = str(ledger.log.reached(self._log.offset + 1))
            self.report.state_digest = state_digest(replayed) if self._is_whole else ""
        if self.report.holds and self.report.state is not None:
            self._analytics()
        self.report.sort()

    @property
    def _is_whole(self) -> bool:
        """Whether the replayed state has all that was looked at."""
        return self._is_folded and not self.report.unreadable

    def _replay(self, replayed: sqlite3.Connection, last: int) -> None:
        """Fold the records up to an offset, and have each looked at on the way."""
        last = min(last, self._log.end)
        while self._log.offset < last:
            replayed.execute("BEGIN")
            self._fold.refresh()
            for stored in self._log.records(last):
                if self._is_folded:
                    self._apply(stored)
            self._fold.save_progress()
            replayed.execute("COMMIT")
            self._progress("log", self._log.offset, self._log.end)

    def _apply(self, stored: Stored) -> None:
        place = f"event {stored.offset}"
        try:
            verdict = self._fold.apply(stored)
        except GARBLED as error:
            self._is_folded = False  # of what it has changed nobody knows what is whole
            self.report.found("log", place, f"cannot be folded: {why(error)}")
            return
        if verdict.kind in ("conflict", "unreadable"):
            self.report.found("log", place, verdict.message)

    def _signed(self) -> None:
        """Compare the log with its trees, and a copy of it with what it is a copy of."""
        for part, place, message in self._trees.findings(self._progress):
            self.report.found(part, place, message)
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
        self.report.found("state", place, f"{error}; `mlflow-ledger rebuild` folds it again")

    def _next(self, live: sqlite3.Connection) -> int:
        row = live.execute("SELECT next FROM progress").fetchone()
        return int(row[0]) if row else 1

    def _compare(
        self, live: sqlite3.Connection, replayed: sqlite3.Connection, following: int
    ) -> None:
        name = str(self.report.state)
        if following - 1 > self._log.end:
            message = f"it has folded up to event {following - 1}; the log ends at {self._log.end}"
            self.report.found("state", name, message)
            return
        if not self._is_whole:
            return
        rows = [
            db.execute("SELECT next, digest FROM progress").fetchone() for db in (live, replayed)
        ]
        if rows[0] != rows[1]:
            message = f"the last event it has folded, {following - 1}, is another one in the log"
            self.report.found("state", name, message)
        for number, table in enumerate(STATE_TABLES):
            count, different = differences(live, replayed, table)
            self.report.tables[table] = count
            for difference in different:
                self.report.found("state", f"{table} {difference.key}", self._explained(difference))
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
            self.report.found("analytics", "snapshot", f"{error}: the snapshot was dropped")
            return
        finally:
            analytics.close()
        self.report.analytics = found == expected
        if found != expected:
            message = f"its digest is {found}, that of the state's rows {expected}"
            self.report.found("analytics", "snapshot and what was added to it", message)
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
            self.report.found("artifacts", place, str(error))
            return
        self.report.artifact_bytes += size_bytes
        if size_bytes != expected:
            message = f"blob {digest} has {size_bytes} bytes, its manifest says {expected}"
            self.report.found("artifacts", place, message)
