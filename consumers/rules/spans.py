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
    "experiment_id",
)
_UPSERT = (
    f"INSERT INTO spans VALUES (?, ?, {', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO UPDATE SET "
    f"{', '.join(f'{column} = excluded.{column}' for column in _COLUMNS)}"
)
"""A span that comes again keeps its place among those of its trace."""

_KNOWN = f"SELECT experiment_id, started, {', '.join(FIGURES)} FROM traces WHERE trace_id = ?"
_DESCRIBED = (
    "UPDATE traces SET generation = generation + 1, execution_time_ms = CASE "
    "WHEN ?1 AND ?3 IS NOT NULL THEN "
    "max(coalesce(timestamp_ms + execution_time_ms, ?3), ?3) - min(timestamp_ms, ?2) "
    "ELSE execution_time_ms END, "
    "timestamp_ms = CASE WHEN ?1 THEN min(timestamp_ms, ?2) ELSE timestamp_ms END, "
    "status = CASE WHEN ?4 IS NOT NULL AND status IN ('IN_PROGRESS', 'STATE_UNSPECIFIED') "
    "THEN ?4 ELSE status END, "
    "request_preview = coalesce(request_preview, ?5), "
    "response_preview = coalesce(response_preview, ?6), "
    "trace_name = coalesce(?7, trace_name), session_id = coalesce(session_id, ?8), "
    + ", ".join(f"{column} = coalesce(?{9 + at}, {column})" for at, column in enumerate(FIGURES))
    + f" WHERE trace_id = ?{9 + len(FIGURES)}"
)
"""One statement: each would write all of a long row, and its entries in indexes."""


@rule(SpansLogged)
def _spans_logged(context: Context, event: SpansLogged) -> None:
    content = event.content or SpansLoggedContent()
    is_new = _find_or_create(context, event)
    context.retell(event.trace_id)
    # As in MLflow, what was told of the trace as a whole counts only where these spans could
    # contradict it in more than times.
    experiment, told, *known = context.row(_KNOWN, event.trace_id)
    _write_spans(context, event, content, experiment)
    if event.more:
        context.write(
            "UPDATE traces SET generation = generation + 1 WHERE trace_id = ?", event.trace_id
        )
        return
    told = bool(told and (event.has_usage or event.has_cost or content.session_id))
    figures: dict[str, float | None] = {}
    tokens, costs = known[: len(TRACE_TOKENS)], known[len(TRACE_TOKENS) :]
    if event.has_usage and not (told and any(value is not None for value in tokens)):
        sums = total(_figures(context, event, "usage", is_new), TRACE_TOKENS) or {}
        figures |= {key: whole_number(value) for key, value in sums.items()}
    if event.has_cost and not (told and any(value is not None for value in costs)):
        sums = total(_figures(context, event, "cost", is_new), TRACE_COSTS) or {}
        figures |= {key: finite(value) for key, value in sums.items()}
    _describe(context, event, content, stretches=not told, figures=figures)


def _find_or_create(context: Context, event: SpansLogged) -> bool:
    """Make the trace if it is not there; returns whether it was made."""
    trace_id = event.trace_id
    if has_trace(context, trace_id):
        refuse_elsewhere(context, trace_id, _elsewhere(context, trace_id))
        return False
    if event.experiment_id is None or event.artifact_uri is None:
        raise Refused(
            Reason.MISSING, f"Cannot log spans to traces that no longer exist: '{trace_id}'."
        )
    experiment = experiment_number(event.experiment_id)
    took_ms = event.end_ms - event.start_ms if event.end_ms else None
    create_trace(
        context, trace_id, experiment, event.start_ms, event.state or _IN_PROGRESS, took_ms
    )
    artifacts = KeyValue(key="mlflow.artifactLocation", value=event.artifact_uri)
    set_pairs(context, "trace_tags", trace_id, [artifacts])
    return True


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


def _write_spans(
    context: Context, event: SpansLogged, content: SpansLoggedContent, experiment: int
) -> None:
    redacted = SpanText(text=None)
    rows = []
    for number, head in enumerate(event.spans):
        said = content.spans[number] if number < len(content.spans) else redacted
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
                *(_costs(said.cost) if said.cost else _NO_COSTS),
                said.model_name,
                said.model_provider,
                experiment,
            )
        )
    context.db.executemany(_UPSERT, rows)


def _describe(
    context: Context,
    event: SpansLogged,
    content: SpansLoggedContent,
    *,
    stretches: bool,
    figures: dict[str, float | None],
) -> None:
    """What the spans tell of the trace; where it ``stretches`` to them, its times as well."""
    context.write(
        _DESCRIBED,
        stretches,
        event.start_ms,
        event.end_ms,
        event.state,
        content.request_preview,
        content.response_preview,
        content.name,
        content.session_id,
        *(figures.get(column) for column in FIGURES),
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


def _figures(
    context: Context, event: SpansLogged, column: str, is_new: bool
) -> Iterator[SpanFigures]:
    """Of the spans of this event, in its order, then of those that were there before."""
    said = event.content.spans if event.content else []
    for head, text in zip(event.spans, said, strict=False):
        given = text.usage if column == "usage" else text.cost
        yield SpanFigures(head.span_id, head.parent_id, None if given is None else _known(given))
    if is_new:
        return
    ids = {head.span_id for head in event.spans}
    for span_id, parent_id, document in context.db.execute(
        f"SELECT span_id, parent_id, {column} FROM spans WHERE trace_id = ? "
        "ORDER BY start_ns, rowid",
        (event.trace_id,),
    ):
        if span_id not in ids:
            given = None if document is None else json.loads(document)
            yield SpanFigures(span_id, parent_id, given)


_NO_COSTS = (None,) * len(TRACE_COSTS)


def _costs(figures: list[Figure]) -> list[float | None]:
    given = {figure.key: figure.value for figure in figures}
    return [finite(given.get(key)) for key in TRACE_COSTS]


def _known(figures: list[Figure]) -> dict[str, float]:
    return {figure.key: figure.value for figure in figures if figure.value is not None}


def _document(figures: list[Figure] | None) -> str | None:
    return None if figures is None else json.dumps(_known(figures), sort_keys=True)
