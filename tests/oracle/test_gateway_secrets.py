"""The gateway's secrets, as MLflow's store has them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.utils import crypto

from mlflow_ledger.query.detail import full, short
from tests.families.gateway_secrets import CREATED

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template
from .test_core import EXISTS, INVALID, MISSING

MAKERS["create_gateway_secret"] = lambda secret: str(secret.secret_id)
field_policy.FIELDS |= {
    ("GatewaySecretInfo", "created_at"): "time",
    ("GatewaySecretInfo", "last_updated_at"): "time",
}

KEY = "sk-this-must-never-be-seen-1234"
SECRET: dict[str, Any] = {"secret_name": "openai", "secret_value": {"api_key": KEY}}


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 000 rounds take half a second for each call; how many there are is MLflow's affair."""
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)


@pytest.mark.parametrize(
    "value",
    [{"api_key": KEY}, {"a": "short", "b": "ключ-ключ-ключ"}, {}, {"n": 5}],
    ids=["one", "two", "none", "number"],
)
@pytest.mark.parametrize("config", [None, {}, {"auth_mode": "x", "deep": [1]}], ids=repr)
def test_every_kind_of_value_comes_back_masked(
    pair: Pair, value: dict[str, Any], config: dict[str, Any] | None
) -> None:
    secret = pair.make(
        "create_gateway_secret", secret_name="n", secret_value=value, provider="openai",
        auth_config=config, created_by="ann",
    )  # fmt: skip
    pair.ok("get_secret_info", secret_id=secret)
    pair.ok("get_secret_info", secret_name="n")
    pair.ok("_get_decrypted_secret", secret_id=secret)


def test_names_are_unique(pair: Pair) -> None:
    first = pair.make("create_gateway_secret", **SECRET)
    pair.fails(EXISTS, "create_gateway_secret", **SECRET)
    pair.ok("delete_gateway_secret", secret_id=first)
    pair.make("create_gateway_secret", **SECRET)


def test_an_update_changes_what_is_given(pair: Pair) -> None:
    secret = pair.make("create_gateway_secret", **SECRET, auth_config={"a": "b"}, created_by="ann")
    pair.ok("update_gateway_secret", secret_id=secret, secret_value={"x": "y" * 30})
    pair.ok("_get_decrypted_secret", secret_id=secret)
    pair.ok("update_gateway_secret", secret_id=secret, auth_config={"c": 1}, updated_by="bob")
    pair.ok("update_gateway_secret", secret_id=secret, updated_by="cid")
    pair.ok("update_gateway_secret", secret_id=secret, auth_config={}, secret_value={})
    pair.ok("_get_decrypted_secret", secret_id=secret)
    pair.ok("get_secret_info", secret_id=secret)


def test_lists_are_in_order_of_creation(pair: Pair) -> None:
    for number in range(4):
        given = {**SECRET, "secret_name": f"n{number}", "provider": ["a", None, "b"][number % 3]}
        pair.make("create_gateway_secret", **given)
    for provider in (None, "a", "c", ""):
        pair.ok("list_secret_infos", provider=provider)


def test_what_is_gone_is_not_found(pair: Pair) -> None:
    secret = pair.make("create_gateway_secret", **SECRET)
    pair.ok("delete_gateway_secret", secret_id=secret)
    for method in ("delete_gateway_secret", "update_gateway_secret", "_get_decrypted_secret"):
        pair.fails(MISSING, method, secret_id=secret)
    pair.fails(MISSING, "get_secret_info", secret_id=secret)
    pair.fails(MISSING, "get_secret_info", secret_name="openai")
    pair.fails(MISSING, "get_secret_info", secret_id="")
    pair.fails(MISSING, "get_secret_info", secret_name="")
    pair.fails(INVALID, "get_secret_info")
    pair.fails(INVALID, "get_secret_info", secret_id="s", secret_name="n")


def test_no_clear_secret_is_anywhere_in_the_folder(pair: Pair, tmp_path: Path) -> None:
    secret = pair.make("create_gateway_secret", **SECRET)
    pair.ok("update_gateway_secret", secret_id=secret, secret_value={"api_key": KEY + "5678"})
    pair.fails(EXISTS, "create_gateway_secret", **SECRET)
    pair.ok("search_runs", experiment_ids=["0"], filter_string=None, run_view_type=3)
    forms = [KEY.encode(), base64.b64encode(KEY.encode())[:-4], KEY.encode("utf-16-le")]
    read = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"gateway_secrets" in data or b"openai" in data for data in read)
    assert not any(form in data for data in read for form in forms)


def test_the_audit_shows_neither_the_value_nor_its_key() -> None:
    for shown in (short(CREATED), full(CREATED)["content"]):
        assert shown["secret"] == shown["secret_key"] == "(encrypted)"
    assert full(CREATED)["secret_id"] == "s1"


_names = st.sampled_from(["q", "q", "r", "s", ""])
_values = st.sampled_from([{"api_key": KEY}, {}, {"a": "b", "c": "d" * 20}])
_people = st.sampled_from([None, "", "ann", "bob"])
_configs = st.sampled_from([None, {}, {"auth_mode": "m"}])
_secrets = made("create_gateway_secret")
CALLS: Calls = {
    "create_gateway_secret": st.fixed_dictionaries(
        {"secret_name": _names, "secret_value": _values},
        optional={
            "provider": st.sampled_from([None, "", "p", "q"]),
            "auth_config": _configs,
            "created_by": _people,
        },
    ),
    "update_gateway_secret": st.fixed_dictionaries(
        {"secret_id": _secrets},
        optional={
            "secret_value": st.none() | _values,
            "auth_config": _configs,
            "updated_by": _people,
        },
    ),
    "delete_gateway_secret": st.fixed_dictionaries({"secret_id": _secrets}),
    "get_secret_info": st.fixed_dictionaries(
        {}, optional={"secret_id": _secrets, "secret_name": _names}
    ),
    "list_secret_infos": st.fixed_dictionaries({}, optional={"provider": st.sampled_from(["p"])}),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for secret_id in ids["create_gateway_secret"]:
        pair.call("_get_decrypted_secret", secret_id=secret_id)
    pair.ok("list_secret_infos")


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
