"""Logging spans: each trace's own go to its partition, with what they tell of the trace."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from mlflow.entities import Span, SpanStatusCode, TraceState
from mlflow.tracing.constant import GenAiSemconvKey, SpanAttributeKey, TraceTagKey
from mlflow.tracing.utils import TraceJSONEncoder, try_json_loads
from mlflow.tracing.utils.truncation import _get_truncated_preview
from mlflow.utils.validation import _validate_trace_tag

from mlflow_ledger.bus import without_gc
from mlflow_ledger.query import trace_row, trace_tags
from mlflow_ledger.schemas import (
    Event,
    Figure,
    KeyValue,
    Reason,
    Refused,
    SpanHead,
    SpansLogged,
    SpansLoggedContent,
    SpanText,
)

from .edge import LedgerStore
from .experiments import existing_experiment
from .older_mlflow import SpanNode, check_new_trace_id, cost_of, usage_of
from .span_document import span_document
from .trace_entities import valid_name, valid_session
from .traces import check_experiment, purged_trace, trace_artifacts

__all__ = ["SpanLogging"]

_log = logging.getLogger(__name__)

_PART_BYTES = 256 * 1024
_EXCERPT_CHARS = 32 * 1024
_VALUE_CHARS = 1000
_MOST_CHARS = 500
_STATUS = "STATUS_CODE_"
# Letters stand for themselves, so that searches for them find them.
_written = TraceJSONEncoder(ensure_ascii=False).encode
_HERE, _ARCHIVE = "TRACKING_STORE", "ARCHIVE_REPO"


class _Told(NamedTuple):
    """One trace of a call: its spans as events carry them, and what they tell of it."""

    spans: list[tuple[SpanHead, SpanText]]
    fields: dict[str, Any]
    content: SpansLoggedContent


class SpanLogging(LedgerStore):
    """Log spans."""

    def log_spans(
        self, location: str, spans: list[Span], tracking_uri: str | None = None
    ) -> list[Span]:
        """Log spans, of one trace or of several; a trace that is not there yet is made."""
        by_trace: dict[str, list[Span]] = {}
        for span in spans:
            by_trace.setdefault(span.trace_id, []).append(span)
        with without_gc():
            told = {trace_id: self._told(given) for trace_id, given in by_trace.items()}

        def decide(db: sqlite3.Connection) -> list[Event]:
            rows = {trace_id: trace_row(db, trace_id) for trace_id in told}
            there = {trace_id: row for trace_id, row in rows.items() if row is not None}
            made = self._made_in(db, location) if len(there) < len(told) else {}
            events: list[Event] = []
            for trace_id, of_trace in told.items():
                new = {} if trace_id in there else _made(made, check_new_trace_id(trace_id))
                events += purged_trace(db, trace_id)
                events += _events(trace_id, of_trace, new)
            for trace_id in sorted(there):
                check_experiment(there[trace_id], location)
            _refuse_elsewhere(db, set(there))
            return events

        if told:
            self._decide(decide)
        return spans

    async def log_spans_async(self, location: str, spans: list[Span]) -> list[Span]:
        """Log spans in another thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.log_spans, location, spans)

    def _made_in(self, db: sqlite3.Connection, location: str) -> dict[str, str]:
        experiment = existing_experiment(db, location)
        return {
            "experiment_id": str(experiment.experiment_id),
            "location": experiment.artifact_location,
        }

    def _told(self, spans: list[Span]) -> _Told:
        """What the spans of one trace say, read as MLflow's store reads it."""
        found = _Findings()
        pairs = [self._span(span, found) for span in spans]
        ends = [span.end_time_ns for span in spans if span.end_time_ns is not None]
        root = next((head for head, _ in pairs if head.parent_id is None), None)
        tags = _resource_tags(spans) | found.tags
        location = tags.pop(TraceTagKey.SPANS_LOCATION, None)
        fields = {
            "start_ms": min(span.start_time_ns for span in spans) // 1_000_000,
            "end_ms": max(ends) // 1_000_000 if ends else None,
            "state": None if root is None else _state(root),
            "has_usage": _adds_up(found.usages, usage_of),
            "has_cost": _adds_up(found.costs, cost_of),
            "spans_location": location,
        }
        request, response = found.previews
        content = SpansLoggedContent(
            name=tags.pop(TraceTagKey.TRACE_NAME, None),
            session_id=found.session_id or None,
            user_id=str(found.user_id) if found.user_id else None,
            request_preview=request,
            response_preview=response,
            tags=[KeyValue(key=key, value=value) for key, value in tags.items()],
        )
        return _Told(pairs, fields, content)

    def _span(self, span: Span, found: _Findings) -> tuple[SpanHead, SpanText]:
        document = span_document(span)
        attributes = document.get("attributes", {})
        # MLflow works out ids and status anew whenever they are asked for.
        head = SpanHead(
            span_id=span.span_id,
            parent_id=span.parent_id,
            status=document["status"]["code"].removeprefix(_STATUS),
            start_ns=span.start_time_ns,
            end_ns=span.end_time_ns,
        )
        usage = found.add(found.usages, head, attributes, SpanAttributeKey.CHAT_USAGE)
        cost = found.add(found.costs, head, attributes, SpanAttributeKey.LLM_COST)
        found.look(head, document, attributes)
        text = self._travelling(_written(document))
        return head, SpanText(
            name=span.name,
            span_type=span.span_type,
            text=text,
            excerpt=None if isinstance(text, str) else _excerpt(document),
            usage=usage,
            cost=cost,
            model_name=_dimension(attributes.get(SpanAttributeKey.MODEL)),
            model_provider=_dimension(attributes.get(SpanAttributeKey.MODEL_PROVIDER)),
        )


