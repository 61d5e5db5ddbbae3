"""Reading and searching registered models and their versions in the keyed state."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from .conditions import Filter, Order, Sql, compare, ilike_sqlite
from .rows import rows_of_each, workspace_of

__all__ = [
    "DELETED_STAGE",
    "ModelRow",
    "VersionRow",
    "alias_version",
    "find_models",
    "find_versions",
    "latest_versions",
    "model_row",
    "model_uid",
    "version_row",
]

DELETED_STAGE = "Deleted_Internal"
PROMPT_TAG = "mlflow.prompt.is_prompt"


class ModelRow(NamedTuple):
    """A registered model; times in milliseconds, the description may be a claim check."""

    model_no: int
    uid: str
    workspace: str
    name: str
    created_ms: int
    updated_ms: int
    description: str | bytes | None
    tags: list[tuple[str, str | None]]
    aliases: list[tuple[str, int]]


class VersionRow(NamedTuple):
    """A version of a registered model, with the aliases that name it."""

    model_no: int
    version: int
    uid: str
    name: str
    workspace: str
    created_ms: int
    updated_ms: int
    description: str | bytes | None
    user_id: str | None
    stage: str
    source: str | None
    storage_location: str | None
    run_id: str | None
    run_link: str | None
    model_id: str | None
    tags: list[tuple[str, str | None]]
    aliases: list[str]


_MODEL = (
    "SELECT model_no, uid, workspace, name, created_ms, updated_ms, description "
    "FROM registered_models m"
)
_VERSION = (
    "SELECT v.model_no, v.version, v.uid, m.name, m.workspace, v.created_ms, v.updated_ms, "
    "v.description, v.user_id, v.stage, v.source, v.storage_location, v.run_id, v.run_link, "
    "v.model_id FROM model_versions v JOIN registered_models m USING (model_no)"
)
_MODEL_COLUMNS = {"name": "m.name", "last_updated_time": "m.updated_ms"}
_VERSION_COLUMNS = {
    "name": "m.name", "version_number": "v.version", "run_id": "v.run_id",
    "source_path": "v.source", "creation_timestamp": "v.created_ms",
    "last_updated_timestamp": "v.updated_ms",
}  # fmt: skip


def model_row(db: sqlite3.Connection, name: str) -> ModelRow | None:
    """The registered model of a name, or None."""
    rows = db.execute(
        f"{_MODEL} WHERE name = ? AND workspace = ?", (name, workspace_of(db))
    ).fetchall()
    return next(iter(_whole_models(db, rows)), None)


def model_uid(db: sqlite3.Connection, name: str) -> str | None:
    """The uid of the registered model of a name, or None."""
    row = db.execute(
        "SELECT uid FROM registered_models WHERE name = ? AND workspace = ?",
        (name, workspace_of(db)),
    ).fetchone()
    return row[0] if row else None


def version_row(
    db: sqlite3.Connection,
    name: str,
    version: int,
    *,
    deleted: bool = False,
) -> VersionRow | None:
    """One version, or None; a deleted one only where that is asked for."""
    rows = db.execute(
        f"{_VERSION} WHERE m.workspace = ? AND m.name = ? AND v.version = ? "
        "AND (? OR v.stage <> ?)",
        (workspace_of(db), name, version, deleted, DELETED_STAGE),
    ).fetchall()
    return next(iter(_whole_versions(db, rows)), None)


def alias_version(db: sqlite3.Connection, name: str, alias: str) -> int | None:
    """The number of the version that an alias names, or None."""
    row = db.execute(
        "SELECT version FROM model_aliases JOIN registered_models USING (model_no) "
        "WHERE workspace = ? AND name = ? AND alias = ?",
        (workspace_of(db), name, alias),
    ).fetchone()
    return row[0] if row else None


def latest_versions(db: sqlite3.Connection, model_no: int) -> list[VersionRow]:
    """The latest version of each stage, in order of the stage's first version."""
    rows = db.execute(
        f"{_VERSION} JOIN (SELECT stage, max(version) AS version, min(version) AS first "
        "FROM model_versions WHERE model_no = ? AND stage <> ? GROUP BY stage) l "
        "ON l.version = v.version WHERE v.model_no = ? ORDER BY l.first",
        (model_no, DELETED_STAGE, model_no),
    ).fetchall()
    return _whole_versions(db, rows)


