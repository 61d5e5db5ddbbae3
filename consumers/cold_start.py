"""A host that has no replica yet begins with the newest bundle, instead of with the first event."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
from dataclasses import asdict
from pathlib import Path

import duckdb

from mlflow_ledger.bus import FileLock, reach, share
from mlflow_ledger.schemas import ArtifactError

from .bundle import Bundle, check_log, unpack
from .bundles import Bundles
from .fold import FOLD_VERSION
from .state_file import StateDamaged, StateFiles, connect, remove_all
from .telling import Telling

__all__ = ["ColdStart"]

_log = logging.getLogger(__name__)

_TRIES = 2
_MIN_TOLD_BYTES = 8 * 1024 * 1024


class ColdStart:
    """Fetches a bundle into the folder of a replica that is not there yet.

    What is fetched is checked in a folder of its own; at last its files are renamed to their
    places, the log after all others. So a process that is killed leaves nothing that is used.
    """

    def __init__(
        self, bundles: Bundles, log_path: Path, files: StateFiles, telling: Telling | None
    ) -> None:
        """Fetch for the replica whose log is to stand at ``log_path``."""
        self._bundles = bundles
        self._log_path = log_path
        self._folder = log_path.parent
        self._files = files
        self._telling = telling

    def fetch(self, placing: FileLock) -> Bundle | None:
        """Fetch the newest bundle that fits, and put it in place, holding ``placing`` for that.

        Of the processes of a host one does so, and the others wait for it. None where there is no
        bundle that can be used: a warning says why, and the topics are read from the start.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / "cold.lock")
        try:
            with lock:
                if self._log_path.exists():
                    return None
                return self._fetch(placing)
        finally:
            lock.close()

    def _fetch(self, placing: FileLock) -> Bundle | None:
        unfinished = self._folder / ".cold"
        for tries_left in reversed(range(_TRIES)):
            try:
                bundle = self._bundles.newest()
            except ArtifactError as error:
                self._warn(error)
                return None
            if bundle is None:
                return None
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                unfinished.mkdir()
                share(unfinished)
                self._fetch_into(unfinished, bundle)
                reach("cold.fetched")
                with placing:
                    if self._log_path.exists():
                        return None
                    self._place(unfinished, bundle)
            except (ArtifactError, StateDamaged, OSError, sqlite3.Error, KeyError) as error:
                if not tries_left:  # else it may have been retired meanwhile
                    self._warn(error)
            else:
                _log.info("began with the snapshot of %d events", bundle.events)
                return bundle
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return None

    def _warn(self, error: Exception) -> None:
        _log.warning(
            "cannot begin with a snapshot from %s: %s. All events are read from the topics "
            "instead, which takes longer",
            self._bundles,
            error,
        )

    def _fetch_into(self, folder: Path, bundle: Bundle) -> None:
        telling = self._telling if bundle.packed_bytes >= _MIN_TOLD_BYTES else None
        done_bytes = 0
        try:
            for name in ("log.sqlite", "state.sqlite", "analytics.duckdb"):
                file, packed = bundle.files[name], folder / f"{name}.zst"
                for size_bytes in self._bundles.fetch(file, packed):
                    if telling is not None:
                        so_far = done_bytes + size_bytes
                        telling("fetching the snapshot, bytes", so_far, bundle.packed_bytes)
                unpack(packed, file, folder / name)
                packed.unlink()
                done_bytes += file.packed_bytes
        finally:
            if telling is not None:
                telling.stop()
        check_log(folder / "log.sqlite", bundle)

    def _place(self, folder: Path, bundle: Bundle) -> None:
        """Put what was fetched in its places; the log, whose presence counts, comes last."""
        remove_all(self._files.all())
        shutil.rmtree(self._folder / "snapshots", ignore_errors=True)
        path = self._files.next_path()
        if bundle.duckdb_version == duckdb.__version__:
            self._place_snapshot(folder, bundle, path.name)
        _awaken(folder / "state.sqlite", bundle.seq)
        connect(folder / "state.sqlite").close()
        _rename(folder / "state.sqlite", path)
        self._files.make_current(path)
        reach("cold.placed")
        _awaken(folder / "log.sqlite")
        _rename(folder / "log.sqlite", self._log_path)

    def _place_snapshot(self, folder: Path, bundle: Bundle, generation: str) -> None:
        state = generation.removesuffix(".sqlite")
        target = self._folder / "snapshots" / f"{state}-{bundle.seq}-{bundle.digest[:16]}"
        target.mkdir(parents=True)
        share(target.parent)
        share(target)
        _rename(folder / "analytics.duckdb", target / "analytics.duckdb")
        shutil.copyfile(folder / "state.sqlite", target / "state.sqlite")
        fields = {
            k: v for k, v in asdict(bundle.snapshot(target, generation)).items() if k != "folder"
        }
        (target / "manifest.json").write_text(json.dumps(fields), "utf-8")
        for made in target.iterdir():
            share(made)


def _awaken(path: Path, changes_floor: int | None = None) -> None:
    """Make a copy fit for use by many; of a state, note which changes it lists no more."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        if changes_floor is not None:
            if db.execute("PRAGMA user_version").fetchone()[0] != FOLD_VERSION:
                msg = f"{path} is no state of fold version {FOLD_VERSION}"
                raise StateDamaged(msg)
            db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('changes_floor', ?)", (str(changes_floor),)
            )
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()


def _rename(path: Path, target: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.replace(target)
    share(target)
