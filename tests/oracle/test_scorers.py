"""Scorers, their versions and online scoring, as MLflow's store has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import strategies as st
from mlflow.utils import crypto

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template
from .test_core import INVALID, MISSING
from .test_gateway_endpoints import endpoint_of, two_models

MAKERS["register_scorer"] = lambda version: str(version.scorer_id)
MAKERS["upsert_online_scoring_config"] = lambda config: str(config.online_scoring_config_id)
field_policy.FIELDS |= {
    ("ScorerVersion", "creation_time"): "time",
    ("GatewayEndpointBinding", "created_at"): "time",
    ("GatewayEndpointBinding", "last_updated_at"): "time",
}
# MLflow selects these without ORDER BY.
field_policy.RETURNS |= {
    "get_active_online_scorers": "unordered",
    "get_online_scoring_configs": "unordered",
}


def judge(model: object = "openai:/gpt-4o", field: str = "outputs") -> str:
    """A judge, written as MLflow does but for the blanks."""
    data = {"model": model, "instructions": f"Is {{{{ {field} }}}} good?"}
    said = {
        "name": "q",
        "mlflow_version": "3.17.2",
        "serialization_version": 1,
        "instructions_judge_pydantic_data": data,
    }
    return json.dumps(said, separators=(",", ":"))


def nested(model: object) -> str:
    base = {"builtin_scorer_pydantic_data": {"model": model}}
    return json.dumps({"memory_augmented_judge_data": {"base_judge": base}})


PLAIN = json.dumps({"name": "q", "call_source": "return 1"})
ON = {"experiment_id": "0", "scorer_name": "q"}


@pytest.mark.parametrize(
    "text",
    [
        PLAIN, judge(), judge(None), nested("openai:/x"), '{"name":  "ключ"}', "{}",
        json.dumps({"name": "large", "call_source": "é" * 300_000}),
    ],
    ids=["plain", "judge", "no model", "nested", "odd", "empty", "large"],
)  # fmt: skip
def test_every_kind_of_scorer_comes_back(pair: Pair, text: str) -> None:
    for number in (1, 2):
        pair.make("register_scorer", experiment_id="0", name="q", serialized_scorer=text)
        pair.ok("get_scorer", experiment_id="0", name="q")
        pair.ok("get_scorer", experiment_id="0", name="q", version=number)
    pair.ok("list_scorer_versions", experiment_id="0", name="q")
    pair.ok("list_scorers", experiment_id="0")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "7", "null"])
def test_what_is_no_scorer(pair: Pair, text: str) -> None:
    pair.fails(
        "INTERNAL_ERROR", "register_scorer", experiment_id="0", name="q", serialized_scorer=text
    )
    pair.ok("list_scorers", experiment_id="0")


@pytest.mark.parametrize("name", [None, "", "  ", 7])
def test_senseless_names(pair: Pair, name: object) -> None:
    pair.fails(INVALID, "register_scorer", experiment_id="0", name=name, serialized_scorer=PLAIN)


@pytest.mark.parametrize("model", ["", "  ", 7, ["x"]])
def test_senseless_models(pair: Pair, model: object) -> None:
    text = judge(model)
    pair.fails(INVALID, "register_scorer", experiment_id="0", name="q", serialized_scorer=text)


def test_a_gateway_endpoint_must_be_there(pair: Pair) -> None:
    text = judge("gateway:/none")
    pair.fails(MISSING, "register_scorer", experiment_id="0", name="q", serialized_scorer=text)
    pair.ok("list_scorers", experiment_id="0")


def test_numbers_follow_the_highest_that_is_there(pair: Pair) -> None:
    scorer = {"experiment_id": "0", "name": "q"}
    for _ in range(11):
        pair.make("register_scorer", **scorer, serialized_scorer=PLAIN)
    for version in (11, 2, "3", 10):
        pair.ok("delete_scorer", **scorer, version=version)
    pair.make("register_scorer", **scorer, serialized_scorer=judge())
    assert pair.ok("get_scorer", **scorer).scorer_version == 10
    pair.ok("list_scorer_versions", **scorer)
    pair.ok("list_scorers", experiment_id="0")
    pair.ok("get_scorer", **scorer, version="4")
    for version in (2, 0, -1, "x", 1.5):
        pair.fails(MISSING, "get_scorer", **scorer, version=version)
        pair.fails(MISSING, "delete_scorer", **scorer, version=version)


def test_a_scorer_stays_without_versions_until_it_is_deleted(pair: Pair) -> None:
    scorer = {"experiment_id": "0", "name": "q"}
    first = pair.make("register_scorer", **scorer, serialized_scorer=PLAIN)
    pair.ok("upsert_online_scoring_config", **ON, sample_rate=0)
    pair.ok("delete_scorer", **scorer, version=1)
    for method in ("get_scorer", "list_scorer_versions", "delete_scorer"):
        pair.fails(MISSING, method, **scorer)
    pair.ok("list_scorers", experiment_id="0")
    pair.ok("get_online_scoring_configs", scorer_ids=[first])
    pair.ok("upsert_online_scoring_config", **ON, sample_rate=0.5)
    pair.ok("get_active_online_scorers")
    assert pair.make("register_scorer", **scorer, serialized_scorer=PLAIN) == first
    pair.ok("delete_scorer", **scorer)
    assert pair.ok("get_online_scoring_configs", scorer_ids=[first]) == []
    assert pair.make("register_scorer", **scorer, serialized_scorer=PLAIN) != first
    pair.ok("get_online_scoring_configs", scorer_ids=[first])


def test_what_is_not_there(pair: Pair) -> None:
    for experiment_id in ("0", "", None):
        for method in ("get_scorer", "list_scorer_versions", "delete_scorer"):
            pair.fails(MISSING, method, experiment_id=experiment_id, name="q")
        pair.ok("list_scorers", experiment_id=experiment_id)
        pair.fails(
            MISSING, "upsert_online_scoring_config", experiment_id=experiment_id, scorer_name="q",
            sample_rate=0.5,
        )  # fmt: skip
    pair.fails(MISSING, "list_scorers", experiment_id="77")
    pair.fails(MISSING, "get_scorer", experiment_id="77", name="q")
    pair.fails(INVALID, "list_scorers", experiment_id="x")
    pair.fails(INVALID, "list_scorers_across_experiments", experiment_ids=["0", "x"])
    pair.fails(MISSING, "register_scorer", experiment_id="77", name="q", serialized_scorer="x")
    for ids in ([], ["0", "77"], ["77"]):
        pair.ok("list_scorers_across_experiments", experiment_ids=ids)
    pair.ok("get_online_scoring_configs", scorer_ids=["s"])
    pair.ok("get_online_scoring_configs", scorer_ids=[])
    pair.ok("get_active_online_scorers")


def test_lists_go_over_experiments_deleted_ones_too(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    for experiment_id in (other, "0"):
        for name in ("ß", "b", "B", "a"):
            scorer = {"experiment_id": experiment_id, "name": name}
            pair.make("register_scorer", **scorer, serialized_scorer=judge())
    pair.ok("list_scorers", experiment_id=other)
    pair.ok("delete_experiment", experiment_id=other)
    found = pair.ok("list_scorers_across_experiments", experiment_ids=[other, "0", "77", other])
    assert len(found) == 8
    scorer = {"experiment_id": other, "name": "a"}
    pair.fails(INVALID, "list_scorers", experiment_id=other)
    for method in ("get_scorer", "list_scorer_versions", "delete_scorer"):
        pair.fails(INVALID, method, **scorer)
    pair.fails(INVALID, "register_scorer", **scorer, serialized_scorer=PLAIN)
    pair.fails(
        INVALID, "upsert_online_scoring_config", experiment_id=other, scorer_name="a", sample_rate=0
    )
    pair.ok("_hard_delete_experiment", experiment_id=other)
    assert len(pair.ok("list_scorers_across_experiments", experiment_ids=[other, "0"])) == 4


def test_online_scoring(pair: Pair) -> None:
    scorer_id = pair.make("register_scorer", experiment_id="0", name="q", serialized_scorer=judge())
    for rate in (0, 0.0, False):
        pair.ok("upsert_online_scoring_config", **ON, sample_rate=rate)
        pair.ok("get_online_scoring_configs", scorer_ids=[scorer_id, scorer_id])
    for filter_string in ("status = 'OK'", "", None):
        pair.ok("upsert_online_scoring_config", **ON, sample_rate=0, filter_string=filter_string)
        pair.ok("get_online_scoring_configs", scorer_ids=[scorer_id])
    for wrong in ("1", None, -0.1, 1.1, float("nan"), 0.5):
        pair.fails(INVALID, "upsert_online_scoring_config", **ON, sample_rate=wrong)
    for wrong in ("nonsense", 7):
        pair.fails(
            INVALID, "upsert_online_scoring_config", **ON, sample_rate=0, filter_string=wrong
        )
    pair.fails(INVALID, "upsert_online_scoring_config", **{**ON, "experiment_id": ""},
        sample_rate=0)  # fmt: skip
    pair.ok("get_active_online_scorers")


@pytest.mark.skipif(
    find_spec("mlflow.genai.scorers.online.container_scoring") is None,
    reason="code scores traces in containers from MLflow 3.18 on",
)
def test_code_scores_traces_in_containers(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"name": "q", "mlflow_version": "3.18.0", "serialization_version": 1}
    code = said | {"call_source": "return 1", "original_func_name": "q"}
    texts = [
        code | {"call_signature": "(outputs)"},
        code | {"call_signature": "(outputs, expectations)"},
        code | {"call_signature": "(outputs)", "call_source": ""},
        said | {"ensemble": [code]},
    ]
    for number, data in enumerate(texts):
        given = {"experiment_id": "0", "name": f"q{number}", "serialized_scorer": json.dumps(data)}
        pair.call("register_scorer", **given)
    for backend, enabled in ("local", "true"), ("docker", "true"), ("docker", "false"):
        monkeypatch.setenv("MLFLOW_JOB_CUSTOM_SCORER_EXECUTOR_BACKEND", backend)
        monkeypatch.setenv("MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS", enabled)
        for number in range(len(texts)):
            on = {"experiment_id": "0", "scorer_name": f"q{number}", "sample_rate": 0.5}
            pair.call("upsert_online_scoring_config", **on)
        pair.ok("get_active_online_scorers")


_names = st.sampled_from(["q", "q", "r", "s", "", "x" * 300])
_texts = st.sampled_from([PLAIN, judge(), judge(None), nested("openai:/x"), "no JSON"])
_versions = st.sampled_from([None, 1, 1, 2, 3, "2"])
_experiments = made("create_experiment")
_one = {"experiment_id": _experiments, "name": _names}
CALLS: Calls = {
    "register_scorer": st.fixed_dictionaries({**_one, "serialized_scorer": _texts}),
    "get_scorer": st.fixed_dictionaries(_one, optional={"version": _versions}),
    "delete_scorer": st.fixed_dictionaries(_one, optional={"version": _versions}),
    "list_scorer_versions": st.fixed_dictionaries(_one),
    "list_scorers": st.fixed_dictionaries({"experiment_id": _experiments}),
    "list_scorers_across_experiments": st.fixed_dictionaries(
        {"experiment_ids": st.lists(_experiments, max_size=3)}
    ),
    "upsert_online_scoring_config": st.fixed_dictionaries(
        {
            "experiment_id": _experiments,
            "scorer_name": _names,
            "sample_rate": st.sampled_from([0, 0.0, 0.5]),
        },
        optional={"filter_string": st.sampled_from([None, "", "status = 'OK'", "odd"])},
    ),
    "get_online_scoring_configs": st.fixed_dictionaries(
        {"scorer_ids": st.lists(made("register_scorer"), max_size=3)}
    ),
    "delete_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
    "restore_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    pair.call("get_online_scoring_configs", scorer_ids=ids["register_scorer"])
    pair.call("get_active_online_scorers")
    pair.call("list_scorers_across_experiments", experiment_ids=ids["create_experiment"])
    for experiment_id in ids["create_experiment"]:
        for name in ("q", "r", "s"):
            pair.call("list_scorer_versions", experiment_id=experiment_id, name=name)


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)


def test_a_scorer_is_bound_to_its_endpoint(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "PBKDF2_ITERATIONS", 1000)
    small, large = two_models(pair)
    endpoints = [endpoint_of(pair, small, name="main"), endpoint_of(pair, large, name="other")]
    for name in ("main", "other", "main"):
        text = judge(f"gateway:/{name}")
        pair.make("register_scorer", experiment_id="0", name="q", serialized_scorer=text)
        pair.ok("list_endpoint_bindings")
        pair.ok("get_scorer", experiment_id="0", name="q")
    pair.ok("delete_scorer", experiment_id="0", name="q", version=1)
    pair.ok("list_endpoint_bindings")
    pair.make("register_scorer", experiment_id="0", name="q", serialized_scorer=PLAIN)
    pair.ok("list_endpoint_bindings")
    pair.ok("delete_gateway_endpoint", endpoint_id=endpoints[0])
    pair.ok("list_scorer_versions", experiment_id="0", name="q")
    pair.ok("delete_scorer", experiment_id="0", name="q")
    pair.ok("list_endpoint_bindings")
