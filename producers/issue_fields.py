"""What MLflow 3.18 added to issues: which values they may have, and how their pages are named.

Older versions check nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from mlflow.entities.issue import Issue
from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchIssuesUtils
from mlflow.utils.workspace_context import get_request_workspace

from .edge import start_offset

__all__ = ["IssuePage", "category_hashes", "check_fields", "issue_orders", "issue_page", "known_of"]

_NAME = "mlflow.utils.issue_utils"
_UTILS: Any = import_module(_NAME) if find_spec(_NAME) else None

_SORTABLE = (
    "name", "status", "severity",
    "created_timestamp", "last_updated_timestamp", "last_seen_timestamp",
)  # fmt: skip


class IssuePage(NamedTuple):
    """Where a page begins: at an offset, or after a row of the order that was asked for."""

    fingerprint: str | None
    offset: int = 0
    after: Sequence[str | int] = ()

    def following(self, size: int, keys: list[str | int]) -> Any:
        """The token of the page after one of ``size`` rows whose last has these keys.

        It is bytes where nothing was asked in the words of 3.18, as MLflow's is.
        """
        if keys:
            return _UTILS.issue_keyset_token(keys, self.fingerprint)
        if self.fingerprint is not None:
            return _UTILS.issue_page_token(self.offset + size, self.fingerprint)
        return SearchIssuesUtils.create_page_token(self.offset + size)


def known_of(**fields: Any) -> dict[str, Any]:
    """Those fields of an issue that the MLflow at hand has."""
    return {name: fields[name] for name in fields if name in Issue.__dataclass_fields__}


def check_fields(**fields: Any) -> bool:
    """Refuse what no issue may have; returns whether this MLflow does.

    Raises:
        MlflowException: with MLflow's own message.
    """
    if _UTILS is not None:
        _UTILS.validate_issue_fields(**fields)
    return _UTILS is not None


def category_hashes(categories: list[str] | None) -> list[str] | None:
    """What categories are searched by; none where they are not given, or no MLflow searches."""
    if categories is None or _UTILS is None:
        return None
    return sorted({_UTILS.issue_category_hash(category) for category in categories})


def issue_orders(order_by: Sequence[str]) -> list[tuple[str, bool]]:
    """The fields of an order, and whether each descends.

    Raises:
        MlflowException: it names another field or direction.
    """
    orders = []
    for order in order_by:
        name, *direction = order.split() or [""]
        if name not in _SORTABLE or [word.upper() for word in direction] not in (
            [], ["ASC"], ["DESC"],
        ):  # fmt: skip
            raise MlflowException.invalid_parameter_value(f"Invalid issue order_by: {order!r}")
        orders.append((name, "DESC" in [word.upper() for word in direction]))
    return orders


def issue_page(token: str | None, asked: dict[str, Any], *, plain: dict[str, Any]) -> IssuePage:
    """Where a page begins, of a search in the words of 3.18 and in those it always had.

    Raises:
        MlflowException: the token is of another search, or the search makes no sense.
    """
    if _UTILS is None:
        return IssuePage(None, start_offset(token))
    fields = ("name", "statuses", "severities", "order_by")
    _UTILS.validate_issue_search(*(asked[field] for field in fields))
    check_fields(categories=asked["categories"])
    for field, values in ("status", asked["statuses"]), ("severity", asked["severities"]):
        for value in values or []:
            check_fields(**{field: value})
    if asked["view"] not in (None, "basic", "full"):
        raise MlflowException.invalid_parameter_value("view must be basic or full")
    enhanced = any(value is not None and value is not False for value in asked.values())
    known = asked | {
        "statuses": sorted(set(asked["statuses"] or [])),
        "severities": sorted(set(asked["severities"] or [])),
        "categories": category_hashes(asked["categories"] or []),
        "order_by": asked["order_by"] or [],
    }
    fingerprint = _UTILS.issue_query_fingerprint(
        workspace=get_request_workspace(), **known, **plain
    )
    position = _UTILS.issue_page_position(token, fingerprint, allow_legacy=not enhanced)
    after = position.values or ()
    if position.values is not None:
        _check_after(after, asked["order_by"] or [])
    return IssuePage(fingerprint if enhanced else None, position.offset, after)


def _check_after(after: Sequence[str | int], order_by: Sequence[str]) -> None:
    orders = issue_orders(order_by)
    kinds = [str if name == "name" else int for name, _ in orders] + [str]
    if not orders or [type(key) for key in after] != kinds:
        raise MlflowException.invalid_parameter_value("Invalid issue page token")
