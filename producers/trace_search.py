"""Filters and orders of trace searches, parsed and checked as MLflow's SQL store does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey
from mlflow.utils.search_utils import SearchTraceUtils

from mlflow_ledger.query import Filter, Order

from .edge import whole
from .older_mlflow import SINCE_3_18
from .trace_entities import FIGURES

__all__ = ["figures_filter", "trace_filters", "trace_orders"]

_SPAN_COLUMNS = {"content": "text"}
_ATTRIBUTES = "attributes."
_REMEMBERED = 64
_ORDERED = {
    "experiment_id", "timestamp_ms", "execution_time_ms", "status", "request_id",
    *(["end_time_ms"] if SINCE_3_18 else []),
}  # fmt: skip


@lru_cache(maxsize=_REMEMBERED)
def trace_filters(filter_string: str | None) -> tuple[Filter, ...]:
    """The comparisons of a filter; pages of one search ask for the same."""
    parsed = SearchTraceUtils.parse_search_filter_for_search_traces(filter_string)
    return tuple(_filter(c["type"], c["key"], c["comparator"].upper(), c["value"]) for c in parsed)


@lru_cache(maxsize=_REMEMBERED)
def _parsed_order(clause: str) -> tuple[str, str, bool]:
    kind, key, ascending = SearchTraceUtils.parse_order_by_for_search_traces(clause)
    return kind, key, ascending


def trace_orders(order_by: Sequence[str] | None) -> list[Order]:
    """The keys of an ``order_by``, none of them twice."""
    orders: list[Order] = []
    for clause in order_by or ():
        kind, key, ascending = _parsed_order(clause)
        if SearchTraceUtils.is_request_metadata(kind, "=") and key in FIGURES:
            raise MlflowException.invalid_parameter_value(
                f"Ordering by reserved metadata '{key}' is not supported because it is "
                "represented by multiple columns."
            )
        if SearchTraceUtils.is_attribute(kind, key, "="):
            if key not in _ORDERED:
                msg = f"type object 'SqlTraceInfo' has no attribute '{key}'"
                raise MlflowException(msg, INTERNAL_ERROR)
        elif kind not in ("tag", "request_metadata"):
            raise MlflowException(f"Invalid identifier type '{kind}'", INVALID_PARAMETER_VALUE)
        if any((order.kind, order.key) == (kind, key) for order in orders):
            raise MlflowException(f"`order_by` contains duplicate fields: {order_by}")
        orders.append(Order(kind, key, ascending))
    return orders


def figures_filter(key: str, comparator: str, value: str | None) -> Filter:
    """A comparison of metadata that is kept as numbers, with the text that MLflow makes of them."""
    columns, read = FIGURES[key]
    if comparator not in ("=", "!=", "IS NULL", "IS NOT NULL"):
        raise MlflowException.invalid_parameter_value(
            f"Comparator '{comparator}' is not supported for reserved metadata '{key}'. "
            "Only '=', '!=', 'IS NULL', and 'IS NOT NULL' are supported."
        )
    try:
        given = json.loads(value or "")
    except ValueError:
        given = None
    figures: dict[str, float | None] = dict.fromkeys(columns)
    if isinstance(given, dict) and set(given) <= set(columns):
        known = {
            column: found for column in columns if (found := read(given.get(column))) is not None
        }
        if value == json.dumps(known):
            figures |= known
    return Filter("figures", key, comparator, figures)


def _filter(  # noqa: C901, PLR0911  # one line a kind of key, in MLflow's order
    kind: str, key: str, comparator: str, value: Any
) -> Filter:
    if SearchTraceUtils.is_issue(kind, key, comparator):
        return Filter("issue", key, comparator, value)
    if SearchTraceUtils.is_attribute(kind, key, comparator):
        return Filter(kind, key, comparator, whole(value) if type(value) is int else value)
    if SearchTraceUtils.is_request_metadata(kind, comparator):
        if key in FIGURES:
            return figures_filter(key, comparator, value)
        if key == TraceMetadataKey.SOURCE_RUN and comparator == "=":
            return Filter("run", key, comparator, value)
        return Filter(kind, key, comparator, value)
    if SearchTraceUtils.is_tag(kind, comparator):
        if key == TraceTagKey.LINKED_PROMPTS:
            return _prompt(comparator, value)
        return Filter(kind, key, comparator, value)
    if SearchTraceUtils.is_span(kind, key, comparator):
        if key.startswith(_ATTRIBUTES):
            name = SearchTraceUtils._trim_backticks(key[len(_ATTRIBUTES) :])  # noqa: SLF001  # MLflow has no public way
            return _span_attribute(name, comparator, value)
        return Filter(kind, _SPAN_COLUMNS.get(key, key), comparator, value)
    if SearchTraceUtils.is_assessment(kind, key, comparator):
        return Filter(kind, key, comparator, value)
    raise MlflowException(f"Invalid search expression type '{kind}'", INVALID_PARAMETER_VALUE)


def _prompt(comparator: str, value: str) -> Filter:
    if comparator != "=":
        raise MlflowException(
            f"Invalid comparator '{comparator}' for prompts filter. "
            "Only '=' is supported with format: prompt = \"name/version\"",
            INVALID_PARAMETER_VALUE,
        )
    if value.count("/") != 1:
        raise MlflowException(
            f"Invalid prompts filter value '{value}'. Expected format: prompt = \"name/version\"",
            INVALID_PARAMETER_VALUE,
        )
    return Filter("prompt", "prompt", comparator, value)


def _span_attribute(name: str, comparator: str, value: Any) -> Filter:
    """Attributes are looked for in the span's JSON, in which their values are JSON once more."""
    if comparator != "RLIKE":
        return Filter("span", "text", comparator, f'%"{name}"{value}%')
    begin, end = '"\\\\".*', ""
    if value.startswith("^"):
        value, begin = value[1:], '"\\\\"'
    if value.endswith("$"):
        value, end = value[:-1], '\\\\"'
    return Filter("span", "text", comparator, f'"{name}": {begin}{value}{end}')
