"""Reading traces from the keyed state, with what belongs to them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = [
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
]


class TraceRow(NamedTuple):
    """One trace."""

    trace_id: str
    experiment_id: int
    timestamp_ms: int
    execution_time_ms: int | None
    status: str
    started: int
    client_request_id: str | None
    request_preview: str | None
    response_preview: str | None
    trace_name: str | None
    session_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    cache_creation_input_tokens_above_1hr: int | None
    input_cost: float | None
    output_cost: float | None
    total_cost: float | None


class AssessmentRow(NamedTuple):
    """One assessment; a claim check is a blob of JSON."""

    trace_id: str
    assessment_id: str
    assessment_type: str
    name: str
    value: str
    error: str | bytes | None
    created_ms: int
    updated_ms: int
    source_type: str
    source_id: str | None
    run_id: str | None
    span_id: str | None
    rationale: str | bytes | None
    overrides: str | None
    valid: int
    metadata: str | None


class SpanRow(NamedTuple):
    """One span; a claim check is a blob of JSON."""

    trace_id: str
    parent_id: str | None
    start_ns: int
    text: str | bytes


class TraceDetails(NamedTuple):
    """Tags, metadata and assessments, by trace."""

    tags: dict[str, dict[str, str | None]]
    metadata: dict[str, dict[str, str | None]]
    assessments: dict[str, list[AssessmentRow]]


_TRACE = f"SELECT {', '.join(TraceRow._fields)} FROM live_traces"
_ASSESSMENT = f"SELECT {', '.join(AssessmentRow._fields)} FROM assessments"
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


def trace_details(db: sqlite3.Connection, trace_ids: Iterable[str]) -> TraceDetails:
    """What belongs to some traces."""
    ids = json.dumps(list(trace_ids))
    asked = [
        db.execute(f"SELECT trace_id, key, value FROM {table} WHERE {_IN_LIST}", (ids,))
        for table in ("trace_tags", "trace_metadata")
    ]
    assessments = db.execute(f"{_ASSESSMENT} WHERE {_IN_LIST} ORDER BY created_ms, rowid", (ids,))
    details = TraceDetails({}, {}, {})
    for kind, rows in zip((details.tags, details.metadata), asked, strict=True):
        for trace_id, key, value in rows.fetchall():
            kind.setdefault(trace_id, {})[key] = value
    for row in assessments.fetchall():
        details.assessments.setdefault(row[0], []).append(AssessmentRow._make(row))
    return details


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
    row = db.execute(
        f"{_ASSESSMENT} WHERE trace_id = ? AND assessment_id = ? "
        "AND trace_id IN (SELECT trace_id FROM live_traces)",
        (trace_id, assessment_id),
    ).fetchone()
    return None if row is None else AssessmentRow._make(row)
