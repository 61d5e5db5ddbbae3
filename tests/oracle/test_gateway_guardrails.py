"""The gateway's guardrails, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import strategies as st
from mlflow.entities import GatewayEndpointModelConfig
from mlflow.entities.gateway_endpoint import GatewayModelLinkageType
from mlflow.entities.gateway_guardrail import GuardrailAction, GuardrailStage
from mlflow.utils import crypto

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template
from .test_core import INVALID, MISSING
from .test_gateway_endpoints import endpoint_of, two_models
from .test_scorers import PLAIN, judge

MAKERS["create_gateway_guardrail"] = lambda guardrail: str(guardrail.guardrail_id)
field_policy.FIELDS |= {
    ("GatewayGuardrail", "created_at"): "time",
    ("GatewayGuardrail", "last_updated_at"): "time",
    ("GatewayGuardrailConfig", "created_at"): "time",
    ("ScorerVersion", "creation_time"): "time",
}
# By id, of which each store has its own.
field_policy.RETURNS["list_gateway_guardrails"] = "unordered"

GUARD = {"stage": GuardrailStage.BEFORE, "action": GuardrailAction.VALIDATION}
SCORER = {"experiment_id": "0", "name": "q"}


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)


def scorer_of(pair: Pair, **said: str) -> Ref:
    given = {**SCORER, "serialized_scorer": judge(), **said}
    return pair.make("register_scorer", **given)


def guardrail_of(pair: Pair, scorer: Ref, name: str = "g") -> Ref:
    given = {"name": name, "scorer_id": scorer, "scorer_version": 1}
    return pair.make("create_gateway_guardrail", **given, **GUARD, created_by="ann")


def test_a_guardrail_is_made_from_a_version_of_a_scorer(pair: Pair) -> None:
    scorer = scorer_of(pair)
    scorer_of(pair)
    endpoint = endpoint_of(pair, *two_models(pair))
    for version in (1, 2, "1"):
        given = {"scorer_id": scorer, "scorer_version": version, **GUARD}
        pair.make("create_gateway_guardrail", name="g", **given, action_endpoint_id=endpoint)
    other = {"stage": GuardrailStage.AFTER, "action": GuardrailAction.SANITIZATION}
    named = {"name": "", "scorer_id": scorer, "scorer_version": 1, **other}
    guardrail = pair.make("create_gateway_guardrail", **named)
    pair.ok("get_gateway_guardrail", guardrail_id=guardrail)
    pair.ok("list_gateway_guardrails")
    pair.ok("delete_gateway_endpoint", endpoint_id=endpoint)
    pair.ok("list_gateway_guardrails")
    pair.ok("delete_gateway_guardrail", guardrail_id=guardrail)
    for method in ("get_gateway_guardrail", "delete_gateway_guardrail"):
        pair.fails(MISSING, method, guardrail_id=guardrail)
    pair.ok("list_gateway_guardrails")


def test_what_no_guardrail_is_made_from(pair: Pair) -> None:
    code = scorer_of(pair, name="code", serialized_scorer=PLAIN)
    given = {"name": "g", **GUARD}
    pair.fails(INVALID, "create_gateway_guardrail", **given, scorer_id=code, scorer_version=1)
    pair.fails(MISSING, "create_gateway_guardrail", **given, scorer_id="s", scorer_version=1)
    scorer = scorer_of(pair)
    given["scorer_id"] = scorer
    for version in (2, 0, "x"):
        pair.fails(MISSING, "create_gateway_guardrail", **given, scorer_version=version)
    for endpoint in ("", "e"):
        pair.fails(
            "BAD_REQUEST", "create_gateway_guardrail", **given, scorer_version=1,
            action_endpoint_id=endpoint,
        )  # fmt: skip
    for odd in ({"name": None}, {"scorer_version": None}, {"stage": "BEFORE"}):
        assert pair.call("create_gateway_guardrail", **given | {"scorer_version": 1} | odd).error
    pair.ok("list_gateway_guardrails")


def test_pages_of_guardrails(pair: Pair) -> None:
    scorer = scorer_of(pair)
    for number in range(5):
        guardrail_of(pair, scorer, str(number))
    assert len(pair.ok("list_gateway_guardrails", max_results=5)) == 5
    for size in (2, 3):
        first = pair.sides[1].tracking.list_gateway_guardrails(max_results=size)
        rest = pair.sides[1].tracking.list_gateway_guardrails(5, first.token)
        ids = [guardrail.guardrail_id for guardrail in [*first, *rest]]
        assert ids == sorted(ids)
        assert len(set(ids)) == 5
    for size in (0, -1, None, 50_001):
        pair.fails(INVALID, "list_gateway_guardrails", max_results=size)


def test_guardrails_run_in_the_order_that_an_endpoint_gives_them(pair: Pair) -> None:
    endpoint = endpoint_of(pair, *two_models(pair))
    scorer = scorer_of(pair)
    guardrails = [guardrail_of(pair, scorer, name) for name in "abcd"]
    for guardrail, order in zip(guardrails, (3, None, -1, 0), strict=True):
        given = {"endpoint_id": endpoint, "guardrail_id": guardrail}
        pair.ok("add_guardrail_to_endpoint", **given, execution_order=order, created_by="bob")
        pair.fails("RESOURCE_ALREADY_EXISTS", "add_guardrail_to_endpoint", **given)
    pair.ok("list_endpoint_guardrail_configs", endpoint_id=endpoint)
    first, second = ({"endpoint_id": endpoint, "guardrail_id": g} for g in guardrails[:2])
    pair.ok("update_endpoint_guardrail_config", **first)
    pair.ok("update_endpoint_guardrail_config", **second, execution_order=7)
    pair.ok("remove_guardrail_from_endpoint", **first)
    for method in ("update_endpoint_guardrail_config", "remove_guardrail_from_endpoint"):
        pair.fails(MISSING, method, **first)
    pair.ok("delete_gateway_guardrail", guardrail_id=guardrails[2])
    pair.ok("list_endpoint_guardrail_configs", endpoint_id=endpoint)
    pair.ok("delete_gateway_endpoint", endpoint_id=endpoint)
    pair.fails(MISSING, "list_endpoint_guardrail_configs", endpoint_id=endpoint)
    pair.fails(MISSING, "add_guardrail_to_endpoint", **first)
    pair.fails(MISSING, "remove_guardrail_from_endpoint", **second)


def test_a_guardrail_must_be_there(pair: Pair) -> None:
    endpoint = endpoint_of(pair, *two_models(pair))
    given = {"endpoint_id": endpoint, "guardrail_id": "g"}
    for method in (
        "add_guardrail_to_endpoint",
        "remove_guardrail_from_endpoint",
        "update_endpoint_guardrail_config",
    ):
        pair.fails(MISSING, method, **given)
        pair.fails(MISSING, method, endpoint_id="e", guardrail_id="g")
    pair.ok("list_endpoint_guardrail_configs", endpoint_id=endpoint)


def test_a_scorer_that_a_guardrail_names_stays(pair: Pair) -> None:
    experiment = pair.make("create_experiment", name="e")
    named = {"experiment_id": experiment, "name": "q"}
    scorer = scorer_of(pair, experiment_id=experiment)
    scorer_of(pair, experiment_id=experiment)
    guardrail = guardrail_of(pair, scorer)
    pair.fails("BAD_REQUEST", "delete_scorer", **named)
    pair.fails("BAD_REQUEST", "delete_scorer", **named, version=1)
    pair.ok("delete_scorer", **named, version=2)
    pair.fails(MISSING, "_hard_delete_experiment", experiment_id=experiment)
    pair.ok("delete_experiment", experiment_id=experiment)
    pair.fails("BAD_REQUEST", "_hard_delete_experiment", experiment_id=experiment)
    guardrail_of(pair, scorer, "of a deleted experiment")
    pair.ok("list_gateway_guardrails")
    pair.ok("get_experiment", experiment_id=experiment)
    pair.ok("restore_experiment", experiment_id=experiment)
    pair.fails("BAD_REQUEST", "delete_scorer", **named)
    pair.ok("delete_gateway_guardrail", guardrail_id=guardrail)
    pair.fails("BAD_REQUEST", "delete_scorer", **named)


def test_a_scorer_goes_once_no_guardrail_names_it(pair: Pair) -> None:
    experiment = pair.make("create_experiment", name="e")
    scorer = scorer_of(pair, experiment_id=experiment)
    guardrail = guardrail_of(pair, scorer)
    pair.ok("delete_gateway_guardrail", guardrail_id=guardrail)
    pair.ok("delete_experiment", experiment_id=experiment)
    pair.ok("_hard_delete_experiment", experiment_id=experiment)
    given = {"name": "g", "scorer_id": scorer, "scorer_version": 1}
    pair.fails(MISSING, "create_gateway_guardrail", **given, **GUARD)


_endpoints = made("create_gateway_endpoint")
_guardrails = made("create_gateway_guardrail")
_experiments = st.fixed_dictionaries({"experiment_id": made("create_experiment")})
_use = {"endpoint_id": _endpoints, "guardrail_id": _guardrails}
_order = {"execution_order": st.sampled_from([None, 0, 1, 1, 2])}
_people = {"created_by": st.sampled_from([None, "ann"])}
_uses = st.builds(
    GatewayEndpointModelConfig,
    model_definition_id=made("create_gateway_model_definition"),
    linkage_type=st.just(GatewayModelLinkageType.PRIMARY),
)
_scorer = {"experiment_id": made("create_experiment"), "name": st.sampled_from("pq")}
_of_endpoint = st.fixed_dictionaries({"endpoint_id": _endpoints})
_of_guardrail = st.fixed_dictionaries({"guardrail_id": _guardrails})
CALLS: Calls = {
    "create_gateway_secret": st.just({"secret_name": "s", "secret_value": {}}),
    "create_gateway_model_definition": st.fixed_dictionaries(
        {
            "name": st.just("m"),
            "secret_id": made("create_gateway_secret"),
            "provider": st.just("p"),
            "model_name": st.just("m"),
        }
    ),
    "create_gateway_endpoint": st.fixed_dictionaries(
        {
            "name": st.sampled_from("ab"),
            "model_configs": st.lists(_uses, min_size=1, max_size=1),
            "usage_tracking": st.just(False),
        }
    ),
    "delete_gateway_endpoint": _of_endpoint,
    "register_scorer": st.fixed_dictionaries(
        {**_scorer, "serialized_scorer": st.sampled_from([judge(), judge(None), PLAIN])}
    ),
    "delete_scorer": st.fixed_dictionaries(
        _scorer, optional={"version": st.sampled_from([None, 1, 2])}
    ),
    "create_gateway_guardrail": st.fixed_dictionaries(
        {
            "name": st.sampled_from("gh"),
            "scorer_id": made("register_scorer"),
            "scorer_version": st.sampled_from([1, 1, 1, 2]),
            "stage": st.sampled_from(list(GuardrailStage)),
            "action": st.sampled_from(list(GuardrailAction)),
        },
        optional={"action_endpoint_id": _endpoints, **_people},
    ),
    "get_gateway_guardrail": _of_guardrail,
    "delete_gateway_guardrail": _of_guardrail,
    "add_guardrail_to_endpoint": st.fixed_dictionaries(_use, optional=_order | _people),
    "update_endpoint_guardrail_config": st.fixed_dictionaries(_use, optional=_order),
    "remove_guardrail_from_endpoint": st.fixed_dictionaries(_use),
    "delete_experiment": _experiments,
    "restore_experiment": _experiments,
    "_hard_delete_experiment": _experiments,
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    pair.call("list_gateway_guardrails")
    for endpoint_id in ids["create_gateway_endpoint"]:
        pair.call("list_endpoint_guardrail_configs", endpoint_id=endpoint_id)
    for experiment_id in ids["create_experiment"]:
        pair.call("list_scorers", experiment_id=experiment_id)


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
