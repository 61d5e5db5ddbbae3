"""The archive of traces: files in OTLP's encoding, one for each trace that was archived."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping

from mlflow.entities import Span
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracing.otel.translation import translate_loaded_span

__all__ = ["Malformed", "delete_archived", "discard_archived", "in_otlp", "put_archived"]

_logger = logging.getLogger(__name__)

_FILE = "traces.pb"
_GONE = ("No such file or directory", "No such artifact")


class Malformed(ValueError):
    """Spans of which no archived file can be made."""


def in_otlp(texts: Iterable[str]) -> bytes:
    """Spans as an archived file.

    Raises:
        Malformed: they are not of one trace, or no spans.
    """
    from mlflow.tracing.otel.otel_archival import spans_to_traces_data_pb

    try:
        spans = [Span.from_dict(translate_loaded_span(json.loads(text))) for text in texts]
        data: bytes = spans_to_traces_data_pb(spans)
    except (MlflowException, TypeError, ValueError, AttributeError) as error:
        raise Malformed(str(error)) from error
    return data


def put_archived(place: str, data: bytes) -> None:
    """Write a file."""
    get_artifact_repository(place).upload_archived_trace_data_bytes(data)


def discard_archived(trace_id: str, place: str) -> None:
    """Delete a file to which nothing refers; where that fails, a warning is all."""
    try:
        get_artifact_repository(place).delete_artifacts(_FILE)
    except Exception:  # each artifact repository fails in its own way
        _logger.warning(
            "The archived file of trace %s at %s is not needed and could not be deleted.",
            trace_id,
            place,
            exc_info=True,
        )


def delete_archived(places: Mapping[str, str | None]) -> list[str]:
    """Delete the files of traces; returns those of which none is left."""
    return [trace_id for trace_id, place in places.items() if _deleted(trace_id, place)]


def _deleted(trace_id: str, place: str | None) -> bool:
    if place is None:
        return True
    try:
        get_artifact_repository(place).delete_artifacts(_FILE)
    except Exception as error:  # each artifact repository fails in its own way
        if not _is_gone(error):
            _logger.exception(
                "The archived file of trace %s at %s could not be deleted; the trace stays.",
                trace_id,
                place,
            )
            return False
    return True


def _is_gone(error: Exception) -> bool:
    code = error.error_code if isinstance(error, MlflowException) else None
    return (
        isinstance(error, FileNotFoundError)
        or code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
        or any(words in str(error) for words in _GONE)
    )