def find_models(  # one value for each part of the question
    db: sqlite3.Connection,
    filters: Sequence[Filter],
    orders: Sequence[Order],
    limit: int,
    offset: int,
    *,
    prompts: bool,
) -> list[ModelRow]:
    """The registered models that match, in order; without ``prompts`` no prompt is among them."""
    sql = Sql(f"{_MODEL} WHERE 1")
    for condition in filters:
        if condition.kind == "attribute":
            sql.add(" AND ")
            sql += compare(
                _MODEL_COLUMNS[condition.key], condition.comparator, condition.value, ilike_sqlite
            )
    _add_tags(sql, filters, "registered_model_tags", "t.model_no = m.model_no", prompts=prompts)
    if not prompts:
        sql.add(
            " AND NOT EXISTS (SELECT 1 FROM registered_model_tags p WHERE p.model_no = m.model_no "
            "AND p.key = ? AND p.value = 'true')",
            PROMPT_TAG,
        )
    _add_page(sql, _MODEL_COLUMNS, orders, limit, offset)
    return _whole_models(db, db.execute(sql.text, sql.values).fetchall())


def find_versions(  # one value for each part of the question
    db: sqlite3.Connection,
    filters: Sequence[Filter],
    orders: Sequence[Order],
    limit: int,
    offset: int,
    *,
    prompts: bool,
) -> list[VersionRow]:
    """The versions that match and are not deleted, in order; without ``prompts`` no prompt's."""
    sql = Sql(f"{_VERSION} WHERE v.stage <> ?", [DELETED_STAGE])
    for condition in filters:
        if condition.kind == "attribute":
            sql.add(" AND ")
            sql += compare(
                _VERSION_COLUMNS[condition.key], condition.comparator, condition.value, ilike_sqlite
            )
    of_version = "t.model_no = v.model_no AND t.version = v.version"
    _add_tags(sql, filters, "model_version_tags", of_version, prompts=prompts)
    if not prompts:
        sql.add(
            " AND NOT EXISTS (SELECT 1 FROM model_version_tags p WHERE p.model_no = v.model_no "
            "AND p.key = ? AND p.value = 'true')",
            PROMPT_TAG,
        )
    _add_page(sql, _VERSION_COLUMNS, orders, limit, offset)
    return _whole_versions(db, db.execute(sql.text, sql.values).fetchall())


def _add_tags(
    sql: Sql, filters: Sequence[Filter], table: str, owner: str, *, prompts: bool
) -> None:
    """All comparisons of one tag must hold for its value; a missing tag matches nothing."""
    for condition in filters:
        if condition.kind != "tag" or (condition.key == PROMPT_TAG and not prompts):
            continue
        sql.add(
            f" AND EXISTS (SELECT 1 FROM {table} t WHERE {owner} AND t.key = ? AND ", condition.key
        )
        sql += compare("t.value", condition.comparator, condition.value, ilike_sqlite)
        sql.add(")")


def _add_page(
    sql: Sql, columns: dict[str, str], orders: Sequence[Order], limit: int, offset: int
) -> None:
    keys = [f"{columns[o.key]} {'ASC' if o.ascending else 'DESC'}" for o in orders]
    sql.add(f" ORDER BY {', '.join(keys)} LIMIT ? OFFSET ?", limit, offset)


def _whole_models(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[ModelRow]:
    keys = [row[:1] for row in rows]
    tags = rows_of_each(db, "SELECT key, value FROM registered_model_tags WHERE model_no = ?", keys)
    aliases = rows_of_each(db, "SELECT alias, version FROM model_aliases WHERE model_no = ?", keys)
    return [ModelRow._make((*row, *more)) for row, *more in zip(rows, tags, aliases, strict=True)]


def _whole_versions(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[VersionRow]:
    keys = [row[:2] for row in rows]
    tags = rows_of_each(
        db, "SELECT key, value FROM model_version_tags WHERE model_no = ? AND version = ?", keys
    )
    aliases = rows_of_each(
        db, "SELECT alias FROM model_aliases WHERE model_no = ? AND version = ?", keys
    )
    return [
        VersionRow._make((*row, of_one, [alias for (alias,) in named]))
        for row, of_one, named in zip(rows, tags, aliases, strict=True)
    ]
