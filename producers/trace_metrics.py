"""Counts, sums and percentiles over traces, as MLflow's dashboards ask for them."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

from mlflow.entities.trace_metrics import (
    AggregationType,
    MetricAggregation,
    MetricDataPoint,
    MetricViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.tracing.constant import TraceMetadataKey
from mlflow.utils.search_utils import SearchTraceMetricsUtils

from mlflow_ledger.query import Aggregate, Filter, MetricSearch, gateway_cost, metric_points

from .edge import LedgerStore, whole
from .older_mlflow import parse_experiment_ids
from .trace_entities import FIGURES
from .trace_search import figures_filter

__all__ = ["TraceMetrics"]

_OWN = {
    ("SPANS", "name"): "s.name",
    ("SPANS", "status"): "s.status",
    ("SPANS", "type"): "s.type",
    ("ASSESSMENTS", "name"): "a.name",
    ("ASSESSMENTS", "type"): "a.assessment_type",
}
_VIEWS = {"span": MetricViewType.SPANS, "assessment": MetricViewType.ASSESSMENTS}


class TraceMetrics(LedgerStore):
    """Query metrics of traces."""

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
        """Aggregates of a metric, by dimensions and by time."""
        # It brings SQLAlchemy along, which no other part of this store needs.
        from mlflow.store.tracking.utils.sql_trace_metrics_utils import (
            validate_query_trace_metrics_params,
        )

        validate_query_trace_metrics_params(view_type, metric_name, aggregations, dimensions)
        if time_interval_seconds and (start_time_ms is None or end_time_ms is None):
            raise MlflowException.invalid_parameter_value(
                "start_time_ms and end_time_ms are required if time_interval_seconds is set"
            )
        numbers = [whole(number) or 0 for number in parse_experiment_ids(list(experiment_ids))]
        of_traces, own = _filters(filters, view_type)
        search = MetricSearch(
            view=view_type.value,
            metric=str(metric_name),
            experiment_ids=numbers,
            aggregates=[_aggregate(aggregation) for aggregation in aggregations],
            dimensions=[str(dimension) for dimension in dimensions or ()],
            filters=of_traces,
            own=own,
            interval_s=time_interval_seconds,
            start_ms=start_time_ms,
            end_ms=end_time_ms,
            limit=max_results,
        )
        names = [*(["time_bucket"] if time_interval_seconds else []), *search.dimensions]
        points = []
        for group, values in self._ask(lambda db: metric_points(db, search)):
            found = {
                str(aggregation): value
                for aggregation, value in zip(aggregations, values, strict=True)
                if value is not None
            }
            if found:
                said = _said(dict(zip(names, group, strict=True)))
                points.append(MetricDataPoint(metric_name, said, found))
        return PagedList(points, None)

    def sum_gateway_trace_cost(
        self,
        start_time_ms: int,
        end_time_ms: int,
        workspace: str | None = None,
        endpoint_id: str | None = None,
        username: str | None = None,
    ) -> float:
        """What the traces of requests to the gateway cost, those of an endpoint or a user."""
        wanted = {TraceMetadataKey.GATEWAY_ENDPOINT_ID: endpoint_id}
        if username is not None:
            wanted[TraceMetadataKey.AUTH_USERNAME] = username

        def ask(db: sqlite3.Connection) -> float:
            return gateway_cost(db, start_time_ms, end_time_ms, wanted, workspace)

        cost: float = self._ask(ask)
        return cost


def _aggregate(aggregation: MetricAggregation) -> Aggregate:
    if aggregation.aggregation_type == AggregationType.PERCENTILE:
        return Aggregate("PERCENTILE", aggregation.percentile_value)
    return Aggregate(aggregation.aggregation_type.value)


def _said(group: dict[str, Any]) -> dict[str, str]:
    if "time_bucket" in group:
        begin_s = float(group["time_bucket"]) / 1000.0
        group["time_bucket"] = datetime.fromtimestamp(begin_s, tz=UTC).isoformat()
    return group


def _filters(
    filters: list[str] | None, view: MetricViewType
) -> tuple[list[Filter], list[tuple[str, str]]]:
    """Filters on traces, and those on the spans or assessments that are looked at."""
    of_traces, own = [], []
    for text in filters or ():
        parsed = SearchTraceMetricsUtils.parse_search_filter(text)
        if parsed.view_type == "trace":
            of_traces.append(_of_trace(parsed.entity, parsed.key, parsed.value))
        elif _VIEWS[parsed.view_type] == view:
            own.append((_OWN[view.value, parsed.entity], parsed.value))
        else:
            raise MlflowException.invalid_parameter_value(
                f"Filtering by {parsed.view_type} is only supported for "
                f"{_VIEWS[parsed.view_type]} view type, got {view}"
            )
    return of_traces, own


def _of_trace(entity: str, key: str | None, value: str) -> Filter:
    if entity == "status" or key is None:
        return Filter("attribute", "status", "=", value)
    if entity == "tag":
        return Filter("tag", key, "=", value)
    if key in FIGURES:
        return figures_filter(key, "=", value)
    if key == TraceMetadataKey.SOURCE_RUN:
        return Filter("run", key, "=", value)
    return Filter("request_metadata", key, "=", value)
