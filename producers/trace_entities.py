"""MLflow's traces and assessments from rows of the state, and values as the state has them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from mlflow.entities import (
    Assessment,
    AssessmentError,
    AssessmentSource,
    Expectation,
    Feedback,
    IssueReference,
    TraceInfo,
    TraceLocation,
    TraceState,
)
from mlflow.tracing.constant import (
    MAX_CHARS_IN_TRACE_INFO_METADATA,
    MAX_CHARS_IN_TRACE_INFO_TAGS_VALUE,
    TraceMetadataKey,
    TraceTagKey,
)
from mlflow.utils.validation import _validate_length_limit

from mlflow_ledger.query import AssessmentRow, TraceDetails, TraceRow
from mlflow_ledger.schemas import TRACE_COSTS, TRACE_TOKENS

from .edge import MAX_WHOLE, MIN_WHOLE

__all__ = [
    "FIGURES",
    "assessment_entity",
    "finite",
    "token_count",
    "trace_infos",
    "valid_name",
    "valid_session",
]

Arrive = Callable[[str | bytes | None], str | None]


FIGURES: dict[str, tuple[tuple[str, ...], Callable[[Any], float | None]]] = {}
"""Metadata that the state keeps as numbers: their columns, and how a value is read."""


def trace_infos(rows: Iterable[TraceRow], details: TraceDetails, arrive: Arrive) -> list[TraceInfo]:
    """Traces without their spans."""
    return [_trace_info(row, details, arrive) for row in rows]


def _trace_info(row: TraceRow, details: TraceDetails, arrive: Arrive) -> TraceInfo:
    tags = {
        key: value
        for key, value in details.tags.get(row.trace_id, {}).items()
        if key != TraceTagKey.TRACE_NAME
    }
    if row.trace_name is not None:
        tags[TraceTagKey.TRACE_NAME] = row.trace_name
    metadata = {
        key: value
        for key, value in details.metadata.get(row.trace_id, {}).items()
        if key not in FIGURES and key != TraceMetadataKey.TRACE_SESSION
    }
    return TraceInfo(
        trace_id=row.trace_id,
        trace_location=TraceLocation.from_experiment_id(str(row.experiment_id)),
        request_time=row.timestamp_ms,
        execution_duration=row.execution_time_ms,
        state=TraceState(row.status),
        tags=tags,  # type: ignore[arg-type]  # as in MLflow, a value may be missing
        trace_metadata=metadata | _promoted(row),  # type: ignore[arg-type]  # likewise
        client_request_id=row.client_request_id,
        request_preview=row.request_preview,
        response_preview=row.response_preview,
        assessments=[
            assessment_entity(assessment, arrive)
            for assessment in details.assessments.get(row.trace_id, ())
        ],
    )


def _promoted(row: TraceRow) -> dict[str, str]:
    found = {}
    if row.session_id is not None:
        found[TraceMetadataKey.TRACE_SESSION] = row.session_id
    for key, (columns, _) in FIGURES.items():
        figures = {name: getattr(row, name) for name in columns if getattr(row, name) is not None}
        if figures:
            found[key] = json.dumps(figures)
    return found


def assessment_entity(row: AssessmentRow, arrive: Arrive) -> Assessment:
    """An assessment of its own kind."""
    value = json.loads(row.value)
    given: dict[str, Any] = {
        "source": AssessmentSource(source_type=row.source_type, source_id=row.source_id or ""),
        "trace_id": row.trace_id,
        "metadata": None if row.metadata is None else json.loads(row.metadata),
        "span_id": row.span_id,
        "create_time_ms": row.created_ms,
        "last_update_time_ms": row.updated_ms,
    }
    if row.source_id is None:
        given["source"].source_id = None
    found: Assessment
    if row.assessment_type == "feedback":
        error = arrive(row.error)
        found = Feedback(
            name=row.name,
            value=value,
            error=None if error is None else AssessmentError.from_dictionary(json.loads(error)),
            rationale=arrive(row.rationale),
            **given,
        )
    elif row.assessment_type == "expectation":
        found = Expectation(name=row.name, value=value, **given)
    else:
        found = IssueReference(
            issue_id=row.name,
            issue_name=(value or {}).get("issue_name"),  # type: ignore[arg-type]  # may be missing
            run_id=row.run_id,
            rationale=arrive(row.rationale),
            **given,
        )
    found.overrides, found.valid = row.overrides, bool(row.valid)
    found.run_id, found.assessment_id = row.run_id, row.assessment_id
    return found


def finite(value: Any) -> float | None:
    """A cost that was given, as MLflow reads it."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def token_count(value: Any) -> int | None:
    """A count of tokens that was given, as MLflow reads it."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except (InvalidOperation, TypeError, ValueError):
        return None
    if not number.is_finite() or number != number.to_integral_value():
        return None
    return int(number) if MIN_WHOLE <= number <= MAX_WHOLE else None


FIGURES[TraceMetadataKey.TOKEN_USAGE] = (TRACE_TOKENS, token_count)
FIGURES[TraceMetadataKey.COST] = (TRACE_COSTS, finite)


def valid_session(session_id: str | None) -> str | None:
    """A session's id, if it is not too long."""
    limit = MAX_CHARS_IN_TRACE_INFO_METADATA
    session: str | None = _validate_length_limit("Session ID", limit, session_id)
    return session


def valid_name(name: str | None) -> str | None:
    """A trace's name, if it is not too long."""
    limit = MAX_CHARS_IN_TRACE_INFO_TAGS_VALUE
    found: str | None = _validate_length_limit("Trace name", limit, name)
    return found
