"""What a ledger cannot hold yet, read: there is none of it, and MLflow's own answers say so.

A write to one of these families is refused (`later.py`), so the answers of MLflow's SQL store on
a database without them are the truth. The UI asks them on most of its pages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import (
    SearchEvaluationDatasetsUtils,
    SearchIssuesUtils,
    SearchMCPAccessEndpointUtils,
    SearchMCPServerUtils,
    SearchMCPServerVersionUtils,
)
from mlflow.utils.validation import _parse_experiment_id, _parse_experiment_ids

from .edge import LedgerStore, start_offset
from .experiments import Experiments, active_experiment, check_max_results
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
    """Reads of assessments, evaluation data sets, scorers, issues, queues, gateway, MCP servers."""

    # --- assessments, issues

    get_assessment = _absent("Trace with request_id '{trace_id}' not found", "trace_id")
    get_issue = _absent("Issue with ID '{issue_id}' not found", "issue_id")

    def search_issues(
        self,
        experiment_id: str | None = None,
        filter_string: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
        include_trace_count: bool = False,
    ) -> PagedList[Any]:
        """No issue."""
        page = _page(max_results, page_token)
        if experiment_id is not None:
            _parse_experiment_id(experiment_id)
        SearchIssuesUtils.parse_search_filter(filter_string)
        return page

    # --- evaluation data sets

    get_dataset = _absent("Evaluation dataset with id '{dataset_id}' not found", "dataset_id")
    get_dataset_experiment_ids = _none_of_them

    def search_datasets(
        self,
        experiment_ids: list[str] | None = None,
        filter_string: str | None = None,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Any]:
        """No evaluation data set; those that runs used are another thing."""
        check_max_results(max_results)
        page = _page(max_results, page_token)
        SearchEvaluationDatasetsUtils.parse_search_filter(filter_string)
        for clause in order_by or ():
            SearchEvaluationDatasetsUtils.parse_order_by_for_search_evaluation_datasets(clause)
        return page

    # --- scorers

    get_online_scoring_configs = _none_of_them
    get_active_online_scorers = _none_of_them

    def list_scorers(self, experiment_id: str) -> list[Any]:
        """No scorer of an active experiment."""
        self._ask(lambda db: active_experiment(db, experiment_id))
        return []

    def list_scorers_across_experiments(self, experiment_ids: Sequence[str]) -> list[Any]:
        """No scorer of any experiment."""
        _parse_experiment_ids(list(experiment_ids))
        return []

    def get_scorer(self, experiment_id: str, name: str, version: int | None = None) -> NoReturn:
        """No scorer of this name."""
        self._no_scorer(experiment_id, name)

    def list_scorer_versions(self, experiment_id: str, name: str) -> NoReturn:
        """No scorer of this name."""
        self._no_scorer(experiment_id, name)

    def _no_scorer(self, experiment_id: str, name: str) -> NoReturn:
        self._ask(lambda db: active_experiment(db, experiment_id))
        raise MlflowException(
            f"Scorer with name '{name}' not found for experiment {experiment_id}.",
            RESOURCE_DOES_NOT_EXIST,
        )

    # --- review queues

    get_review_queue = _absent("Review queue with id '{queue_id}' not found.", "queue_id")
    list_review_queue_items = get_review_queue

    def list_review_queues(
        self,
        experiment_id: str,
        *,
        user: str | None = None,
        item_id: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
    ) -> PagedList[Any]:
        """No review queue of an experiment."""
        page = _page(max_results, page_token)
        self._has_queues(experiment_id)
        return page

    def get_review_queue_by_name(self, experiment_id: str, *, name: str) -> NoReturn:
        """No review queue of this name."""
        self._has_queues(experiment_id)
        raise MlflowException(
            f"Review queue with name '{name}' not found for experiment '{experiment_id}'.",
            RESOURCE_DOES_NOT_EXIST,
        )

    def _has_queues(self, experiment_id: str) -> None:
        """Refuse an experiment that is not there; to MLflow's queues a deleted one is not."""
        if not self.filter_active_experiment_ids([experiment_id]):
            raise MlflowException(
                f"No Experiment with id={experiment_id} exists", RESOURCE_DOES_NOT_EXIST
            )

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

    # --- MCP servers

    get_mcp_server = _absent("MCP server '{name}' not found", "name")
    get_mcp_server_version = _absent(
        "MCP server version '{name}' version '{version}' not found", "name", "version"
    )
    get_latest_mcp_server_version = _absent("MCPServer not found (name='{name}')", "name")
    get_mcp_access_endpoint = _absent(
        "MCPAccessEndpoint {endpoint_id} not found", "server_name", "endpoint_id"
    )

    def get_mcp_server_version_by_alias(self, name: str, alias: str) -> NoReturn:
        """No version; ``latest`` is an alias of every server."""
        message = f"Alias '{alias}' not found for MCP server '{name}'"
        if alias == "latest":
            message = f"MCPServer not found (name='{name}')"
        raise MlflowException(message, RESOURCE_DOES_NOT_EXIST)

    def search_mcp_servers(
        self,
        filter_string: str | None = None,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Any]:
        """No MCP server."""
        check_max_results(max_results)
        SearchMCPServerUtils.parse_search_filter(filter_string)
        return _page(max_results, page_token)

    def search_mcp_server_versions(
        self,
        name: str,
        filter_string: str | None = None,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Any]:
        """No version of an MCP server."""
        check_max_results(max_results)
        SearchMCPServerVersionUtils.parse_search_filter(filter_string)
        return _page(max_results, page_token)

    def search_mcp_access_endpoints(
        self,
        server_name: str | None = None,
        server_version: str | None = None,
        server_alias: str | None = None,
        filter_string: str | None = None,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Any]:
        """No endpoint of an MCP server."""
        check_max_results(max_results)
        SearchMCPAccessEndpointUtils.parse_search_filter(filter_string)
        return _page(max_results, page_token)
