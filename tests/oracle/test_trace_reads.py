"""Reads of traces, and sums over them, where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType

from .pair import Pair
from .test_core import INVALID, new_run

COUNT, MEAN = (MetricAggregation(kind) for kind in (AggregationType.COUNT, AggregationType.AVG))
TRACES = {"experiment_ids": ["0"], "view_type": MetricViewType.TRACES}
CORRELATED = {"filter_string1": "tags.a = 'b'", "filter_string2": "trace.status = 'OK'"}
SESSIONS = {"min_last_trace_timestamp_ms": 0, "max_last_trace_timestamp_ms": 9}

NOTHING: list[tuple[str, dict[str, Any]]] = [
    ("calculate_trace_filter_correlation", {"experiment_ids": ["0"], **CORRELATED}),
    ("filter_active_experiment_ids", {"experiment_ids": ["0", "77", "0"]}),
    ("filter_active_experiment_ids", {"experiment_ids": []}),
    ("find_completed_sessions", {"experiment_id": "0", **SESSIONS}),
    ("find_completed_sessions", {"experiment_id": "77", **SESSIONS}),
    ("query_trace_metrics", {**TRACES, "metric_name": "trace_count", "aggregations": [COUNT]}),
    ("query_trace_metrics", {**TRACES, "metric_name": "latency", "aggregations": [MEAN]}),
    (
        "query_trace_metrics",
        {**TRACES, "metric_name": "trace_count", "aggregations": [COUNT]}
        | {"time_interval_seconds": 60, "start_time_ms": 0, "end_time_ms": 9**9},
    ),
    (
        "query_trace_metrics",
        {**TRACES, "metric_name": "trace_count", "aggregations": [COUNT]}
        | {"dimensions": ["trace_status"], "filters": ["trace.status = 'OK'"]},
    ),
    ("search_traces", {"locations": ["0"], "filter_string": "tags.a = 'b'"}),
    ("search_traces", {"experiment_ids": ["77"], "order_by": ["timestamp_ms DESC"]}),
    ("sum_gateway_trace_cost", {"start_time_ms": 0, "end_time_ms": 9}),
]

SENSELESS: list[tuple[str, dict[str, Any]]] = [
    ("calculate_trace_filter_correlation", {"experiment_ids": ["0"], **CORRELATED}
        | {"filter_string1": "nonsense"}),
    ("find_completed_sessions", {"experiment_id": "x", **SESSIONS}),
    ("query_trace_metrics", {**TRACES, "metric_name": "what", "aggregations": [COUNT]}),
    ("query_trace_metrics", {**TRACES, "metric_name": "trace_count", "aggregations": [MEAN]}),
    (
        "query_trace_metrics",
        {**TRACES, "metric_name": "trace_count", "aggregations": [COUNT]}
        | {"time_interval_seconds": 60},
    ),
    (
        "query_trace_metrics",
        {**TRACES, "metric_name": "trace_count", "aggregations": [COUNT], "filters": ["no"]},
    ),
    ("search_traces", {"locations": ["0"], "experiment_ids": ["0"]}),
    ("search_traces", {"locations": ["a.b"]}),
    ("search_traces", {"locations": ["0"], "max_results": 50_001}),
    ("search_traces", {"locations": ["0"], "filter_string": "nonsense"}),
    ("search_traces", {"locations": ["0"], "order_by": ["nonsense"]}),
]  # fmt: skip


def _name(given: Any) -> str | None:
    return given if isinstance(given, str) else None


@pytest.mark.parametrize(("method", "kwargs"), NOTHING, ids=_name)
def test_where_there_is_nothing(pair: Pair, method: str, kwargs: dict[str, Any]) -> None:
    new_run(pair)
    pair.ok(method, **kwargs)


@pytest.mark.parametrize(("method", "kwargs"), SENSELESS, ids=_name)
def test_questions_without_sense(pair: Pair, method: str, kwargs: dict[str, Any]) -> None:
    pair.fails(INVALID, method, **kwargs)


def test_traces_of_what_is_no_experiment(pair: Pair) -> None:
    pair.fails("INTERNAL_ERROR", "search_traces", locations=["x"])


def test_a_deleted_experiment(pair: Pair) -> None:
    experiment = pair.make("create_experiment", name="e")
    pair.ok("delete_experiment", experiment_id=experiment)
    pair.ok("filter_active_experiment_ids", experiment_ids=[experiment, "0"])
