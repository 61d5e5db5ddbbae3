"""The rows of one statement for each of several values."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["rows_of_each", "workspace_of"]


def rows_of_each(
    db: sqlite3.Connection, statement: str, values: Iterable[Sequence[object]]
) -> list[list[Any]]:
    """The rows for each of some values, in their order; a remote state is asked once for all."""
    if getattr(db, "is_remote", False):
        return [rows.fetchall() for rows in [db.execute(statement, of_one) for of_one in values]]
    return [db.execute(statement, of_one).fetchall() for of_one in values]


def workspace_of(db: sqlite3.Connection) -> str:
    """The workspace in which names are looked up: that of a scoped state, else the default one."""
    return str(getattr(db, "workspace", "default"))  # the schemas' name of it takes long to import
