"""The lineage of a model version: data, run, logged model, version, promotions, artifacts."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from mlflow_ledger.consumers import Ledger, scoped
from mlflow_ledger.schemas import DEFAULT_WORKSPACE, ModelVersionCreated, SettingsError, format_time

from .address import LATEST, Unknown
from .environment import EnvironmentFile, environment_of
from .judgements import Judgement, judgements_of
from .lineage_address import LineageAddress
from .lineage_graph import Direction, Graph, dataset_keys, graph_of
from .lineage_links import Key, Link
from .lineage_nodes import ABSENT, Node
from .lineage_past import with_past
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
from .registry import DELETED_STAGE, alias_version, model_uid
from .rows import workspace_of
from .workspace import check_workspace

__all__ = [
    "Artifact",
    "Dataset",
    "EntityLineage",
    "HistoryRow",
    "Lineage",
    "LoggedModel",
    "ParentRun",
    "Run",
    "Version",
    "entity_lineage",
    "lineage",
]

_MOST_PARENTS = 100


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
    workspace: str


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
class ParentRun:
    """A run above the version's own, with the data sets that it has read."""

    run: Run
    datasets: list[Dataset]


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
    parents: list[ParentRun]
    judgements: list[Judgement]
    environment: list[EnvironmentFile]
    graph: Graph
    notes: list[str]


@dataclass(frozen=True, slots=True)
class EntityLineage:
    """Where an entity comes from, and what became of it."""

    uri: str
    judgements: list[Judgement]
    environment: list[EnvironmentFile]
    graph: Graph
    notes: list[str]


def lineage(
    ledger: Ledger, uri: str, direction: Direction = "both", workspace: str | None = None
) -> Lineage:
    """The lineage of a version: by its number, by an alias or by a stage.

    Where several models had the name, the one that has it now is meant, else the last that had it.
    ``direction`` restricts the graph, and nothing else; ``workspace`` is where a name is looked up.

    Raises:
        SettingsError: the URI names no version.
        Unknown: there is, and was, no such version, or there is no such workspace.
    """
    check_workspace(ledger, workspace)
    address = LineageAddress.parse(uri, ledger)
    if address.kind != "models":
        msg = f"{uri!r} names no model version; write models:/NAME/VERSION or models:/NAME@ALIAS"
        raise SettingsError(msg)
    found = _Found(ledger, address, workspace)
    told = ledger.query(lambda db: found.lineage(db, direction))
    graph = told.graph if direction == "back" else with_past(ledger, told.graph)
    return replace(told, graph=graph, environment=environment_of(ledger, graph))


def entity_lineage(ledger: Ledger, uri: str, direction: Direction = "both") -> EntityLineage:
    """The lineage of a data set, a run or a logged model.

    Raises:
        SettingsError: the URI names none of them.
        Unknown: there is no such thing.
    """
    address = LineageAddress.parse(uri)
    if address.kind == "models":
        msg = f"{uri!r} names a model version; a data set, a run or a logged model is asked for"
        raise SettingsError(msg)
    told = ledger.query(lambda db: _around(db, ledger, address, direction))
    graph = told.graph if direction == "back" else with_past(ledger, told.graph)
    found = replace(told, graph=graph, notes=graph.notes)
    return replace(found, environment=environment_of(ledger, graph))


def _around(
    db: sqlite3.Connection, ledger: Ledger, address: LineageAddress, direction: Direction
) -> EntityLineage:
    if address.kind == "datasets":
        roots = dataset_keys(db, address.name)
    else:
        roots = [Key({"runs": "run"}.get(address.kind, "logged model"), address.name)]
    graph = graph_of(db, roots, direction)
    if not roots or any(node.state == ABSENT and node.uri in graph.roots for node in graph.nodes):
        msg = f"there is no {address} in {ledger.folder}"
        raise Unknown(msg)
    models = [key.id for key in roots if key.kind == "logged model"]
    return EntityLineage(str(address), judgements_of(db, models, graph), [], graph, graph.notes)