class _Findings:
    """What the spans of one trace tell of it, gathered span by span."""

    def __init__(self) -> None:
        self.usages: list[SpanNode] = []
        self.costs: list[SpanNode] = []
        self.session_id: str | None = None
        self.user_id: Any = None
        self.previews: tuple[str | None, str | None] = (None, None)
        self.tags: dict[str, str] = {}

    def add(
        self,
        nodes: list[SpanNode],
        head: SpanHead,
        attributes: dict[str, Any],
        key: str,
    ) -> list[Figure] | None:
        """Note what a span counts or costs, and return it as an event carries it."""
        value = attributes.get(key)
        if isinstance(value, str):
            value = try_json_loads(value)
        data = value if isinstance(value, dict) else None
        nodes.append(SpanNode(head.span_id, head.parent_id, data))
        if data is None:
            return None
        return [
            Figure(key=key, value=float(number))
            for key, number in data.items()
            if isinstance(number, int | float)
        ]

    def look(self, head: SpanHead, document: dict[str, Any], attributes: dict[str, Any]) -> None:
        """Look for session, user, previews and tags of the trace."""
        session = attributes.get(SpanAttributeKey.SESSION_ID) or attributes.get(
            GenAiSemconvKey.CONVERSATION_ID
        )
        if self.session_id is None and session:
            self.session_id = valid_session(_unquoted(session))
        if self.user_id is None and (user := attributes.get("user.id")):
            self.user_id = _unquoted(user)
        if head.parent_id is None:
            self.previews = _previews(document)
            self.tags |= _root_tags(attributes)


def _adds_up(nodes: list[SpanNode], aggregate: Callable[[list[SpanNode]], Any]) -> bool:
    """Whether spans come to anything; what MLflow cannot add is refused in its words.

    Where an id is given twice, MLflow may walk in a circle for ever: then it is not asked.
    """
    if len({node.span_id for node in nodes}) < len(nodes):
        return any(node.data is not None for node in nodes)
    return bool(aggregate(nodes))


def _state(root: SpanHead) -> str:
    failed = root.status == SpanStatusCode.ERROR.value
    return str((TraceState.ERROR if failed else TraceState.OK).value)


def _made(made: dict[str, str], trace_id: str) -> dict[str, str]:
    return {
        "experiment_id": made["experiment_id"],
        "artifact_uri": trace_artifacts(made["location"], trace_id),
    }


def _events(trace_id: str, told: _Told, made: dict[str, str]) -> list[Event]:
    """The events of one trace: as many as it takes to stay below the size of one."""
    parts = list(_parts(told.spans))
    events: list[Event] = []
    for number, part in enumerate(parts, 1):
        more = number < len(parts)
        content = SpansLoggedContent() if more else told.content
        content = content.model_copy(update={"spans": [said for _, said in part]})
        heads = [head for head, _ in part]
        given = {**told.fields, **made, "more": more, "spans": heads, "content": content}
        events.append(SpansLogged(trace_id=trace_id, **given))
    return events


