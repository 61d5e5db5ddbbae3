"""What changed between two moments, entity by entity."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from mlflow_ledger.bus import PrivateFolder, Spans, Stored, position_of
from mlflow_ledger.consumers import (
    AsOfLedger,
    Capture,
    Fold,
    Ledger,
    Progress,
    connect,
    transaction,
)
from mlflow_ledger.schemas import SettingsError

from .fields import FIELD_TABLES, METRICS, Entity, Fields
from .registry import DELETED_STAGE
from .workspace import check_workspace, workspaces_of

__all__ = ["Changed", "FieldChange", "changes"]

_BATCH = 5000
_HOLDS = {
    "experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "name",
    "models": "name", "traces": "timestamp_ms", "webhooks": "name",
}  # fmt: skip
"""A field that an entity of a kind has from its first moment to its last."""
_GONE = ("deleted", "purged", DELETED_STAGE)


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that is not what it was; None where it was not, or is not, there."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Changed:
    """An entity that is not what it was; deleted and restored as MLflow's users say it."""

    entity: str
    change: Literal["created", "changed", "deleted", "restored"]
    fields: list[FieldChange]


def changes(
    ledger: Ledger,
    since: str,
    until: str | None = None,
    progress: Progress | None = None,
    workspace: str | None = None,
) -> list[Changed]:
    """What is not at ``until`` (by default now) as it was at ``since``; each a time or a position.

    The state as it was then is brought up to the later moment, and tells what becomes of it. What
    came and went between is not shown. Of a metric it is the latest value. Runs follow their
    experiment when that is deleted or restored, and are not listed for it. With ``workspace`` only
    what lies, or lay, in it is listed.

    Raises:
        SettingsError: a moment makes no sense, or the later one comes first.
        Unknown: there is no such workspace.
    """
    check_workspace(ledger, workspace)
    now = ledger.now if isinstance(ledger, AsOfLedger) else ledger
    if until is None and isinstance(ledger, AsOfLedger):
        until = str(ledger.position())
    now.catch_up()
    begin = AsOfLedger(now, since, asked="since")
    end = AsOfLedger(now, until or str(position_of(now.log)), asked="until")
    try:
        if not end.position().covers(begin.position()):
            msg = f"since={since} lies behind until={until or 'now'}: name the earlier moment first"
            raise SettingsError(msg)
        return _between(begin, end, progress, workspace)
    finally:
        begin.close()
        end.close()


def _between(
    begin: AsOfLedger, end: AsOfLedger, progress: Progress | None, workspace: str | None
) -> list[Changed]:
    folder = PrivateFolder()
    try:
        path = folder.path / "state.sqlite"
        shutil.copyfile(begin.state_path(), path)
        with closing(connect(path)) as db, begin.read() as before:
            db.execute("PRAGMA synchronous = OFF")
            fields = Fields(db, before)
            capture = Capture(db, (*FIELD_TABLES, METRICS))
            _fold(db, begin, end, progress)
            changed = fields.changed(capture.take())
            if workspace is not None:
                here = lru_cache(maxsize=None)(lambda e: workspace in workspaces_of(e, db, before))
                changed = {key: values for key, values in changed.items() if here(key[0])}
            return _by_entity(fields, changed)
    finally:
        folder.remove()


def _fold(
    db: sqlite3.Connection, begin: AsOfLedger, end: AsOfLedger, progress: Progress | None
) -> None:
    fold = Fold(db)
    records = _behind(end, begin.log_spans())
    total = end.log.last_offset()
    while batch := list(islice(records, _BATCH)):
        with transaction(db, fold):
            fold.apply_all(batch)
            fold.save_progress()
        if progress is not None:
            progress(batch[-1].offset, total)


def _behind(end: AsOfLedger, spans: Spans) -> Iterator[Stored]:
    """The records of a log that stand in none of these pieces of it."""
    following = 1
    for first, last in (*spans, (end.log.last_offset() + 1, 0)):
        if following < first:
            yield from (s for s in end.log.rows(following) if s.offset < first)
        following = last + 1


def _by_entity(fields: Fields, changed: dict[tuple[Entity, str], tuple[Any, Any]]) -> list[Changed]:
    found: dict[Entity, list[FieldChange]] = {}
    for (entity, name), (before, after) in changed.items():
        found.setdefault(entity, []).append(FieldChange(name, before, after))
    return [
        Changed(fields.address(entity), _kind_of(entity, of), sorted(of, key=lambda f: f.field))
        for entity, of in sorted(found.items(), key=lambda item: _order(fields, item[0]))
    ]


def _order(fields: Fields, entity: Entity) -> tuple[str, str, int]:
    of_model = entity._replace(version=None)
    return (entity.kind, fields.address(of_model), entity.version or 0)


def _kind_of(
    entity: Entity, fields: list[FieldChange]
) -> Literal["created", "changed", "deleted", "restored"]:
    holds = _HOLDS.get(entity.kind, "created_ms")
    if entity.kind == "models" and entity.version is not None:
        holds = "stage"
    for field in fields:
        if field.field == holds and field.before is None:
            return "created"
        if field.field == holds and field.after is None:
            return "deleted"
    for field in fields:
        if field.field in ("lifecycle", "stage") and field.after in _GONE:
            return "deleted"
        if field.field == "lifecycle" and field.before in _GONE:
            return "restored"
    return "changed"
