"""Reading which traces may be archived, and what there is to archive of one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "ArchivalCandidate",
    "ArchivalPayload",
    "ArchivalRest",
    "archival_candidates",
    "archival_generation",
    "archival_payload",
    "archival_rest",
    "archival_tags",
    "archived_places",
]

_ELSEWHERE = (
    "EXISTS (SELECT 1 FROM trace_tags g WHERE g.trace_id = t.trace_id "
    "AND g.key = 'mlflow.trace.spansLocation' AND g.value <> 'TRACKING_STORE')"
)
_FAILED = (
    "EXISTS (SELECT 1 FROM trace_tags g WHERE g.trace_id = t.trace_id "
    "AND g.key = 'mlflow.trace.archivalFailure')"
)
_FILLED = "EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id AND s.text <> '')"
_OPEN = "t.status = 'IN_PROGRESS'"
_ARCHIVABLE = f"NOT {_OPEN} AND NOT {_FAILED} AND {_FILLED}"


class ArchivalCandidate(NamedTuple):
    """A trace that may be archived."""

    trace_id: str
    experiment_id: str
    timestamp_ms: int


class ArchivalPayload(NamedTuple):
    """What there is to archive: the spans' texts, by the ids of the spans.

    ``generation`` counts how often spans were logged; a claim check is a blob of JSON.
    """

    experiment_id: str
    generation: int
    texts: list[str | bytes]


class ArchivalRest(NamedTuple):
    """Which traces are left in the ledger: those to archive, still open, not marked as failed."""

    any: bool
    archivable: bool
    open: bool
    unmarked: bool


def archival_tags(db: sqlite3.Connection, keys: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """Some tags of all active experiments."""
    tags: dict[str, dict[str, str]] = {}
    for experiment_id, key, value in db.execute(
        "SELECT e.experiment_id, t.key, t.value FROM experiments e LEFT JOIN experiment_tags t "
        "ON t.experiment_id = e.experiment_id AND t.key IN (SELECT value FROM json_each(?)) "
        "WHERE e.lifecycle = 'active' ORDER BY e.experiment_id",
        (json.dumps(list(keys)),),
    ).fetchall():
        found = tags.setdefault(str(experiment_id), {})
        if key is not None:
            found[key] = value
    return list(tags.items())


def archival_candidates(
    db: sqlite3.Connection, experiment_ids: Iterable[str], until_ms: int | None, most: int | None
) -> list[ArchivalCandidate]:
    """Traces of experiments that began no later and may be archived, the oldest first."""
    numbers = json.dumps([int(experiment_id) for experiment_id in experiment_ids])
    rows = db.execute(
        "SELECT t.trace_id, t.experiment_id, t.timestamp_ms FROM live_traces t "
        "WHERE t.experiment_id IN (SELECT value FROM json_each(?1)) "
        f"AND (?2 IS NULL OR t.timestamp_ms <= ?2) AND NOT {_ELSEWHERE} AND {_ARCHIVABLE} "
        "ORDER BY t.timestamp_ms, t.trace_id LIMIT ?3",
        (numbers, until_ms, -1 if most is None else most),
    ).fetchall()
    return [ArchivalCandidate(trace_id, str(number), ms) for trace_id, number, ms in rows]


def archival_rest(db: sqlite3.Connection, experiment_id: str, until_ms: int | None) -> ArchivalRest:
    """What is left in the ledger of an experiment's traces that began no later."""
    row = db.execute(
        f"SELECT count(*), total({_ARCHIVABLE}), total({_OPEN} AND NOT {_FAILED}), "
        f"total(NOT {_FAILED}) FROM live_traces t WHERE t.experiment_id = ?1 "
        f"AND (?2 IS NULL OR t.timestamp_ms <= ?2) AND NOT {_ELSEWHERE}",
        (int(experiment_id), until_ms),
    ).fetchone()
    return ArchivalRest(*map(bool, row))


def archival_generation(db: sqlite3.Connection, trace_id: str) -> int | None:
    """How often spans of a trace were logged that may be archived; None where it may not be."""
    row = db.execute(
        f"SELECT t.generation FROM live_traces t WHERE t.trace_id = ? AND NOT {_ELSEWHERE} "
        f"AND {_ARCHIVABLE}",
        (trace_id,),
    ).fetchone()
    return None if row is None else int(row[0])


def archival_payload(db: sqlite3.Connection, trace_id: str) -> ArchivalPayload | None:
    """What there is to archive of a trace, or None where it may not be archived."""
    generation = archival_generation(db, trace_id)
    if generation is None:
        return None
    (number,) = db.execute(
        "SELECT experiment_id FROM traces WHERE trace_id = ?", (trace_id,)
    ).fetchone()
    texts = db.execute(
        "SELECT text FROM spans WHERE trace_id = ? AND text IS NOT NULL ORDER BY span_id",
        (trace_id,),
    ).fetchall()
    return ArchivalPayload(str(number), generation, [text for (text,) in texts])


def archived_places(db: sqlite3.Connection, trace_ids: Iterable[str]) -> dict[str, str | None]:
    """Where those of some traces lie that were archived; None where nobody knows."""
    rows = db.execute(
        "SELECT l.trace_id, p.value FROM trace_tags l LEFT JOIN trace_tags p "
        "ON p.trace_id = l.trace_id AND p.key = 'mlflow.trace.archiveLocation' "
        "WHERE l.key = 'mlflow.trace.spansLocation' AND l.value = 'ARCHIVE_REPO' "
        "AND l.trace_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(trace_ids)),),
    ).fetchall()
    return dict(rows)
