"""The search for model versions, as MLflow's registry store parses and answers it."""

from __future__ import annotations

from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry import (
    SEARCH_MODEL_VERSION_MAX_RESULTS_DEFAULT,
    SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD,
)
from mlflow.utils.search_utils import SearchModelVersionUtils, SearchUtils

from mlflow_ledger.query import Filter, Order, find_versions

from .edge import start_offset, whole
from .registered_models import RegisteredModels, asks_for_prompts
from .registry_entities import version_entity

__all__ = ["VersionSearching"]


class VersionSearching(RegisteredModels):
    """Search model versions."""

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int = SEARCH_MODEL_VERSION_MAX_RESULTS_DEFAULT,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[ModelVersion]:
        """A page of the versions that match, with the token of the next page."""
        _check_page(max_results)
        parsed = SearchModelVersionUtils.parse_search_filter(filter_string)
        filters = [_filter(comparison) for comparison in parsed]
        orders = _orders(
            order_by or ["last_updated_timestamp DESC", "name ASC", "version_number DESC"]
        )
        offset = start_offset(page_token)
        rows = self._ask(
            lambda db: find_versions(
                db,
                filters,
                orders,
                max_results + 1,
                offset,
                prompts=asks_for_prompts(filters),
            )
        )
        token = None
        if len(rows) == max_results + 1:
            token = SearchUtils.create_page_token(offset + max_results)
        found = [version_entity(row, self._arrived, aliases=False) for row in rows[:max_results]]
        return PagedList(found, token)


def _check_page(max_results: int) -> None:
    if not isinstance(max_results, int) or max_results < 1:
        raise MlflowException(
            f"Invalid value for max_results. It must be a positive integer, but got {max_results}",
            INVALID_PARAMETER_VALUE,
        )
    if max_results > SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD:
        raise MlflowException(
            "Invalid value for request parameter max_results. It must be at most "
            f"{SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD}, but got value {max_results}",
            INVALID_PARAMETER_VALUE,
        )


def _filter(parsed: dict[str, Any]) -> Filter:
    kind, key = parsed["type"], parsed["key"]
    comparator, value = parsed["comparator"], parsed["value"]
    if kind == "tag":
        if comparator not in ("=", "!=", "LIKE", "ILIKE"):
            raise MlflowException.invalid_parameter_value(
                f"Invalid comparator for tag: {comparator}"
            )
        return Filter(kind, key, comparator, value)
    if kind != "attribute":
        raise MlflowException(f"Invalid token type: {kind}", INVALID_PARAMETER_VALUE)
    if key not in SearchModelVersionUtils.VALID_SEARCH_ATTRIBUTE_KEYS:
        raise MlflowException(f"Invalid attribute name: {key}", INVALID_PARAMETER_VALUE)
    if key in SearchModelVersionUtils.NUMERIC_ATTRIBUTES:
        return Filter(kind, key, comparator, _numeric(key, comparator, value))
    known = SearchModelVersionUtils.VALID_STRING_ATTRIBUTE_COMPARATORS
    if comparator not in known or (
        comparator in ("IN", "NOT IN") and key not in ("run_id", "name")
    ):
        raise MlflowException(
            f"Invalid comparator for attribute: {comparator}", INVALID_PARAMETER_VALUE
        )
    return Filter(kind, key, comparator, value)


def _numeric(key: str, comparator: str, value: Any) -> int | None:
    if comparator not in SearchModelVersionUtils.VALID_NUMERIC_ATTRIBUTE_COMPARATORS:
        raise MlflowException(
            f"Invalid comparator for attribute {key}: {comparator}", INVALID_PARAMETER_VALUE
        )
    try:
        number = None if isinstance(value, float) else int(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise MlflowException.invalid_parameter_value(
            f"Invalid value for numeric attribute '{key}': {value!r}"
        )
    return whole(number)


def _orders(order_by: list[str]) -> list[Order]:
    orders: list[Order] = []
    for clause in order_by:
        _, key, ascending = SearchModelVersionUtils.parse_order_by_for_search_model_versions(clause)
        if key not in SearchModelVersionUtils.VALID_ORDER_BY_ATTRIBUTE_KEYS:
            raise MlflowException(
                f"Invalid order by key '{key}' specified. Valid keys are "
                f"{SearchModelVersionUtils.VALID_ORDER_BY_ATTRIBUTE_KEYS}",
                INVALID_PARAMETER_VALUE,
            )
        if any(order.key == key for order in orders):
            raise MlflowException(f"`order_by` contains duplicate fields: {order_by}")
        orders.append(Order("attribute", key, ascending))
    for key, ascending in (("name", True), ("version_number", False)):
        if not any(order.key == key for order in orders):
            orders.append(Order("attribute", key, ascending))
    return orders
