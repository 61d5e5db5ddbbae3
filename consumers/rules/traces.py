"""Rules about traces as a whole: told, tagged, linked, deleted.

They never look at experiments, which lie in another partition: a trace goes with its experiment
when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlflow_ledger.schemas import (
    TRACE_COSTS,
    TRACE_TOKENS,
    KeyValue,
    Reason,
    Refused,
    TraceDeleted,
    TracePromptsLinked,
    TraceRunLinked,
    TraceRunUnlinked,
    TraceStarted,
    TraceStartedContent,
    TraceTagDeleted,
    TraceTagSet,
)

from .context import Context, experiment_number, rule

__all__ = [
    "FIGURES",
    "FINALIZED",
    "ONLY_HERE",
    "SPANS_LOCATION",
    "create_trace",
    "has_trace",
    "refuse_elsewhere",
    "set_figures",
    "set_pairs",
]

FIGURES = (*TRACE_TOKENS, *TRACE_COSTS)
"""Columns of a trace: tokens and costs that are given with it, or else follow from its spans."""

FINALIZED = "mlflow.trace.infoFinalized"
SPANS_LOCATION = "mlflow.trace.spansLocation"
ONLY_HERE = "TRACKING_STORE"
_ARTIFACTS = "mlflow.artifactLocation"
_NAME = "mlflow.traceName"
_TABLES = ("traces", "trace_tags", "trace_metadata", "spans", "assessments")


@rule(TraceStarted)
def _started(context: Context, event: TraceStarted) -> None:
    experiment = experiment_number(event.experiment_id)
    content = event.content or TraceStartedContent()
    known = context.row("SELECT experiment_id FROM traces WHERE trace_id = ?", event.trace_id)
    if known is not None:
        refuse_elsewhere(
            context,
            event.trace_id,
            f"Cannot update traces that are no longer DB-backed: '{event.trace_id}'.",
        )
        if known != (experiment,):
            context.write(
                "UPDATE spans SET experiment_id = ? WHERE trace_id = ?", experiment, event.trace_id
            )
    else:
        create_trace(context, event.trace_id, experiment, event.start_ms, event.state)
    context.write(
        "UPDATE traces SET started = 1, experiment_id = ?, timestamp_ms = ?, "
        "execution_time_ms = ?, status = ?, client_request_id = ?, "
        "request_preview = coalesce(?, request_preview), "
        "response_preview = coalesce(?, response_preview), "
        "trace_name = coalesce(?, trace_name), session_id = coalesce(?, session_id) "
        "WHERE trace_id = ?",
        experiment,
        event.start_ms,
        event.duration_ms,
        event.state,
        content.client_request_id,
        content.request_preview,
        content.response_preview,
        content.name,
        content.session_id,
        event.trace_id,
    )
    set_figures(context, event.trace_id, [(figure.key, figure.value) for figure in content.figures])
    location = [KeyValue(key=SPANS_LOCATION, value=event.spans_location)]
    set_pairs(
        context,
        "trace_tags",
        event.trace_id,
        [
            *content.tags,
            *(location if event.spans_location is not None else ()),
            KeyValue(key=_ARTIFACTS, value=event.artifact_uri),
        ],
    )
    told = KeyValue(key=FINALIZED, value="true")
    set_pairs(context, "trace_metadata", event.trace_id, [*content.metadata, told])
    context.retell(event.trace_id)


@rule(TraceTagSet)
def _tag_set(context: Context, event: TraceTagSet) -> None:
    named = event.tag == _NAME
    _refuse_missing(context, event.trace_id, Reason.MISSING if named else Reason.BAD_REQUEST)
    value = None if event.content is None else event.content.value
    context.retell(event.trace_id)
    if named:
        context.write("UPDATE traces SET trace_name = ? WHERE trace_id = ?", value, event.trace_id)
        return
    if event.tag == SPANS_LOCATION:
        value = event.spans_location
    set_pairs(context, "trace_tags", event.trace_id, [KeyValue(key=event.tag, value=value)])


@rule(TraceTagDeleted)
def _tag_deleted(context: Context, event: TraceTagDeleted) -> None:
    if event.tag == _NAME:
        _refuse_missing(context, event.trace_id)
        gone = context.write(
            "UPDATE traces SET trace_name = NULL WHERE trace_id = ? AND trace_name IS NOT NULL",
            event.trace_id,
        )
    else:
        gone = context.write(
            "DELETE FROM trace_tags WHERE trace_id = ? AND key = ?", event.trace_id, event.tag
        )
    if not gone:
        raise Refused(
            Reason.MISSING,
            f"No trace tag with key '{event.tag}' for trace with ID '{event.trace_id}'",
        )
    context.retell(event.trace_id)


@rule(TraceDeleted)
def _deleted(context: Context, event: TraceDeleted) -> None:
    _refuse_missing(context, event.trace_id)
    for table in _TABLES:
        context.write(f"DELETE FROM {table} WHERE trace_id = ?", event.trace_id)


@rule(TraceRunLinked)
def _run_linked(context: Context, event: TraceRunLinked) -> None:
    _link(context, event.trace_id, "run", event.run_id)


@rule(TraceRunUnlinked)
def _run_unlinked(context: Context, event: TraceRunUnlinked) -> None:
    context.write(
        "DELETE FROM trace_links WHERE trace_id = ? AND kind = 'run' AND target = ?",
        event.trace_id,
        event.run_id,
    )


@rule(TracePromptsLinked)
def _prompts_linked(context: Context, event: TracePromptsLinked) -> None:
    _refuse_missing(context, event.trace_id)
    for prompt in event.prompts:
        _link(context, event.trace_id, "prompt_version", prompt)


def has_trace(context: Context, trace_id: str) -> bool:
    """Whether a trace is there."""
    return bool(context.row("SELECT 1 FROM traces WHERE trace_id = ?", trace_id))


def create_trace(
    context: Context,
    trace_id: str,
    experiment_id: int,
    start_ms: int,
    state: str,
    took_ms: int | None = None,
) -> None:
    """Make a trace of which no more is known."""
    context.write(
        "INSERT INTO traces "
        "(trace_id, experiment_id, timestamp_ms, execution_time_ms, status, started) "
        "VALUES (?, ?, ?, ?, ?, 0)",
        trace_id,
        experiment_id,
        start_ms,
        took_ms,
        state,
    )


def refuse_elsewhere(context: Context, trace_id: str, message: str) -> None:
    """A trace whose spans are said to lie elsewhere takes no more.

    Raises:
        Refused: they are.
    """
    row = context.row(
        "SELECT value FROM trace_tags WHERE trace_id = ? AND key = ?", trace_id, SPANS_LOCATION
    )
    if row is not None and row[0] != ONLY_HERE:
        raise Refused(Reason.STATE, message)


def set_pairs(context: Context, table: str, trace_id: str, pairs: list[KeyValue]) -> None:
    """Set tags or metadata; the last of a key wins."""
    context.db.executemany(
        f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",
        [(trace_id, pair.key, pair.value) for pair in pairs],
    )


def set_figures(
    context: Context, trace_id: str, figures: Iterable[tuple[str, float | None]]
) -> None:
    """Set token counts and costs of a trace."""
    for column, value in figures:
        if column in FIGURES:
            context.write(f"UPDATE traces SET {column} = ? WHERE trace_id = ?", value, trace_id)


def _refuse_missing(context: Context, trace_id: str, reason: Reason = Reason.MISSING) -> None:
    if not has_trace(context, trace_id):
        raise Refused(reason, f"Trace with ID '{trace_id}' not found.")


def _link(context: Context, *link: Any) -> None:
    context.write("INSERT OR IGNORE INTO trace_links VALUES (?, ?, ?)", *link)
