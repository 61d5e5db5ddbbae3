"""Snapshots: state and analytics at one event, immutable, for clones and for going back."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from mlflow_ledger.bus import FileLock, reach, share
from mlflow_ledger.schemas import LogUnavailable

from .fold import FOLD_VERSION
from .older_states import OlderState, OlderStates, Whole

if TYPE_CHECKING:
    from .clone import Clone
    from .ledger import Ledger

__all__ = ["Snapshot", "Snapshots"]

_log = logging.getLogger(__name__)

_KEPT = 2
_OLDER = "older"
_PART = 10
_MANY_EVENTS, _PART_OF_MANY = 100_000, 40


@dataclass(frozen=True)
class Snapshot:
    """One published pair; ``seq`` events are folded in it, ``digest`` is the last one's."""

    folder: Path
    seq: int
    offset: int
    digest: str
    generation: str
    fold_version: int
    duckdb_version: str

    @property
    def analytics(self) -> Path:
        """The DuckDB file; copy it, never open it where it is."""
        return self.folder / "analytics.duckdb"

    @property
    def state(self) -> Path:
        """The SQLite file of the keyed state; copy it, never open it where it is."""
        return self.folder / "state.sqlite"

    def remove(self) -> None:
        """Remove both files."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Snapshots:
    """The snapshots of one ledger. A lock decides who publishes; nobody waits for it."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep them in ``snapshots/`` of the ledger's folder."""
        self._ledger = ledger
        self._folder = ledger.folder / "snapshots"
        self._older = OlderStates(self._folder / _OLDER)

    def enough(self, seq: int, least: int | None = None) -> int:
        """How many events have to come before a snapshot is due again, ``seq`` being folded.

        A first search has to add them, and a look back to fold them: a tenth of all events, and
        in a large ledger less.
        """
        most = max(_MANY_EVENTS, seq // _PART_OF_MANY)
        return max(least or self._ledger.settings.snapshot_events, min(seq // _PART, most))

    def takes(self, generation: str) -> bool:
        """Whether a state is the ledger's own, and not one that lies over it for a while."""
        return Path(generation).parent == self._ledger.folder

    def check_writable(self) -> None:
        """Do nothing where a snapshot can be published.

        Raises:
            LogUnavailable: this process may not write here.
        """
        self._ledger.log.check_writable()

    def all(self) -> list[Snapshot]:
        """Every snapshot that this program can read, oldest first."""
        return [s for s in self._of_fold() if s.duckdb_version == duckdb.__version__]

    def restore_state(self, last: int, target: Path) -> Whole | OlderState | None:
        """Write the latest state to ``target`` that has folded no event behind offset ``last``.

        None where no snapshot is that old; the state lists no changes.
        """
        return self._older.restore(
            target, self._of_fold(), lambda state: state.offset <= last and self.stands(state)
        )

    def forget_older(self) -> None:
        """Remove the states of earlier snapshots."""
        shutil.rmtree(self._folder / _OLDER, ignore_errors=True)

    def _of_fold(self) -> list[Snapshot]:
        """Every snapshot whose state this program can read, oldest first."""
        found = []
        for manifest in self._folder.glob("*/manifest.json"):
            try:
                fields = json.loads(manifest.read_text("utf-8"))
                found.append(Snapshot(folder=manifest.parent, **fields))
            except (OSError, ValueError, TypeError):
                continue
        return sorted((s for s in found if s.fold_version == FOLD_VERSION), key=lambda s: s.seq)

    def newest(self, generation: str, seq: int | None = None) -> Snapshot | None:
        """The last snapshot of one generation of the state, by its file's name.

        With ``seq``, the last one in which no more than so many events are folded. What its last
        event was must stand in the log: a log from a backup may be younger than a snapshot.
        """
        return next(
            (
                snapshot
                for snapshot in reversed(self.all())
                if snapshot.generation == generation
                and (seq is None or snapshot.seq <= seq)
                and self.stands(snapshot)
            ),
            None,
        )

    def stands(self, snapshot: Whole | OlderState) -> bool:
        """Whether the last event that a snapshot has folded is that one in the log."""
        stored = self._ledger.log.at(snapshot.offset)
        return stored is not None and stored.record.digest().hex() == snapshot.digest

    def rewound(self, keyed: sqlite3.Connection, memory: str) -> Clone | None:
        """Analytics for a state, from those of a later one; None where the state is the latest."""

    def publish(
        self, seq: int, keyed: sqlite3.Connection, copy_analytics: Callable[[Path], None]
    ) -> Snapshot | None:
        """Publish the state in ``keyed`` and analytics at the same event; None if another does.

        The pair appears whole: it is written beside, synced and renamed.

        Raises:
            LogUnavailable: it cannot be written; nothing of it is left.
        """
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(exist_ok=True)
                share(self._folder)
            lock = FileLock(self._folder / "lock")
            if not lock.try_acquire():
                lock.close()
                return None
            try:
                return self._publish(seq, keyed, copy_analytics)
            finally:
                lock.release()
                lock.close()
        except (OSError, sqlite3.Error, duckdb.Error) as error:
            msg = (
                f"cannot publish a snapshot in {self._folder}: {error}. Nothing is lost, searching "
                "processes only start slower; make room or mend the folder"
            )
            raise LogUnavailable(msg) from error

    def remove_all(self) -> None:
        """Remove every snapshot, those of other versions too; whoever publishes is waited for."""
        if not self._folder.is_dir():
            return
        lock = FileLock(self._folder / "lock")
        with lock:
            for folder in self._folder.iterdir():
                if folder.is_dir():
                    shutil.rmtree(folder)
        lock.close()

    def _publish(
        self, seq: int, keyed: sqlite3.Connection, copy_analytics: Callable[[Path], None]
    ) -> Snapshot:
        generation = Path(keyed.execute("PRAGMA database_list").fetchone()[2]).name
        following, digest = keyed.execute("SELECT next, digest FROM progress").fetchone()
        name = f"{generation.removesuffix('.sqlite')}-{seq}-{digest.hex()[:16]}"
        unfinished = self._folder / f".{name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        share(unfinished)
        snapshot = Snapshot(
            folder=self._folder / name,
            seq=seq,
            offset=following - 1,
            digest=digest.hex(),
            generation=generation,
            fold_version=FOLD_VERSION,
            duckdb_version=duckdb.__version__,
        )
        try:
            copy_analytics(unfinished / "analytics.duckdb")
            _copy_state(keyed, unfinished / "state.sqlite")
            fields = {k: v for k, v in asdict(snapshot).items() if k != "folder"}
            (unfinished / "manifest.json").write_text(json.dumps(fields), "utf-8")
            for path in unfinished.iterdir():
                share(path)
            _sync(unfinished)
            reach("snapshot.copied")
            if not snapshot.folder.exists():
                unfinished.rename(snapshot.folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        reach("snapshot.named")
        self._retire(generation)
        return snapshot

    def _retire(self, generation: str) -> None:
        """Remove what no clone will start from again, and trim the changes below what is left."""
        kept = [s for s in self.all() if s.generation == generation][-_KEPT:]
        names = {s.folder for s in kept}
        if kept:
            self._keep_states([s for s in self._of_fold() if s.folder not in names], kept[0])
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder not in names and folder.name != _OLDER:
                shutil.rmtree(folder, ignore_errors=True)
        if kept:
            self._ledger.trim_changes(generation, kept[0].seq)

    def _keep_states(self, retired: list[Snapshot], following: Snapshot) -> None:
        """Keep what states that are about to go have otherwise than the one behind them."""
        for snapshot in retired:
            if snapshot.seq >= following.seq or not self.stands(snapshot):
                continue
            try:
                self._older.keep(snapshot, following)
            except OSError as error:
                _log.warning(
                    "a look back will take longer: %s is not kept (%s)", snapshot.folder, error
                )


def _copy_state(keyed: sqlite3.Connection, target: Path) -> None:
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        keyed.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("DELETE FROM changes")
    finally:
        copy.close()


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
