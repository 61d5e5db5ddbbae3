"""Reading the manifest of artifacts in the keyed state."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

__all__ = ["ArtifactRow", "artifact_at", "artifacts_below", "artifacts_of_owner"]


class ArtifactRow(NamedTuple):
    """A file that is there: its path below the ledger's root, and its blob."""

    path: str
    digest: str
    size_bytes: int
    owner: str


# Of several blobs logged to one path, the one written last is there, unless it was deleted since.
_LATEST = (
    "SELECT path, digest, size_bytes, owner, deleted, row_number() OVER (PARTITION BY path "
    "ORDER BY written_ns DESC, source DESC, id DESC) AS place FROM artifacts "
)
_SELECT = "SELECT path, digest, size_bytes, owner FROM ({}) WHERE place = 1 AND NOT deleted "


def artifact_at(db: sqlite3.Connection, path: str) -> ArtifactRow | None:
    """The file at a path, or None."""
    row = db.execute(_SELECT.format(f"{_LATEST} WHERE path = ?"), (path,)).fetchone()
    return ArtifactRow._make(row) if row else None


def artifacts_of_owner(db: sqlite3.Connection, owner: str) -> list[ArtifactRow]:
    """The files of one owner, by path."""
    rows = db.execute(f"{_SELECT.format(f'{_LATEST} WHERE owner = ?')} ORDER BY path", (owner,))
    return [ArtifactRow._make(row) for row in rows.fetchall()]


def artifacts_below(db: sqlite3.Connection, prefix: str) -> list[ArtifactRow]:
    """The file at a path, and all files below it, by path; an empty path means all."""
    if not prefix:
        rows = db.execute(f"{_SELECT.format(_LATEST)} ORDER BY path")
    else:
        # '0' follows '/' in ASCII: the range holds just what begins with the prefix and a slash.
        where = f"{_LATEST} WHERE path = ? OR (path >= ? AND path < ?)"
        rows = db.execute(
            f"{_SELECT.format(where)} ORDER BY path", (prefix, f"{prefix}/", f"{prefix}0")
        )
    return [ArtifactRow._make(row) for row in rows.fetchall()]
