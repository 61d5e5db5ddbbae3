"""Contents taken out of an embedded log, for good; the rest of each record stays as it was."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence

from mlflow_ledger.schemas import LogUnavailable

from .sqlite import SqliteLog

__all__ = ["blank", "compact"]

_BATCH = 500
_WAIT_S = 60.0
_POLL_S = 0.05


def blank(log: SqliteLog, offsets: Sequence[int]) -> int:
    """Take the contents out of records, and keep their digests; how many had one.

    Call it under the log's lock. Until :func:`compact` the bytes may still be in the file.
    """
    blanked = 0
    with log.failures:
        db = log.connection()
        db.execute("PRAGMA secure_delete = ON")
        for first in range(0, len(offsets), _BATCH):
            db.execute("BEGIN IMMEDIATE")
            try:
                blanked += _blank_some(db, offsets[first : first + _BATCH])
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
    return blanked


def compact(log: SqliteLog) -> None:
    """Write the log's file anew and cut its write-ahead log, so that nothing erased is left there.

    Call it under the log's lock.

    Raises:
        LogUnavailable: somebody has been reading the log for a minute.
    """
    with log.failures:
        db = log.connection()
        _cut(log, db)
        db.execute("VACUUM")
        _cut(log, db)


def _blank_some(db: sqlite3.Connection, offsets: Sequence[int]) -> int:
    rows = db.execute(
        f"SELECT seq, content, extra FROM events WHERE seq IN ({', '.join('?' * len(offsets))}) "
        "AND content IS NOT NULL",
        offsets,
    ).fetchall()
    for seq, content, extra in rows:
        more = json.loads(extra) if extra else {}
        more["contentdigest"] = hashlib.sha256(content).hexdigest()
        db.execute(
            "UPDATE events SET content = NULL, extra = ? WHERE seq = ?", (json.dumps(more), seq)
        )
    return len(rows)


def _cut(log: SqliteLog, db: sqlite3.Connection) -> None:
    deadline = time.monotonic() + _WAIT_S
    while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > deadline:
            msg = (
                f"{log.path} is being read by another process: what was erased is still in its "
                "write-ahead log. It is finished by whoever opens the ledger next"
            )
            raise LogUnavailable(msg)
        time.sleep(_POLL_S)
