"""Filters and orders of ``search_runs``, parsed and checked as MLflow's SQL store does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE
from mlflow.utils.search_utils import SearchUtils

from mlflow_ledger.query import Filter, Order

from .edge import whole

__all__ = ["run_filters", "run_orders"]


def run_filters(parsed: Sequence[dict[str, Any]]) -> list[Filter]:
    """The comparisons of a parsed filter."""
    return [_filter(comparison) for comparison in parsed]


def run_orders(order_by: Sequence[str] | None) -> list[Order]:
    """The keys of an ``order_by``, none of them twice."""
    orders: list[Order] = []
    for clause in order_by or ():
        kind, key, ascending = SearchUtils.parse_order_by_for_search_runs(clause)
        key = SearchUtils.translate_key_alias(key)
        attribute = SearchUtils.is_attribute(kind, key, "=")
        if not attribute and not _pair(kind, "="):
            raise MlflowException(f"Invalid identifier type '{kind}'", INVALID_PARAMETER_VALUE)
        if any((order.kind, order.key) == (kind, key) for order in orders):
            raise MlflowException(f"`order_by` contains duplicate fields: {order_by}")
        orders.append(Order(kind, key, ascending))
    return orders


def _filter(comparison: dict[str, Any]) -> Filter:
    kind, value = comparison["type"], comparison["value"]
    comparator = comparison["comparator"].upper()
    key = SearchUtils.translate_key_alias(comparison["key"])
    if SearchUtils.is_attribute(kind, key, comparator):
        if isinstance(value, tuple) and comparator not in ("IN", "NOT IN"):
            raise MlflowException(f"'{comparator}' takes no list", BAD_REQUEST)
        if isinstance(value, int):
            value = whole(value)
    elif SearchUtils.is_metric(kind, comparator):
        value = float(value)
    elif not _pair(kind, comparator) and not SearchUtils.is_dataset(kind, comparator):
        raise MlflowException(f"Invalid search expression type '{kind}'", INVALID_PARAMETER_VALUE)
    return Filter(kind, key, comparator, value)


def _pair(kind: str, comparator: str) -> bool:
    return bool(
        SearchUtils.is_metric(kind, comparator)
        or SearchUtils.is_param(kind, comparator)
        or SearchUtils.is_tag(kind, comparator)
    )
