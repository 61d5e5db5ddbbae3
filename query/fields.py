"""What a row of the state says: of which entity, in which fields."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mlflow_ledger.consumers import RowChange

from .item_parts import PARTS, fields_of_part

__all__ = ["FIELD_TABLES", "METRICS", "Entity", "Field", "Fields"]

Row = Mapping[str, Any]
METRICS = "metrics"
_FILES = "artifacts"
_HIDDEN = "(encrypted)"
_FIELDS: dict[str, tuple[str, ...]] = {
    "experiments": ("name", "lifecycle", "artifact_location"),
    "runs": (
        "name", "status", "user_id", "start_ms", "end_ms", "lifecycle", "experiment_id",
        "artifact_uri",
    ),
    "logged_models": (
        "name", "status", "model_type", "source_run_id", "lifecycle", "experiment_id",
        "artifact_location",
    ),
    "registered_models": ("name", "description"),
    "model_versions": (
        "stage", "description", "user_id", "source", "storage_location", "run_id", "run_link",
        "model_id",
    ),
    "webhooks": ("name", "url", "description", "status", "actions", "secret", "deleted_ms"),
    "traces": (
        "status", "experiment_id", "timestamp_ms", "execution_time_ms", "client_request_id",
        "request_preview", "response_preview", "session_id",
    ),
    "assessments": (
        "name", "value", "error", "rationale", "source_type", "source_id", "valid", "metadata",
    ),
}  # fmt: skip
"""Columns that people know; others are local numbers, or follow from these."""

_PAIRS = {
    "experiment_tags": "tags",
    "params": "params",
    "tags": "tags",
    "logged_model_params": "params",
    "logged_model_tags": "tags",
    "registered_model_tags": "tags",
    "model_version_tags": "tags",
    "trace_tags": "tags",
    "trace_metadata": "metadata",
    "item_tags": "tags",
}
"""Tables of keys and values, and what their fields are called."""

_NOTED = ("version_tags", "promotion_checks")
"""What rules note for themselves of versions; people see tags and audit."""
_PROMOTIONS = "promotions:/"
"""What rules and approvals of a model hang on, by its uid."""

FIELD_TABLES = (
    *_FIELDS, *_PAIRS, "run_inputs", "run_model_inputs", "run_model_outputs", "model_aliases",
    "trace_links", "items", _FILES,
)  # fmt: skip
"""The tables that fields stand in, but for metrics."""


class Entity(NamedTuple):
    """An entity for good: models by their uid, a version with its number behind it."""

    kind: str
    id: str
    version: int | None = None


class Field(NamedTuple):
    """A field of an entity, and what stands in it."""

    entity: Entity
    name: str
    value: Any


class Fields:
    """Fields of rows; knows by what names entities go whose rows hold numbers of this file only."""

    def __init__(self, db: sqlite3.Connection, before: sqlite3.Connection | None = None) -> None:
        """Of the rows of one state; ``before`` is that state as it was, where one has it."""
        self._db = db
        self._before = before
        self._ids: dict[tuple[str, int], str] = {}
        self._names: dict[str, str] = {}
        self._versions: dict[str, int | None] = {}

    def changed(self, changes: list[RowChange]) -> dict[tuple[Entity, str], tuple[Any, Any]]:
        """The fields that some changed rows change, each with its value before and after."""
        for change in changes:
            for row in (change.before, change.after):
                if row is not None:
                    self._learn(change.table, row)
        changes = [change for change in changes if not _is_inner(change)]
        files = [change for change in changes if change.table == _FILES]
        changes = [change for change in changes if change.table != _FILES]
        before = {(f.entity, f.name): f.value for c in changes for f in self._of(c.table, c.before)}
        after = {(f.entity, f.name): f.value for c in changes for f in self._of(c.table, c.after)}
        found = {
            key: (before.get(key), after.get(key)) for key in dict.fromkeys((*before, *after))
        } | {key: values for change in files for key, values in self._file(change)}
        return {key: values for key, values in found.items() if values[0] != values[1]}

    def _file(self, change: RowChange) -> Iterator[tuple[tuple[Entity, str], tuple[Any, Any]]]:
        """The file that is at a path; of several that were written there, the last one is."""
        for row in (change.before, change.after):
            if row is not None:
                path = row["path"]
                name = f"artifacts.{path.partition('/artifacts/')[2] or path}"
                was = self._file_before(change, path, row["owner"])
                is_ = _digest_at(self._db, path, row["owner"])
                yield (self._entity(_FILES, row), name), (was, is_)

    def _file_before(self, change: RowChange, path: str, owner: str) -> str | None:
        """The file that was at a path; where no earlier state is at hand, by what changed alone."""
        if self._before is not None:
            return _digest_at(self._before, path, owner)
        changed = change.after or change.before or {}
        rows = self._db.execute(_OTHER_FILES, (path, owner, changed["digest"])).fetchall()
        if change.before is not None and change.before["owner"] == owner:
            rows.append(tuple(change.before[column] for column in _FILE_COLUMNS))
        *_, deleted, digest = max(rows, default=(True, None))
        return None if deleted else digest

    def address(self, entity: Entity) -> str:
        """An entity as people write it; a model by the last name it had."""
        if entity.kind != "models":
            return f"{entity.kind}:/{entity.id}"
        name = self._names.get(entity.id)
        if name is None:
            row = self._db.execute(
                "SELECT name FROM registered_models WHERE uid = ?", (entity.id,)
            ).fetchone()
            name = self._names[entity.id] = row[0] if row else entity.id
        return f"models:/{name}" + ("" if entity.version is None else f"/{entity.version}")

    def _learn(self, table: str, row: Row) -> None:
        if table in _NUMBERED:
            number, column = _NUMBERED[table]
            self._ids[table, row[number]] = row[column]
            if table == "registered_models":
                self._names[row["uid"]] = row["name"]
        elif table == "model_versions":
            self._versions[row["uid"]] = row["version"]

    def _id(self, table: str, number: int) -> str:
        known = self._ids.get((table, number))
        if known is None:
            column, wanted = _NUMBERED[table]
            row = self._db.execute(
                f"SELECT {wanted} FROM {table} WHERE {column} = ?", (number,)
            ).fetchone()
            known = self._ids[table, number] = str(row[0]) if row else f"?{number}"
        return known

    def _entity(self, table: str, row: Row) -> Entity:
        for number, (of, kind) in _BY_NUMBER.items():
            if number in row:
                whole = kind != "models" or not table.startswith("model_version")
                return Entity(kind, self._id(of, row[number]), None if whole else row["version"])
        if "kind" in row and "item_id" in row:
            return self._entity_of_item(row)
        if "owner" in row:
            kind, _, name = row["owner"].partition(":/")
            return Entity(kind, name)
        column, kind = next((c, k) for c, k in _BY_ID.items() if c in row)
        return Entity(kind, str(row[column]))

    def _entity_of_item(self, row: Row) -> Entity:
        """The item itself, or what it is a part of; an approval is one of its version."""
        if row["kind"] not in PARTS or "parent" not in row:
            return Entity(row["kind"], row["item_id"])
        kind, _, name = row["parent"].partition(":/")
        if not row["parent"].startswith(_PROMOTIONS):
            return Entity(kind, name)
        uid = json.loads(row["fields"]).get("version_uid")
        return Entity("models", name, None if uid is None else self._version(uid))

    def _version(self, uid: str) -> int | None:
        if uid not in self._versions:
            row = self._db.execute(
                "SELECT version FROM model_versions WHERE uid = ?", (uid,)
            ).fetchone()
            self._versions[uid] = row[0] if row else None
        return self._versions[uid]

    def _of(self, table: str, row: Row | None) -> Iterator[Field]:
        if row is None:
            return
        entity = self._entity(table, row)
        for name, value in _named(table, row):
            if value is not None:
                hidden = name.startswith("secret")
                yield Field(entity, name, _HIDDEN if hidden else _plain(value))


def _is_inner(change: RowChange) -> bool:
    """Whether rules have noted it for themselves, beside what people are shown."""
    row = change.after or change.before
    return row is not None and row.get("kind") in _NOTED


def _digest_at(db: sqlite3.Connection, path: str, owner: str) -> str | None:
    row = db.execute(_FILE, (path, owner)).fetchone()
    return row[0] if row else None


_FILE = (
    "SELECT CASE WHEN NOT deleted THEN digest END FROM artifacts WHERE path = ? AND owner = ? "
    "ORDER BY written_ns DESC, source DESC, id DESC LIMIT 1"
)
_FILE_COLUMNS = ("written_ns", "source", "id", "deleted", "digest")
_OTHER_FILES = (
    f"SELECT {', '.join(_FILE_COLUMNS)} FROM artifacts WHERE path = ? AND owner = ? AND digest <> ?"
)
_BY_NUMBER = {
    "run_no": ("runs", "runs"),
    "model_no": ("registered_models", "models"),
    "logged_model_no": ("logged_models", "logged_models"),
}
_BY_ID = {"trace_id": "traces", "webhook_id": "webhooks", "experiment_id": "experiments"}
_NUMBERED = {
    "runs": ("run_no", "run_id"),
    "registered_models": ("model_no", "uid"),
    "logged_models": ("logged_model_no", "model_id"),
}


def _named(table: str, row: Row) -> Iterator[tuple[str, Any]]:
    """The fields of a row: names and values as the state has them."""
    if table == "items":
        yield from _of_item(row)
    elif table in _ONE_FIELD:
        yield _ONE_FIELD[table](row)
    elif table in _PAIRS:
        # A tag without a value is there all the same.
        yield f"{_PAIRS[table]}.{row['key']}", "" if row["value"] is None else row["value"]
    else:
        prefix = f"assessments.{row['assessment_id']}." if table == "assessments" else ""
        for column in _FIELDS[table]:
            yield f"{prefix}{column}", row[column]


_ONE_FIELD: dict[str, Callable[[Row], tuple[str, Any]]] = {
    METRICS: lambda row: (f"metrics.{row['key']}", math.nan if row["is_nan"] else row["value"]),
    "model_aliases": lambda row: (f"aliases.{row['alias']}", row["version"]),
    "run_inputs": lambda row: (
        f"inputs.{row['name']}@{row['digest']}", dict(json.loads(row["tags"])),
    ),
    "run_model_inputs": lambda row: (f"inputs.{row['model_id']}", {}),
    "run_model_outputs": lambda row: (f"outputs.{row['model_id']}", {"step": row["step"]}),
    "trace_links": lambda row: (f"links.{row['kind']}.{row['target']}", {}),
}  # fmt: skip


def _of_item(row: Row) -> Iterator[tuple[str, Any]]:
    if row["kind"] in PARTS:
        yield from fields_of_part(row)
        return
    own = {"name": row["name"], "created_ms": row["created_ms"]}
    yield from own.items()
    for name, value in json.loads(row["fields"]).items():
        if name not in own:
            yield name, value


def _plain(value: Any) -> Any:
    """A value as JSON has it; a blob is the JSON of a claim check."""
    if isinstance(value, bytes):
        check = json.loads(value)
        return f"blob {check['digest']} ({check['size_bytes']} bytes)"
    return value
