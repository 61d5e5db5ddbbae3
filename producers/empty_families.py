"""What a ledger cannot hold yet, read: there is none of it, and MLflow's own answers say so.

A write to one of these families is refused (`later.py`), so the answers of MLflow's SQL store on
a database without them are the truth. The UI asks them on most of its pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList

from .edge import LedgerStore, start_offset
from .experiments import Experiments, check_max_results

__all__ = ["EmptyFamilies"]


def _absent(message: str, *names: str) -> Callable[..., NoReturn]:
    """A read of one thing by its name: there is none. ``names`` are its parameters, in order."""

    def get(_: LedgerStore, *args: Any, **kwargs: Any) -> NoReturn:
        given = dict(zip(names, args, strict=False)) | kwargs
        raise MlflowException(message.format_map(given), RESOURCE_DOES_NOT_EXIST)

    return get


def _absent_either(message: str, *names: str) -> Callable[..., NoReturn]:
    """A read of one thing by exactly one of two names."""

    def get(_: LedgerStore, *args: Any, **kwargs: Any) -> NoReturn:
        given = dict.fromkeys(names) | dict(zip(names, args, strict=False)) | kwargs
        known = {name: value for name, value in given.items() if value is not None}
        if len(known) != 1:
            raise MlflowException(
                f"Exactly one of {' or '.join(names)} must be provided", INVALID_PARAMETER_VALUE
            )
        [(name, value)] = known.items()
        raise MlflowException(f"{message} ({name}='{value}')", RESOURCE_DOES_NOT_EXIST)

    return get


def _none_of_them(*_: Any, **__: Any) -> list[Any]:
    """No item, whatever was asked for."""
    return []


def _page(max_results: int | None, page_token: str | None) -> PagedList[Any]:
    """An empty page; limits and tokens are refused as where there is something."""
    check_max_results(max_results, allow_null=True)
    start_offset(page_token)
    return PagedList([], None)


class EmptyFamilies(Experiments):
    """Reads of the gateway."""

    # --- gateway

    list_secret_infos = _none_of_them
    list_gateway_endpoints = _none_of_them
    list_gateway_model_definitions = _none_of_them
    list_endpoint_bindings = _none_of_them
    get_secret_info = _absent_either("GatewaySecret not found", "secret_id", "secret_name")
    get_gateway_endpoint = _absent_either("GatewayEndpoint not found", "endpoint_id", "name")
    get_gateway_model_definition = _absent_either(
        "GatewayModelDefinition not found", "model_definition_id", "name"
    )
    get_gateway_guardrail = _absent(
        "Guardrail not found (guardrail_id='{guardrail_id}')", "guardrail_id"
    )
    get_budget_policy = _absent(
        "BudgetPolicy not found (budget_policy_id='{budget_policy_id}')", "budget_policy_id"
    )
    list_endpoint_guardrail_configs = _absent(
        "Endpoint not found (endpoint_id='{endpoint_id}')", "endpoint_id"
    )

    def list_gateway_guardrails(
        self, max_results: int = 1000, page_token: str | None = None
    ) -> PagedList[Any]:
        """No guardrail."""
        check_max_results(max_results)
        return _page(max_results, page_token)

    def list_budget_policies(
        self, max_results: int = 1000, page_token: str | None = None
    ) -> PagedList[Any]:
        """No budget policy."""
        check_max_results(max_results)
        return _page(max_results, page_token)

    def sum_gateway_trace_cost(
        self,
        start_time_ms: int,
        end_time_ms: int,
        workspace: str | None = None,
        endpoint_id: str | None = None,
        username: str | None = None,
    ) -> float:
        """No cost."""
        return 0.0
