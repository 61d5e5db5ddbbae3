"""The rule about spans: they are kept, and what they tell of their trace is added to it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mlflow_ledger.schemas import (
    TRACE_COSTS,
    TRACE_TOKENS,
    Figure,
    KeyValue,
    Reason,
    Refused,
    SpansLogged,
    SpansLoggedContent,
    SpanText,
)

from .context import Context, experiment_number, rule, stored_text
from .span_figures import SpanFigures, finite, total, whole_number
from .traces import (
    FIGURES,
    ONLY_HERE,
    SPANS_LOCATION,
    create_trace,
    has_trace,
    refuse_elsewhere,
    set_figures,
    set_pairs,
)

__all__: list[str] = []

_USER = "mlflow.trace.user"
_IN_PROGRESS = "IN_PROGRESS"
_COLUMNS = (
    "parent_id",
    "name",
    "type",
    "status",
    "start_ns",
    "end_ns",
    "text",
    "excerpt",
    "usage",
    "cost",
    *TRACE_COSTS,
    "model_name",
    "model_provider",
)
_UPSERT = (
    f"INSERT INTO spans VALUES (?, ?, {', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO UPDATE SET "
    f"{', '.join(f'{column} = excluded.{column}' for column in _COLUMNS)}"
)
"""A span that comes again keeps its place among those of its trace."""

_UNDECIDED = (_IN_PROGRESS, "STATE_UNSPECIFIED")


@rule(SpansLogged)
def _spans_logged(context: Context, event: SpansLogged) -> None:
    content = event.content or SpansLoggedContent()
    _find_or_create(context, event)
    _write_spans(context, event, content)
    context.write(
        "UPDATE traces SET generation = generation + 1 WHERE trace_id = ?", event.trace_id
    )
    if event.more:
        return
    # As in MLflow, what was told of the trace as a whole counts only where these spans could
    # contradict it in more than times.
    told, *known = context.row(
        f"SELECT started, {', '.join(FIGURES)} FROM traces WHERE trace_id = ?",
        event.trace_id,
    )
    told = bool(told and (event.has_usage or event.has_cost or content.session_id))
    if not told:
        _stretch(context, event)
    _describe(context, event, content)
    tokens, costs = known[: len(TRACE_TOKENS)], known[len(TRACE_TOKENS) :]
    if event.has_usage and not (told and any(value is not None for value in tokens)):
        sums = total(_figures(context, event, "usage"), TRACE_TOKENS) or {}
        counts = ((key, whole_number(value)) for key, value in sums.items())
        set_figures(context, event.trace_id, [pair for pair in counts if pair[1] is not None])
    if event.has_cost and not (told and any(value is not None for value in costs)):
        sums = total(_figures(context, event, "cost"), TRACE_COSTS) or {}
        amounts = ((key, finite(value)) for key, value in sums.items())
        set_figures(context, event.trace_id, [pair for pair in amounts if pair[1] is not None])


def _find_or_create(context: Context, event: SpansLogged) -> None:
    trace_id = event.trace_id
    if has_trace(context, trace_id):
        refuse_elsewhere(context, trace_id, _elsewhere(context, trace_id))
        return
    if event.experiment_id is None or event.artifact_uri is None:
        raise Refused(
            Reason.MISSING, f"Cannot log spans to traces that no longer exist: '{trace_id}'."
        )
    experiment = experiment_number(event.experiment_id)
    create_trace(context, trace_id, experiment, event.start_ms, event.state or _IN_PROGRESS)
    if event.end_ms:
        context.write(
            "UPDATE traces SET execution_time_ms = ? - ? WHERE trace_id = ?",
            event.end_ms,
            event.start_ms,
            trace_id,
        )
    artifacts = KeyValue(key="mlflow.artifactLocation", value=event.artifact_uri)
    set_pairs(context, "trace_tags", trace_id, [artifacts])


def _elsewhere(context: Context, trace_id: str) -> str:
    row = context.row(
        "SELECT value FROM trace_tags WHERE trace_id = ? AND key = ?", trace_id, SPANS_LOCATION
    )
    if row == ("ARCHIVE_REPO",):
        return f"Cannot log spans to archived traces: '{trace_id}'."
    return (
        "Cannot log spans because one or more traces are unavailable for DB-backed span writes: "
        f"other='{trace_id}'"
    )


def _write_spans(context: Context, event: SpansLogged, content: SpansLoggedContent) -> None:
    redacted = SpanText(text=None)
    rows = []
    for number, head in enumerate(event.spans):
        said = content.spans[number] if number < len(content.spans) else redacted
        costs = dict.fromkeys(TRACE_COSTS) | _numbers(said.cost)
        rows.append(
            (
                event.trace_id,
                head.span_id,
                head.parent_id,
                said.name,
                said.span_type,
                head.status,
                head.start_ns,
                head.end_ns,
                stored_text(said.text),
                said.excerpt,
                _document(said.usage),
                _document(said.cost),
                *(finite(costs[key]) for key in TRACE_COSTS),
                said.model_name,
                said.model_provider,
            )
        )
    context.db.executemany(_UPSERT, rows)


def _stretch(context: Context, event: SpansLogged) -> None:
    """The trace begins with the first of its spans, and ends with the last."""
    if event.end_ms is not None:
        context.write(
            "UPDATE traces SET execution_time_ms = "
            "max(coalesce(timestamp_ms + execution_time_ms, ?2), ?2) - min(timestamp_ms, ?1) "
            "WHERE trace_id = ?3",
            event.start_ms,
            event.end_ms,
            event.trace_id,
        )
    context.write(
        "UPDATE traces SET timestamp_ms = min(timestamp_ms, ?) WHERE trace_id = ?",
        event.start_ms,
        event.trace_id,
    )


def _describe(context: Context, event: SpansLogged, content: SpansLoggedContent) -> None:
    if event.state is not None:
        context.write(
            "UPDATE traces SET status = ? WHERE trace_id = ? AND status IN (?, ?)",
            event.state,
            event.trace_id,
            *_UNDECIDED,
        )
    context.write(
        "UPDATE traces SET request_preview = coalesce(request_preview, ?), "
        "response_preview = coalesce(response_preview, ?), "
        "trace_name = coalesce(?, trace_name), session_id = coalesce(session_id, ?) "
        "WHERE trace_id = ?",
        content.request_preview,
        content.response_preview,
        content.name,
        content.session_id,
        event.trace_id,
    )
    if content.user_id is not None:
        context.write(
            "INSERT OR IGNORE INTO trace_metadata VALUES (?, ?, ?)",
            event.trace_id,
            _USER,
            content.user_id,
        )
    location = KeyValue(key=SPANS_LOCATION, value=event.spans_location or ONLY_HERE)
    set_pairs(context, "trace_tags", event.trace_id, [*content.tags, location])


def _figures(context: Context, event: SpansLogged, column: str) -> Iterator[SpanFigures]:
    """Of the spans of this event, in its order, then of those that were there before."""
    said = event.content.spans if event.content else []
    for head, text in zip(event.spans, said, strict=False):
        given = text.usage if column == "usage" else text.cost
        yield SpanFigures(head.span_id, head.parent_id, None if given is None else _known(given))
    ids = {head.span_id for head in event.spans}
    for span_id, parent_id, document in context.db.execute(
        f"SELECT span_id, parent_id, {column} FROM spans WHERE trace_id = ? "
        "ORDER BY start_ns, rowid",
        (event.trace_id,),
    ):
        if span_id not in ids:
            given = None if document is None else json.loads(document)
            yield SpanFigures(span_id, parent_id, given)


def _numbers(figures: list[Figure] | None) -> dict[str, float | None]:
    return {figure.key: figure.value for figure in figures or ()}


def _known(figures: list[Figure]) -> dict[str, float]:
    return {figure.key: figure.value for figure in figures if figure.value is not None}


def _document(figures: list[Figure] | None) -> str | None:
    return None if figures is None else json.dumps(_known(figures), sort_keys=True)
