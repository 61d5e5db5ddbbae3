"""The small families of which random histories are compared, each by the module of its tests.

A family's module has ``CALLS``, what may be drawn, and ``_look``, which reads all there is of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from hypothesis import strategies as st
from mlflow.entities import AssessmentSource, IssueReference, Metric, Param
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

from . import (
    look,
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
from .test_scorers import judge
from .tracing import trace_id

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
    "create_logged_model": st.fixed_dictionaries(
        {"experiment_id": made("create_experiment"), "name": st.just("m")},
        optional={"source_run_id": made("create_run")},
    ),
    "delete_logged_model": st.fixed_dictionaries({"model_id": made("create_logged_model")}),
    "_hard_delete_logged_model": st.fixed_dictionaries({"model_id": made("create_logged_model")}),
    "create_prompt": st.fixed_dictionaries({"name": st.sampled_from("mpq")}),
    "create_prompt_version": st.fixed_dictionaries(
        {"name": st.sampled_from("mpq"), "template": st.just("hi {{x}}")}
    ),
    "set_prompt_alias": st.fixed_dictionaries(
        {"name": st.sampled_from("pq"), "alias": st.just("a"), "version": st.sampled_from([1, 2])}
    ),
    "delete_prompt_version": st.fixed_dictionaries(
        {"name": st.sampled_from("pq"), "version": st.sampled_from("12")}
    ),
    "delete_prompt": st.fixed_dictionaries({"name": st.sampled_from("pq")}),
    "link_prompt_version_to_run": st.fixed_dictionaries(
        {"name": st.sampled_from("pq"), "version": st.just("1"), "run_id": made("create_run")}
    ),
    "create_webhook": st.fixed_dictionaries({
        "name": st.sampled_from("wx"), "url": st.just("https://8.8.8.8/"),
        "events": st.just([WebhookEvent(WebhookEntity.PROMPT, WebhookAction.CREATED)]),
    }),
    "update_webhook": st.fixed_dictionaries(
        {"webhook_id": made("create_webhook"), "name": st.sampled_from("wx")}
    ),
    "delete_webhook": st.fixed_dictionaries({"webhook_id": made("create_webhook")}),
}  # fmt: skip
"""Some calls to the core store and the registry, of which test_machine.py plays all."""

_traces = st.integers(1, 4).map(trace_id)
LINKS: Calls = {
    "_hard_delete_run": st.fixed_dictionaries({"run_id": made("create_run")}),
    "add_items_to_review_queue": st.fixed_dictionaries(
        {"queue_id": made("create_review_queue"), "item_ids": st.lists(_traces, max_size=2)}
    ),
    "create_assessment": st.fixed_dictionaries({
        "assessment": st.builds(
            IssueReference, made("create_issue"), st.just("slow"), trace_id=_traces,
            source=st.just(AssessmentSource("HUMAN", "zoë")), create_time_ms=st.just(5),
            last_update_time_ms=st.just(6),
        )
    }),
    "delete_traces": st.fixed_dictionaries({
        "experiment_id": made("create_experiment"), "trace_ids": st.lists(_traces, min_size=1),
    }),
    "link_traces_to_run": st.fixed_dictionaries(
        {"trace_ids": st.lists(_traces, max_size=2), "run_id": made("create_run")}
    ),
    "register_scorer": st.fixed_dictionaries({
        "experiment_id": made("create_experiment"), "name": st.sampled_from("qr"),
        "serialized_scorer": st.sampled_from("ab").map("gateway:/{}".format).map(judge),
    }),
}  # fmt: skip
"""Calls to one family about what belongs to another."""


def together() -> Calls:
    """The calls of all families, and of the core, as those of one."""
    drawn: defaultdict[str, list[st.SearchStrategy[dict[str, Any]]]] = defaultdict(list)
    for calls in (CORE, LINKS, *(family.CALLS for family in FAMILIES.values())):
        for method, strategy in calls.items():
            drawn[method].append(strategy)
    return {method: st.one_of(strategies) for method, strategies in drawn.items()}


def look_at_core(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    """Read all of tracking and registry."""
    kinds = ("create_experiment", "create_run", "create_logged_model")
    look.at_tracking(pair, *(ids[kind] for kind in kinds))
    look.at_registry(pair)


def look_at_all(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    """Read all that the pair holds of any family."""
    for family in FAMILIES.values():
        vars(family)["_look"](Lenient(pair), ids)
    look_at_core(pair, ids)
