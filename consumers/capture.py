"""Which rows of a state change while events are folded into it: told by the state itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["Capture", "RowChange"]

_BEFORE, _AFTER = 0, 1


class RowChange(NamedTuple):
    """A row as it was and as it is, by column; None where it was, or is, not there."""

    table: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Capture:
    """Notes, by triggers of this connection alone, what changes in some tables.

    So nothing is told twice: whatever a rule changes is seen here, whichever event was its cause.
    """

    def __init__(self, db: sqlite3.Connection, tables: Sequence[str]) -> None:
        """Note what changes from now on; nothing of it is written into the file."""
        self._db = db
        self._columns: dict[str, list[str]] = {}
        self._keys: dict[str, list[int]] = {}
        # Without this a row that is replaced would be seen to come, and not to go.
        db.execute("PRAGMA recursive_triggers = ON")
        db.execute("CREATE TEMP TABLE changed_tables (name TEXT PRIMARY KEY) WITHOUT ROWID")
        for table in tables:
            self._watch(table)

    def take(self) -> list[RowChange]:
        """What changed since the last time; a row that is again what it was has not changed."""
        found: list[RowChange] = []
        names = [name for (name,) in self._db.execute("SELECT name FROM temp.changed_tables")]
        for table in names:
            found += self._of_table(table)
            self._db.execute(f"DELETE FROM temp.changed_{table}")
        if names:
            self._db.execute("DELETE FROM temp.changed_tables")
        return found

    def _watch(self, table: str) -> None:
        info = self._db.execute(f"PRAGMA main.table_info({table})").fetchall()
        columns = [row[1] for row in info]
        self._columns[table] = columns
        # The key by which a row stays the same: the primary key, as state.sql declares it.
        self._keys[table] = [at for at, row in enumerate(info) if row[5]]
        listed = ", ".join(columns)
        self._db.execute(
            f"CREATE TEMP TABLE changed_{table} (n INTEGER PRIMARY KEY, side INTEGER, {listed})"
        )
        for event, sides in _SIDES.items():
            statements = " ".join(
                f"INSERT INTO changed_{table} (side, {listed}) "
                f"VALUES ({side}, {', '.join(f'{row}.{column}' for column in columns)});"
                for side, row in sides
            )
            self._db.execute(
                f"CREATE TEMP TRIGGER changed_{table}_{event} AFTER {event} ON main.{table} BEGIN "
                f"{statements} INSERT OR IGNORE INTO changed_tables VALUES ('{table}'); END"
            )

    def _of_table(self, table: str) -> list[RowChange]:
        columns, keys = self._columns[table], self._keys[table]
        rows: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        listed = ", ".join(columns)
        for side, *row in self._db.execute(
            f"SELECT side, {listed} FROM temp.changed_{table} ORDER BY n"
        ):
            key = tuple(row[at] for at in keys)
            before, _ = rows.get(key, (row if side == _BEFORE else None, None))
            rows[key] = (before, row if side == _AFTER else None)
        return [
            RowChange(table, _named(columns, before), _named(columns, after))
            for before, after in rows.values()
            if before != after
        ]


_SIDES = {
    "INSERT": ((_AFTER, "NEW"),),
    "DELETE": ((_BEFORE, "OLD"),),
    "UPDATE": ((_BEFORE, "OLD"), (_AFTER, "NEW")),
}


def _named(columns: list[str], row: list[Any] | None) -> dict[str, Any] | None:
    return None if row is None else dict(zip(columns, row, strict=True))
