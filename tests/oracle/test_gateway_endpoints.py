"""The gateway's endpoints, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.entities import (
    FallbackConfig,
    GatewayEndpointModelConfig,
    GatewayEndpointTag,
    RoutingStrategy,
)
from mlflow.entities.gateway_endpoint import FallbackStrategy, GatewayModelLinkageType
from mlflow.utils import crypto

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MADE_BESIDE, MAKERS, Factory, Pair, Ref, Template
from .test_core import INVALID, MISSING
from .test_gateway_models import model_of, secret_of

MAKERS["create_gateway_endpoint"] = lambda endpoint: str(endpoint.endpoint_id)
MADE_BESIDE |= dict.fromkeys(
    ("create_gateway_endpoint", "update_gateway_endpoint", "get_experiment_by_name"),
    lambda made: None if made is None else made.experiment_id,
)
field_policy.FIELDS |= {
    ("GatewayEndpoint", "created_at"): "time",
    ("GatewayEndpoint", "last_updated_at"): "time",
    ("GatewayEndpoint", "tags"): "unordered",
    ("GatewayEndpointModelMapping", "created_at"): "time",
}

PRIMARY, FALLBACK = GatewayModelLinkageType.PRIMARY, GatewayModelLinkageType.FALLBACK
SPLIT = RoutingStrategy.REQUEST_BASED_TRAFFIC_SPLIT
SEQUENTIAL = FallbackConfig(strategy=FallbackStrategy.SEQUENTIAL, max_attempts=2)


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)


def use(model: str, linkage_type: GatewayModelLinkageType = PRIMARY, **given: Any) -> Any:
    """How an endpoint uses a model."""
    return GatewayEndpointModelConfig(model_definition_id=model, linkage_type=linkage_type, **given)


def endpoint_of(pair: Pair, *models: str, name: str = "chat", **given: Any) -> Ref:
    """An endpoint that was made for this."""
    configs = [use(model) for model in models]
    return pair.make("create_gateway_endpoint", name=name, model_configs=configs, **given)


def two_models(pair: Pair) -> tuple[Ref, Ref]:
    """Two model definitions that were made for this."""
    secret = secret_of(pair)
    return model_of(pair, secret), model_of(pair, secret, "large", provider="other")


@pytest.mark.parametrize("fallback", [None, FallbackConfig(), SEQUENTIAL], ids=repr)
@pytest.mark.parametrize("tracking", [True, False, None])
def test_an_endpoint_comes_back(
    pair: Pair, fallback: FallbackConfig | None, tracking: bool | None
) -> None:
    small, large = two_models(pair)
    endpoint = pair.make(
        "create_gateway_endpoint",
        name="chat",
        model_configs=[use(small, weight=3), use(large, FALLBACK, weight=0.5, fallback_order=1)],
        created_by="ann",
        routing_strategy=SPLIT,
        fallback_config=fallback,
        usage_tracking=tracking,
    )
    pair.ok("get_gateway_endpoint", endpoint_id=endpoint)
    pair.ok("get_gateway_endpoint", name="chat")
    pair.ok("list_gateway_endpoints")
    pair.ok("get_experiment_by_name", experiment_name="gateway/chat")


def test_experiments_of_endpoints(pair: Pair) -> None:
    small, _ = two_models(pair)
    given = pair.make("create_experiment", name="given")
    endpoint = endpoint_of(pair, small, experiment_id=given)
    pair.ok("delete_experiment", experiment_id=given)
    pair.ok("_hard_delete_experiment", experiment_id=given)
    pair.ok("get_gateway_endpoint", endpoint_id=endpoint)
    pair.ok("update_gateway_endpoint", endpoint_id=endpoint, usage_tracking=False)
    pair.ok("update_gateway_endpoint", endpoint_id=endpoint, usage_tracking=True)
    pair.ok("update_gateway_endpoint", endpoint_id=endpoint, experiment_id="0")
    pair.fails("BAD_REQUEST", "update_gateway_endpoint", endpoint_id=endpoint, experiment_id="77")
    pair.fails(INVALID, "update_gateway_endpoint", endpoint_id=endpoint, experiment_id="x")
    create = {"name": "new", "model_configs": [use(small)]}
    pair.fails("BAD_REQUEST", "create_gateway_endpoint", **create, experiment_id="77")
    pair.fails(INVALID, "create_gateway_endpoint", **create, experiment_id="x")
    pair.make("create_experiment", name="gateway/new")
    endpoint_of(pair, small, name="new")


def test_what_no_endpoint_can_be(pair: Pair) -> None:
    small, _ = two_models(pair)
    endpoint_of(pair, small)
    create = "create_gateway_endpoint"
    pair.fails(INVALID, create, name="none", model_configs=[])
    pair.fails(MISSING, create, name="none", model_configs=[use(small), use("d")])
    pair.fails("BAD_REQUEST", create, name="chat", model_configs=[use(small)])
    pair.fails("BAD_REQUEST", create, name="twice", model_configs=[use(small), use(small)])
    # The experiment for its traces was made before.
    pair.ok("get_experiment_by_name", experiment_name="gateway/twice")
    pair.make(create, name="both", model_configs=[use(small), use(small, FALLBACK)])


def test_an_update_changes_what_is_given(pair: Pair) -> None:
    small, large = two_models(pair)
    endpoint, other = endpoint_of(pair, small), endpoint_of(pair, large, name="other")
    update: dict[str, Any] = {"endpoint_id": endpoint}
    pair.ok("update_gateway_endpoint", **update, name="talk", updated_by="bob")
    pair.ok("update_gateway_endpoint", **update, fallback_config=SEQUENTIAL)
    pair.ok("update_gateway_endpoint", **update, routing_strategy=SPLIT, updated_by="")
    pair.ok("update_gateway_endpoint", **update, model_configs=[use(large), use(small, FALLBACK)])
    pair.ok("update_gateway_endpoint", **update, model_configs=[use(large)], updated_by="cid")
    pair.ok("update_gateway_endpoint", **update, name="talk", fallback_config=FallbackConfig())
    pair.ok("update_gateway_endpoint", **update, model_configs=[])
    pair.ok("get_gateway_endpoint", endpoint_id=endpoint)
    pair.ok("list_gateway_endpoints")
    pair.fails("BAD_REQUEST", "update_gateway_endpoint", **update, name="other")
    pair.fails(MISSING, "update_gateway_endpoint", **update, model_configs=[use("d")])
    twice = [use(large), use(large)]
    pair.fails("BAD_REQUEST", "update_gateway_endpoint", **update, model_configs=twice)
    pair.fails(MISSING, "update_gateway_endpoint", endpoint_id="e", name="other")
    pair.ok("get_gateway_endpoint", endpoint_id=other)


def test_models_are_attached_and_detached(pair: Pair) -> None:
    small, large = two_models(pair)
    endpoint = endpoint_of(pair, small)
    attach, detach = "attach_model_to_endpoint", "detach_model_from_endpoint"
    pair.ok(attach, endpoint_id=endpoint, model_config=use(large, fallback_order=3))
    pair.ok(attach, endpoint_id=endpoint, model_config=use(large, FALLBACK), created_by="bob")
    pair.ok("get_gateway_endpoint", endpoint_id=endpoint)
    taken = use(large, FALLBACK, weight=2)
    pair.fails("RESOURCE_ALREADY_EXISTS", attach, endpoint_id=endpoint, model_config=taken)
    pair.fails(MISSING, attach, endpoint_id="e", model_config=use(small))
    pair.fails(MISSING, attach, endpoint_id=endpoint, model_config=use("d"))
    pair.ok(detach, endpoint_id=endpoint, model_definition_id=large)
    pair.ok("get_gateway_endpoint", endpoint_id=endpoint)
    wrong = {"model_definition_id": large, "linkage_type": "FALLBACK"}
    pair.fails(MISSING, detach, endpoint_id=endpoint, **wrong)
    pair.ok(detach, endpoint_id=endpoint, model_definition_id=large, linkage_type="PRIMARY")
    pair.fails(MISSING, detach, endpoint_id=endpoint, model_definition_id=large)
    pair.fails(MISSING, detach, endpoint_id="e", model_definition_id=large)
    pair.ok(detach, endpoint_id=endpoint, model_definition_id=small)
    pair.ok("get_gateway_endpoint", endpoint_id=endpoint)
    pair.ok("list_gateway_endpoints")


def test_a_model_in_use_stays(pair: Pair) -> None:
    small, large = two_models(pair)
    endpoint = endpoint_of(pair, small, large)
    delete = "delete_gateway_model_definition"
    pair.fails("INVALID_STATE", delete, model_definition_id=small)
    pair.ok("detach_model_from_endpoint", endpoint_id=endpoint, model_definition_id=small)
    pair.ok(delete, model_definition_id=small)
    pair.ok("delete_gateway_endpoint", endpoint_id=endpoint)
    pair.ok(delete, model_definition_id=large)
    pair.fails(MISSING, "get_gateway_endpoint", endpoint_id=endpoint)
    pair.fails(MISSING, "delete_gateway_endpoint", endpoint_id=endpoint)


def test_lists_may_be_of_one_provider_or_secret(pair: Pair) -> None:
    secret = secret_of(pair, "second")
    models = [*two_models(pair), model_of(pair, secret, "third", provider="other")]
    for number in range(6):
        first, second = models[number % 3], models[(number + 1 + number // 3) % 3]
        endpoint_of(pair, first, *([second] if second != first else []), name=f"e{number}")
    for provider in (None, "", "openai", "other", "none"):
        for secret_id in (None, "", secret, "s"):
            pair.ok("list_gateway_endpoints", provider=provider, secret_id=secret_id)
    pair.ok("delete_gateway_secret", secret_id=secret)
    pair.ok("list_gateway_endpoints", secret_id=secret)
    pair.ok("list_gateway_endpoints")


def test_tags(pair: Pair) -> None:
    small, _ = two_models(pair)
    endpoint = endpoint_of(pair, small)
    pair.ok("list_endpoint_guardrail_configs", endpoint_id=endpoint)
    for key, value in (("b", "1"), ("a", ""), ("b", "2"), ("c", None)):
        tag = GatewayEndpointTag(key=key, value=value)
        pair.ok("set_gateway_endpoint_tag", endpoint_id=endpoint, tag=tag)
        pair.ok("get_gateway_endpoint", endpoint_id=endpoint)
    pair.ok("delete_gateway_endpoint_tag", endpoint_id=endpoint, key="b")
    pair.ok("delete_gateway_endpoint_tag", endpoint_id=endpoint, key="b")
    pair.ok("get_gateway_endpoint", endpoint_id=endpoint)
    pair.fails(MISSING, "delete_gateway_endpoint_tag", endpoint_id="e", key="b")
    pair.fails(MISSING, "set_gateway_endpoint_tag", endpoint_id="e", tag=tag)
    pair.fails(INVALID, "get_gateway_endpoint")
    pair.fails(MISSING, "get_gateway_endpoint", name="it's")


_names = st.sampled_from(["q", "q", "r", "s", ""])
_people = st.sampled_from([None, "", "ann", "bob"])
_models = made("create_gateway_model_definition")
_secrets = made("create_gateway_secret")
_endpoints = made("create_gateway_endpoint")
_experiments = made("create_experiment")
_fallbacks = st.sampled_from([None, FallbackConfig(), SEQUENTIAL])
_uses = st.builds(
    GatewayEndpointModelConfig,
    model_definition_id=_models,
    linkage_type=st.sampled_from(GatewayModelLinkageType),
    weight=st.sampled_from([1.0, 0.25]),
    fallback_order=st.sampled_from([None, 0, 1]),
)
_routes = {
    "routing_strategy": st.sampled_from([None, SPLIT]),
    "fallback_config": _fallbacks,
    "experiment_id": st.none() | _experiments,
    "usage_tracking": st.sampled_from([True, False]),
}
CALLS: Calls = {
    "create_gateway_secret": st.fixed_dictionaries(
        {"secret_name": _names, "secret_value": st.just({"api_key": "k"})}
    ),
    "delete_gateway_secret": st.fixed_dictionaries({"secret_id": _secrets}),
    "create_gateway_model_definition": st.fixed_dictionaries(
        {
            "name": _names,
            "secret_id": _secrets,
            "provider": st.sampled_from(["p", "q"]),
            "model_name": st.just("m"),
        }
    ),
    "delete_gateway_model_definition": st.fixed_dictionaries({"model_definition_id": _models}),
    "create_gateway_endpoint": st.fixed_dictionaries(
        {"name": _names, "model_configs": st.lists(_uses, max_size=3)},
        optional={"created_by": _people, **_routes},
    ),
    "update_gateway_endpoint": st.fixed_dictionaries(
        {"endpoint_id": _endpoints},
        optional={
            "name": _names,
            "model_configs": st.lists(_uses, max_size=3),
            "updated_by": st.sampled_from([None, "ann", "bob"]),
            **_routes,
        },
    ),
    "delete_gateway_endpoint": st.fixed_dictionaries({"endpoint_id": _endpoints}),
    "attach_model_to_endpoint": st.fixed_dictionaries(
        {"endpoint_id": _endpoints, "model_config": _uses}, optional={"created_by": _people}
    ),
    "detach_model_from_endpoint": st.fixed_dictionaries(
        {"endpoint_id": _endpoints, "model_definition_id": _models},
        optional={"linkage_type": st.sampled_from([None, "PRIMARY", "FALLBACK"])},
    ),
    "set_gateway_endpoint_tag": st.fixed_dictionaries(
        {
            "endpoint_id": _endpoints,
            "tag": st.builds(GatewayEndpointTag, key=_names, value=st.sampled_from(["", "v"])),
        }
    ),
    "delete_gateway_endpoint_tag": st.fixed_dictionaries(
        {"endpoint_id": _endpoints, "key": _names}
    ),
    "list_gateway_endpoints": st.fixed_dictionaries(
        {}, optional={"provider": st.sampled_from(["p", "q"]), "secret_id": _secrets}
    ),
    "delete_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
    "_hard_delete_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for endpoint_id in ids["create_gateway_endpoint"]:
        pair.call("get_gateway_endpoint", endpoint_id=endpoint_id)
    pair.ok("list_gateway_endpoints")
    pair.ok("list_gateway_model_definitions")


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
