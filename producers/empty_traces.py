"""Traces, read: a ledger holds none yet, and MLflow's own answers say so (see `empty_families`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mlflow.entities.trace_metrics import (
    AggregationType,
    MetricAggregation,
    MetricDataPoint,
    MetricViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.store.entities.paged_list import PagedList
from mlflow.tracing.analysis import TraceFilterCorrelationResult
from mlflow.utils.search_utils import SearchTraceMetricsUtils, SearchTraceUtils
from mlflow.utils.validation import (
    _parse_experiment_id,
    _parse_experiment_ids,
    _resolve_experiment_ids_and_locations,
)

from .edge import LedgerStore, start_offset
from .experiments import check_max_results

__all__ = ["EmptyTraces"]


class EmptyTraces(LedgerStore):
    """Get and search traces, count them, correlate them: there are none."""

    def search_traces(
        self,
        experiment_ids: list[str] | None = None,
        filter_string: str | None = None,
        max_results: int = 100,
        order_by: list[str] | None = None,
        page_token: str | None = None,
        model_id: str | None = None,
        locations: list[str] | None = None,
    ) -> tuple[list[Any], str | None]:
        """No trace; a question that makes no sense is refused all the same."""
        where = _resolve_experiment_ids_and_locations(experiment_ids, locations)
        check_max_results(max_results)
        _numbers(where or ())
        for clause in order_by or ():
            SearchTraceUtils.parse_order_by_for_search_traces(clause)
        SearchTraceUtils.parse_search_filter_for_search_traces(filter_string)
        start_offset(page_token)
        return [], None

    def find_completed_sessions(
        self,
        experiment_id: str,
        min_last_trace_timestamp_ms: int,
        max_last_trace_timestamp_ms: int,
        max_results: int | None = None,
        filter_string: str | None = None,
    ) -> list[Any]:
        """No session."""
        _parse_experiment_id(experiment_id)
        SearchTraceUtils.parse_search_filter_for_search_traces(filter_string)
        return []

    def query_trace_metrics(
        self,
        experiment_ids: list[str],
        view_type: MetricViewType,
        metric_name: str,
        aggregations: list[MetricAggregation],
        dimensions: list[str] | None = None,
        filters: list[str] | None = None,
        time_interval_seconds: int | None = None,
        start_time_ms: int | None = None,
        end_time_ms: int | None = None,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> PagedList[Any]:
        """A count of nothing is 0; any other aggregate of nothing, or a group of it, is none."""
        # It brings SQLAlchemy along, which no other part of this store needs.
        from mlflow.store.tracking.utils.sql_trace_metrics_utils import (
            validate_query_trace_metrics_params,
        )

        validate_query_trace_metrics_params(view_type, metric_name, aggregations, dimensions)
        if time_interval_seconds and (start_time_ms is None or end_time_ms is None):
            raise MlflowException.invalid_parameter_value(
                "start_time_ms and end_time_ms are required if time_interval_seconds is set"
            )
        _parse_experiment_ids(list(experiment_ids))
        for text in filters or ():
            SearchTraceMetricsUtils.parse_search_filter(text)
        counts = any(a.aggregation_type == AggregationType.COUNT for a in aggregations)
        if not counts or dimensions or time_interval_seconds:
            return PagedList([], None)
        return PagedList([MetricDataPoint(metric_name, {}, {AggregationType.COUNT.value: 0})], None)

    def calculate_trace_filter_correlation(
        self,
        experiment_ids: list[str],
        filter_string1: str,
        filter_string2: str,
        base_filter: str | None = None,
    ) -> TraceFilterCorrelationResult:
        """Nothing correlates with nothing."""
        _parse_experiment_ids(list(experiment_ids))
        for text in (filter_string1, filter_string2, base_filter):
            SearchTraceUtils.parse_search_filter_for_search_traces(text)
        return TraceFilterCorrelationResult(
            npmi=math.nan,
            npmi_smoothed=math.nan,
            filter1_count=0,
            filter2_count=0,
            joint_count=0,
            total_count=0,
        )


def _numbers(experiment_ids: Iterable[str]) -> None:
    """Refuse what is no number, with the code that MLflow's search of traces has for it."""
    try:
        for experiment_id in experiment_ids:
            int(experiment_id)
    except ValueError as error:
        raise MlflowException(str(error), INTERNAL_ERROR) from error
