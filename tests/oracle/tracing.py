"""Traces and spans to give to both stores."""

from __future__ import annotations

import base64
import json
from typing import Any

from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState

from . import field_policy
from .pair import MAKERS, Pair

MAKERS["start_trace"] = lambda info: str(info.trace_id)

field_policy.FIELDS |= {
    ("Feedback", "create_time_ms"): "time",
    ("Feedback", "last_update_time_ms"): "time",
    ("Expectation", "create_time_ms"): "time",
    ("Expectation", "last_update_time_ms"): "time",
    ("IssueReference", "create_time_ms"): "time",
    ("IssueReference", "last_update_time_ms"): "time",
}

MS = 1_000_000
BEGIN_MS = 1_700_000_000_000


def trace_id(number: int) -> str:
    return f"tr-trace{number}"


def span_id(number: int) -> str:
    return f"{number:016x}"


def trace(number: int = 1, experiment_id: str = "0", **said: Any) -> TraceInfo:
    """A trace as a whole."""
    given: dict[str, Any] = {
        "trace_id": trace_id(number),
        "request_time": BEGIN_MS + number,
        "execution_duration": 100,
        "state": TraceState.OK,
        "tags": {},
        "trace_metadata": {},
        "assessments": [],
    }
    location = TraceLocation.from_experiment_id(experiment_id)
    return TraceInfo(trace_location=location, **(given | said))


def start(pair: Pair, info: TraceInfo) -> None:
    """Tell a trace. MLflow's answer about one that was there lacks what this very call adds."""
    answer = pair.compare("start_trace", trace_info=info)
    assert (answer.error, answer.other_error) == (None, None), answer.report()
    assert all("only the other" in text for _, text in answer.mismatches), answer.report()


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def span(
    of: int = 1,
    number: int = 1,
    parent: int | None = None,
    *,
    name: str = "step",
    begin: int = 0,
    took: int | None = 10,
    status: str = "STATUS_CODE_OK",
    **attributes: Any,
) -> Span:
    """A span; attributes are written with ``_`` for each dot, or given as ``attributes``."""
    wire = bytes.fromhex(f"{of:032x}")
    begin_ns = (BEGIN_MS + begin) * MS
    said = {"mlflow.traceRequestId": trace_id(of), **attributes.pop("attributes", {}), **attributes}
    return Span.from_dict(
        {
            "trace_id": coded(wire),
            "span_id": coded(bytes.fromhex(span_id(number))),
            "parent_span_id": None if parent is None else coded(bytes.fromhex(span_id(parent))),
            "name": name,
            "start_time_unix_nano": begin_ns,
            "end_time_unix_nano": None if took is None else begin_ns + took * MS,
            "events": [],
            "status": {"code": status, "message": ""},
            "attributes": {key: json.dumps(value) for key, value in said.items()},
        }
    )
