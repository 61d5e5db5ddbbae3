"""What uses endpoints of the gateway, as MLflow's store has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import strategies as st
from mlflow.entities import GatewayEndpointModelConfig
from mlflow.entities.gateway_endpoint import GatewayModelLinkageType
from mlflow.utils import crypto

from . import field_policy
from .family_machine import Calls, made, play
from .pair import Factory, Pair, Ref, Template
from .test_core import MISSING
from .test_gateway_endpoints import endpoint_of, two_models

field_policy.FIELDS |= {
    ("GatewayEndpointBinding", "created_at"): "time",
    ("GatewayEndpointBinding", "last_updated_at"): "time",
}
# MLflow lists those of one endpoint in the order of an index, all others as they were made.
field_policy.RETURNS["list_endpoint_bindings"] = "unordered"

SCORER = {"resource_type": "scorer", "resource_id": "c/1"}


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)


def test_a_resource_is_bound_once(pair: Pair) -> None:
    endpoint = endpoint_of(pair, *two_models(pair))
    pair.ok("create_endpoint_binding", endpoint_id=endpoint, **SCORER, created_by="ann")
    pair.fails("BAD_REQUEST", "create_endpoint_binding", endpoint_id=endpoint, **SCORER)
    pair.fails(MISSING, "create_endpoint_binding", endpoint_id="e", **SCORER)
    odd = {**SCORER, "resource_type": "odd"}
    pair.fails("INTERNAL_ERROR", "create_endpoint_binding", endpoint_id=endpoint, **odd)
    pair.ok("list_endpoint_bindings")
    pair.ok("delete_endpoint_binding", endpoint_id=endpoint, **SCORER)
    pair.fails(MISSING, "delete_endpoint_binding", endpoint_id=endpoint, **SCORER)
    pair.ok("create_endpoint_binding", endpoint_id=endpoint, **SCORER)


def test_lists_may_be_of_one_endpoint_or_resource(pair: Pair) -> None:
    small, large = two_models(pair)
    endpoints = [endpoint_of(pair, small), endpoint_of(pair, large, name="other")]
    for number in range(5):
        given = {"resource_type": "scorer", "resource_id": f"c{number // 2}"}
        pair.ok("create_endpoint_binding", endpoint_id=endpoints[number % 2], **given)
    for endpoint in (None, *endpoints, "e"):
        for resource_id in (None, "c0", ""):
            pair.ok("list_endpoint_bindings", endpoint_id=endpoint, resource_id=resource_id)
    pair.ok("list_endpoint_bindings", resource_type="odd")
    pair.ok("delete_gateway_endpoint", endpoint_id=endpoints[0])
    pair.ok("list_endpoint_bindings")


_endpoints = made("create_gateway_endpoint")
_resources = {"resource_type": st.just("scorer"), "resource_id": st.sampled_from(["a", "b", ""])}
_people = st.sampled_from([None, "ann"])
_uses = st.builds(
    GatewayEndpointModelConfig,
    model_definition_id=made("create_gateway_model_definition"),
    linkage_type=st.just(GatewayModelLinkageType.PRIMARY),
)
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
    "delete_gateway_endpoint": st.fixed_dictionaries({"endpoint_id": _endpoints}),
    "create_endpoint_binding": st.fixed_dictionaries(
        {"endpoint_id": _endpoints, **_resources}, optional={"created_by": _people}
    ),
    "delete_endpoint_binding": st.fixed_dictionaries({"endpoint_id": _endpoints, **_resources}),
    "list_endpoint_bindings": st.fixed_dictionaries(
        {}, optional={"endpoint_id": _endpoints, **_resources}
    ),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for endpoint_id in ids["create_gateway_endpoint"]:
        pair.ok("list_endpoint_bindings", endpoint_id=endpoint_id)
    pair.ok("list_endpoint_bindings")


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
