"""Traces, read: a ledger holds none yet, and MLflow's own answers say so (see `empty_families`)."""

from __future__ import annotations

from typing import Any

from mlflow.entities.trace_metrics import (
    AggregationType,
    MetricAggregation,
    MetricDataPoint,
    MetricViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchTraceMetricsUtils
from mlflow.utils.validation import (
    _parse_experiment_ids,
)

from .edge import LedgerStore

__all__ = ["EmptyTraces"]


class EmptyTraces(LedgerStore):
    """Get and search traces, count them, correlate them: there are none."""

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
