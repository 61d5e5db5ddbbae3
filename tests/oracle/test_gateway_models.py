"""The gateway's model definitions, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.utils import crypto

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template
from .test_core import EXISTS, INVALID, MISSING
from .test_gateway_secrets import SECRET

MAKERS["create_gateway_model_definition"] = lambda model: str(model.model_definition_id)
field_policy.FIELDS |= {
    ("GatewayModelDefinition", "created_at"): "time",
    ("GatewayModelDefinition", "last_updated_at"): "time",
}

MODEL: dict[str, Any] = {"name": "small", "provider": "openai", "model_name": "gpt-5"}


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)


def secret_of(pair: Pair, name: str = "openai") -> Ref:
    """A secret that was made for this."""
    return pair.make("create_gateway_secret", **{**SECRET, "secret_name": name})


def model_of(pair: Pair, secret: Ref, name: str = "small", **given: Any) -> Ref:
    """A model definition that was made for this."""
    return pair.make(
        "create_gateway_model_definition", secret_id=secret, **{**MODEL, "name": name, **given}
    )


def test_a_definition_comes_back(pair: Pair) -> None:
    secret = secret_of(pair)
    model = model_of(pair, secret, created_by="ann")
    pair.ok("get_gateway_model_definition", model_definition_id=model)
    pair.ok("get_gateway_model_definition", name="small")
    pair.fails(EXISTS, "create_gateway_model_definition", secret_id=secret, **MODEL)
    pair.fails(MISSING, "create_gateway_model_definition", secret_id="s", **MODEL)


def test_an_update_changes_what_is_given(pair: Pair) -> None:
    secret, other = secret_of(pair), secret_of(pair, "other")
    model, second = model_of(pair, secret), model_of(pair, secret, "second")
    update = "update_gateway_model_definition"
    pair.ok(update, model_definition_id=model, secret_id=other, updated_by="bob")
    pair.ok(update, model_definition_id=model, name="small", model_name="m", provider="p")
    pair.ok(update, model_definition_id=model, updated_by="")
    pair.fails(EXISTS, update, model_definition_id=model, name="second")
    pair.fails("BAD_REQUEST", update, model_definition_id=model, name="second", secret_id=other)
    pair.fails(MISSING, update, model_definition_id=model, name="new", secret_id="s")
    pair.fails(MISSING, update, model_definition_id="d", name="second")
    pair.ok(update, model_definition_id=second, name="third")
    pair.ok("get_gateway_model_definition", name="third")


def test_lists_may_be_of_one_provider_or_secret(pair: Pair) -> None:
    secret, other = secret_of(pair), secret_of(pair, "other")
    for number in range(5):
        model_of(pair, [secret, other][number % 2], f"m{number}", provider="pq"[number % 3 % 2])
    for provider in (None, "p", "q", "", "r"):
        for secret_id in (None, secret, other, ""):
            pair.ok("list_gateway_model_definitions", provider=provider, secret_id=secret_id)


def test_a_definition_outlives_its_secret(pair: Pair) -> None:
    secret, other = secret_of(pair), secret_of(pair, "other")
    model = model_of(pair, secret)
    pair.ok("delete_gateway_secret", secret_id=secret)
    pair.ok("get_gateway_model_definition", model_definition_id=model)
    pair.ok("list_gateway_model_definitions", secret_id=secret)
    pair.ok("list_gateway_model_definitions")
    pair.ok("update_gateway_model_definition", model_definition_id=model, secret_id=other)


def test_what_is_gone_is_not_found(pair: Pair) -> None:
    model = model_of(pair, secret_of(pair))
    pair.ok("delete_gateway_model_definition", model_definition_id=model)
    pair.fails(MISSING, "delete_gateway_model_definition", model_definition_id=model)
    pair.fails(MISSING, "get_gateway_model_definition", model_definition_id=model)
    pair.fails(MISSING, "get_gateway_model_definition", name="small")
    pair.fails(INVALID, "get_gateway_model_definition")
    pair.fails(INVALID, "get_gateway_model_definition", name="", model_definition_id="")


_names = st.sampled_from(["q", "q", "r", "s", ""])
_texts = st.sampled_from(["p", "q"])
_people = st.sampled_from([None, "", "ann", "bob"])
_secrets = made("create_gateway_secret")
_models = made("create_gateway_model_definition")
CALLS: Calls = {
    "create_gateway_secret": st.fixed_dictionaries(
        {"secret_name": _names, "secret_value": st.just({"api_key": "k"})}
    ),
    "delete_gateway_secret": st.fixed_dictionaries({"secret_id": _secrets}),
    "create_gateway_model_definition": st.fixed_dictionaries(
        {"name": _names, "secret_id": _secrets, "provider": _texts, "model_name": _texts},
        optional={"created_by": _people},
    ),
    "update_gateway_model_definition": st.fixed_dictionaries(
        {"model_definition_id": _models},
        optional={
            "name": _names,
            "secret_id": _secrets,
            "provider": _texts,
            "model_name": _texts,
            "updated_by": _people,
        },
    ),
    "delete_gateway_model_definition": st.fixed_dictionaries({"model_definition_id": _models}),
    "list_gateway_model_definitions": st.fixed_dictionaries(
        {}, optional={"provider": _texts, "secret_id": _secrets}
    ),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for model_id in ids["create_gateway_model_definition"]:
        pair.call("get_gateway_model_definition", model_definition_id=model_id)
    pair.ok("list_gateway_model_definitions")


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
