"""Label schemas, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import strategies as st
from mlflow.genai.label_schemas.label_schemas import (
    InputCategorical,
    InputNumeric,
    InputPassFail,
    InputText,
    LabelSchemaType,
)

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template
from .test_core import EXISTS, INVALID, MISSING

MAKERS["create_label_schema"] = lambda schema: str(schema.schema_id)
field_policy.FIELDS |= {
    ("LabelSchema", "created_at"): "time",
    ("LabelSchema", "updated_at"): "time",
}

INPUTS = [
    InputText(max_length=9),
    InputText(),
    InputPassFail(positive_label="yes", negative_label="no"),
    InputNumeric(min_value=0, max_value=5.5),
    InputCategorical(options=["a", "b", "ключ"]),
]
SCHEMA = {"name": "quality", "type": "feedback", "input": INPUTS[0]}


@pytest.mark.parametrize("given", INPUTS, ids=repr)
@pytest.mark.parametrize("kind", [*LabelSchemaType, "feedback"])
def test_every_kind_of_input_comes_back(pair: Pair, kind: str, given: object) -> None:
    schema_id = pair.make(
        "create_label_schema", experiment_id="0", name="q", type=kind, input=given,
        instruction="Look\nclosely", enable_comment=True,
    )  # fmt: skip
    pair.ok("get_label_schema", schema_id=schema_id)
    pair.ok("get_label_schema_by_name", experiment_id="0", name="q")


def test_names_are_unique_in_an_experiment(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    pair.make("create_label_schema", experiment_id="0", **SCHEMA)
    pair.make("create_label_schema", experiment_id=other, **SCHEMA)
    second = pair.make("create_label_schema", experiment_id="0", **{**SCHEMA, "name": "second"})
    pair.fails(EXISTS, "create_label_schema", experiment_id="0", **SCHEMA)
    pair.fails(EXISTS, "update_label_schema", schema_id=second, name="quality")
    pair.ok("update_label_schema", schema_id=second, name="second")
    pair.ok("update_label_schema", schema_id=second, name="free", input=INPUTS[1])


def test_the_first_list_asks_the_default_question(pair: Pair) -> None:
    [default] = pair.ok("list_label_schemas", experiment_id="0")
    pair.ok("list_label_schemas", experiment_id="0")
    pair.fails(INVALID, "delete_label_schema", schema_id=default.schema_id)
    pair.fails(INVALID, "update_label_schema", schema_id=default.schema_id, name="x")
    pair.fails(INVALID, "create_label_schema", experiment_id="0", **{**SCHEMA, "name": "Feedback"})


def test_lists_come_in_pages(pair: Pair) -> None:
    for number in range(5):
        pair.make("create_label_schema", experiment_id="0", **{**SCHEMA, "name": f"q{number}"})
    assert len(pair.pages("list_label_schemas", 2, experiment_id="0")) == 6
    pair.fails(INVALID, "list_label_schemas", experiment_id="0", max_results=0)
    pair.fails(INVALID, "list_label_schemas", experiment_id="0", page_token="nonsense")


def test_what_is_gone_is_not_found(pair: Pair) -> None:
    schema_id = pair.make("create_label_schema", experiment_id="0", **SCHEMA)
    pair.ok("delete_label_schema", schema_id=schema_id)
    pair.ok("delete_label_schema", schema_id=schema_id)
    pair.fails(MISSING, "get_label_schema", schema_id=schema_id)
    pair.fails(MISSING, "update_label_schema", schema_id=schema_id, name="x")
    pair.fails(MISSING, "get_label_schema_by_name", experiment_id="0", name="quality")
    pair.fails(MISSING, "list_label_schemas", experiment_id="77")
    pair.ok("delete_experiment", experiment_id="0")
    pair.call("list_label_schemas", experiment_id="0")
    pair.call("create_label_schema", experiment_id="0", **SCHEMA)


def test_they_go_with_their_experiment(pair: Pair) -> None:
    experiment = pair.make("create_experiment", name="short")
    schema_id = pair.make("create_label_schema", experiment_id=experiment, **SCHEMA)
    pair.ok("delete_experiment", experiment_id=experiment)
    pair.ok("get_label_schema", schema_id=schema_id)
    pair.ok("_hard_delete_experiment", experiment_id=experiment)
    pair.fails(MISSING, "get_label_schema", schema_id=schema_id)


_names = st.sampled_from(["q", "q", "r", "s", "", "Feedback", "x" * 300])
_inputs = st.sampled_from(INPUTS)
_experiments = made("create_experiment")
_schemas = made("create_label_schema")
CALLS: Calls = {
    "create_label_schema": st.fixed_dictionaries(
        {
            "experiment_id": _experiments,
            "name": _names,
            "type": st.sampled_from([*LabelSchemaType, "feedback", "odd"]),
            "input": _inputs,
        },
        optional={"instruction": st.sampled_from([None, "", "i"]), "enable_comment": st.booleans()},
    ),
    "update_label_schema": st.fixed_dictionaries(
        {"schema_id": _schemas},
        optional={
            "name": _names,
            "instruction": st.sampled_from([None, "", "j"]),
            "enable_comment": st.booleans(),
            "input": _inputs,
        },
    ),
    "delete_label_schema": st.fixed_dictionaries({"schema_id": _schemas}),
    "get_label_schema": st.fixed_dictionaries({"schema_id": _schemas}),
    "get_label_schema_by_name": st.fixed_dictionaries(
        {"experiment_id": _experiments, "name": _names}
    ),
    "list_label_schemas": st.fixed_dictionaries(
        {"experiment_id": _experiments}, optional={"max_results": st.integers(0, 3)}
    ),
    "delete_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
    "restore_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for schema_id in ids["create_label_schema"]:
        pair.call("get_label_schema", schema_id=schema_id)
    for experiment_id in ids["create_experiment"]:
        pair.call("list_label_schemas", experiment_id=experiment_id, max_results=100)


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
