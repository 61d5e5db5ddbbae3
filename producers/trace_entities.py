"""MLflow's traces and assessments from rows of the state, and values as the state has them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, TypeVar

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
from mlflow.entities.assessment import ExpectationValue, FeedbackValue, IssueReferenceValue
from mlflow.entities.trace_location import MlflowExperimentLocation, TraceLocationType
from mlflow.tracing.constant import (
    MAX_CHARS_IN_TRACE_INFO_METADATA,
    MAX_CHARS_IN_TRACE_INFO_TAGS_VALUE,
    TraceMetadataKey,
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

Arrive = Callable[[str | bytes | Mapping[str, Any] | None], str | None]

T = TypeVar("T")

_STATES = {state.value: state for state in TraceState}

FIGURES: dict[str, tuple[tuple[str, ...], Callable[[Any], float | None]]] = {}
"""Metadata that the state keeps as numbers: their columns, and how a value is read."""


def trace_infos(
    rows: Iterable[TraceRow], details: Iterable[TraceDetails], arrive: Arrive
) -> list[TraceInfo]:
    """Traces without their spans."""
    made = _quickly_made if _ARE_PLAIN else _made
    return [
        made(row, tags, metadata, [assessment_entity(one, arrive) for one in assessed])
        for row, (tags, metadata, assessed) in zip(rows, details, strict=True)
    ]


def _made(
    row: TraceRow, tags: dict[str, str], metadata: dict[str, str], assessments: list[Assessment]
) -> TraceInfo:
    return TraceInfo(
        trace_id=row.trace_id,
        trace_location=TraceLocation.from_experiment_id(str(row.experiment_id)),
        request_time=row.timestamp_ms,
        execution_duration=row.execution_time_ms,
        state=TraceState(row.status),
        tags=tags,
        trace_metadata=metadata,
        client_request_id=row.client_request_id,
        request_preview=row.request_preview,
        response_preview=row.response_preview,
        assessments=assessments,
    )


def _quickly_made(
    row: TraceRow, tags: dict[str, str], metadata: dict[str, str], assessments: list[Assessment]
) -> TraceInfo:
    """The same without MLflow's constructors, whose checks take twice the time of all the rest."""
    info, location, experiment = (
        _new(TraceInfo),
        _new(TraceLocation),
        _new(MlflowExperimentLocation),
    )
    (
        info.trace_id, experiment_id, info.request_time, info.execution_duration, status,
        info.client_request_id, info.request_preview, info.response_preview, _,
    ) = row  # fmt: skip
    experiment.experiment_id = str(experiment_id)
    location.type, location.mlflow_experiment = TraceLocationType.MLFLOW_EXPERIMENT, experiment
    location.inference_table = location.uc_schema = location.uc_table_prefix = None
    info.trace_location = location
    info.state = _STATES.get(status) or TraceState(status)
    info.tags, info.trace_metadata, info.assessments = tags, metadata, assessments
    return info


_new = object.__new__
_KNOWN = {
    TraceInfo: {
        "trace_id", "trace_location", "request_time", "execution_duration", "state", "tags",
        "trace_metadata", "client_request_id", "request_preview", "response_preview", "assessments",
    },
    TraceLocation: {
        "type", "mlflow_experiment", "inference_table", "uc_schema", "uc_table_prefix",
    },
    MlflowExperimentLocation: {"experiment_id"},
}  # fmt: skip
_ARE_PLAIN = not hasattr(TraceInfo, "__post_init__") and all(
    {field.name for field in fields(kind)} == names for kind, names in _KNOWN.items()
)
"""Whether this MLflow has no other attributes than :func:`_quickly_made` sets."""


def assessment_entity(row: AssessmentRow, arrive: Arrive) -> Assessment:
    """An assessment of its own kind."""
    (
        trace_id, assessment_id, kind, name, value, error, created_ms, updated_ms, source_type,
        source_id, run_id, span_id, rationale, overrides, valid, metadata,
    ) = row  # fmt: skip
    found = _like(_KINDS.get(kind) or _KINDS["issue"])
    if kind == "feedback":
        said = arrive(error)
        found.error = None if said is None else AssessmentError.from_dictionary(json.loads(said))
        found.feedback = FeedbackValue(value, found.error)
    elif kind == "expectation":
        found.expectation = ExpectationValue(value)
    else:
        name_said = (value or {}).get("issue_name")
        found.issue = IssueReferenceValue(name_said)  # type: ignore[arg-type]  # may be missing
    found.source = _like(_source(source_type))
    found.source.source_id = source_id
    found.name, found.trace_id, found.assessment_id = name, trace_id, assessment_id
    found.run_id, found.span_id, found.metadata = run_id, span_id, metadata
    found.create_time_ms, found.last_update_time_ms = created_ms, updated_ms
    found.rationale = None if rationale is None else arrive(rationale)
    found.overrides, found.valid = overrides, bool(valid)
    return found


_NOBODY = AssessmentSource(source_type="HUMAN")
_KINDS: dict[str, Assessment] = {
    "feedback": Feedback(name="", value=0, source=_NOBODY),
    "expectation": Expectation(name="", value=0, source=_NOBODY),
    "issue": IssueReference(issue_id="", issue_name="", source=_NOBODY),
}
"""One of each kind: to copy one takes a third of the time that MLflow's checks take."""


@lru_cache(maxsize=16)
def _source(source_type: str) -> AssessmentSource:
    return AssessmentSource(source_type=source_type)


def _like(one: T) -> T:
    """Another object with the same attributes."""
    copied = object.__new__(type(one))
    copied.__dict__.update(one.__dict__)
    return copied


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
