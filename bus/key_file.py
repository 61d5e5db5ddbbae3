"""The keys that contents are sealed with, as one host keeps them: one SQLite file."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_ledger.schemas import LogUnavailable

from .content_cipher import KEY_BYTES
from .fork import abandon, forkable
from .inode import inode_of
from .sharing import share_database
from .sqlite_failures import SqliteFailures

__all__ = ["KeyFile", "SubjectKey"]

_OPTIONS: dict[str, Any] = {"isolation_level": None, "check_same_thread": False, "timeout": 30}
_OWNER_ONLY = 0o600
_WAIT_S = 30.0
_POLL_S = 0.05
_FORMAT = 1
_UNSENT = "SELECT key_id, subject, key FROM keys WHERE NOT sent AND key_id IN "
_IDS = "(SELECT value FROM json_each(?))"


class SubjectKey(NamedTuple):
    """A key, and whose contents it seals."""

    key_id: str
    subject: str
    key: bytes


class KeyFile:
    """Keys, which of them are lost, and what is still to be erased because of that.

    All processes of a host share it; nobody else may read it. Without a path it is in memory, for
    a process that keeps nothing: a key is then forgotten as soon as it was sent.
    """

    fork_order = 5  # its lock is taken by who holds any other

    def __init__(self, path: Path | None) -> None:
        """Use the file at ``path``, made when it is first needed."""
        self.path = path
        self._failures = SqliteFailures(path or Path(":memory:"))
        self._mutex = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._lost = 0
        forkable(self)

    def find(self, subject: str) -> SubjectKey | None:
        """A key of a subject, of those that are not lost."""
        with self._used() as db:
            row = db.execute(
                "SELECT key_id, subject, key FROM keys WHERE subject = ? "
                "AND key_id NOT IN (SELECT key_id FROM lost) ORDER BY key_id LIMIT 1",
                (subject,),
            ).fetchone()
        return None if row is None else SubjectKey(*row)

    def make(self, subject: str) -> SubjectKey:
        """A new key for a subject."""
        made = SubjectKey(secrets.token_hex(8), subject, secrets.token_bytes(KEY_BYTES))
        with self._used() as db:
            db.execute("INSERT INTO keys VALUES (?, ?, ?, 0)", made)
        return made

    def get(self, key_id: str) -> bytes | None:
        """A key, unless it is lost or never came here."""
        with self._used() as db:
            row = db.execute(
                "SELECT key FROM keys WHERE key_id = ?1 "
                "AND NOT EXISTS (SELECT 1 FROM lost WHERE key_id = ?1)",
                (key_id,),
            ).fetchone()
        return None if row is None else bytes(row[0])

    def version(self) -> tuple[int, int, int]:
        """What changes when keys may have been lost since; it is asked for at every event."""
        with self._mutex:
            if self._db is None:
                return -1, 0, 0
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            return self._inode, version, self._lost

    def generation(self) -> int:
        """What grows when keys are lost."""
        return int(self.note_of("generation") or 0)

    def unsent(self, key_ids: Iterable[str]) -> list[SubjectKey]:
        """Those of some keys that the topic does not have yet."""
        with self._used() as db:
            rows = db.execute(f"{_UNSENT}{_IDS}", (_json(key_ids),)).fetchall()
        return [SubjectKey(*row) for row in rows]

    def sent(self, key_ids: Iterable[str]) -> None:
        """The topic has these keys."""
        what = "UPDATE keys SET sent = 1" if self.path else "DELETE FROM keys"
        with self._used() as db:
            db.execute(f"{what} WHERE key_id IN {_IDS}", (_json(key_ids),))

    def unknown(self, key_ids: Iterable[str]) -> list[str]:
        """Those of some keys that neither are here nor are lost."""
        with self._used() as db:
            rows = db.execute(
                "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT key_id FROM keys) "
                "AND value NOT IN (SELECT key_id FROM lost)",
                (_json(key_ids),),
            ).fetchall()
        return [key_id for (key_id,) in rows]

    def all(self) -> list[SubjectKey]:
        """All keys that are not lost."""
        with self._used() as db:
            rows = db.execute(
                "SELECT key_id, subject, key FROM keys "
                "WHERE key_id NOT IN (SELECT key_id FROM lost) ORDER BY key_id"
            ).fetchall()
        return [SubjectKey(*row) for row in rows]

    def count_lost(self) -> int:
        """How many keys redactions have named."""
        with self._used() as db:
            return int(db.execute("SELECT count(*) FROM lost").fetchone()[0])

    def living(self, key_ids: Iterable[str]) -> list[str]:
        """Those of some keys that are not lost."""
        with self._used() as db:
            rows = db.execute(
                "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT key_id FROM lost)",
                (_json(key_ids),),
            ).fetchall()
        return [key_id for (key_id,) in rows]

    def take(
        self, keys: Iterable[SubjectKey], replicas: Mapping[str, str | None], following: int
    ) -> None:
        """Keep what the topic says up to ``following``; what is lost stays lost."""
        with self._changing() as db:
            db.executemany(
                "INSERT INTO keys SELECT ?1, ?2, ?3, 1 "
                "WHERE NOT EXISTS (SELECT 1 FROM lost WHERE key_id = ?1) "
                "ON CONFLICT DO UPDATE SET sent = 1",
                keys,
            )
            gone = [(replica_id,) for replica_id, said in replicas.items() if said is None]
            there = [(replica_id, said) for replica_id, said in replicas.items() if said]
            db.executemany("INSERT OR REPLACE INTO replicas VALUES (?, ?)", there)
            db.executemany("DELETE FROM replicas WHERE replica_id = ?", gone)
            db.execute(
                "UPDATE meta SET value = ?1 WHERE key = 'next' AND CAST(value AS INTEGER) < ?1",
                (following,),
            )

    def replicas(self) -> dict[str, str]:
        """What hosts have said of their replicas, as JSON, by the replicas' ids."""
        with self._used() as db:
            return dict(db.execute("SELECT replica_id, said FROM replicas ORDER BY 1").fetchall())

    def lose(self, place: int, key_ids: Sequence[str]) -> None:
        """A redaction at this offset of the catalog names keys: from now on they open nothing."""
        with self._changing() as db:
            db.executemany("INSERT OR IGNORE INTO lost VALUES (?)", [(k,) for k in key_ids])
            db.execute("INSERT OR IGNORE INTO redactions VALUES (?, 0)", (place,))
            db.execute(
                "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'"
            )
        self._lost += 1

    def pending(self) -> list[int]:
        """The redactions of which something may still be on this host."""
        with self._used() as db:
            rows = db.execute("SELECT place FROM redactions WHERE NOT done ORDER BY place")
            return [place for (place,) in rows.fetchall()]

    def doomed(self) -> list[str]:
        """The subjects of keys that are lost, and still in the file."""
        with self._used() as db:
            rows = db.execute(
                "SELECT DISTINCT subject FROM keys WHERE key_id IN (SELECT key_id FROM lost)"
            ).fetchall()
        return [subject for (subject,) in rows]

    def forget(self, places: Sequence[int]) -> None:
        """Write the file anew without the keys that are lost; these redactions are done."""
        with self._changing() as db:
            db.execute("DELETE FROM keys WHERE key_id IN (SELECT key_id FROM lost)")
        with self._used() as db:
            self._cut(db)
            db.execute("VACUUM")
            self._cut(db)
            db.executemany("UPDATE redactions SET done = 1 WHERE place = ?", [(p,) for p in places])

    def intend(self, key_ids: Iterable[str]) -> None:
        """Once their redaction stands in the log, these keys are to be taken out of the topic."""
        with self._changing() as db:
            db.executemany("INSERT OR IGNORE INTO tombstones VALUES (?)", [(k,) for k in key_ids])

    def tombstones(self) -> list[str]:
        """The keys to be taken out of the topic now."""
        with self._used() as db:
            rows = db.execute(
                "SELECT key_id FROM tombstones WHERE key_id IN (SELECT key_id FROM lost)"
            ).fetchall()
        return [key_id for (key_id,) in rows]

    def buried(self, key_ids: Iterable[str]) -> None:
        """These keys are out of the topic."""
        with self._used() as db:
            db.execute(f"DELETE FROM tombstones WHERE key_id IN {_IDS}", (_json(key_ids),))

    def note_of(self, name: str) -> str | None:
        """What was noted under a name."""
        with self._used() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, **notes: object) -> None:
        """Note something under names."""
        with self._changing() as db:
            rows = [(name, str(value)) for name, value in notes.items()]
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._mutex:
            db, self._db = self._db, None
            if db is not None:
                db.close()

    def before_fork(self) -> None:
        """Stand still."""
        self._mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._mutex.release()

    def after_fork_in_child(self) -> None:
        """Leave the inherited connection alone; what was in memory only is not the child's."""
        abandon(self._db)
        self._db = None
        self._mutex.release()

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self._mutex, self._failures:
            if self.path is not None and self._db is not None and self._is_another(self.path):
                self._db.close()
                self._db = None
            if self._db is None:
                self._db = self._open()
            yield self._db

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._used() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _is_another(self, path: Path) -> bool:
        return inode_of(str(path)) != self._inode

    def _open(self) -> sqlite3.Connection:
        script = files(__package__).joinpath("keys.sql").read_text("utf-8")
        if self.path is not None:
            _have(self.path)
        db: sqlite3.Connection = sqlite3.connect(self.path or ":memory:", **_OPTIONS)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] < _FORMAT:
                for statement in script.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_FORMAT}")
            db.execute("COMMIT")
            if self.path is not None:
                share_database(self.path)
                self._inode = self.path.stat().st_ino
        except BaseException:
            db.close()
            raise
        return db

    def _cut(self, db: sqlite3.Connection) -> None:
        """Have nothing left in the write-ahead log."""
        deadline = time.monotonic() + _WAIT_S
        while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                msg = f"{self.path} is in use: keys are still in its write-ahead log; try again"
                raise LogUnavailable(msg)
            time.sleep(_POLL_S)


def _have(path: Path) -> None:
    """Make the file where there is none, for nobody but its owner.

    Raises:
        LogUnavailable: this user may not.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _OWNER_ONLY))
    except OSError as error:
        msg = f"cannot use the keys in {path}: {error.strerror}; they are their owner's alone"
        raise LogUnavailable(msg) from error


def _json(key_ids: Iterable[str]) -> str:
    return json.dumps(list(key_ids))
