"""What the state knows of blobs that travel over the bus."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

__all__ = ["Backlog", "Carried", "backlog", "carried", "chunks_there", "is_stored", "undelivered"]


class Carried(NamedTuple):
    """A blob of which chunks stand in the log, ``there`` of ``chunk_count``.

    ``first_no`` and ``last_no`` are places in this host's log; ``stores`` are the blob stores that
    are said to hold it.
    """

    digest: str
    size_bytes: int
    chunk_count: int
    there: int
    complete_ms: int | None
    first_no: int
    last_no: int
    stores: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all chunks are there."""
        return self.complete_ms is not None


class Backlog(NamedTuple):
    """What came over the bus and is in no blob store yet; ``since_ms`` is when the oldest came."""

    blobs: int
    size_bytes: int
    since_ms: int | None


# What is condemned is not written any more; where a manifest rescues it, it is.
_UNDELIVERED = (
    "FROM carried_blobs c WHERE complete_ms IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM stored_blobs s WHERE s.digest = c.digest AND s.store = ?) "
    "AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.digest = c.digest)"
)


def carried(db: sqlite3.Connection, digest: str) -> Carried | None:
    """A blob as it came over the bus, or None where nothing of it did."""
    row = db.execute(
        "SELECT size_bytes, chunk_count, complete_ms, first_no, last_no FROM carried_blobs "
        "WHERE digest = ?",
        (digest,),
    ).fetchone()
    if row is None:
        return None
    size_bytes, count, complete_ms, first_no, last_no = row
    there = count if complete_ms is not None else len(chunks_there(db, digest))
    return Carried(
        digest, size_bytes, count, there, complete_ms, first_no, last_no, _stores(db, digest)
    )


def chunks_there(db: sqlite3.Connection, digest: str) -> set[int]:
    """Which chunks are there of a blob that is not complete."""
    rows = db.execute("SELECT chunk_index FROM blob_chunks WHERE digest = ?", (digest,))
    return {index for (index,) in rows}


def is_stored(db: sqlite3.Connection, digest: str, store: str) -> bool:
    """Whether a blob is said to be in a store."""
    return store in _stores(db, digest)


def undelivered(db: sqlite3.Connection, store: str) -> list[str]:
    """The digests of blobs that came over the bus and are not in a store, the oldest first."""
    rows = db.execute(f"SELECT digest {_UNDELIVERED} ORDER BY complete_ms, digest", (store,))
    return [digest for (digest,) in rows]


def backlog(db: sqlite3.Connection, store: str) -> Backlog:
    """How much is not yet in a store."""
    row = db.execute(
        f"SELECT count(*), coalesce(sum(size_bytes), 0), min(complete_ms) {_UNDELIVERED}", (store,)
    ).fetchone()
    return Backlog._make(row)


def _stores(db: sqlite3.Connection, digest: str) -> tuple[str, ...]:
    rows = db.execute("SELECT store FROM stored_blobs WHERE digest = ? ORDER BY store", (digest,))
    return tuple(store for (store,) in rows)
