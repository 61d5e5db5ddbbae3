"""States of earlier moments, folded when they are asked for and kept for a while."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_ledger.bus import EMBEDDED, Cut, FileLock, Position, PrivateFolder, SqliteLog, share
from mlflow_ledger.schemas import LogUnavailable

from .fold import FOLD_VERSION, Fold
from .keyed_state import next_offset, transaction
from .snapshots import Snapshot, Snapshots
from .state_file import StateFailures, create

if TYPE_CHECKING:
    from .clone import Clone
    from .ledger import Ledger

__all__ = ["PastSnapshots", "PastStates", "drop_cached_states", "fold_into"]

_FOLDER = "as-of"
_STATE = "state.sqlite"
_MOST = 4
"""How many moments are kept; of more, the one that nobody has asked for longest goes."""
_BATCH = 20_000
_MOST_REWOUND = 20
"""How many times as many events as the past has, may be taken back: each is looked at."""
_CACHE_KIB = 256 * 1024
_BOOT = Path("/proc/sys/kernel/random/boot_id")

Folded = Callable[[int, int], None]
"""Is told how many events are folded, and of how many."""


class PastStates:
    """The states of a ledger's past, in ``as-of/`` of its folder, each in a folder of its own.

    Each is named for what it is made of, and appears whole. Whoever may not write to the ledger's
    folder keeps them in a private one.
    """

    def __init__(self, now: Ledger) -> None:
        """Nothing is made before it is needed."""
        self._now = now
        self._folder = now.folder / _FOLDER
        self._private: PrivateFolder | None = None
        self.lock = FileLock(self._folder / "lock")

    def get(self, cut: Cut, log: SqliteLog, folded: Folded | None = None) -> Path:
        """The folder of the state at a cut, ``log`` being cut there; folded if need be.

        Raises:
            LogUnavailable: there is no room for it.
        """
        folder = self._folder
        try:
            if self._now.log.read_only:
                self._private = self._private or PrivateFolder()
                return self._made(self._private.path, cut, log, folded)
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                share(folder)
            with self.lock:
                return self._made(folder, cut, log, folded)
        except (OSError, sqlite3.OperationalError) as error:
            msg = (
                f"cannot keep the state of an earlier moment in {folder}: {error}. Nothing is "
                "lost; make room, or mend the folder"
            )
            raise LogUnavailable(msg) from error

    def drop(self, made: Path) -> None:
        """Remove one state that turned out to be damaged."""
        shutil.rmtree(made, ignore_errors=True)

    def close(self) -> None:
        """Remove what is private."""
        if self._private is not None:
            self._private.remove()
        self._private = None
        self.lock.close()

    def abandon(self) -> None:
        """After a fork, in the child: leave it to the parent."""
        if self._private is not None:
            self._private.abandon()
        self._private = None

    def _made(self, root: Path, cut: Cut, log: SqliteLog, folded: Folded | None) -> Path:
        target = root / self._name(cut, log)
        if not (target / _STATE).is_file():
            unfinished = root / f".{target.name}"
            for left in (target, *root.glob(".*")):  # by whoever was killed here
                shutil.rmtree(left, ignore_errors=True)
            unfinished.mkdir()
            share(unfinished)
            try:
                self._make(unfinished, cut, log, folded)
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        os.utime(target)
        _retire(root, target)
        return target

    def _name(self, cut: Cut, log: SqliteLog) -> str:
        """A name for just this state: nothing is synced, so that one of an earlier boot is none."""
        last = log.at(log.last_offset())
        boot = _BOOT.read_text("utf-8") if _BOOT.exists() else ""
        made_of = [cut.spans, last.record.digest().hex() if last else "", log.ledger_id, boot]
        return f"{FOLD_VERSION}-{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]}"

    def _make(self, folder: Path, cut: Cut, log: SqliteLog, folded: Folded | None) -> None:
        state = folder / _STATE
        found = self._now.snapshots().restore_state(cut.unbroken_to, state)
        if found is None:
            create(state).close()
        if isinstance(found, Snapshot):
            _link_analytics(found, folder / "base")
        fold_into(state, log, found.seq if found else 0, folded)
        for path in (folder, *folder.rglob("*")):
            share(path)


class PastSnapshots(Snapshots):
    """Analytics of one earlier moment, beside its state."""

    def __init__(self, ledger: Ledger, now: Ledger, folder: Callable[[], Path]) -> None:
        """Of the state in ``folder``; ``now`` is the ledger as it is."""
        super().__init__(ledger)
        self._now = now
        self._made = folder

    def enough(self, seq: int, least: int | None = None) -> int:
        """Nothing is ever added: once is enough."""
        return 1

    def takes(self, generation: str) -> bool:
        """Whether a state is the one of this moment."""
        return Path(generation).parent == self._made()

    def check_writable(self) -> None:
        """Whoever has made the state may add to it."""

    def newest(self, generation: str, seq: int | None = None) -> Snapshot | None:
        """Analytics at the moment itself, else those that the state was begun with."""
        for name in ("whole", "base"):
            folder = self._made() / name
            try:
                fields = json.loads((folder / "manifest.json").read_text("utf-8"))
                return Snapshot(folder=folder, **fields)
            except (OSError, ValueError, TypeError):
                continue
        return None

    def rewound(self, keyed: sqlite3.Connection, memory: str) -> Clone | None:
        """Analytics of the present, with what came since taken back, where that is quicker."""
        from .clone import Clone

        now = Snapshots(self._now)
        wholes, cut = now.all(), self._ledger.log.last_offset()
        if not wholes or not now.stands(wholes[-1]) or self._ledger.log.unbroken_to() != cut:
            return None
        whole = wholes[-1]
        ids = self._now.log.subjects("runs", cut + 1, whole.offset)
        touched = [
            int(number)
            for (number,) in keyed.execute(
                "SELECT run_no FROM runs WHERE run_id IN (SELECT value FROM json_each(?))",
                (json.dumps(ids),),
            )
        ]
        (count,) = keyed.execute("SELECT count(*) FROM runs").fetchone()
        if 2 * len(touched) > count or whole.offset > _MOST_REWOUND * cut:
            return None
        try:
            clone = Clone(str(self._made() / _STATE), whole, memory)
        except FileNotFoundError:  # another process has just published a newer one
            return None
        if not _numbered_alike(keyed, clone, touched):
            clone.close()
            return None
        row = keyed.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchone()
        clone.rewind(keyed, touched, row[0])
        return clone

    def publish(
        self, seq: int, keyed: sqlite3.Connection, copy_analytics: Callable[[Path], None]
    ) -> Snapshot | None:
        """Keep analytics for whoever asks next."""
        import duckdb

        row = keyed.execute("SELECT next, digest FROM progress").fetchone()
        folder = self._made() / "whole"
        if row is None or folder.exists():
            return None
        snapshot = Snapshot(
            folder, seq, row[0] - 1, row[1].hex(), _STATE, FOLD_VERSION, duckdb.__version__
        )
        unfinished = self._made() / f".whole-{os.getpid()}"
        try:
            unfinished.mkdir(exist_ok=True)
            copy_analytics(unfinished / "analytics.duckdb")
            _write_manifest(unfinished, snapshot)
            for path in (unfinished, *unfinished.iterdir()):
                share(path)
            unfinished.rename(folder)
        except OSError:  # another was quicker, or there is no room: it only takes longer next time
            return None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return snapshot


def drop_cached_states(ledger: Ledger) -> None:
    """Remove every state of an earlier moment that is kept: all can be folded again from the log.

    That is what was asked for as of some moment, and what earlier snapshots are kept for. Whoever
    has one open goes on with it until its next question.
    """
    folder = ledger.folder / _FOLDER
    if folder.is_dir():
        lock = FileLock(folder / "lock")
        with lock:
            for made in folder.iterdir():
                if made.is_dir():
                    shutil.rmtree(made, ignore_errors=True)
        lock.close()
    Snapshots(ledger).forget_older()


def fold_into(path: Path, log: SqliteLog, seq: int, folded: Folded | None = None) -> None:
    """Fold what a log holds and a state file does not; ``seq`` is how much it has folded."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db, StateFailures(path):
        # Nobody else sees the file yet, and one that is not finished is thrown away.
        for pragma in (
            "journal_mode = MEMORY", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}",
        ):  # fmt: skip
            db.execute(f"PRAGMA {pragma}")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('changes_floor', ?)", (str(seq),))
        fold = Fold(db)
        last = log.last_offset()
        first, total = next_offset(db), max(last - next_offset(db) + 1, 0)
        begin = first
        while first <= last:
            with transaction(db, fold):
                records = list(log.read(Position(log.ledger_id, {EMBEDDED: first}), _BATCH))
                fold.apply_all(records)
                fold.save_progress()
            if not records:
                break
            first = records[-1].offset + 1
            if folded is not None:
                folded(first - begin, total)
        db.execute("PRAGMA journal_mode = DELETE")


