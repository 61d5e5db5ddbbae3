"""Traces as MLflow's tracking store keeps them: told, read, tagged, deleted."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence

from mlflow.entities import Assessment, Span, Trace, TraceData, TraceInfo
from mlflow.exceptions import MlflowException, MlflowTracingException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.tracing.constant import (
    SpansLocation,
    TraceMetadataKey,
    TraceSizeStatsKey,
    TraceTagKey,
)
from mlflow.utils.mlflow_tags import MLFLOW_ARTIFACT_LOCATION
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import (
    _validate_trace_tag,
)

from mlflow_ledger.query import (
    SpanRow,
    TraceRow,
    archived_places,
    trace_details,
    trace_ids_until,
    trace_row,
    trace_rows,
    trace_spans,
)
from mlflow_ledger.schemas import (
    AssessmentCreated,
    Event,
    Figure,
    KeyValue,
    Reason,
    Refused,
    TraceDeleted,
    TraceStarted,
    TraceStartedContent,
    TraceTagDeleted,
    TraceTagSet,
    TraceTagSetContent,
)

from .assessments import assessment_created
from .edge import LedgerStore, text, whole
from .experiments import active_experiment
from .older_mlflow import (
    SINCE_3_18,
    check_new_trace_id,
    parse_experiment_id,
    parse_experiment_ids,
    preview,
    stored_span,
)
from .review_queue_items import removals_of
from .trace_archive import delete_archived
from .trace_entities import FIGURES, trace_infos, valid_name, valid_session

__all__ = ["Traces", "check_experiment", "purged_trace", "trace_artifacts"]

_TRIES = 3


class Traces(LedgerStore):
    """Start, get, tag and delete traces."""

    def start_trace(self, trace_info: TraceInfo) -> TraceInfo:
        """Tell a trace as a whole, before or after its spans."""
        trace_id, tags = trace_info.trace_id, dict(trace_info.tags)
        name = valid_name(tags.pop(TraceTagKey.TRACE_NAME, None))
        content = _content(trace_info, tags, name)

        def decide(db: sqlite3.Connection) -> list[Event]:
            experiment = active_experiment(db, trace_info.experiment_id or "")
            event = TraceStarted(
                trace_id=trace_id,
                experiment_id=str(experiment.experiment_id),
                artifact_uri=trace_artifacts(experiment.artifact_location, trace_id),
                start_ms=whole(trace_info.request_time) or 0,
                duration_ms=whole(trace_info.execution_duration),
                state=trace_info.state.value,
                spans_location=tags.get(TraceTagKey.SPANS_LOCATION),
                content=content,
            )
            check_new_trace_id(trace_id)
            row = trace_row(db, trace_id)
            if row is not None:
                check_experiment(row, event.experiment_id, event)
            elif MLFLOW_ARTIFACT_LOCATION in tags:
                # MLflow meets its own tag twice, and takes the trace for one that was deleted.
                msg = f"Trace with ID '{trace_id}' no longer exists."
                raise Refused(Reason.MISSING, msg, event)
            assessed = [self._came_along(trace_id, a) for a in trace_info.assessments]
            return [*purged_trace(db, trace_id), event, *assessed]

        info: TraceInfo = self._decide_and_ask(decide, lambda db: self._trace_info(db, trace_id))
        return info

    def get_trace_info(self, trace_id: str) -> TraceInfo:
        """A trace without its spans."""
        info: TraceInfo = self._ask(lambda db: self._trace_info(db, trace_id))
        return info

    def get_trace(self, trace_id: str, *, allow_partial: bool = False) -> Trace:
        """A trace with its spans; one of which some are still under way is waited for."""
        for number in range(1 if allow_partial else _TRIES):
            if number:
                time.sleep(2 ** (number - 1))
            found = self._traces(
                [trace_id], None, f"Trace with ID {trace_id} is not found.", partial=allow_partial
            )
            if found:
                return found[0]
        raise MlflowException(
            f"Trace with ID {trace_id} is not fully exported yet, please try again later.",
            RESOURCE_DOES_NOT_EXIST,
        )

    def batch_get_traces(
        self,
        trace_ids: list[str],
        location: str | None = None,
        experiment_ids: list[str] | None = None,
    ) -> list[Trace]:
        """Those of some traces that are there whole, with their spans."""
        return self._traces(trace_ids, experiment_ids) if trace_ids else []

    def batch_get_trace_infos(
        self,
        trace_ids: list[str],
        location: str | None = None,
        experiment_ids: list[str] | None = None,
    ) -> list[TraceInfo]:
        """Those of some traces that are there, without their spans."""
        if not trace_ids:
            return []
        numbers = _numbers(experiment_ids)

        def question(db: sqlite3.Connection) -> list[TraceInfo]:
            return self._infos(db, trace_rows(db, trace_ids, numbers))

        infos: list[TraceInfo] = self._ask(question)
        return infos

    def set_trace_tag(self, trace_id: str, key: str, value: str) -> None:
        """Set a tag of a trace."""
        key, value = _validate_trace_tag(key, value)
        if key == TraceTagKey.TRACE_NAME:
            valid_name(value)
        event = TraceTagSet(
            trace_id=trace_id,
            tag=key,
            spans_location=text(value) if key == TraceTagKey.SPANS_LOCATION else None,
            content=TraceTagSetContent(value=text(value)),
        )

        def decide(db: sqlite3.Connection) -> list[Event]:
            if trace_row(db, trace_id) is None:
                # The code of a tag is that of the foreign key on which MLflow's insert fails.
                reason = Reason.MISSING if key == TraceTagKey.TRACE_NAME else Reason.BAD_REQUEST
                raise Refused(reason, f"Trace with ID '{trace_id}' not found.", event)
            return [event]

        self._decide(decide)

    def delete_trace_tag(self, trace_id: str, key: str) -> None:
        """Delete a tag of a trace."""
        event = TraceTagDeleted(trace_id=trace_id, tag=key)

        def decide(db: sqlite3.Connection) -> list[Event]:
            row = trace_row(db, trace_id)
            named = key == TraceTagKey.TRACE_NAME
            if row is None and named:
                raise Refused(Reason.MISSING, f"Trace with ID '{trace_id}' not found.", event)
            tags = {} if row is None else trace_details(db, [row])[0][0]
            if key not in tags:
                msg = f"No trace tag with key '{key}' for trace with ID '{trace_id}'"
                raise Refused(Reason.MISSING, msg, event)
            return [event]

        self._decide(decide)

    def delete_traces(
        self,
        experiment_id: str,
        max_timestamp_millis: int | None = None,
        max_traces: int | None = None,
        trace_ids: list[str] | None = None,
    ) -> int:
        """Delete traces by their ids, or the oldest ones; returns how many there were."""
        if max_timestamp_millis is None and not trace_ids:
            raise MlflowException.invalid_parameter_value(
                "Either `max_timestamp_millis` or `trace_ids` must be specified.",
            )
        if max_timestamp_millis is not None and trace_ids:
            raise MlflowException.invalid_parameter_value(
                "Only one of `max_timestamp_millis` and `trace_ids` can be specified.",
            )
        if trace_ids and max_traces is not None:
            raise MlflowException.invalid_parameter_value(
                "`max_traces` can't be specified if `trace_ids` is specified.",
            )
        if max_traces is not None and max_traces <= 0:
            raise MlflowException.invalid_parameter_value(
                f"`max_traces` must be a positive integer, received {max_traces}.",
            )
        number = whole(parse_experiment_id(experiment_id)) or 0

        archived: dict[str, str | None] = {}

        def decide(db: sqlite3.Connection) -> list[Event]:
            until_ms, most = whole(max_timestamp_millis), whole(max_traces)
            found = trace_ids_until(db, number, until_ms, most, trace_ids)
            archived.clear()
            archived.update(archived_places(db, found))
            return _deletions(db, [trace_id for trace_id in found if trace_id not in archived])

        # Files are deleted first, outside the lock: a trace goes once nothing is left of it.
        events = self._decide(decide)
        if gone := delete_archived(archived):
            events += self._decide(lambda db: _deletions(db, gone))
        return sum(isinstance(event, TraceDeleted) for event in events)

    def _came_along(self, trace_id: str, assessment: Assessment) -> AssessmentCreated:
        assessment.trace_id = trace_id
        return assessment_created(assessment, self._travelling, merged=True)

    def _trace_info(self, db: sqlite3.Connection, trace_id: str) -> TraceInfo:
        row = trace_row(db, trace_id)
        if row is None:
            raise Refused(Reason.MISSING, f"Trace with ID '{trace_id}' not found.")
        return self._infos(db, [row])[0]

    def _infos(self, db: sqlite3.Connection, rows: Sequence[TraceRow]) -> list[TraceInfo]:
        return trace_infos(rows, trace_details(db, rows), self._arrived)

    def _traces(
        self,
        trace_ids: list[str],
        experiment_ids: list[str] | None,
        missing: str | None = None,
        *,
        partial: bool = False,
    ) -> list[Trace]:
        numbers = _numbers(experiment_ids)

        def question(db: sqlite3.Connection) -> tuple[list[TraceInfo], dict[str, list[SpanRow]]]:
            rows = trace_rows(db, trace_ids, numbers)
            if not rows and missing is not None:
                raise Refused(Reason.MISSING, missing)
            return self._infos(db, rows), trace_spans(db, [row.trace_id for row in rows])

        infos, spans = self._ask(question)
        found = []
        for info in infos:
            read = self._spans(info, spans.get(info.trace_id, []), partial=partial)
            if read or (read is not None and (partial or _location(info) == _ARCHIVE)):
                found.append(Trace(info=info, data=TraceData(spans=read)))
        return found

    def _spans(
        self, info: TraceInfo, rows: Sequence[SpanRow], *, partial: bool
    ) -> list[Span] | None:
        """The spans of a trace, or None while some are still under way."""
        location = _location(info)
        if location == _ARCHIVE:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
            from mlflow.tracing.utils.artifact_utils import get_archive_uri_for_trace

            archive = get_artifact_repository(get_archive_uri_for_trace(info))
            archived: list[Span] = archive.download_archived_trace_data().spans
            return archived
        if location != SpansLocation.TRACKING_STORE.value:
            raise MlflowTracingException("Trace data not stored in tracking store")
        stats = info.trace_metadata.get(TraceMetadataKey.SIZE_STATS)
        if not partial and stats:
            expected = json.loads(stats).get(TraceSizeStatsKey.NUM_SPANS, 0)
            if len(rows) < expected:
                return None
        return [stored_span(self._arrived(row.text) or "") for row in rows]


_ARCHIVE = "ARCHIVE_REPO"  # MLflow 3.12 has no archive


def trace_artifacts(artifact_location: str, trace_id: str) -> str:
    """Where a trace's artifacts lie."""
    location: str = append_to_uri_path(artifact_location, "traces", trace_id, "artifacts")
    return location


