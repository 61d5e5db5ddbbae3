"""The gateway's budget policies, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.entities.gateway_budget_policy import (
    BudgetAction,
    BudgetDuration,
    BudgetDurationUnit,
    BudgetTargetScope,
    BudgetUnit,
)
from mlflow.utils import crypto

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template
from .test_core import INVALID, MISSING
from .test_gateway_endpoints import endpoint_of, two_models

MAKERS["create_budget_policy"] = lambda policy: str(policy.budget_policy_id)
field_policy.FIELDS |= {
    ("GatewayBudgetPolicy", "created_at"): "time",
    ("GatewayBudgetPolicy", "last_updated_at"): "time",
}

POLICY: dict[str, Any] = {
    "budget_unit": BudgetUnit.USD,
    "budget_amount": 12.5,
    "duration": BudgetDuration(unit=BudgetDurationUnit.DAYS, value=7),
    "target_scope": BudgetTargetScope.GLOBAL,
    "budget_action": BudgetAction.ALERT,
}
USER = {"target_scope": BudgetTargetScope.USER, "target_value": "ann"}
CREATE, UPDATE = "create_budget_policy", "update_budget_policy"


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)


@pytest.mark.parametrize("scope", [*BudgetTargetScope, "GLOBAL", "USER", "odd"])
@pytest.mark.parametrize("target", [None, "", "ann"])
def test_every_scope(pair: Pair, scope: str, target: str | None) -> None:
    given = {**POLICY, "target_scope": scope, "target_value": target, "created_by": "bob"}
    policy = pair.call(CREATE, **given).ref
    if policy is not None:
        pair.ok("get_budget_policy", budget_policy_id=policy)
    pair.ok("list_budget_policies")


def test_a_policy_of_an_endpoint(pair: Pair) -> None:
    endpoint = endpoint_of(pair, *two_models(pair))
    scope = {"target_scope": BudgetTargetScope.ENDPOINT}
    policy = pair.make(CREATE, **{**POLICY, **scope, "target_value": endpoint})
    pair.fails(MISSING, CREATE, **{**POLICY, **scope, "target_value": "e"})
    pair.fails(MISSING, UPDATE, budget_policy_id=policy, target_value="e")
    pair.ok("delete_gateway_endpoint", endpoint_id=endpoint)
    pair.ok("get_budget_policy", budget_policy_id=policy)
    pair.ok(UPDATE, budget_policy_id=policy, budget_amount=1.0)
    pair.fails(MISSING, UPDATE, budget_policy_id=policy, target_value=endpoint)


def test_an_update_changes_what_is_given(pair: Pair) -> None:
    policy = pair.make(CREATE, **{**POLICY, **USER})
    hour = BudgetDuration(unit=BudgetDurationUnit.HOURS, value=1)
    pair.ok(UPDATE, budget_policy_id=policy, budget_amount=0.5, updated_by="cid")
    pair.ok(UPDATE, budget_policy_id=policy, duration=hour, budget_action="REJECT")
    pair.ok(UPDATE, budget_policy_id=policy, target_value="eve", updated_by="")
    pair.fails(INVALID, UPDATE, budget_policy_id=policy, target_value="")
    pair.fails(INVALID, UPDATE, budget_policy_id=policy, target_scope=BudgetTargetScope.ENDPOINT)
    pair.fails("INTERNAL_ERROR", UPDATE, budget_policy_id=policy, budget_unit="EUR")
    pair.fails("INTERNAL_ERROR", CREATE, **{**POLICY, "budget_action": "SHOUT"})
    pair.ok(UPDATE, budget_policy_id=policy, target_scope=BudgetTargetScope.WORKSPACE)
    pair.ok(UPDATE, budget_policy_id=policy, target_value="nobody")
    pair.fails(INVALID, UPDATE, budget_policy_id=policy, target_scope=BudgetTargetScope.USER)
    pair.ok(UPDATE, budget_policy_id=policy, **USER)
    pair.ok("get_budget_policy", budget_policy_id=policy)


def test_lists_come_in_pages(pair: Pair) -> None:
    for number in range(5):
        pair.make(CREATE, **{**POLICY, "budget_amount": float(number)})
    assert len(pair.pages("list_budget_policies", 2)) == 5
    pair.fails(INVALID, "list_budget_policies", max_results=0)
    pair.fails(INVALID, "list_budget_policies", max_results=None)


def test_what_is_gone_is_not_found(pair: Pair) -> None:
    policy = pair.make(CREATE, **POLICY)
    pair.ok("delete_budget_policy", budget_policy_id=policy)
    for method in ("get_budget_policy", "delete_budget_policy", UPDATE):
        pair.fails(MISSING, method, budget_policy_id=policy)


_policies = made(CREATE)
_given = {
    "budget_unit": st.just(BudgetUnit.USD),
    "budget_amount": st.sampled_from([0.0, 1.5, -2.0]),
    "duration": st.just(POLICY["duration"]),
    "target_scope": st.sampled_from(BudgetTargetScope),
    "budget_action": st.sampled_from(BudgetAction),
}
_targets = {"target_value": st.sampled_from([None, "", "ann", "bob"])}
_people = st.sampled_from([None, "", "ann"])
CALLS: Calls = {
    CREATE: st.fixed_dictionaries(_given, optional={**_targets, "created_by": _people}),
    UPDATE: st.fixed_dictionaries(
        {"budget_policy_id": _policies}, optional={**_given, **_targets, "updated_by": _people}
    ),
    "delete_budget_policy": st.fixed_dictionaries({"budget_policy_id": _policies}),
    "get_budget_policy": st.fixed_dictionaries({"budget_policy_id": _policies}),
    "list_budget_policies": st.fixed_dictionaries({}, optional={"max_results": st.integers(0, 3)}),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for policy in ids[CREATE]:
        pair.call("get_budget_policy", budget_policy_id=policy)
    pair.ok("list_budget_policies", max_results=100)


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