def _numbered_alike(keyed: sqlite3.Connection, clone: Clone, touched: list[int]) -> bool:
    """Whether runs have the same numbers here and there, by the first and the last of them."""
    ends = keyed.execute(
        "SELECT run_no, run_id FROM runs WHERE run_no IN ("
        "SELECT min(run_no) FROM runs WHERE run_no NOT IN (SELECT value FROM json_each(?1)) "
        "UNION SELECT max(run_no) FROM runs WHERE run_no NOT IN (SELECT value FROM json_each(?1)))",
        (json.dumps(touched),),
    ).fetchall()
    numbers = ", ".join(str(number) for number, _ in ends) or "NULL"
    found = clone.db.execute(f"SELECT run_no, run_id FROM fold.runs WHERE run_no IN ({numbers})")
    return bool(ends) and sorted(found.fetchall()) == sorted(ends)


def _link_analytics(snapshot: Snapshot, folder: Path) -> None:
    folder.mkdir()
    target = folder / "analytics.duckdb"
    try:
        try:
            target.hardlink_to(snapshot.analytics)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            shutil.copyfile(snapshot.analytics, target)
    except FileNotFoundError:  # another process has just published a newer one
        shutil.rmtree(folder)
        return
    fields = asdict(snapshot) | {"folder": folder, "generation": _STATE}
    _write_manifest(folder, Snapshot(**fields))


def _write_manifest(folder: Path, snapshot: Snapshot) -> None:
    fields: dict[str, Any] = {k: v for k, v in asdict(snapshot).items() if k != "folder"}
    (folder / "manifest.json").write_text(json.dumps(fields), "utf-8")


def _retire(root: Path, newest: Path) -> None:
    """Remove what is too much, the one that was asked for longest ago first."""
    made = []
    for folder in root.iterdir():
        if folder.is_dir() and folder != newest and folder.name[:1].isdigit():
            try:
                made.append((folder.stat().st_mtime_ns, folder))
            except FileNotFoundError:
                continue
    for _, folder in sorted(made, reverse=True)[_MOST - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)
