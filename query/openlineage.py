"""Events of a ledger as events of OpenLineage 2 (spec 2-0-2)."""

from __future__ import annotations

import itertools
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any

from mlflow_ledger.bus import Selection, Stored
from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import (
    Event,
    InputsLogged,
    ModelVersionCreated,
    ModelVersionDeleted,
    ModelVersionEvent,
    ModelVersionStageChanged,
    OutputsLogged,
    RegisteredModelAliasSet,
    RunCreated,
    RunEvent,
    RunUpdated,
    format_time,
)

from .lineage_graph import Graph
from .openlineage_datasets import Dataset, dataset_named, inputs_of, outputs_of
from .openlineage_facets import SCHEMA, facet, own_facet
from .verdicts import Judged, folded, judged

__all__ = ["TYPES", "OpenLineage", "events_about"]

_KINDS: tuple[type[Event], ...] = (
    RunCreated,
    RunUpdated,
    InputsLogged,
    OutputsLogged,
    ModelVersionCreated,
    ModelVersionStageChanged,
    ModelVersionDeleted,
    RegisteredModelAliasSet,
)
TYPES = tuple(sorted(kind.__name__ for kind in _KINDS))
"""The types of events that something is told of."""

_STATES = {"RUNNING": "RUNNING", "FINISHED": "COMPLETE", "FAILED": "FAIL", "KILLED": "ABORT"}
_MOST_SUBJECTS = 500
_BATCH = 100


