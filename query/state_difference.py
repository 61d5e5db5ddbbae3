"""Where two states differ: table by table, row by row."""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_ledger.consumers import STATE_TABLES, rows_digest

from .detail import shortened

__all__ = ["Difference", "differences"]

_SHOWN = 5
_KEYS = {
    "experiments": 1,
    "runs": 1,
    "metric_chunks": 3,
    "datasets": 3,
    "logged_models": 1,
    "logged_model_metrics": 5,
    "registered_models": 1,
    "model_version_tags": 3,
    "webhooks": 1,
    "traces": 1,
    "trace_links": 3,
    "item_tags": 3,
    "blobs": 1,
    "carried_blobs": 1,
    "rejections": 3,
}
"""How many columns of a table's rows are its key, where it is not two."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs: its key, and how. ``values`` are the key's."""

    table: str
    values: Row
    message: str

    @property
    def key(self) -> str:
        """The key in text."""
        return "/".join(_text(value) for value in self.values)


def differences(
    live: sqlite3.Connection, replayed: sqlite3.Connection, table: str
) -> tuple[int, list[Difference]]:
    """How many rows the replayed table has, and the first rows in which the live one differs."""
    query = STATE_TABLES[table]
    (count,) = replayed.execute(f"SELECT count(*) FROM ({query})").fetchone()
    if rows_digest(live.execute(query)) == rows_digest(replayed.execute(query)):
        return count, []
    here, there = _hashes(live, query), _hashes(replayed, query)
    found = list(itertools.islice(_named(live, replayed, table, here ^ there), _SHOWN + 1))
    if len(found) > _SHOWN:
        rest = len(here ^ there) - _SHOWN
        found[_SHOWN:] = [Difference(table, ("…",), f"{rest} more rows differ")]
    return count, found


def _named(
    live: sqlite3.Connection, replayed: sqlite3.Connection, table: str, differing: set[bytes]
) -> Iterator[Difference]:
    """The rows of both states with these hashes, paired by key."""
    width = _KEYS.get(table, 2)
    pairs: dict[Row, list[Row | None]] = {}
    columns: list[str] = []
    for side, db in enumerate((live, replayed)):
        cursor = db.execute(STATE_TABLES[table])
        columns = [column[0] for column in cursor.description]
        for row in cursor:
            if _hash(row) in differing:
                pairs.setdefault(row[:width], [None, None])[side] = row
    for key, (here, there) in pairs.items():
        if there is None:
            message = "is in the state, and does not follow from the log"
        elif here is None:
            message = "follows from the log, and is not in the state"
        else:
            message = "; ".join(
                f"{column} is {_text(is_)} in the state, {_text(should)} by the log"
                for column, is_, should in zip(columns, here, there, strict=True)
                if _hash((is_,)) != _hash((should,))
            )
        yield Difference(table, key, message)


def _hashes(db: sqlite3.Connection, query: str) -> set[bytes]:
    return {_hash(row) for row in db.execute(query)}


def _hash(row: Row) -> bytes:
    return hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return shortened(value.hex())
    return shortened(str(value)) if value is not None else "nothing"
