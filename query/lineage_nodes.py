"""What is shown of the entities of a lineage."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_ledger.schemas import format_time

from .lineage_links import Key

__all__ = ["ABSENT", "KINDS", "Node", "nodes_of"]

KINDS = (
    "commit", "dataset", "run", "environment", "logged model", "trace", "version", "alias", "stage",
)  # fmt: skip
"""What a lineage is made of, in the order in which it is listed."""

_BATCH = 500
ABSENT = "not in this ledger"
_GIVEN = "(SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Node:
    """An entity: its kind, an address that names it, its name, its state, and what is known of it.

    ``state`` is a run's status, a logged model's or a trace's, a version's stage; ``deleted`` and
    ``not in this ledger`` come before that.
    """

    kind: str
    uri: str
    name: str | None
    state: str | None
    detail: Mapping[str, Any]

    @property
    def rank(self) -> int:
        """Where its kind is listed."""
        return KINDS.index(self.kind)


def nodes_of(db: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, Node]:
    """The entities that the keys name; those that the state does not know are said to be absent."""
    nodes: dict[Key, Node] = {}
    for kind in dict.fromkeys(key.kind for key in keys):
        ids = [key.id for key in keys if key.kind == kind]
        for first in range(0, len(ids), _BATCH):
            some = ids[first : first + _BATCH]
            nodes |= {Key(kind, one): node for one, node in _READERS[kind](db, some)}
    return {key: nodes.get(key) or _absent(key) for key in keys}


def _absent(key: Key) -> Node:
    prefix = {"run": "runs:/", "logged model": "logged_models:/", "trace": "traces:/"}
    return Node(key.kind, f"{prefix.get(key.kind, 'versions:/')}{key.id}", None, ABSENT, {})


Found = Iterator[tuple[str, Node]]


def _datasets(db: sqlite3.Connection, ids: Sequence[str]) -> Found:
    pairs = {one: tuple(json.loads(one)) for one in ids}
    digests = json.dumps([digest for _, digest in pairs.values()])
    rows = db.execute(
        "SELECT name, digest, min(source_type) FROM datasets "
        f"WHERE digest IN {_GIVEN} GROUP BY name, digest",
        (digests,),
    )
    types = {(name, digest): source_type for name, digest, source_type in rows}
    for one, (name, digest) in pairs.items():
        detail = {"digest": digest, "source_type": types.get((name, digest))}
        yield one, Node("dataset", f"datasets:/{name}/{digest}", name, None, detail)


def _runs(db: sqlite3.Connection, ids: Sequence[str]) -> Found:
    rows = db.execute(
        "SELECT r.run_id, r.name, r.status, coalesce(v.lifecycle, 'purged'), e.name, "
        "r.experiment_id, r.start_ms, r.end_ms, r.user_id FROM runs r LEFT JOIN experiments e "
        f"USING (experiment_id) LEFT JOIN live_runs v USING (run_no) WHERE r.run_id IN {_GIVEN}",
        (json.dumps(ids),),
    )
    for run_id, name, status, lifecycle, experiment, experiment_id, start, end, user in rows:
        detail = {
            "experiment": experiment or str(experiment_id),
            "experiment_id": str(experiment_id),
            "user": user,
            "started": None if start is None else format_time(start),
            "ended": None if end is None else format_time(end),
        }
        state = status if lifecycle == "active" else lifecycle
        yield run_id, Node("run", f"runs:/{run_id}", name, state, detail)


def _logged_models(db: sqlite3.Connection, ids: Sequence[str]) -> Found:
    rows = db.execute(
        "SELECT model_id, name, status, lifecycle, model_type, created_ms FROM logged_models "
        f"WHERE model_id IN {_GIVEN}",
        (json.dumps(ids),),
    )
    for model_id, name, status, lifecycle, model_type, created_ms in rows:
        state = status if lifecycle == "active" else lifecycle
        detail = {"model_type": model_type, "created": format_time(created_ms)}
        yield model_id, Node("logged model", f"logged_models:/{model_id}", name, state, detail)


def _versions(db: sqlite3.Connection, ids: Sequence[str]) -> Found:
    rows = db.execute(
        "SELECT v.uid, m.name, v.version, v.stage, v.created_ms, v.source, v.user_id, m.uid "
        "FROM model_versions v JOIN registered_models m USING (model_no) "
        f"WHERE v.uid IN {_GIVEN}",
        (json.dumps(ids),),
    )
    for uid, name, number, stage, created_ms, source, user, model_uid in rows:
        state = "deleted" if stage == "Deleted_Internal" else f"stage {stage}"
        detail = {
            "uid": uid,
            "model_uid": model_uid,
            "created": format_time(created_ms),
            "source": source,
            "user": user,
        }
        yield uid, Node("version", f"models:/{name}/{number}", name, state, detail)


def _traces(db: sqlite3.Connection, ids: Sequence[str]) -> Found:
    judged: dict[str, list[dict[str, Any]]] = {}
    rows = db.execute(
        "SELECT trace_id, assessment_type, name, value, source_type, source_id, run_id "
        f"FROM assessments WHERE valid AND trace_id IN {_GIVEN} "
        "ORDER BY trace_id, created_ms, assessment_id",
        (json.dumps(ids),),
    )
    for trace_id, kind, name, value, source_type, source_id, run_id in rows:
        said = {"type": kind, "name": name, "value": json.loads(value)}
        by = {"source_type": source_type, "source_id": source_id, "run_id": run_id}
        judged.setdefault(trace_id, []).append(said | by)
    for trace_id, name, status, timestamp_ms in db.execute(
        "SELECT trace_id, trace_name, status, timestamp_ms FROM live_traces "
        f"WHERE trace_id IN {_GIVEN}",
        (json.dumps(ids),),
    ):
        detail = {"time": format_time(timestamp_ms), "assessments": judged.get(trace_id, [])}
        yield trace_id, Node("trace", f"traces:/{trace_id}", name, status, detail)


def _named(kind: str, prefix: str) -> Callable[[sqlite3.Connection, Sequence[str]], Found]:
    """Of entities that are all in their name."""

    def found(_db: sqlite3.Connection, ids: Sequence[str]) -> Found:
        for one in ids:
            yield one, Node(kind, f"{prefix}{one}", None, None, {})

    return found


_READERS: dict[str, Callable[[sqlite3.Connection, Sequence[str]], Found]] = {
    "commit": _named("commit", "commits:/"),
    "dataset": _datasets,
    "run": _runs,
    "environment": _named("environment", "blobs:/"),
    "logged model": _logged_models,
    "trace": _traces,
    "version": _versions,
    "alias": _named("alias", "models:/"),
    "stage": _named("stage", "models:/"),
}