def check_experiment(row: TraceRow, experiment_id: str, event: Event | None = None) -> None:
    """Refuse to write into a trace of another experiment; older MLflow moves it, or doesn't mind.

    Raises:
        Refused: it is of another.
    """
    if SINCE_3_18 and str(row.experiment_id) != str(experiment_id):
        raise Refused(
            Reason.INVALID,
            f"Trace with ID '{row.trace_id}' already exists in another experiment.",
            event,
        )


def _deletions(db: sqlite3.Connection, trace_ids: Sequence[str]) -> list[Event]:
    there = [row.trace_id for row in trace_rows(db, trace_ids)]
    deleted = [TraceDeleted(trace_id=trace_id) for trace_id in there]
    return [*deleted, *removals_of(db, there)]


def purged_trace(db: sqlite3.Connection, trace_id: str) -> list[Event]:
    """Deletes what is left of a trace that went with its experiment, if its id is used again.

    Raises:
        Refused: the trace is there, in another workspace.
    """
    if trace_row(db, trace_id) is not None:
        return []
    left = db.execute(
        "SELECT EXISTS (SELECT 1 FROM main.live_traces WHERE trace_id = ?1) "
        "FROM main.traces WHERE trace_id = ?1",
        (trace_id,),
    ).fetchone()
    if left is not None and left[0]:
        raise Refused(Reason.MISSING, f"Trace with ID '{trace_id}' no longer exists.")
    return [TraceDeleted(trace_id=trace_id)] if left else []


