"""Rules about assessments of traces."""

from __future__ import annotations

import json
import math

from mlflow_ledger.schemas import (
    AssessmentContent,
    AssessmentCreated,
    AssessmentDeleted,
    AssessmentUpdated,
    Reason,
    Refused,
)

from .context import Context, rule, stored_text

__all__: list[str] = []

_REDACTED = AssessmentContent(name="", value="null")
_REPLACED = ", ".join(
    f"{column} = excluded.{column}"
    for column in (
        "assessment_type", "name", "value", "error", "created_ms", "updated_ms", "source_type",
        "source_id", "run_id", "span_id", "rationale", "overrides", "valid", "metadata", "number",
        "is_number", "experiment_id", "trace_ms",
    )
)  # fmt: skip
"""One that comes again keeps its place among those of its trace."""

_TRUTH = {"yes": 1.0, "no": 0.0}


@rule(AssessmentCreated)
def _created(context: Context, event: AssessmentCreated) -> None:
    trace = context.row(
        "SELECT experiment_id, timestamp_ms FROM traces WHERE trace_id = ?", event.trace_id
    )
    if trace is None:
        raise Refused(Reason.MISSING, f"Trace with ID '{event.trace_id}' not found.")
    if not event.merged:
        if event.overrides and not _exists(context, event.trace_id, event.overrides):
            raise Refused(
                Reason.MISSING,
                f"Assessment with ID '{event.overrides}' not found for trace '{event.trace_id}'",
            )
        if _exists(context, event.trace_id, event.assessment_id):
            raise Refused(
                Reason.INTERNAL,
                f"Failed to create assessment for trace '{event.trace_id}' due to a constraint "
                "violation.",
            )
        _set_valid(context, event.trace_id, event.overrides, valid=False)
    said = event.content or _REDACTED
    context.retell(event.trace_id)
    context.write(
        "INSERT INTO assessments "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?) "
        f"ON CONFLICT DO UPDATE SET {_REPLACED}",
        event.trace_id,
        event.assessment_id,
        event.assessment_type,
        said.name,
        said.value,
        stored_text(said.error),
        event.created_ms,
        event.updated_ms,
        event.source_type,
        said.source_id,
        event.run_id,
        event.span_id,
        stored_text(said.rationale),
        event.overrides,
        said.metadata,
        *_number(said.value),
        *trace,
    )


@rule(AssessmentUpdated)
def _updated(context: Context, event: AssessmentUpdated) -> None:
    _refuse_missing(context, event)
    context.retell(event.trace_id)
    context.write(
        "UPDATE assessments SET updated_ms = ? WHERE trace_id = ? AND assessment_id = ?",
        event.updated_ms,
        event.trace_id,
        event.assessment_id,
    )
    if (said := event.content) is None:
        return
    context.write(
        "UPDATE assessments SET name = ?, value = ?, error = ?, rationale = ?, metadata = ?, "
        "number = ?, is_number = ? WHERE trace_id = ? AND assessment_id = ?",
        said.name,
        said.value,
        stored_text(said.error),
        stored_text(said.rationale),
        said.metadata,
        *_number(said.value),
        event.trace_id,
        event.assessment_id,
    )


@rule(AssessmentDeleted)
def _deleted(context: Context, event: AssessmentDeleted) -> None:
    (overrides,) = _refuse_missing(context, event)
    context.retell(event.trace_id)
    _set_valid(context, event.trace_id, overrides, valid=True)
    context.write(
        "DELETE FROM assessments WHERE trace_id = ? AND assessment_id = ?",
        event.trace_id,
        event.assessment_id,
    )


def _refuse_missing(
    context: Context, event: AssessmentUpdated | AssessmentDeleted
) -> tuple[str | None]:
    row: tuple[str | None] | None = context.row(
        "SELECT overrides FROM assessments WHERE trace_id = ? AND assessment_id = ?",
        event.trace_id,
        event.assessment_id,
    )
    if row is None:
        raise Refused(
            Reason.MISSING,
            f"Assessment with ID '{event.assessment_id}' not found for trace '{event.trace_id}'",
        )
    return row


def _exists(context: Context, trace_id: str, assessment_id: str) -> bool:
    return bool(
        context.row(
            "SELECT 1 FROM assessments WHERE trace_id = ? AND assessment_id = ?",
            trace_id,
            assessment_id,
        )
    )


def _set_valid(context: Context, trace_id: str, assessment_id: str | None, *, valid: bool) -> None:
    if assessment_id:
        context.write(
            "UPDATE assessments SET valid = ? WHERE trace_id = ? AND assessment_id = ?",
            int(valid),
            trace_id,
            assessment_id,
        )


def _number(document: str) -> tuple[float | None, int]:
    """What a value counts for in averages, and whether it is a number at all."""
    try:
        value = json.loads(document)
    except ValueError:
        return None, 0
    if isinstance(value, bool):
        return float(value), 0
    if isinstance(value, str):
        return _TRUTH.get(value.strip().lower()), 0
    if not isinstance(value, int | float):
        return None, 0
    try:
        number = float(value)
    except OverflowError:
        return None, 0
    return (number, 1) if math.isfinite(number) else (None, 0)
