"""What leads from one entity to the next, read from the keyed state for many at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["ENVIRONMENT_FILES", "WAYS", "Ask", "Key", "Link"]

ENVIRONMENT_FILES = ("requirements.txt", "conda.yaml", "python_env.yaml")
"""The files of a logged model that say what it needs to run."""

_MOST_TRACES = 100
_GIVEN = "(SELECT value FROM json_each(?))"


class Key(NamedTuple):
    """An entity: its kind, and what names it among those of its kind.

    A data set is named by a JSON list of name and digest, a version by its uid, an alias and a
    stage by the model's name and theirs.
    """

    kind: str
    id: str


class Link(NamedTuple):
    """Something went from one entity into another; ``detail`` says what else is known of it."""

    source: Key
    target: Key
    relation: str
    detail: Mapping[str, Any]


Ask = Callable[[sqlite3.Connection, Sequence[str]], list[Link]]
"""Gives the links of many entities of one kind."""


def _rows(
    db: sqlite3.Connection, statement: str, ids: Sequence[str], *more: object
) -> Iterable[Any]:
    """The rows of a statement in which ``{}`` stands for the given ids."""
    return db.execute(statement.format(_GIVEN), (json.dumps(list(ids)), *more)).fetchall()


def _dataset(name: str, digest: str) -> Key:
    return Key("dataset", json.dumps([name, digest], ensure_ascii=False))


_INPUTS = (
    "SELECT r.run_id, i.name, i.digest, i.tags FROM run_inputs i JOIN runs r USING (run_no) WHERE "
)


def _inputs(rows: Iterable[Any]) -> list[Link]:
    return [
        Link(_dataset(name, digest), Key("run", run_id), "input", dict(json.loads(tags)))
        for run_id, name, digest, tags in rows
    ]


def _datasets_of_runs(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    order = " ORDER BY r.run_id, i.ord"
    return _inputs(_rows(db, f"{_INPUTS}r.run_id IN {{}}{order}", ids))


def _runs_of_datasets(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    pairs = [json.loads(text) for text in ids]
    digests = [digest for _, digest in pairs]
    wanted = {(name, digest) for name, digest in pairs}
    rows = _rows(db, f"{_INPUTS}i.digest IN {{}} ORDER BY r.run_id, i.ord", digests)
    return _inputs(row for row in rows if (row[1], row[2]) in wanted)


def _models_measured(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    """Logged models with metrics that were measured on these data sets."""
    wanted = {tuple(json.loads(text)) for text in ids}
    rows = _rows(
        db,
        "SELECT DISTINCT model_id, dataset_name, dataset_digest FROM live_model_metrics "
        "WHERE dataset_digest IN {} ORDER BY model_id, dataset_name",
        [digest for _, digest in wanted],
    )
    return [
        Link(_dataset(name, digest), Key("logged model", model_id), "measured on", {})
        for model_id, name, digest in rows
        if (name, digest) in wanted
    ]


_PARENTS = (
    "SELECT t.value, r.run_id FROM tags t JOIN runs r USING (run_no) "
    "WHERE t.key = 'mlflow.parentRunId' AND "
)


def _parents(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    rows = _rows(db, f"{_PARENTS}r.run_id IN {{}} ORDER BY r.run_id", ids)
    return [Link(Key("run", parent), Key("run", child), "parent", {}) for parent, child in rows]


def _children(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    rows = _rows(db, f"{_PARENTS}t.value IN {{}} ORDER BY r.run_id", ids)
    return [Link(Key("run", parent), Key("run", child), "parent", {}) for parent, child in rows]


def _commits(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    rows = _rows(
        db,
        "SELECT r.run_id, t.value, (SELECT value FROM tags s WHERE s.run_no = t.run_no "
        "AND s.key = 'mlflow.source.git.repoURL'), (SELECT value FROM tags s "
        "WHERE s.run_no = t.run_no AND s.key = 'mlflow.source.git.branch') "
        "FROM tags t JOIN runs r USING (run_no) WHERE t.key = 'mlflow.source.git.commit' "
        "AND r.run_id IN {} ORDER BY r.run_id",
        ids,
    )
    found = []
    for run_id, commit, repository, branch in rows:
        detail = {"repository": repository, "branch": branch}
        told = {name: value for name, value in detail.items() if value}
        found.append(Link(Key("commit", commit), Key("run", run_id), "code", told))
    return found


_TAKEN = (
    "SELECT model_id, run_id FROM run_model_inputs JOIN runs USING (run_no) "
    "WHERE {} IN {{}} ORDER BY run_id, ord, model_id"
)


def _models_taken(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    return _into_runs(_rows(db, _TAKEN.format("run_id"), ids), "model input")


def _runs_taking(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    return _into_runs(_rows(db, _TAKEN.format("model_id"), ids), "model input")


def _into_runs(rows: Iterable[Any], relation: str) -> list[Link]:
    return [Link(Key("logged model", m), Key("run", r), relation, {}) for m, r in rows]


_NOTHING_MADE = (
    "NOT EXISTS (SELECT 1 FROM run_model_outputs o WHERE o.run_no = run_model_inputs.run_no)"
)


def _runs_judging(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    """Runs that took these logged models and made none: they have evaluated them."""
    return _judging(db, "model_id", ids)


def _models_judged(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    """Logged models that these runs took, of runs that made none."""
    return _judging(db, "run_id", ids)


def _judging(db: sqlite3.Connection, column: str, ids: Sequence[str]) -> list[Link]:
    rows = _rows(
        db,
        "SELECT model_id, run_id FROM run_model_inputs JOIN runs USING (run_no) "
        f"WHERE {column} IN {{}} AND {_NOTHING_MADE} ORDER BY model_id, run_id",
        ids,
    )
    return _into_runs(rows, "evaluated by")


_MEASURED = (
    "SELECT DISTINCT m.model_id, m.run_id FROM live_model_metrics m "
    "LEFT JOIN logged_models l USING (model_id) WHERE m.{} IN {{}} "
    "AND m.run_id IS NOT l.source_run_id ORDER BY m.model_id, m.run_id"
)


def _runs_measuring(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    """Runs that have measured these logged models, other than those that made them."""
    return _into_runs(_rows(db, _MEASURED.format("model_id"), ids), "measured by")


def _models_measured_by(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    """Logged models that these runs have measured, without having made them."""
    return _into_runs(_rows(db, _MEASURED.format("run_id"), ids), "measured by")


_OUTPUTS = (
    "SELECT r.run_id, o.model_id FROM run_model_outputs o JOIN runs r USING (run_no) "
    "WHERE {0} IN {{}} UNION SELECT source_run_id, model_id FROM logged_models WHERE {1} IN {{}} "
    "AND source_run_id IS NOT NULL ORDER BY 1, 2"
)


def _made(db: sqlite3.Connection, statement: str, ids: Sequence[str]) -> list[Link]:
    given = json.dumps(list(ids))
    rows = db.execute(statement.format(_GIVEN, _GIVEN), (given, given)).fetchall()
    return [Link(Key("run", r), Key("logged model", m), "output", {}) for r, m in rows]


def _models_made(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    return _made(db, _OUTPUTS.format("r.run_id", "source_run_id"), ids)


def _runs_making(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    return _made(db, _OUTPUTS.format("o.model_id", "model_id"), ids)


def _environment(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    rows = _rows(
        db,
        "SELECT owner, path, digest, size_bytes FROM (SELECT *, row_number() OVER "
        "(PARTITION BY path ORDER BY written_ns DESC, source DESC, id DESC) AS place "
        "FROM artifacts WHERE owner IN {}) WHERE place = 1 AND NOT deleted ORDER BY path",
        [f"logged_models:/{model_id}" for model_id in ids],
    )
    found = []
    for owner, path, digest, size_bytes in rows:
        if path.rsplit("/", 1)[-1] in ENVIRONMENT_FILES:
            model = Key("logged model", owner.removeprefix("logged_models:/"))
            detail = {"path": path, "size_bytes": size_bytes}
            found.append(Link(Key("environment", digest), model, "needs", detail))
    return found


def _traces(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    """Traces of these logged models, of each the latest; what is left out is told of."""
    rows = _rows(
        db,
        "SELECT model_id, trace_id, place, count FROM (SELECT m.value AS model_id, trace_id, "
        "row_number() OVER (PARTITION BY m.value ORDER BY timestamp_ms DESC, trace_id) AS place, "
        "count(*) OVER (PARTITION BY m.value) AS count FROM trace_metadata m "
        "JOIN live_traces USING (trace_id) WHERE m.key = 'mlflow.modelId' AND m.value IN {}) "
        "WHERE place <= ? ORDER BY model_id, place",
        ids,
        _MOST_TRACES,
    )
    found = []
    for model_id, trace_id, place, count in rows:
        more = {"of": count} if place == _MOST_TRACES < count else {}
        found.append(Link(Key("logged model", model_id), Key("trace", trace_id), "traced", more))
    return found


_VERSIONS = "SELECT v.uid, v.run_id, v.model_id FROM model_versions v WHERE "
_THERE = "v.stage <> 'Deleted_Internal' AND "


def _registered(rows: Iterable[Any]) -> Iterator[Link]:
    for uid, run_id, model_id in rows:
        if model_id is not None:
            yield Link(Key("logged model", model_id), Key("version", uid), "registered", {})
        elif run_id is not None:
            yield Link(Key("run", run_id), Key("version", uid), "registered", {})


def _versions_of_models(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    where = f"{_THERE}v.model_id IN {{}} ORDER BY v.uid"
    return list(_registered(_rows(db, f"{_VERSIONS}{where}", ids)))


def _versions_of_runs(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    where = f"{_THERE}v.model_id IS NULL AND v.run_id IN {{}} ORDER BY v.uid"
    return list(_registered(_rows(db, f"{_VERSIONS}{where}", ids)))


def _origins_of_versions(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    return list(_registered(_rows(db, f"{_VERSIONS}v.uid IN {{}} ORDER BY v.uid", ids)))


_COPIES = (
    "SELECT o.uid, c.uid FROM model_versions c JOIN model_versions o "
    "JOIN registered_models m ON m.model_no = o.model_no "
    "JOIN registered_models n ON n.model_no = c.model_no AND n.workspace = m.workspace "
    "WHERE c.source = 'models:/' || m.name || '/' || o.version AND {}.uid IN {{}} ORDER BY 1, 2"
)


def _copied(rows: Iterable[Any]) -> list[Link]:
    return [
        Link(Key("version", original), Key("version", copy), "copied", {})
        for original, copy in rows
    ]


def _copies_of(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    return _copied(_rows(db, _COPIES.format("o"), ids))


def _originals_of(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    return _copied(_rows(db, _COPIES.format("c"), ids))


def _places(db: sqlite3.Connection, ids: Sequence[str]) -> list[Link]:
    """The aliases and the stage of versions."""
    rows = _rows(
        db,
        "SELECT v.uid, m.name, v.stage, a.alias FROM model_versions v "
        "JOIN registered_models m USING (model_no) LEFT JOIN model_aliases a "
        "ON a.model_no = v.model_no AND a.version = v.version WHERE v.uid IN {} "
        "AND v.stage <> 'Deleted_Internal' ORDER BY v.uid, a.alias",
        ids,
    )
    found: dict[tuple[Key, Key], Link] = {}
    for uid, name, stage, alias in rows:
        version = Key("version", uid)
        if alias is not None:
            held = Key("alias", f"{name}@{alias}")
            found[version, held] = Link(version, held, "alias", {})
        if stage != "None":
            stands = Key("stage", f"{name}/{stage}")
            found[version, stands] = Link(version, stands, "stage", {})
    return list(found.values())


_ORIGINS = {
    "logged model": ((_runs_making, "up"), (_environment, None)),
    "run": (
        (_datasets_of_runs, None),
        (_models_taken, "up"),
        (_parents, "up"),
        (_commits, None),
    ),
}
WAYS: dict[str, dict[str, tuple[tuple[Ask, str | None], ...]]] = {
    "origin": {
        "version": ((_origins_of_versions, "origin"), (_originals_of, "origin")),
        "logged model": (
            *_ORIGINS["logged model"],
            (_runs_measuring, "judge"),
            (_runs_judging, "judge"),
            (_traces, None),
        ),
        "run": _ORIGINS["run"],
    },
    "up": {"version": ((_origins_of_versions, "up"), (_originals_of, "up")), **_ORIGINS},
    "judge": {"run": ((_datasets_of_runs, None), (_commits, None))},
    "down": {
        "dataset": ((_runs_of_datasets, "down"), (_models_measured, "registry")),
        "run": (
            (_children, "down"),
            (_models_made, "down"),
            (_versions_of_runs, "down"),
            (_models_measured_by, "registry"),
            (_models_judged, "registry"),
        ),
        "logged model": ((_runs_taking, "down"), (_versions_of_models, "down")),
        "version": ((_copies_of, "down"), (_places, None)),
    },
    "registry": {
        "logged model": ((_versions_of_models, "registry"),),
        "version": ((_copies_of, "registry"), (_places, None)),
    },
}
"""Where it goes on from an entity, by what is followed and by its kind; and what is followed there.

``origin`` is where something comes from and who has judged it, ``up`` only the former, ``judge``
what a judging run has read, ``down`` what became of something, ``registry`` where a model that was
only judged stands.
"""
