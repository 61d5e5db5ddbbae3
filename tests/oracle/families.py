"""The small families of which random histories are compared, each by the module of its tests.

A family's module has ``CALLS``, what may be drawn, and ``_look``, which reads all there is of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from hypothesis import strategies as st
from mlflow.entities import Metric, Param, ViewType

from . import (
    test_evaluation_datasets,
    test_gateway_bindings,
    test_gateway_budgets,
    test_gateway_endpoints,
    test_gateway_guardrails,
    test_gateway_models,
    test_gateway_secrets,
    test_issues,
    test_label_schemas,
    test_mcp_servers,
    test_review_queues,
    test_scorers,
    test_traces,
)
from .family_machine import Calls, Lenient, made
from .pair import Pair, Ref

__all__ = ["CORE", "FAMILIES", "look_at_all", "look_at_core", "together"]

FAMILIES: dict[str, ModuleType] = {
    module.__name__.rpartition("test_")[2]: module
    for module in (
        test_evaluation_datasets,
        test_gateway_bindings,
        test_gateway_budgets,
        test_gateway_endpoints,
        test_gateway_guardrails,
        test_gateway_models,
        test_gateway_secrets,
        test_issues,
        test_label_schemas,
        test_mcp_servers,
        test_review_queues,
        test_scorers,
        test_traces,
    )
}

CORE: Calls = {
    "create_experiment": st.fixed_dictionaries({"name": st.sampled_from("abc")}),
    "delete_experiment": st.fixed_dictionaries({"experiment_id": made("create_experiment")}),
    "restore_experiment": st.fixed_dictionaries({"experiment_id": made("create_experiment")}),
    "_hard_delete_experiment": st.fixed_dictionaries({"experiment_id": made("create_experiment")}),
    "rename_experiment": st.fixed_dictionaries(
        {"experiment_id": made("create_experiment"), "new_name": st.sampled_from("abc")}
    ),
    "get_experiment_by_name": st.fixed_dictionaries({"experiment_name": st.sampled_from("abc")}),
    "create_run": st.fixed_dictionaries({
        "experiment_id": made("create_experiment"), "user_id": st.just("u"),
        "start_time": st.just(1), "tags": st.just([]), "run_name": st.just("r"),
    }),
    "log_metric": st.fixed_dictionaries(
        {"run_id": made("create_run"), "metric": st.just(Metric("m", 1.0, 2, 3))}
    ),
    "log_param": st.fixed_dictionaries({
        "run_id": made("create_run"),
        "param": st.sampled_from("xy").map(lambda value: Param("p", value)),
    }),
    "delete_run": st.fixed_dictionaries({"run_id": made("create_run")}),
    "get_run": st.fixed_dictionaries({"run_id": made("create_run")}),
    "create_registered_model": st.fixed_dictionaries({"name": st.sampled_from("mn")}),
    "rename_registered_model": st.fixed_dictionaries(
        {"name": st.sampled_from("mn"), "new_name": st.sampled_from("mn")}
    ),
    "delete_registered_model": st.fixed_dictionaries({"name": st.sampled_from("mn")}),
    "create_model_version": st.fixed_dictionaries(
        {"name": st.sampled_from("mn"), "source": st.just("s3://x")}
    ),
    "set_registered_model_alias": st.fixed_dictionaries(
        {"name": st.sampled_from("mn"), "alias": st.just("a"), "version": st.sampled_from("12")}
    ),
}  # fmt: skip
"""Some calls to the core store and the registry, of which test_machine.py plays all."""


def together() -> Calls:
    """The calls of all families, and of the core, as those of one."""
    drawn: defaultdict[str, list[st.SearchStrategy[dict[str, Any]]]] = defaultdict(list)
    for calls in (CORE, *(family.CALLS for family in FAMILIES.values())):
        for method, strategy in calls.items():
            drawn[method].append(strategy)
    return {method: st.one_of(strategies) for method, strategies in drawn.items()}


def look_at_core(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    pair.ok("search_experiments", view_type=ViewType.ALL)
    pair.ok(
        "search_runs", experiment_ids=ids["create_experiment"], filter_string="",
        run_view_type=ViewType.ALL,
    )  # fmt: skip
    for run_id in ids["create_run"]:
        pair.call("get_run", run_id=run_id)
    pair.ok("search_registered_models")
    pair.ok("search_model_versions")


def look_at_all(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    """Read all that the pair holds of any family."""
    for family in FAMILIES.values():
        vars(family)["_look"](Lenient(pair), ids)
    look_at_core(pair, ids)
