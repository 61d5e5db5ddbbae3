"""The file of the keyed state: one generation after the other, each a complete fold."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow_ledger.bus import Onlooker, is_gone, reach, share, share_database, statement_refused
from mlflow_ledger.schemas import LedgerError, LogUnavailable

from .fold import FOLD_VERSION

__all__ = [
    "StateDamaged",
    "StateFailures",
    "StateFiles",
    "connect",
    "connect_onlooking",
    "connect_past",
    "create",
    "remove_all",
]

_WAL_BYTES = 16 * 1024 * 1024
_CACHE_KIB = 8 * 1024
_OPTIONS: dict[str, Any] = {
    "isolation_level": None,
    "check_same_thread": False,
    "timeout": 30,
    "cached_statements": 512,
}


class StateDamaged(LedgerError):
    """The state cannot be read as it is; being a fold, it is built again from the log."""


class StateFiles:
    """Which file of a folder holds the current generation; ``state-<fold version>-<n>.sqlite``.

    ``CURRENT-<fold version>`` names it, so that an older program keeps its own state beside ours.
    """

    def __init__(self, folder: Path, first: int = 1) -> None:
        """Look in ``folder``; the number of generations begins with ``first``."""
        self._folder = folder
        self._first = first
        self._pointer = folder / f"CURRENT-{FOLD_VERSION}"

    def current(self) -> Path | None:
        """The file of the current generation, or None where there is none."""
        try:
            name = self._pointer.read_text("utf-8", "replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        path = self._folder / name
        return path if name and path.is_file() else None

    def mark(self) -> tuple[int, int]:
        """What changes whenever another generation becomes the current one."""
        try:
            status = os.stat(self._pointer)  # noqa: PTH116  # at every read: pathlib takes thrice as long
        except (FileNotFoundError, NotADirectoryError):
            return (0, 0)
        except OSError as error:
            raise self._unreadable(error) from error
        return (status.st_ino, status.st_mtime_ns)

    def next_path(self) -> Path:
        """A name that no generation had yet."""
        numbers = [self.generation(path) for path in self.all()]
        return self._folder / f"state-{FOLD_VERSION}-{max((self._first - 1, *numbers)) + 1}.sqlite"

    def all(self) -> list[Path]:
        """The files of all generations of this fold version."""
        return sorted(self._folder.glob(f"state-{FOLD_VERSION}-*.sqlite"))

    @staticmethod
    def generation(path: Path) -> int:
        """The number of a generation, from its file's name."""
        return int(path.stem.rsplit("-", 1)[1])

    def _unreadable(self, error: OSError) -> LogUnavailable:
        return LogUnavailable(f"cannot read the ledger in {self._folder}: {error.strerror}")

    def make_current(self, path: Path) -> None:
        """Name another generation as the current one, and remove the others."""
        reach("generation.built")
        unfinished = self._pointer.with_suffix(".new")
        unfinished.write_text(f"{path.name}\n", "utf-8")
        share(unfinished)
        unfinished.replace(self._pointer)
        reach("generation.named")
        self.remove_others(path)

    def adopt(self, view: sqlite3.Connection) -> None:
        """Begin with a copy of what a view of another folder's state shows, under its name.

        With the name of its generation goes what was made of it: snapshots are good for both.
        """
        path = self._folder / Path(view.execute("PRAGMA database_list").fetchone()[2]).name
        with closing(sqlite3.connect(path)) as copy, StateFailures(path):
            view.backup(copy)
        self.make_current(path)

    def forget(self) -> None:
        """Let there be no current generation: what it was folded from is gone."""
        try:
            self._pointer.unlink(missing_ok=True)
        except OSError as error:
            msg = f"cannot remove {self._pointer}: {error.strerror}"
            raise LogUnavailable(msg) from error

    def remove_others(self, path: Path) -> None:
        """Remove all generations but one; under the log's lock nobody is building another."""
        remove_all(other for other in self.all() if other != path)


def remove_all(paths: Iterable[Path]) -> None:
    """Remove SQLite files, with what SQLite keeps beside them."""
    for path in paths:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def connect(path: Path) -> sqlite3.Connection:
    """Open a state that is there; never make one."""
    with StateFailures(path):
        db: sqlite3.Connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, **_OPTIONS
        )
        _prepared(path, db)
        share_database(path)
    return db


def connect_onlooking(path: Path, onlooker: Onlooker) -> sqlite3.Connection:
    """Open a state that may not be written."""
    with StateFailures(path):
        db = onlooker.connect(**_OPTIONS)
        _prepared(path, db)
    return db


def connect_past(path: Path) -> sqlite3.Connection:
    """Open a state that nobody changes any more, without a lock."""
    with StateFailures(path):
        db: sqlite3.Connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, **_OPTIONS
        )
        _prepared(path, db)
    return db


def _prepared(path: Path, db: sqlite3.Connection) -> None:
    try:
        _prepare(db)
        _check_version(path, db)
    except BaseException:
        db.close()
        raise


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = NORMAL")
    # A long view (a snapshot being copied) lets the write-ahead log grow; this cuts it afterwards.
    db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    # SQLite's own 2 MiB are less than an index of 20,000 traces: each search would read it anew.
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    # As in MLflow's SQL store: LIKE minds the case, ILIKE is written with lower().
    db.execute("PRAGMA case_sensitive_like = true")


def _check_version(path: Path, db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA user_version").fetchone()[0] != FOLD_VERSION:
        msg = f"{path} is no state of fold version {FOLD_VERSION}"
        raise StateDamaged(msg)


def create(path: Path | str) -> sqlite3.Connection:
    """Make an empty state, for instance in ``:memory:``."""
    if isinstance(path, Path):
        remove_all([path])
    with StateFailures(path):
        db: sqlite3.Connection = sqlite3.connect(path, **_OPTIONS)
        if isinstance(path, Path):
            share(path)
        db.execute("PRAGMA journal_mode = WAL")
        _prepare(db)
        db.executescript(_script() + f"PRAGMA user_version = {FOLD_VERSION};")
    return db


class StateFailures:
    """Tells damage from everything else; a context that can be entered again.

    Raises:
        StateDamaged: the file is garbled, or not what it should be.
        LogUnavailable: it cannot be read or written now (rights, disk full, I/O).
        StatementRefused: the statement is wrong, and not the file.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path | str) -> None:
        """Of the state at ``path``, or in it."""
        self._path = path

    def __enter__(self) -> None:
        """Nothing happens; it is entered at every read."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise what the error means, if it is one of SQLite's."""
        # A value that SQLite does not take (ProgrammingError) says nothing about the file.
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.ProgrammingError
        ):
            self._explain(error)

    def _explain(self, error: sqlite3.DatabaseError) -> None:
        code = getattr(error, "sqlite_errorcode", None)
        # Without a code it is not SQLite but Python that could not read a text.
        code = sqlite3.SQLITE_CORRUPT if code is None else code & 0xFF
        if is_gone(error, _script()) or code in (
            sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN,
        ):  # fmt: skip
            msg = f"{self._path} is damaged ({error})"
            raise StateDamaged(msg) from error
        if code in (
            sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY,
        ):  # fmt: skip
            msg = (
                f"cannot use the state in {self._path}: {error}. Nothing was acknowledged; try "
                "again when that is mended"
            )
            raise LogUnavailable(msg) from error
        if code == sqlite3.SQLITE_ERROR:
            raise statement_refused(self._path, error) from error


@cache
def _script() -> str:
    return files(__package__).joinpath("state.sql").read_text("utf-8")
