"""Looking at a SQLite file that this process may not write to, nor put anything beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_ledger.schemas import LogUnavailable

from .private import PrivateFolder

__all__ = ["ChangedMeanwhile", "Onlooker"]

_TRIES = 20


class ChangedMeanwhile(LogUnavailable):
    """What was read is a mixture of before and after: to be asked again."""


class _Mark(NamedTuple):
    inode: int
    size_bytes: int
    changed_ns: int


class Onlooker:
    """One way of reading a file, for as long as that is the right one.

    While somebody has the file open for writing, or was killed over it, SQLite reads it in place by
    what stands beside it. Where nothing stands beside it the file is whole and at rest: SQLite is
    told so, and the file watched for a change. A file whose latest pages stand beside it without
    their index (a copied folder can look so) is read from a private copy.
    """

    def __init__(self, path: Path, *, apart: bool = False) -> None:
        """Look at the file as it stands now; with ``apart`` at a private copy in any case.

        A writer that is just opening the file keeps SQLite from reading it in place.

        Raises:
            LogUnavailable: it changes faster than it can be copied.
        """
        self._path = path
        self._copy: PrivateFolder | None = None
        self._marks = self._look()
        _, wal, shm = self._marks
        self._at_rest = not apart and not (wal and (shm or wal.size_bytes))
        if not self._at_rest and (apart or not shm):
            self._make_copy()

    def connect(self, **options: Any) -> sqlite3.Connection:
        """A connection that never writes beside the file."""
        if self._copy is not None:
            copy: sqlite3.Connection = sqlite3.connect(self._copy.path / self._path.name, **options)
            return copy
        mode = "mode=ro&immutable=1" if self._at_rest else "mode=ro"
        uri = f"{self._path.absolute().as_uri()}?{mode}"
        connection: sqlite3.Connection = sqlite3.connect(uri, uri=True, **options)
        return connection

    def stands(self) -> bool:
        """Whether this is the way to read the file still."""
        now = self._look()
        if self._at_rest or self._copy is not None:
            return now == self._marks
        return _inodes(now) == _inodes(self._marks)

    def check(self) -> None:
        """Call it after reading.

        Raises:
            ChangedMeanwhile: the file was at rest, and is no more.
        """
        if self._at_rest and not self.stands():
            msg = f"{self._path} was changed while it was read without a lock; ask again"
            raise ChangedMeanwhile(msg)

    def close(self) -> None:
        """Remove the copy, if there is one; connections must be closed."""
        if self._copy is not None:
            self._copy.remove()

    def abandon(self) -> None:
        """After a fork, in the child: leave the copy to the parent."""
        if self._copy is not None:
            self._copy.abandon()

    def _look(self) -> list[_Mark | None]:
        """How the file looks, what SQLite wrote beside it, and the index of that."""
        marks: list[_Mark | None] = []
        for suffix in ("", "-wal", "-shm"):
            try:
                found = os.stat(f"{self._path}{suffix}")  # noqa: PTH116  # at every read: pathlib takes thrice as long
            except FileNotFoundError:
                marks.append(None)
                continue
            size = (0, 0) if suffix == "-shm" else (found.st_size, found.st_mtime_ns)
            marks.append(_Mark(found.st_ino, *size))
        return marks

    def _make_copy(self) -> None:
        """Copy file and write-ahead log; the order makes a check-point in between harmless."""
        self._copy = PrivateFolder()
        for _ in range(_TRIES):
            self._marks = self._look()
            for suffix in ("", "-wal"):
                name = self._path.name + suffix
                try:
                    shutil.copyfile(self._path.with_name(name), self._copy.path / name)
                except FileNotFoundError:
                    (self._copy.path / name).unlink(missing_ok=True)
            if self._look() == self._marks:
                return
        self._copy.remove()
        msg = f"{self._path} changes faster than it can be copied; ask again"
        raise LogUnavailable(msg)


def _inodes(marks: list[_Mark | None]) -> list[int]:
    return [mark.inode if mark else 0 for mark in marks]