def _location(info: TraceInfo) -> str | None:
    return info.tags.get(TraceTagKey.SPANS_LOCATION)


def _numbers(experiment_ids: list[str] | None) -> list[int] | None:
    if experiment_ids is None:
        return None
    return [whole(number) or 0 for number in parse_experiment_ids(list(experiment_ids))]


def _content(trace_info: TraceInfo, tags: dict[str, str], name: str | None) -> TraceStartedContent:
    metadata = dict(trace_info.trace_metadata)
    session_id = valid_session(metadata.pop(TraceMetadataKey.TRACE_SESSION, None))
    figures = []
    for key, (columns, read) in FIGURES.items():
        given = _object(metadata.pop(key, None))
        figures += [Figure(key=c, value=read(given[c])) for c in columns if c in given]
    return TraceStartedContent(
        name=name,
        client_request_id=trace_info.client_request_id,
        request_preview=preview(trace_info.request_preview),
        response_preview=preview(trace_info.response_preview),
        tags=[
            KeyValue(key=key, value=text(value))
            for key, value in tags.items()
            if key != TraceTagKey.SPANS_LOCATION
        ],
        metadata=[KeyValue(key=key, value=text(value)) for key, value in metadata.items()],
        session_id=session_id,
        figures=figures,
    )


def _object(document: str | None) -> dict[str, object]:
    try:
        value = json.loads(document or "{}")
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