class _Found:
    """A version found in the log, to be joined with the state."""

    def __init__(self, ledger: Ledger, address: LineageAddress, workspace: str | None) -> None:
        self._ledger = ledger
        self._workspace = workspace or DEFAULT_WORKSPACE
        self._address = address
        self._notes: list[str] = []
        number = address.version or self._number_of_name()
        history = ModelHistory(ledger, address.name, workspace)
        told = [t for t in history.told() if any(c.version == number for c in t.changes)]
        live = ledger.query(self._live_uid)
        creations = {
            event.model_uid: (t, event)
            for t in told
            if isinstance(event := t.judged.event, ModelVersionCreated) and t.version == number
        }
        uid = live if live in creations else next(reversed(creations), None)
        if uid is None:
            msg = f"there is no version {number} of models:/{address.name} in {ledger.folder}"
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

    def lineage(self, db: sqlite3.Connection, direction: Direction) -> Lineage:
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
        graph = self._graph(db, version, model_id, run_id, direction)
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
            parents=_parents(db, run),
            judgements=[] if model_id is None else judgements_of(db, [model_id], graph),
            environment=[],
            graph=graph,
            notes=notes + graph.notes,
        )

    def _graph(
        self,
        db: sqlite3.Connection,
        version: Version,
        model_id: str | None,
        run_id: str | None,
        direction: Direction,
    ) -> Graph:
        root = Key("version", version.uid)
        state = "deleted" if version.deleted else f"stage {version.stage}"
        detail = {
            "uid": version.uid,
            "model_uid": version.model_uid,
            "created": version.created,
            "source": version.source,
        }
        uri = f"models:/{version.model}/{version.number}"
        node = Node("version", uri, version.model, state, detail)
        also = []
        if model_id is not None:
            also.append(Link(Key("logged model", model_id), root, "registered", {}))
        elif run_id is not None:
            also.append(Link(Key("run", run_id), root, "registered", {}))
        return graph_of(db, [root], direction, also, {root: node})

    def _live_uid(self, db: sqlite3.Connection) -> str | None:
        return model_uid(scoped(db, self._workspace), self._address.name)

    def _number_of_name(self) -> int:
        """The number of the version that has the alias, or the latest in the stage."""
        name, alias, stage = self._address.name, self._address.alias, self._address.stage
        here = self._workspace
        if alias is not None:
            number = self._ledger.query(lambda db: alias_version(scoped(db, here), name, alias))
        else:
            number = self._ledger.query(lambda db: _latest_in(scoped(db, here), name, stage))
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
            "SELECT m.name, v.stage, v.description, v.model_no, m.workspace FROM model_versions v "
            "JOIN registered_models m USING (model_no) WHERE v.uid = ?",
            (event.version_uid,),
        ).fetchone()
        deleted = any(change.what == "deleted" for _, change in self._changes)
        name, stage, description, model_no, workspace = row or (
            self._names[-1], None, None, None, envelope.workspace,
        )  # fmt: skip
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
            workspace=workspace,
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


def _latest_in(db: sqlite3.Connection, name: str, stage: str | None) -> int | None:
    """The highest version of a model that stands in a stage, or at all."""
    any_stage = None if stage == LATEST else stage
    row = db.execute(
        "SELECT max(version) FROM model_versions v JOIN registered_models m USING (model_no) "
        "WHERE m.workspace = ? AND m.name = ? AND v.stage <> ? AND v.stage = coalesce(?, v.stage)",
        (workspace_of(db), name, DELETED_STAGE, any_stage),
    ).fetchone()
    return row[0] if row else None


def _parents(db: sqlite3.Connection, run: Run | None) -> list[ParentRun]:
    """The runs above a run, the nearest first."""
    found: list[ParentRun] = []
    while run is not None and run.parent_run_id and len(found) < _MOST_PARENTS:
        if any(parent.run.run_id == run.parent_run_id for parent in found):
            break
        run, number = find_run(db, run.parent_run_id, [])
        if run is not None and number is not None:
            found.append(ParentRun(run, datasets_of(db, number)))
    return found


def _named_model(source: str | None) -> str | None:
    """The logged model that a version's source names, as in ``models:/m-<id>``."""
    name = (source or "").removeprefix("models:/")
    return name if source != name and name.startswith("m-") else None
