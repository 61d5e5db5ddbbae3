"""What SQLite's errors mean for the embedded log, and whether a file is one."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import TracebackType

from mlflow_ledger.schemas import LogDamaged, LogForeign, LogUnavailable, StatementRefused

__all__ = ["FORMAT", "SqliteFailures", "identify", "is_gone", "log_damaged", "statement_refused"]

FORMAT = 1
"""The version of the file's layout; a program reads its own and older ones."""


def identify(path: Path, connection: sqlite3.Connection) -> str:
    """The ledger whose log this file is."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0 and path.stat().st_size == 0:
        raise log_damaged(path, "it is empty")
    if version > FORMAT:
        msg = (
            f"{path} has format {version} and this program reads up to {FORMAT}: it was written by "
            "a newer mlflow-ledger; upgrade this one"
        )
        raise LogForeign(msg)
    row = None
    if (
        version >= 1
        and connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone()
    ):
        row = connection.execute("SELECT value FROM meta WHERE key = 'ledger_id'").fetchone()
    if row is None:
        msg = f"{path} is a SQLite file, but no ledger's log; name another folder"
        raise LogForeign(msg)
    return str(row[0])


def log_damaged(path: Path, what: object) -> LogDamaged:
    """The error to raise where the log is not what was written."""
    return LogDamaged(
        f"{path} is damaged ({what}). The log cannot be rebuilt from anything else: restore it "
        "from a backup; where it can still be read, `mlflow-ledger verify` names what is lost"
    )


def is_gone(error: sqlite3.DatabaseError, script: str) -> bool:
    """Whether an error says that a table, view or index is missing which a script has made."""
    found = _GONE.match(str(error))
    return found is not None and found[1] in _made_by(script)


def statement_refused(path: Path | str, error: sqlite3.DatabaseError) -> StatementRefused:
    """The error to raise where it is the statement that is wrong, and not the file."""
    return StatementRefused(
        f"SQLite refuses a statement about {path}: {error}. That is a mistake of this program, or "
        "of what it was asked, and no damage: nothing was changed, and nothing is to be rebuilt"
    )


_GONE = re.compile(r"no such (?:table|index): (?:\w+\.)?(\w+)$")
_MADE = re.compile(r"^\s*CREATE (?:TABLE|VIEW|(?:UNIQUE )?INDEX) (\w+)", re.MULTILINE)


@cache
def _made_by(script: str) -> frozenset[str]:
    return frozenset(_MADE.findall(script))


class SqliteFailures:
    """Says what SQLite's errors mean for a file of ours; a context that can be entered again.

    Raises:
        LogDamaged: the file is garbled.
        LogUnavailable: it cannot be read or written now (rights, disk full, I/O).
        StatementRefused: the statement is wrong, and not the file.
    """

    __slots__ = ("_damaged", "_path", "_scripts")

    def __init__(
        self,
        path: Path,
        damaged: Callable[[Path, object], LogDamaged] = log_damaged,
        scripts: tuple[str, ...] = ("log.sql",),
    ) -> None:
        """Of the file at ``path``; ``damaged`` says what is to be done where it is garbled.

        ``scripts`` are those of this folder that have made its tables.
        """
        self._path = path
        self._damaged = damaged
        self._scripts = scripts

    def __enter__(self) -> None:
        """Nothing happens; it is entered at every write."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise what the error means, if it is one of SQLite's."""
        if isinstance(error, sqlite3.DatabaseError):
            self._explain(error)

    def _explain(self, error: sqlite3.DatabaseError) -> None:
        code = getattr(error, "sqlite_errorcode", None)
        # Without a code it is not SQLite but Python that could not read a text.
        code = sqlite3.SQLITE_CORRUPT if code is None else code & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or self._lacks(error):
            raise self._damaged(self._path, error) from error
        if code in (
            sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY,
        ):  # fmt: skip
            msg = (
                f"cannot use {self._path}: {error}. Nothing was acknowledged; try again when it is "
                "mended"
            )
            raise LogUnavailable(msg) from error
        if code == sqlite3.SQLITE_ERROR:
            raise statement_refused(self._path, error) from error

    def _lacks(self, error: sqlite3.DatabaseError) -> bool:
        folder = files(__package__)
        return any(is_gone(error, folder.joinpath(s).read_text("utf-8")) for s in self._scripts)
