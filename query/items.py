"""Reading the items of small families from the keyed state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .conditions import Sql
from .rows import workspace_of

__all__ = [
    "Item",
    "find_items",
    "item_named",
    "item_of",
    "item_tags",
    "items_below",
    "items_by_id",
    "items_named",
    "items_of",
    "parents_of_named",
]


class Item(NamedTuple):
    """One item: ``fields`` are what its events have said, ``parent`` is as events name it."""

    kind: str
    item_id: str
    workspace: str
    parent: str
    name: str | None
    created_ms: int
    updated_ms: int
    fields: dict[str, Any]

    @property
    def parent_id(self) -> str:
        """The id of the parent."""
        return self.parent.partition(":/")[2]


_SELECT = "SELECT kind, item_id, workspace, parent, name, created_ms, updated_ms, fields FROM items"


def find_items(db: sqlite3.Connection, rest: Sql) -> list[Item]:
    """Items as the rest of a statement says, from ``WHERE`` on."""
    rows = db.execute(f"{_SELECT} {rest.text}", rest.values).fetchall()
    return [_item(row) for row in rows]


def item_of(db: sqlite3.Connection, kind: str, item_id: str) -> Item | None:
    """One item by its id, or None."""
    return _first(db, f"{_SELECT} WHERE kind = ? AND item_id = ?", kind, item_id)


def item_named(db: sqlite3.Connection, kind: str, name: str, parent: str = "") -> Item | None:
    """One item by its name among those of a parent, or None."""
    where = "kind = ? AND workspace = ? AND parent = ? AND name = ?"
    return _first(db, f"{_SELECT} WHERE {where}", kind, workspace_of(db), parent, name)


def items_of(
    db: sqlite3.Connection,
    kind: str,
    parent: str | None = None,
    *,
    matching: Mapping[str, str] | None = None,
    limit: int = -1,
    offset: int = 0,
) -> list[Item]:
    """All items of a kind, or those of one parent; newest first, then by id.

    ``matching`` names fields that must have a value. Of those that match ``limit`` are read.
    """
    where, values = "kind = ? AND workspace = ?", [kind, workspace_of(db)]
    if parent is not None:  # said only then, so that the parent's index is used
        where, values = f"{where} AND parent = ?", [*values, parent]
    for field, value in (matching or {}).items():
        where, values = f"{where} AND json_extract(fields, ?) = ?", [*values, f"$.{field}", value]
    rows = db.execute(
        f"{_SELECT} WHERE {where} ORDER BY created_ms DESC, item_id LIMIT ? OFFSET ?",
        (*values, limit, offset),
    ).fetchall()
    return [_item(row) for row in rows]


def items_named(
    db: sqlite3.Connection, kind: str, parent: str, names: Iterable[str]
) -> dict[str, Item]:
    """Those of a parent's items that have one of some names, by name."""
    rows = db.execute(
        f"{_SELECT} WHERE parent = ? AND kind = ? AND name IN (SELECT value FROM json_each(?))",
        (parent, kind, json.dumps(list(names))),
    ).fetchall()
    return {item.name or "": item for item in map(_item, rows)}


def parents_of_named(db: sqlite3.Connection, kind: str, name: str) -> set[str]:
    """The parents, as events name them, of which an item has a name."""
    rows = db.execute("SELECT parent FROM items WHERE kind = ? AND name = ?", (kind, name))
    return {parent for (parent,) in rows.fetchall()}


def items_by_id(db: sqlite3.Connection, kind: str, item_ids: Iterable[str]) -> list[Item]:
    """Items by their ids, in that order; an id that is not there is left out."""
    wanted = list(item_ids)
    rows = db.execute(
        f"{_SELECT} WHERE kind = ? AND item_id IN (SELECT value FROM json_each(?))",
        (kind, json.dumps(wanted)),
    ).fetchall()
    found = {item.item_id: item for item in map(_item, rows)}
    return [found[item_id] for item_id in wanted if item_id in found]


def items_below(db: sqlite3.Connection, parents: Iterable[str]) -> list[Item]:
    """All items of some parents, whatever their kind; by parent, kind, name and id."""
    rows = db.execute(
        f"{_SELECT} WHERE parent IN (SELECT value FROM json_each(?)) "
        "ORDER BY parent, kind, name, item_id",
        (json.dumps(list(parents)),),
    ).fetchall()
    return [_item(row) for row in rows]


def item_tags(
    db: sqlite3.Connection, kind: str, item_ids: Iterable[str]
) -> dict[str, dict[str, str]]:
    """The tags of items, by item."""
    tags: dict[str, dict[str, str]] = {item_id: {} for item_id in item_ids}
    for item_id, key, value in db.execute(
        "SELECT item_id, key, value FROM item_tags WHERE kind = ? "
        "AND item_id IN (SELECT value FROM json_each(?)) ORDER BY key",
        (kind, json.dumps(list(tags))),
    ).fetchall():
        tags[item_id][key] = value
    return tags


def _first(db: sqlite3.Connection, sql: str, *values: str) -> Item | None:
    row = db.execute(sql, values).fetchone()
    return None if row is None else _item(row)


def _item(row: tuple[Any, ...]) -> Item:
    return Item._make([*row[:-1], json.loads(row[-1])])
