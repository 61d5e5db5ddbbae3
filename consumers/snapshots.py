"""Snapshots: state and analytics at one event, immutable, for clones and for going back."""

from __future__ import annotations

import json
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

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["Snapshot", "Snapshots"]

_KEPT = 2


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

    def all(self) -> list[Snapshot]:
        """Every snapshot that this program can read, oldest first."""
        found = []
        for manifest in self._folder.glob("*/manifest.json"):
            try:
                fields = json.loads(manifest.read_text("utf-8"))
                found.append(Snapshot(folder=manifest.parent, **fields))
            except (OSError, ValueError, TypeError):
                continue
        versions = (FOLD_VERSION, duckdb.__version__)
        return sorted(
            (s for s in found if (s.fold_version, s.duckdb_version) == versions),
            key=lambda s: s.seq,
        )

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
                and self._stands(snapshot)
            ),
            None,
        )

    def _stands(self, snapshot: Snapshot) -> bool:
        stored = self._ledger.log.at(snapshot.offset)
        return stored is not None and stored.record.digest().hex() == snapshot.digest

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
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder not in names:
                shutil.rmtree(folder, ignore_errors=True)
        if kept:
            self._ledger.trim_changes(generation, kept[0].seq)


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
