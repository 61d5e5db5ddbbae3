"""A state as one workspace sees it: what lies in others is not there.

Whoever asks need not know of it. Each statement is put behind definitions of the tables it names,
which hide what is not in the workspace; SQLite takes them for views, so that indexes are used as
before. It is plain SQL, so it also travels to a query service.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

__all__ = ["Scoped", "scoped"]

_HERE = "SELECT * FROM main.{table} WHERE workspace = {workspace}"
_OF_EXPERIMENT = (
    "SELECT * FROM main.{table} t WHERE EXISTS (SELECT 1 FROM main.experiments e "
    "WHERE e.experiment_id = t.experiment_id AND e.workspace = {workspace})"
)
_OF_ITEM = (
    "SELECT * FROM main.{table} t WHERE EXISTS (SELECT 1 FROM main.items i "
    "WHERE i.kind = t.kind AND i.item_id = t.item_id AND i.workspace = {workspace})"
)
_TABLES = {
    "experiments": _HERE,
    "registered_models": _HERE,
    "webhooks": _HERE,
    "items": _HERE,
    "item_tags": _OF_ITEM,
    "runs": _OF_EXPERIMENT,
    "live_runs": _OF_EXPERIMENT,
    "logged_models": _OF_EXPERIMENT,
    "traces": _OF_EXPERIMENT,
    "live_traces": _OF_EXPERIMENT,
}
"""What a workspace has of its own; all else is reached through one of these."""

_NAMED = re.compile(rf"\b({'|'.join(_TABLES)})\b")
_WITH = re.compile(r"\s*WITH\s+(RECURSIVE\s+)?", re.IGNORECASE)


class Scoped:
    """Stands for a :class:`sqlite3.Connection` where a state is read."""

    def __init__(self, db: sqlite3.Connection, workspace: str) -> None:
        """See of a state what is in a workspace."""
        self._db = db
        self.workspace = workspace

    @property
    def is_remote(self) -> bool:
        """Whether statements travel together."""
        return bool(getattr(self._db, "is_remote", False))

    def execute(self, statement: str, values: Sequence[object] = ()) -> Any:
        """Ask something of the workspace."""
        return self._db.execute(_within(statement, self.workspace), values)


def scoped(db: sqlite3.Connection, workspace: str) -> sqlite3.Connection:
    """A state as a workspace sees it."""
    return Scoped(db, workspace)  # type: ignore[return-value]  # it has what readers use


@lru_cache(maxsize=2048)
def _within(statement: str, workspace: str) -> str:
    named = dict.fromkeys(_NAMED.findall(statement))
    if not named:
        return statement
    literal = "'{}'".format(workspace.replace("'", "''"))
    tables = ", ".join(
        f"{table} AS NOT MATERIALIZED ({_TABLES[table].format(table=table, workspace=literal)})"
        for table in named
    )
    begun = _WITH.match(statement)
    if begun is None:
        return f"WITH {tables} {statement}"
    return f"WITH {begun[1] or ''}{tables}, {statement[begun.end() :]}"
