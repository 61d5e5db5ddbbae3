"""What an answer says of a trace besides its own columns, from the tables that hold it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from mlflow_ledger.schemas import TRACE_COSTS, TRACE_TOKENS

__all__ = [
    "ASSESSMENT_COLUMNS",
    "ask_trace_details",
    "assessment_details",
    "write_trace_details",
]

ASSESSMENT_COLUMNS = (
    "assessment_id", "assessment_type", "name", "value", "error", "created_ms", "updated_ms",
    "source_type", "source_id", "run_id", "span_id", "rationale", "overrides", "valid", "metadata",
)  # fmt: skip
"""What an assessment is in details: a list of these."""

_DOCUMENTS = ("value", "metadata")

_MOST_CHARS = 8192
"""Longer details are not kept: whoever changes one of many assessments would write them all."""

_NAME = "mlflow.traceName"
_SESSION = "mlflow.trace.session"
_FIGURES = {"mlflow.trace.tokenUsage": TRACE_TOKENS, "mlflow.trace.cost": TRACE_COSTS}
_COLUMNS = ("trace_name", "session_id", *TRACE_TOKENS, *TRACE_COSTS)
_TRACE = f"SELECT {', '.join(_COLUMNS)} FROM main.traces WHERE trace_id = ?"
_TAGS = "SELECT key, value FROM trace_tags WHERE trace_id = ?"
_METADATA = "SELECT key, value FROM trace_metadata WHERE trace_id = ?"
_ASSESSMENTS = (
    f"SELECT {', '.join(ASSESSMENT_COLUMNS)} FROM assessments WHERE trace_id = ? "
    "ORDER BY created_ms, rowid"
)
_MOVED = (
    "UPDATE assessments AS a SET experiment_id = t.experiment_id, trace_ms = t.timestamp_ms "
    "FROM traces t WHERE t.trace_id = a.trace_id AND a.trace_id = ? "
    "AND (a.experiment_id <> t.experiment_id OR a.trace_ms <> t.timestamp_ms)"
)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def ask_trace_details(db: sqlite3.Connection, trace_id: str) -> Callable[[], list[Any]]:
    """Ask for tags, metadata and assessments of a trace that is there, as MLflow tells them.

    What is returned reads the answers: those about several traces travel together.
    """
    given = (trace_id,)
    asked = [db.execute(sql, given) for sql in (_TRACE, _TAGS, _METADATA, _ASSESSMENTS)]

    def read() -> list[Any]:
        row, tags, metadata, assessments = (cursor.fetchall() for cursor in asked)
        columns = dict(zip(_COLUMNS, row[0], strict=True))
        return [
            _tags(tags, columns),
            _metadata(metadata, columns),
            [assessment_details(assessment) for assessment in assessments],
        ]

    return read


def assessment_details(row: Sequence[Any]) -> list[Any]:
    """An assessment as a list: value, metadata and claim checks are what their JSON stands for."""
    return [
        json.loads(value)
        if value is not None and (isinstance(value, bytes) or name in _DOCUMENTS)
        else value
        for name, value in zip(ASSESSMENT_COLUMNS, row, strict=True)
    ]


def write_trace_details(db: sqlite3.Connection, trace_id: str) -> None:
    """Bring what is told twice of a trace, if it is there, up to what the tables hold."""
    if db.execute("SELECT 1 FROM traces WHERE trace_id = ?", (trace_id,)).fetchone() is None:
        return
    details = _encoded(ask_trace_details(db, trace_id))
    db.execute("UPDATE traces SET details = ? WHERE trace_id = ?", (details, trace_id))
    db.execute(_MOVED, (trace_id,))


def _encoded(read: Callable[[], list[Any]]) -> str | None:
    """Details in JSON; nothing where they are long, or hold what cannot be told in JSON."""
    try:
        details = _encode(read())
        details.encode()
    except ValueError:
        return None
    return details if len(details) <= _MOST_CHARS else None


def _tags(pairs: list[tuple[str, str | None]], columns: dict[str, Any]) -> dict[str, str | None]:
    tags = dict(pairs)
    tags.pop(_NAME, None)
    if columns["trace_name"] is not None:
        tags[_NAME] = columns["trace_name"]
    return tags


def _metadata(
    pairs: list[tuple[str, str | None]], columns: dict[str, Any]
) -> dict[str, str | None]:
    metadata = {key: value for key, value in pairs if key not in _FIGURES and key != _SESSION}
    if columns["session_id"] is not None:
        metadata[_SESSION] = columns["session_id"]
    for key, names in _FIGURES.items():
        figures = {name: columns[name] for name in names if columns[name] is not None}
        if figures:
            metadata[key] = json.dumps(figures)
    return metadata
