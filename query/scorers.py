"""Reading scorers, their versions, and how they score what comes in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from .items import Item, items_of

__all__ = [
    "ScorerVersionRow",
    "latest_scorer_versions",
    "scorer_versions",
    "scorer_versions_by_uid",
    "scorers_configured",
]

_SCORERS, _VERSIONS = "scorers", "scorer_versions"


class ScorerVersionRow(NamedTuple):
    """One version of a scorer; ``serialized_scorer`` is a text or, as a mapping, a claim check."""

    scorer_id: str
    experiment_no: int
    name: str
    version_uid: str
    version: int
    created_ms: int
    serialized_scorer: Any


_COLUMNS = (
    "s.item_id, CAST(substr(s.parent, length('experiments:/') + 1) AS INTEGER), s.name, "
    "v.item_id, CAST(v.name AS INTEGER), v.created_ms, v.fields"
)
_FROM = (
    f"FROM items s JOIN items v ON v.parent = '{_SCORERS}:/' || s.item_id "
    f"AND v.kind = '{_VERSIONS}' WHERE s.kind = '{_SCORERS}'"
)


def scorer_versions(
    db: sqlite3.Connection, scorer_id: str, version: object = None
) -> list[ScorerVersionRow]:
    """The versions of a scorer in order, or the one of a number."""
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} AND s.item_id = ? "
        "AND (? IS NULL OR CAST(v.name AS INTEGER) = ?) ORDER BY CAST(v.name AS INTEGER)",
        (scorer_id, version, version),
    ).fetchall()
    return [_row(row) for row in rows]


def latest_scorer_versions(
    db: sqlite3.Connection,
    experiment_nos: Iterable[int] | None = None,
    scorer_ids: Iterable[str] | None = None,
) -> list[ScorerVersionRow]:
    """The latest version of each scorer that has one, by experiment and name.

    Of all scorers, or of those of some experiments, or of some scorers.
    """
    parents = None if experiment_nos is None else [f"experiments:/{no}" for no in experiment_nos]
    wanted = [None if ids is None else json.dumps(list(ids)) for ids in (parents, scorer_ids)]
    # Beside max(), SQLite takes the other columns from the row that has it.
    rows = db.execute(
        f"SELECT {_COLUMNS}, max(CAST(v.name AS INTEGER)) {_FROM} "
        "AND (? IS NULL OR s.parent IN (SELECT value FROM json_each(?))) "
        "AND (? IS NULL OR s.item_id IN (SELECT value FROM json_each(?))) GROUP BY s.item_id",
        [wanted[0], wanted[0], wanted[1], wanted[1]],
    ).fetchall()
    found = [_row(row[:-1]) for row in rows]
    return sorted(found, key=lambda row: (row.experiment_no, row.name))


def scorer_versions_by_uid(
    db: sqlite3.Connection, version_uids: Iterable[str]
) -> dict[str, ScorerVersionRow]:
    """Versions of scorers by the ids that their writers gave them."""
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} AND v.item_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(version_uids)),),
    ).fetchall()
    return {row.version_uid: row for row in map(_row, rows)}


def scorers_configured(db: sqlite3.Connection) -> list[Item]:
    """The scorers that have been told which part of the traces to score."""
    return [item for item in items_of(db, _SCORERS) if "config_id" in item.fields]


def _row(row: tuple[Any, ...]) -> ScorerVersionRow:
    return ScorerVersionRow._make([*row[:-1], json.loads(row[-1]).get("serialized_scorer")])
