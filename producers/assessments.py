"""Assessments of traces as MLflow's tracking store keeps them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities import Assessment
from mlflow.entities.assessment import ExpectationValue, FeedbackValue
from mlflow.exceptions import MlflowException
from mlflow.tracing.utils import generate_assessment_id

from mlflow_ledger.query import AssessmentRow, assessment_row, trace_row
from mlflow_ledger.schemas import (
    AssessmentContent,
    AssessmentCreated,
    AssessmentDeleted,
    AssessmentUpdated,
    ClaimCheck,
    Event,
    Reason,
    Refused,
    Text,
)

from .edge import LedgerStore, now_ms, whole
from .trace_entities import assessment_entity

__all__ = ["Assessments", "assessment_created"]

_FEEDBACK, _EXPECTATION = "feedback", "expectation"
Travel = Callable[[str | None], Text]


class Assessments(LedgerStore):
    """Create, get, update and delete assessments."""

    def create_assessment(self, assessment: Assessment) -> Assessment:
        """Assess a trace, perhaps in place of an earlier assessment, which is valid no more."""
        event = assessment_created(assessment, self._travelling)
        trace_id = event.trace_id

        def decide(db: sqlite3.Connection) -> list[Event]:
            if trace_row(db, trace_id) is None:
                raise Refused(Reason.MISSING, f"Trace with ID '{trace_id}' not found.", event)
            if event.overrides and assessment_row(db, trace_id, event.overrides) is None:
                raise Refused(Reason.MISSING, _missing(trace_id, event.overrides), event)
            if assessment_row(db, trace_id, event.assessment_id) is not None:
                raise Refused(
                    Reason.INTERNAL,
                    f"Failed to create assessment for trace '{trace_id}' "
                    "due to a constraint violation.",
                    event,
                )
            return [event]

        made: Assessment = self._decide_and_ask(
            decide, lambda db: self._assessment(db, trace_id, event.assessment_id)
        )
        return made

    def get_assessment(self, trace_id: str, assessment_id: str) -> Assessment:
        """An assessment of a trace."""
        found: Assessment = self._ask(lambda db: self._assessment(db, trace_id, assessment_id))
        return found

    def update_assessment(
        self,
        trace_id: str,
        assessment_id: str,
        name: str | None = None,
        expectation: Any = None,
        feedback: Any = None,
        rationale: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Assessment:
        """Change what is given, as MLflow's values; metadata is added to what is there."""
        updated_ms = now_ms()
        new_reason = self._travelling(rationale)
        new_error = None if feedback is None else self._travelling(_error(feedback))

        def decide(db: sqlite3.Connection) -> list[Event]:
            row = _existing(db, trace_id, assessment_id)
            _check_kind(row.assessment_type, expectation, feedback)
            value, error = row.value, _kept(row.error)
            reason = new_reason if rationale is not None else _kept(row.rationale)
            if row.assessment_type == _EXPECTATION:
                value = expectation.value if expectation is not None else value
                reason = None  # an expectation keeps none
            elif feedback is not None:
                value, error = feedback.value, new_error
            merged = {**(row.metadata or {}), **(metadata or {})}
            content = AssessmentContent(
                name=name if name is not None else row.name,
                value=json.dumps(value),
                error=error,
                source_id=row.source_id,
                rationale=reason,
                metadata=json.dumps(merged) if merged else None,
            )
            return [
                AssessmentUpdated(
                    trace_id=trace_id,
                    assessment_id=assessment_id,
                    updated_ms=updated_ms,
                    content=content,
                )
            ]

        updated: Assessment = self._decide_and_ask(
            decide, lambda db: self._assessment(db, trace_id, assessment_id)
        )
        return updated

    def delete_assessment(self, trace_id: str, assessment_id: str) -> None:
        """Delete an assessment; one that is not there is no error, as in MLflow."""

        def decide(db: sqlite3.Connection) -> list[Event]:
            if assessment_row(db, trace_id, assessment_id) is None:
                return []
            return [AssessmentDeleted(trace_id=trace_id, assessment_id=assessment_id)]

        try:
            self._decide(decide)
        except Refused as refusal:
            if refusal.reason is not Reason.MISSING:  # else another host has deleted it
                raise

    def _assessment(self, db: sqlite3.Connection, trace_id: str, assessment_id: str) -> Assessment:
        return assessment_entity(_existing(db, trace_id, assessment_id), self._arrived)


def assessment_created(
    assessment: Assessment, travelling: Travel, *, merged: bool = False
) -> AssessmentCreated:
    """The event of an assessment; it is given an id if it has none, as MLflow does."""
    if assessment.assessment_id is None:
        assessment.assessment_id = generate_assessment_id()
    now = now_ms()
    kind, value, error = _value(assessment)
    return AssessmentCreated(
        trace_id=str(assessment.trace_id),
        assessment_id=assessment.assessment_id,
        assessment_type=kind,
        source_type=assessment.source.source_type,
        created_ms=whole(assessment.create_time_ms) or now,
        updated_ms=whole(assessment.last_update_time_ms) or now,
        run_id=assessment.run_id,
        span_id=assessment.span_id,
        overrides=assessment.overrides,
        merged=merged,
        content=AssessmentContent(
            name=assessment.name,
            value=json.dumps(value),
            error=travelling(error),
            source_id=assessment.source.source_id,
            rationale=travelling(assessment.rationale),
            metadata=json.dumps(assessment.metadata) if assessment.metadata else None,
        ),
    )


def _value(assessment: Assessment) -> tuple[str, Any, str | None]:
    if assessment.feedback is not None:
        return _FEEDBACK, assessment.feedback.value, _error(assessment.feedback)
    if assessment.expectation is not None:
        return _EXPECTATION, assessment.expectation.value, None
    if assessment.issue is not None:
        return "issue", assessment.issue.to_dictionary(), None
    raise MlflowException.invalid_parameter_value(
        "Assessment must have either feedback, expectation, or issue value"
    )


def _error(feedback: FeedbackValue) -> str | None:
    return json.dumps(feedback.error.to_dictionary()) if feedback.error else None


def _check_kind(
    existing: str, expectation: ExpectationValue | None, feedback: FeedbackValue | None
) -> None:
    if expectation is not None and feedback is not None:
        raise MlflowException.invalid_parameter_value(
            "Cannot specify both `expectation` and `feedback` parameters."
        )
    if expectation is not None and existing != _EXPECTATION:
        raise MlflowException.invalid_parameter_value(
            "Cannot update expectation value on a Feedback assessment."
        )
    if feedback is not None and existing != _FEEDBACK:
        raise MlflowException.invalid_parameter_value(
            "Cannot update feedback value on an Expectation assessment."
        )


def _kept(text: str | Mapping[str, Any] | None) -> Text:
    """A text as it stands in the state, to be said again."""
    return text if text is None or isinstance(text, str) else ClaimCheck.model_validate(text)


def _existing(db: sqlite3.Connection, trace_id: str, assessment_id: str) -> AssessmentRow:
    row = assessment_row(db, trace_id, assessment_id)
    if row is not None:
        return row
    if trace_row(db, trace_id) is None:
        raise Refused(Reason.MISSING, f"Trace with request_id '{trace_id}' not found")
    raise Refused(Reason.MISSING, _missing(trace_id, assessment_id))


def _missing(trace_id: str, assessment_id: str) -> str:
    return f"Assessment with ID '{assessment_id}' not found for trace '{trace_id}'"