def _parts(
    spans: Iterable[tuple[SpanHead, SpanText]],
) -> Iterator[list[tuple[SpanHead, SpanText]]]:
    part: list[tuple[SpanHead, SpanText]] = []
    filled = 0
    for pair in spans:
        size = sum(
            len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
            for text in (pair[1].text, pair[1].excerpt, pair[1].name)
            if isinstance(text, str)
        )
        if part and filled + size > _PART_BYTES:
            yield part
            part, filled = [], 0
        part.append(pair)
        filled += size
    yield part


def _refuse_elsewhere(db: sqlite3.Connection, trace_ids: set[str]) -> None:
    """Traces whose spans are said to lie elsewhere take no more, in MLflow's words."""
    if not trace_ids:
        return
    tagged = trace_tags(db, trace_ids, TraceTagKey.SPANS_LOCATION)
    places = {trace_id: tagged.get(trace_id) or _HERE for trace_id in trace_ids}
    archived = sorted(t for t, place in places.items() if place == _ARCHIVE)
    others = sorted(t for t, place in places.items() if place not in (_ARCHIVE, _HERE))
    if archived and not others:
        msg = f"Cannot log spans to archived traces: {_quoted(archived)}."
        raise Refused(Reason.STATE, msg)
    if others:
        groups = [f"archived={_quoted(archived)}"] if archived else []
        groups.append(f"other={_quoted(others)}")
        raise Refused(
            Reason.STATE,
            "Cannot log spans because one or more traces are unavailable for DB-backed span "
            f"writes: {'; '.join(groups)}",
        )


def _quoted(trace_ids: Iterable[str]) -> str:
    return ", ".join(f"'{trace_id}'" for trace_id in trace_ids)


def _previews(document: dict[str, Any]) -> tuple[str | None, str | None]:
    """How the root span's inputs and outputs begin; where MLflow cannot tell, neither can we."""
    attributes, request, response = document.get("attributes", {}), None, None
    try:
        if inputs := attributes.get(SpanAttributeKey.INPUTS):
            request = _get_truncated_preview(inputs, role="user")
        if outputs := attributes.get(SpanAttributeKey.OUTPUTS):
            response = _get_truncated_preview(outputs, role="assistant")
    except Exception:  # noqa: BLE001  # whatever a preview fails on, the spans are kept
        _log.debug("no preview of span %s", document.get("span_id"), exc_info=True)
    return request, response


def _root_tags(attributes: dict[str, Any]) -> dict[str, str]:
    """Tags of the trace that its root span carries."""
    tags: dict[str, str] = {}
    for name, value in attributes.items():
        key = name.removeprefix(SpanAttributeKey.TRACE_TAG_PREFIX)
        if key != name:
            tags |= _tag(key, str(_unquoted(value)))
    if TraceTagKey.TRACE_NAME in tags:
        valid_name(tags[TraceTagKey.TRACE_NAME])
    return tags


def _resource_tags(spans: Iterable[Span]) -> dict[str, str]:
    """Tags from the OpenTelemetry resource of the first span that has one."""
    resources = (getattr(span._span, "resource", None) for span in spans)  # noqa: SLF001  # as MLflow does
    resource = next((r for r in resources if r is not None and r.attributes), None)
    tags: dict[str, str] = {}
    for key, value in resource.attributes.items() if resource is not None else ():
        if not key.startswith(("telemetry.sdk.", "mlflow.")):
            tags |= _tag(key, value if isinstance(value, str) else json.dumps(value))
    return tags


def _tag(key: str, value: str) -> dict[str, str]:
    """A tag, or none where it is no good one."""
    try:
        key, value = _validate_trace_tag(key, value)
    except Exception:  # noqa: BLE001  # as MLflow: a bad tag must not lose the spans
        _log.debug("no tag of a trace: %r", key)
        return {}
    return {key: value}


def _unquoted(value: Any) -> Any:
    """A text that was written as JSON; anything else as it is."""
    try:
        parsed = json.loads(value)
    except (TypeError, ValueError):
        return value
    return parsed if isinstance(parsed, str) else value


def _dimension(value: Any) -> str | None:
    found = _unquoted(value)
    return found[:_MOST_CHARS] if isinstance(found, str) else None


def _excerpt(document: dict[str, Any]) -> str:
    """What is searched of a span that is too large: its attributes, long ones cut."""
    attributes = {
        key: value[:_VALUE_CHARS] if isinstance(value, str) else value
        for key, value in document.get("attributes", {}).items()
    }
    short = {**document, "attributes": attributes, "events": []}
    return _written(short)[:_EXCERPT_CHARS]
