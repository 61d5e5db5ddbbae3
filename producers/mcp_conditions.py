"""Filters and orders of the MCP server registry, with the checks of MLflow's SQL store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.utils.search_utils import SearchUtils
from mlflow.utils.semver_utils import SemVer, encode_prerelease_sort_key, parse_semver

from mlflow_ledger.query import Filter, Order

__all__ = ["endpoint_filters", "orders_of", "precedence", "server_filters", "version_filters"]

_COMPARATORS = {"=", "!=", ">", ">=", "<", "<=", "LIKE", "ILIKE", "IN", "NOT IN"}


def server_filters(parsed: Iterable[dict[str, Any]]) -> list[Filter]:
    """What a filter of servers compares."""
    filters = _checked(parsed, {"attribute", "tag"})
    return [
        _has_endpoints(given) if given[:2] == ("attribute", "has_access_endpoints") else given
        for given in filters
    ]


def version_filters(parsed: Iterable[dict[str, Any]]) -> list[Filter]:
    """What a filter of versions compares; numbers of versions by their precedence."""
    return [
        _version(given) if given.key == "version" else given
        for given in _checked(parsed, {"attribute"})
    ]


def endpoint_filters(parsed: Iterable[dict[str, Any]]) -> list[Filter]:
    """What a filter of endpoints compares."""
    return _checked(parsed, {"attribute"})


def orders_of(
    clauses: Sequence[str] | None, valid: Collection[str], last: Sequence[str]
) -> list[Order]:
    """An order, which ends with those of ``last`` that it does not name."""
    orders: list[Order] = []
    for clause in clauses or ():
        token, ascending = SearchUtils._parse_order_by_string(clause)  # noqa: SLF001  # no other way
        key = token.strip()
        if key not in valid:
            raise _invalid(f"Invalid order_by key '{key}'. Valid keys: {sorted(valid)}")
        if any(order.key == key for order in orders):
            raise _invalid(f"Duplicate order_by field: '{key}'")
        kind = "precedence" if key == "version" else "attribute"
        orders.append(Order(kind, key, ascending))
    named = {order.key for order in orders}
    return [*orders, *(Order("attribute", key, ascending=True) for key in last if key not in named)]


def precedence(version: SemVer) -> tuple[int, int, int, str]:
    """What a semantic version is ordered by."""
    return version.major, version.minor, version.patch, encode_prerelease_sort_key(version)


def _checked(parsed: Iterable[dict[str, Any]], kinds: Collection[str]) -> list[Filter]:
    filters = []
    for given in parsed:
        kind, key, comparator = given["type"], given["key"], given["comparator"]
        if kind not in kinds:
            raise _invalid(f"Invalid filter type '{kind}'.")
        if comparator not in _COMPARATORS:
            raise _invalid(f"Invalid comparator '{comparator}' for {kind} '{key}'.")
        filters.append(Filter(kind, key, comparator, given["value"]))
    return filters


def _has_endpoints(given: Filter) -> Filter:
    value = str(given.value).lower()
    if given.comparator != "=" or value not in ("true", "false"):
        raise _invalid("has_access_endpoints only supports '= true' or '= false'")
    return given._replace(value=value)


def _version(given: Filter) -> Filter:
    if given.comparator in ("=", "!="):
        return given
    if given.comparator not in ("<", "<=", ">", ">="):
        raise _invalid(
            "version only supports semantic comparators '=', '!=', '<', '<=', '>', and '>='"
        )
    parsed = parse_semver(str(given.value), param_name="filter_string version")
    return given._replace(kind="precedence", value=precedence(parsed))


def _invalid(message: str) -> MlflowException:
    return MlflowException(message, INVALID_PARAMETER_VALUE)
