"""Reading traces from the keyed state, with what belongs to them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json

__all__ = [
    "TRACE_COLUMNS",
    "AssessmentRow",
    "SpanRow",
    "TraceDetails",
    "TraceRow",
    "assessment_row",
    "trace_details",
    "trace_ids_until",
    "trace_links",
    "trace_row",
    "trace_rows",
    "trace_spans",
    "trace_tags",
]


class TraceRow(NamedTuple):
    """One trace; :func:`trace_details` reads its details."""

    trace_id: str
    experiment_id: int
    timestamp_ms: int
    execution_time_ms: int | None
    status: str
    client_request_id: str | None
    request_preview: str | None
    response_preview: str | None
    details: str | None


class AssessmentRow(NamedTuple):
    """One assessment; value and metadata are parsed, a claim check is a mapping."""

    trace_id: str
    assessment_id: str
    assessment_type: str
    name: str
    value: Any
    error: str | Mapping[str, Any] | None
    created_ms: int
    updated_ms: int
    source_type: str
    source_id: str | None
    run_id: str | None
    span_id: str | None
    rationale: str | Mapping[str, Any] | None
    overrides: str | None
    valid: int
    metadata: dict[str, Any] | None


TraceDetails = Sequence[Any]
"""Tags and metadata of a trace, each a mapping, and the rows of its assessments."""


class SpanRow(NamedTuple):
    """One span; a claim check is a blob of JSON."""

    trace_id: str
    parent_id: str | None
    start_ns: int
    text: str | bytes


TRACE_COLUMNS = ", ".join(TraceRow._fields)
_TRACE = f"SELECT {TRACE_COLUMNS} FROM live_traces"
_IN_LIST = "trace_id IN (SELECT value FROM json_each(?))"


def trace_row(db: sqlite3.Connection, trace_id: str) -> TraceRow | None:
    """One trace by its id, or None."""
    row = db.execute(f"{_TRACE} WHERE trace_id = ?", (trace_id,)).fetchone()
    return None if row is None else TraceRow._make(row)


def trace_rows(
    db: sqlite3.Connection,
    trace_ids: Sequence[str],
    experiment_ids: Sequence[int] | None = None,
) -> list[TraceRow]:
    """Traces by their ids, in this order; those that are not there are left out."""
    places = {trace_id: place for place, trace_id in enumerate(trace_ids)}
    rows = db.execute(f"{_TRACE} WHERE {_IN_LIST}", (json.dumps(list(places)),)).fetchall()
    found = [TraceRow._make(row) for row in rows]
    if experiment_ids is not None:
        wanted = set(experiment_ids)
        found = [row for row in found if row.experiment_id in wanted]
    return sorted(found, key=lambda row: places[row.trace_id])


def trace_details(db: sqlite3.Connection, rows: Sequence[TraceRow]) -> list[TraceDetails]:
    """What belongs to some traces besides their rows, in this order."""
    # One text for all is read in half the time.
    texts = ",".join([row.details or "null" for row in rows])
    found: list[Any] = _read(f"[{texts}]")
    missing = [at for at, told in enumerate(found) if told is None]
    from mlflow_ledger.consumers import ask_trace_details  # who asks for help waits for none of it

    asked = [ask_trace_details(db, rows[at].trace_id) for at in missing]
    for at, read in zip(missing, asked, strict=True):
        found[at] = read()
    for row, told in zip(rows, found, strict=True):
        if told[2]:
            told[2] = [AssessmentRow(row.trace_id, *values) for values in told[2]]
    return found


def _read(document: str) -> Any:
    try:
        return from_json(document)  # in two thirds of the time
    except ValueError:  # it is nested more deeply than that takes
        return json.loads(document)


def trace_spans(db: sqlite3.Connection, trace_ids: Iterable[str]) -> dict[str, list[SpanRow]]:
    """The spans of some traces, the root first, then by their beginning.

    Those that were erased or archived are left out.
    """
    spans: dict[str, list[SpanRow]] = {}
    for row in db.execute(
        f"SELECT trace_id, parent_id, start_ns, text FROM spans WHERE {_IN_LIST} "
        "AND text <> '' ORDER BY trace_id, parent_id IS NOT NULL, start_ns, rowid",
        (json.dumps(list(trace_ids)),),
    ).fetchall():
        spans.setdefault(row[0], []).append(SpanRow._make(row))
    return spans


def trace_ids_until(
    db: sqlite3.Connection,
    experiment_id: int,
    until_ms: int | None,
    most: int | None,
    trace_ids: Sequence[str] | None,
) -> list[str]:
    """Traces of an experiment that began no later, the oldest first."""
    rows = db.execute(
        "SELECT trace_id FROM live_traces WHERE experiment_id = ?1 "
        "AND (?2 IS NULL OR timestamp_ms <= ?2) "
        "AND (?3 IS NULL OR trace_id IN (SELECT value FROM json_each(?3))) "
        "ORDER BY timestamp_ms, trace_id LIMIT ?4",
        (
            experiment_id,
            until_ms,
            json.dumps(list(trace_ids)) if trace_ids else None,
            -1 if most is None else most,
        ),
    ).fetchall()
    return [trace_id for (trace_id,) in rows]


def trace_tags(db: sqlite3.Connection, trace_ids: Iterable[str], key: str) -> dict[str, str | None]:
    """The values of one tag of some traces, of those that have it."""
    rows = db.execute(
        f"SELECT trace_id, value FROM trace_tags WHERE {_IN_LIST} AND key = ?",
        (json.dumps(list(trace_ids)), key),
    ).fetchall()
    return dict(rows)


def trace_links(
    db: sqlite3.Connection, trace_ids: Iterable[str], kind: str
) -> set[tuple[str, str]]:
    """Which of some traces are linked to what, of one kind (``run``, ``prompt_version``)."""
    rows = db.execute(
        f"SELECT trace_id, target FROM trace_links WHERE {_IN_LIST} AND kind = ?",
        (json.dumps(list(trace_ids)), kind),
    ).fetchall()
    return {(trace_id, target) for trace_id, target in rows}


def assessment_row(
    db: sqlite3.Connection, trace_id: str, assessment_id: str
) -> AssessmentRow | None:
    """One assessment of a trace that is there, or None."""
    from mlflow_ledger.consumers import ASSESSMENT_COLUMNS, assessment_details

    row = db.execute(
        f"SELECT {', '.join(ASSESSMENT_COLUMNS)} FROM assessments "
        "WHERE trace_id = ? AND assessment_id = ? "
        "AND trace_id IN (SELECT trace_id FROM live_traces)",
        (trace_id, assessment_id),
    ).fetchone()
    return None if row is None else AssessmentRow(trace_id, *assessment_details(row))