class OpenLineage:
    """Translates events of one ledger.

    A run is a run of the job that is named as its experiment; its runId is the run's id written as
    a UUID. Logged models and versions are data sets in the ledger's namespace. Names, inputs and
    outputs are those that the state knows when an event is translated.
    """

    def __init__(self, ledger_id: str, place: Callable[[Stored], str]) -> None:
        """Tell of a ledger; ``place`` gives the position of a record."""
        self.namespace = f"mlflow-ledger://{ledger_id}"
        self._place = place

    def events(self, db: sqlite3.Connection, entry: Judged) -> list[dict[str, Any]]:
        """What is told of an accepted event: one event of OpenLineage, two, or nothing."""
        event = entry.event
        if isinstance(event, ModelVersionCreated):
            return self._registered(db, entry, event)
        if isinstance(event, ModelVersionEvent):
            return [self._moved(db, entry, event)]
        state = _state_of(event)
        if not isinstance(event, RunEvent) or state is None:
            return []
        return [self._run_event(db, entry, event, state)]

    def _run_event(
        self, db: sqlite3.Connection, entry: Judged, event: RunEvent, state: str
    ) -> dict[str, Any]:
        begun = state == "START"
        facts = _run_facts(db, event.run_id)
        return self._event(entry, "RunEvent") | {
            "eventType": state,
            "run": {"runId": _uuid(event.run_id), "facets": self._run_facets(db, entry, facts)},
            "job": self._job(facts),
            "inputs": [] if begun else inputs_of(db, self.namespace, event.run_id),
            "outputs": [] if begun else outputs_of(db, self.namespace, event.run_id),
        }

    def _registered(
        self, db: sqlite3.Connection, entry: Judged, event: ModelVersionCreated
    ) -> list[dict[str, Any]]:
        number = _number(db, event.version_uid)
        made = self._version(db, entry, (event.name, number, event.version_uid), "CREATE")
        source = []
        if event.model_id is not None:
            source.append(dataset_named(self.namespace, f"logged_models/{event.model_id}"))
        job = {
            "namespace": self.namespace,
            "name": f"models/{event.name}/{number}/register",
            "facets": {"jobType": _job_type("REGISTRATION")},
        }
        told = self._event(entry, "JobEvent") | {"job": job, "inputs": source, "outputs": [made]}
        return [told, self._event(entry, "DatasetEvent") | {"dataset": made}]

    def _moved(
        self, db: sqlite3.Connection, entry: Judged, event: ModelVersionEvent
    ) -> dict[str, Any]:
        change = "DROP" if isinstance(event, ModelVersionDeleted) else "ALTER"
        named = (event.name, event.version, event.version_uid)
        made = self._version(db, entry, named, change)
        return self._event(entry, "DatasetEvent") | {"dataset": made}

    def _version(
        self, db: sqlite3.Connection, entry: Judged, named: tuple[str, int, str], change: str
    ) -> Dataset:
        """A version as a data set, with what was just done to it and where it stands by now."""
        name, number, uid = named
        row = db.execute(
            "SELECT v.stage, (SELECT group_concat(alias) FROM model_aliases a "
            "WHERE a.model_no = v.model_no AND a.version = v.version) FROM model_versions v "
            "WHERE v.uid = ?",
            (uid,),
        ).fetchone()
        stage, aliases = row or (None, None)
        event = entry.event
        if isinstance(event, ModelVersionStageChanged):
            stage = event.stage
        alias = event.alias if isinstance(event, RegisteredModelAliasSet) else None
        held = sorted({*(aliases.split(",") if aliases else ()), *([alias] if alias else ())})
        told = self._said(entry) | {"stage": stage, "aliases": held, "version": number}
        made = dataset_named(self.namespace, f"models/{name}/{number}")
        made["facets"] = {
            "version": facet("DatasetVersionDatasetFacet", datasetVersion=str(number)),
            "lifecycleStateChange": facet(
                "LifecycleStateChangeDatasetFacet", lifecycleStateChange=change
            ),
            "mlflowLedger_version": own_facet("Version", told),
        }
        return made

    def _event(self, entry: Judged, kind: str) -> dict[str, Any]:
        return {
            "eventTime": format_time(entry.stored.record.envelope.time_ms),
            "producer": f"urn:mlflow-ledger:{version('mlflow-ledger')}",
            "schemaURL": f"{SCHEMA}#/$defs/{kind}",
        }

    def _job(self, facts: dict[str, Any]) -> dict[str, Any]:
        facets = {"jobType": _job_type("RUN")}
        if facts["repository"]:
            location = {
                "type": "git",
                "url": facts["repository"],
                "repoUrl": facts["repository"],
                "path": facts["source"],
                "version": facts["commit"],
                "branch": facts["branch"],
            }
            told = {name: value for name, value in location.items() if value}
            facets["sourceCodeLocation"] = facet("SourceCodeLocationJobFacet", **told)
        return {"namespace": self.namespace, "name": facts["experiment"], "facets": facets}

    def _run_facets(
        self, db: sqlite3.Connection, entry: Judged, facts: dict[str, Any]
    ) -> dict[str, Any]:
        told = self._said(entry) | {
            "run": facts["run_id"],
            "name": facts["name"],
            "status": facts["status"],
            "experiment": facts["experiment_id"],
            "commit": facts["commit"],
        }
        facets = {
            "mlflowLedger_run": own_facet("Run", told),
            "processing_engine": facet(
                "ProcessingEngineRunFacet",
                version=version("mlflow-ledger"),
                name="mlflow-ledger",
                openlineageAdapterVersion=version("mlflow-ledger"),
            ),
        }
        if facts["parent"]:
            above = _run_facts(db, facts["parent"])
            job = {"namespace": self.namespace, "name": above["experiment"]}
            run = {"runId": _uuid(facts["parent"])}
            facets["parent"] = facet("ParentRunFacet", run=run, job=job)
        if facts["start_ms"] is not None:
            start = format_time(facts["start_ms"])
            facets["nominalTime"] = facet("NominalTimeRunFacet", nominalStartTime=start)
        return facets

    def _said(self, entry: Judged) -> dict[str, Any]:
        envelope = entry.stored.record.envelope
        return {
            "event": envelope.type,
            "position": self._place(entry.stored),
            "actor": envelope.actor,
            "actorkind": envelope.actorkind,
        }


