"""What a ledger cannot hold yet, read: there is none of it, and MLflow's own answers say so.

A write to one of these families is refused (`later.py`), so the answers of MLflow's SQL store on
a database without them are the truth. The UI asks them on most of its pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList

from .edge import LedgerStore, start_offset
from .experiments import Experiments, check_max_results
from .gateway_endpoints import existing_endpoint

__all__ = ["EmptyFamilies"]


def _absent(message: str, *names: str) -> Callable[..., NoReturn]:
    """A read of one thing by its name: there is none. ``names`` are its parameters, in order."""

    def get(_: LedgerStore, *args: Any, **kwargs: Any) -> NoReturn:
        given = dict(zip(names, args, strict=False)) | kwargs
        raise MlflowException(message.format_map(given), RESOURCE_DOES_NOT_EXIST)

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

    get_gateway_guardrail = _absent(
        "Guardrail not found (guardrail_id='{guardrail_id}')", "guardrail_id"
    )

    def list_endpoint_guardrail_configs(self, endpoint_id: str) -> list[Any]:
        """No guardrail of an endpoint."""
        self._ask(lambda db: existing_endpoint(db, endpoint_id, noun="Endpoint"))
        return []

    def list_gateway_guardrails(
        self, max_results: int = 1000, page_token: str | None = None
    ) -> PagedList[Any]:
        """No guardrail."""
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
