"""Events about assessments: what people, judges and code say of a trace or of one of its spans."""

from __future__ import annotations

from typing import ClassVar

from .event import Content, Text
from .traces import TraceEvent

__all__ = [
    "AssessmentContent",
    "AssessmentCreated",
    "AssessmentDeleted",
    "AssessmentEvent",
    "AssessmentUpdated",
]


class AssessmentEvent(TraceEvent):
    """Anything that happens to one assessment of a trace."""

    assessment_id: str


class AssessmentContent(Content):
    """What is said; value, error and metadata as MLflow writes them in JSON."""

    name: str
    value: str
    error: Text = None
    source_id: str | None = None
    rationale: Text = None
    metadata: str | None = None


class AssessmentCreated(AssessmentEvent):
    """A trace was assessed.

    ``overrides`` names the assessment that this one makes invalid. With ``merged`` it came with
    the trace: it replaces one of the same id, and leaves alone what it overrides.
    """

    topic_name: ClassVar[str] = "traces"
    assessment_type: str
    source_type: str
    created_ms: int
    updated_ms: int
    run_id: str | None = None
    span_id: str | None = None
    overrides: str | None = None
    merged: bool = False
    content: AssessmentContent | None = None


class AssessmentUpdated(AssessmentEvent):
    """An assessment says something else; the whole of it, source apart, is told anew."""

    topic_name: ClassVar[str] = "traces"
    updated_ms: int
    content: AssessmentContent | None = None


class AssessmentDeleted(AssessmentEvent):
    """An assessment was deleted; the one that it overrides is valid again."""

    topic_name: ClassVar[str] = "traces"
