"""The file of a spool: made whole, recognised, and what to do where it is damaged."""

from __future__ import annotations

import os
import sqlite3
from importlib.resources import files
from pathlib import Path

from mlflow_ledger.schemas import LogDamaged, LogForeign, LogUnavailable

from .sharing import BESIDE, share

__all__ = ["PAGE_BYTES", "create_spool", "identify_spool", "spool_damaged"]

PAGE_BYTES = 4096
_LEAST_BYTES = 512
_FORMAT = 1
_TABLES = "SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', 'waiting', 'refused')"


def create_spool(path: Path) -> None:
    """Make an empty spool. Call it under the lock, and only where there is none.

    It comes into being whole: a reader finds no file, or a complete one.

    Raises:
        LogUnavailable: it cannot be made.
    """
    unfinished = path.with_name(f"{path.name}.new")
    try:
        unfinished.unlink(missing_ok=True)
        for suffix in BESIDE:  # of a file that was removed alone: SQLite would believe them
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        connection = sqlite3.connect(unfinished, isolation_level=None)
        try:
            share(unfinished)
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.executescript(
                files(__package__).joinpath("spool.sql").read_text("utf-8")
                + f"PRAGMA user_version = {_FORMAT};"
            )
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        msg = f"cannot make the spool {path}: {error.strerror}. Nothing was kept"
        raise LogUnavailable(msg) from error


def identify_spool(path: Path, connection: sqlite3.Connection) -> None:
    """Make sure that a file is a spool that this program can read.

    Raises:
        LogDamaged: it is cut off.
        LogForeign: it is something else, or a newer program's.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _FORMAT:
        msg = (
            f"{path} has format {version} and this program reads up to {_FORMAT}: it was written "
            "by a newer mlflow-ledger; upgrade this one"
        )
        raise LogForeign(msg)
    if version < 1 and path.stat().st_size < _LEAST_BYTES:  # SQLite takes it for an empty file
        raise spool_damaged(path, "it is cut off")
    if version < 1 or connection.execute(_TABLES).fetchone() != (3,):
        msg = f"{path} is a SQLite file, but no spool; move it away"
        raise LogForeign(msg)


def spool_damaged(path: Path, what: object) -> LogDamaged:
    """The error to raise where a spool is not what was written."""
    return LogDamaged(
        f"the spool {path} is damaged ({what}). It holds events that are not in the log yet: stop "
        "what uses it, move it away with the files beside it, and keep them, to have them mended "
        "by sqlite3's .recover; what is logged from then on begins a new spool"
    )