def events_about(ledger: Ledger, graph: Graph) -> Iterator[dict[str, Any]]:
    """What is told of the runs and versions of a lineage, in the order of the log."""
    translation = OpenLineage(ledger.ledger_id, ledger.log.place)
    subjects: dict[str, None] = {}
    uids = set()
    for node in graph.nodes:
        if node.kind in ("run", "version"):
            subjects[node.uri] = None
        if node.kind == "version":
            uids.add(node.detail.get("uid"))
            subjects[node.uri.rpartition("/")[0]] = None
    named = list(subjects)
    found = []
    for first in range(0, len(named), _MOST_SUBJECTS):
        some = tuple(named[first : first + _MOST_SUBJECTS])
        found += [s.offset for s in ledger.log.select(Selection(TYPES, some))]
    records = (stored for o in sorted(found) if (stored := ledger.log.at(o)) is not None)
    entries = accepted(judged(ledger, records, folded(ledger)))
    while batch := list(itertools.islice(entries, _BATCH)):
        ours = [
            entry
            for entry in batch
            if not isinstance(entry.event, ModelVersionCreated) or entry.event.version_uid in uids
        ]
        told = ledger.query(lambda db, ours=ours: [translation.events(db, e) for e in ours])  # type: ignore[misc]  # mypy: lambda default
        for events in told:
            yield from events


def accepted(entries: Iterable[Judged]) -> Iterator[Judged]:
    """Those events that were accepted."""
    return (entry for entry in entries if entry.verdict.kind == "accepted")


def _state_of(event: Event | None) -> str | None:
    """What an event says of its run's state, in OpenLineage's words; None where nothing."""
    if isinstance(event, RunCreated):
        return "START"
    if isinstance(event, RunUpdated):
        return None if event.status is None else _STATES.get(event.status, "OTHER")
    return "RUNNING" if isinstance(event, InputsLogged | OutputsLogged) else None


def _run_facts(db: sqlite3.Connection, run_id: str) -> dict[str, Any]:
    row = db.execute(
        "SELECT r.run_no, r.name, r.status, r.start_ms, r.experiment_id, "
        "coalesce(e.name, r.experiment_id) FROM runs r LEFT JOIN experiments e "
        "USING (experiment_id) WHERE r.run_id = ?",
        (run_id,),
    ).fetchone()
    number, name, status, start_ms, experiment_id, experiment = row or (None,) * 5 + ("unknown",)
    tags = dict(
        db.execute(
            "SELECT key, value FROM tags WHERE run_no = ? AND key IN ('mlflow.parentRunId', "
            "'mlflow.source.name', 'mlflow.source.git.commit', 'mlflow.source.git.branch', "
            "'mlflow.source.git.repoURL')",
            (number,),
        ).fetchall()
    )
    return {
        "run_id": run_id,
        "name": name,
        "status": status,
        "start_ms": start_ms,
        "experiment_id": None if experiment_id is None else str(experiment_id),
        "experiment": str(experiment),
        "parent": tags.get("mlflow.parentRunId"),
        "source": tags.get("mlflow.source.name"),
        "commit": tags.get("mlflow.source.git.commit"),
        "branch": tags.get("mlflow.source.git.branch"),
        "repository": tags.get("mlflow.source.git.repoURL"),
    }


def _number(db: sqlite3.Connection, uid: str) -> int:
    row = db.execute("SELECT version FROM model_versions WHERE uid = ?", (uid,)).fetchone()
    return int(row[0]) if row else 0


def _job_type(kind: str) -> dict[str, Any]:
    return facet("JobTypeJobFacet", processingType="BATCH", integration="MLFLOW", jobType=kind)


def _uuid(run_id: str) -> str:
    """A run's id as a UUID; of one that is none in hexadecimal a UUID made from it."""
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlflow-ledger:runs:/{run_id}"))
