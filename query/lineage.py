"""The lineage of a model version: data, run, logged model, version, promotions, artifacts."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import ModelVersionCreated, SettingsError, format_time

from .address import Address, Unknown
from .model_history import Change, ModelHistory, Told
from .provenance import (
    Artifact,
    Dataset,
    LoggedModel,
    Run,
    artifacts_of,
    datasets_of,
    find_logged_model,
    find_run,
    pairs_of,
    text_of,
)
from .registry import alias_version, model_uid

__all__ = [
    "Artifact",
    "Dataset",
    "HistoryRow",
    "Lineage",
    "LoggedModel",
    "Run",
    "Version",
    "lineage",
]


@dataclass(frozen=True, slots=True)
class Version:
    """The version, and who created it. ``model`` is the model's name now, ``number`` is its own."""

    model: str
    model_uid: str
    number: int
    uid: str
    created: str
    created_by: str
    actorkind: str
    host: str
    position: str
    source: str | None
    stage: str | None
    aliases: list[str]
    description: str | None
    tags: dict[str, str | None]
    deleted: bool


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One change of a stage, an alias or a name. Of an alias, from and to are versions."""

    time: str
    position: str
    actor: str
    actorkind: str
    what: str
    alias: str | None
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from and what became of it; ``notes`` say what is missing."""

    uri: str
    version: Version
    datasets: list[Dataset]
    run: Run | None
    logged_model: LoggedModel | None
    history: list[HistoryRow]
    artifacts: list[Artifact]
    notes: list[str]


def lineage(ledger: Ledger, uri: str) -> Lineage:
    """The lineage of ``models:/NAME/VERSION`` or ``models:/NAME@alias``.

    Where several models had the name, the one that has it now is meant, else the last that had it.

    Raises:
        SettingsError: the URI names no version.
        Unknown: there is, and was, no such version.
    """
    address = Address.parse(uri)
    if address.kind != "models" or (address.version is None and address.alias is None):
        msg = f"{uri!r} names no model version; write models:/NAME/VERSION or models:/NAME@ALIAS"
        raise SettingsError(msg)
    found = _Found(ledger, address)
    return ledger.query(found.lineage)


class _Found:
    """A version found in the log, to be joined with the state."""

    def __init__(self, ledger: Ledger, address: Address) -> None:
        self._ledger = ledger
        self._address = address
        self._notes: list[str] = []
        number = address.version or self._number_of_alias()
        history = ModelHistory(ledger, address.name)
        told = [t for t in history.told() if any(c.version == number for c in t.changes)]
        live = ledger.query(self._live_uid)
        creations = {
            event.model_uid: (t, event)
            for t in told
            if isinstance(event := t.judged.event, ModelVersionCreated) and t.version == number
        }
        uid = live if live in creations else next(reversed(creations), None)
        if uid is None:
            msg = f"there is no version {number} of {address.subject} in {ledger.folder}"
            raise Unknown(msg)
        if len(history.names) > 1:
            self._notes.append(
                f"{len(history.names)} models have had the name {address.name}; "
                f"this is the one with uid {uid}"
            )
        self._created, self._event = creations[uid]
        self._number = number
        self._names = history.names[uid]
        self._uid = uid
        self._changes = [
            (t, c) for t in told for c in t.changes if c.uid == uid and c.version == number
        ]

    def lineage(self, db: sqlite3.Connection) -> Lineage:
        """Join what the log says with what the state holds."""
        notes = list(self._notes)
        event = self._event
        version = self._version(db, event, notes)
        model_id = event.model_id or _named_model(version.source)
        logged_model = find_logged_model(db, model_id, notes)
        run_id = event.run_id or (logged_model.source_run_id if logged_model else None)
        run, number = find_run(db, run_id, notes)
        owners = [f"logged_models:/{model_id}"] if model_id else []
        owners += [f"runs:/{run_id}"] if run_id else []
        return Lineage(
            uri=f"models:/{version.model}/{version.number}",
            version=version,
            datasets=[] if number is None else datasets_of(db, number),
            run=run,
            logged_model=logged_model,
            history=[
                self._history_row(told, change)
                for told, change in self._changes
                if change.what != "other"
            ],
            artifacts=[artifact for owner in owners for artifact in artifacts_of(db, owner)],
            notes=notes,
        )

    def _live_uid(self, db: sqlite3.Connection) -> str | None:
        return model_uid(db, self._address.name)

    def _number_of_alias(self) -> int:
        name, alias = self._address.name, self._address.alias or ""
        number = self._ledger.query(lambda db: alias_version(db, name, alias))
        if number is None:
            msg = f"there is no {self._address} in {self._ledger.folder}"
            raise Unknown(msg)
        return number

    def _version(
        self, db: sqlite3.Connection, event: ModelVersionCreated, notes: list[str]
    ) -> Version:
        stored = self._created.judged.stored
        envelope = stored.record.envelope
        content = event.content
        if content is None:
            notes.append("what the version's creation said was redacted")
        row = db.execute(
            "SELECT m.name, v.stage, v.description, v.model_no FROM model_versions v "
            "JOIN registered_models m USING (model_no) WHERE v.uid = ?",
            (event.version_uid,),
        ).fetchone()
        deleted = any(change.what == "deleted" for _, change in self._changes)
        name, stage, description, model_no = row or (self._names[-1], None, None, None)
        if name != self._address.name:
            notes.append(f"the model that was {self._address.name} is called {name} now")
        if deleted:
            gone = "the version" if row else "the model"
            notes.append(f"{gone} was deleted; the log still holds what is shown here")
        aliases, tags = [], {}
        if model_no is not None and not deleted:
            numbers = (model_no, self._number)
            aliases = [
                alias
                for (alias,) in db.execute(
                    "SELECT alias FROM model_aliases WHERE model_no = ? AND version = ? "
                    "ORDER BY alias",
                    numbers,
                )
            ]
            tags = pairs_of(db, "model_version_tags", "model_no = ? AND version = ?", *numbers)
        return Version(
            model=name,
            model_uid=self._uid,
            number=self._number,
            uid=event.version_uid,
            created=format_time(envelope.time_ms),
            created_by=envelope.actor,
            actorkind=envelope.actorkind,
            host=envelope.host,
            position=self._position(self._created),
            source=content.source if content else None,
            stage=None if deleted else stage,
            aliases=aliases,
            description=text_of(description),
            tags=tags,
            deleted=deleted,
        )

    def _history_row(self, told: Told, change: Change) -> HistoryRow:
        envelope = told.judged.stored.record.envelope
        return HistoryRow(
            time=format_time(envelope.time_ms),
            position=self._position(told),
            actor=envelope.actor,
            actorkind=envelope.actorkind,
            what=change.what,
            alias=change.alias,
            before=change.before,
            after=change.after,
        )

    def _position(self, told: Told) -> str:
        stored = told.judged.stored
        return self._ledger.log.place(stored)


def _named_model(source: str | None) -> str | None:
    """The logged model that a version's source names, as in ``models:/m-<id>``."""
    name = (source or "").removeprefix("models:/")
    return name if source != name and name.startswith("m-") else None
