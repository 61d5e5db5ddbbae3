"""What statements of clients may do to a state: read it, within bounds."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow_ledger.consumers.wire import error_in
from mlflow_ledger.schemas import LedgerError

__all__ = ["answers", "guarded"]

_SECONDS = 10.0
_MOST_ROWS = 1_000_000
_MOST_BYTES = 256 * 1024 * 1024
_ROWS_AT_ONCE = 1000
_INSTRUCTIONS = 20_000
"""How many of SQLite's instructions lie between two looks at the clock: some 0.5 ms."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_FUNCTIONS = frozenset({
    "->", "->>", "abs", "avg", "coalesce", "count", "glob", "ifnull", "iif", "instr",
    "json_array_length", "json_extract", "length", "like", "lower", "ltrim", "max", "min",
    "nullif", "row_number", "round", "rtrim", "substr", "sum", "total", "trim", "typeof", "upper",
})  # fmt: skip
"""None of them makes much out of little, or looks at anything but its arguments."""

_CLOSED = ("sqlite_", "pragma_", "dbstat")
"""What tables begin with that are no part of the state; ``json_each`` reads its argument only."""


@contextmanager
def guarded(db: sqlite3.Connection) -> Iterator[None]:
    """Let nothing but reading happen on a connection."""
    # SQLite makes this table up at its first use, which it takes for the making of any other.
    db.execute("SELECT 1 FROM json_each('[]')").fetchone()
    db.set_authorizer(_may)
    try:
        yield
    finally:
        db.set_authorizer(None)


def answers(
    db: sqlite3.Connection, statements: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], sqlite3.Error | None]:
    """What a guarded connection says to each statement: rows, or an error.

    The second is an error that tells of damage, if there was one.

    Raises:
        LedgerError: they take too long, or their rows are too many.
    """
    bounds = _Bounds()
    db.set_progress_handler(bounds.late, _INSTRUCTIONS)
    results: list[dict[str, Any]] = []
    try:
        for statement in statements:
            try:
                results.append({"rows": bounds.rows(db, statement)})
            except (sqlite3.Error, OverflowError, ValueError) as error:
                bounds.check_time()
                if isinstance(error, sqlite3.Error) and _code(error) in _DAMAGE:
                    return results, error
                results.append({"error": error_in(error)})
    finally:
        db.set_progress_handler(None, 0)
    return results, None


class _Bounds:
    """What the statements of one request may take together."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + _SECONDS
        self._count = 0
        self._size_bytes = 0

    def late(self) -> bool:
        return time.monotonic() > self._deadline

    def check_time(self) -> None:
        if self.late():
            msg = f"a question took more than {_SECONDS:g} s of the query service: ask for less"
            raise LedgerError(msg)

    def rows(self, db: sqlite3.Connection, statement: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        cursor = db.execute(statement["sql"], statement["values"])
        rows: list[tuple[Any, ...]] = []
        while batch := cursor.fetchmany(_ROWS_AT_ONCE):
            rows += batch
            self._count += len(batch)
            self._size_bytes += sum(
                len(value) for row in batch for value in row if type(value) in (str, bytes)
            )
            if self._count > _MOST_ROWS or self._size_bytes > _MOST_BYTES:
                msg = (
                    f"an answer of the query service takes at most {_MOST_ROWS} rows and "
                    f"{_MOST_BYTES} bytes: ask for less at a time"
                )
                raise LedgerError(msg)
        return rows


def _may(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ and not (first or "").lower().startswith(_CLOSED):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
