"""Where ours is meant to differ from MLflow's store: both sides of each difference.

docs/differences.md says why. If MLflow changes its mind, a test here fails.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from mlflow.entities import (
    AssessmentSource,
    ExperimentTag,
    Feedback,
    GatewayEndpointModelConfig,
    LoggedModelTag,
    Metric,
    Param,
    RunTag,
)
from mlflow.entities.gateway_budget_policy import BudgetDuration, BudgetDurationUnit
from mlflow.entities.gateway_endpoint import GatewayModelLinkageType
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.gateway.config_resolver import get_endpoint_config
from mlflow.utils.search_utils import SearchUtils

from .pair import Answer, Factory, Pair, Text
from .stores import make_ledger
from .test_core import INVALID, new_run
from .test_gateway_models import model_of, secret_of
from .tracing import span, trace, trace_id

RUN: dict[str, Any] = {"user_id": "u", "start_time": 1, "tags": [], "run_name": "n"}


@pytest.fixture(autouse=True)
def _ours(factory: Factory) -> None:
    if factory is not make_ledger:
        pytest.skip("MLflow's store does not differ from itself")


def both(pair: Pair, method: str, **kwargs: Any) -> tuple[Answer, list[str | None]]:
    """Both answers, and the codes with which they were refused."""
    answer = pair.compare(method, **kwargs)
    return answer, [answer.error, answer.other_error]


@pytest.mark.parametrize("given", ["", None], ids=repr)
def test_a_write_names_its_experiment(pair: Pair, given: Any) -> None:
    _, codes = both(pair, "rename_experiment", experiment_id=given, new_name="x")
    assert codes == [None, INVALID]


def test_a_run_without_an_experiment(pair: Pair) -> None:
    _, codes = both(pair, "create_run", experiment_id=None, **RUN)
    assert codes == [None, INVALID]
    found = {"experiment_ids": ["0"], "filter_string": "", "run_view_type": 1}
    assert pair.ok("search_runs", **found) == []  # MLflow's run lies nowhere


@pytest.mark.parametrize(
    ("method", "kwargs"),
    [
        ("create_run", RUN),
        ("create_logged_model", {"name": "m"}),
        ("set_experiment_tag", {"tag": ExperimentTag("k", "v")}),
    ],
    ids=["run", "logged model", "tag"],
)
def test_an_id_is_read_once(pair: Pair, method: str, kwargs: dict[str, Any]) -> None:
    pair.ok("get_experiment", experiment_id="0_0")
    _, codes = both(pair, method, experiment_id="0_0", **kwargs)
    assert codes == ["BAD_REQUEST", None]


@pytest.mark.parametrize("given", [1.5, "1"], ids=repr)
def test_times_of_runs_are_whole(pair: Pair, given: Any) -> None:
    answer, _ = both(pair, "create_run", experiment_id="0", **{**RUN, "start_time": given})
    assert [run.info.start_time for run in (answer.value, answer.other)] == [given, 1]
    args = {"run_status": None, "run_name": None, "end_time": given}
    answer, _ = both(pair, "update_run_info", run_id=new_run(pair), **args)
    assert [info.end_time for info in (answer.value, answer.other)] == [given, 1]


@pytest.mark.parametrize("field", ["timestamp", "step"])
def test_times_and_steps_of_metrics_are_whole(pair: Pair, field: str) -> None:
    run = new_run(pair)
    pair.ok(
        "log_metric", run_id=run, metric=Metric("m", 1.0, **{"timestamp": 1, "step": 1, field: 1.5})
    )
    answer, _ = both(pair, "get_metric_history", run_id=run, metric_key="m")
    assert [getattr(found[0], field) for found in (answer.value, answer.other)] == [1.5, 1]
    endless = Metric("n", 1.0, **{"timestamp": 1, "step": 1, field: math.inf})
    _, codes = both(pair, "log_metric", run_id=run, metric=endless)
    assert codes == [None, INVALID]


def test_a_name_is_a_text(pair: Pair) -> None:
    _, codes = both(pair, "create_run", experiment_id="0", **{**RUN, "run_name": 5})
    assert codes == [None, INVALID]


def test_a_param_is_a_text(pair: Pair) -> None:
    run = new_run(pair)
    pair.ok("log_batch", run_id=run, metrics=[], params=[Param("p", b"1")], tags=[])
    answer, _ = both(pair, "get_run", run_id=run)
    assert [found.data.params["p"] for found in (answer.value, answer.other)] == [b"1", "b'1'"]


@pytest.mark.parametrize(
    ("value", "code"), [(2**53 + 1, "BAD_REQUEST"), (10**30, "INTERNAL_ERROR")]
)
def test_a_large_integer_twice(pair: Pair, value: int, code: str) -> None:
    run, metric = new_run(pair), Metric("m", value, 1, 0)
    pair.ok("log_metric", run_id=run, metric=metric)
    _, codes = both(pair, "log_metric", run_id=run, metric=metric)
    assert codes == [code, None]
    pair.ok("get_metric_history", run_id=run, metric_key="m")


UNKNOWN = Metric("bad", 1, 1, 0, model_id="m-" + "f" * 32)


@pytest.mark.parametrize(
    "metrics",
    [
        pytest.param([Metric("m", 1, 2**63, 0)], id="a time that is too large"),
        pytest.param([Metric("m", 1, 1, 0), UNKNOWN], id="a logged model that is not there"),
    ],
)
def test_a_batch_is_kept_whole_or_not_at_all(pair: Pair, metrics: list[Metric]) -> None:
    run = new_run(pair)
    batch = {"metrics": metrics, "params": [Param("p", "1")], "tags": [RunTag("t", "x")]}
    answer, codes = both(pair, "log_batch", run_id=run, **batch)
    assert codes[0] == codes[1] is not None
    answer, _ = both(pair, "get_run", run_id=run)
    assert answer.value.data.params == {"p": "1"}
    assert answer.other.data.params == answer.other.data.metrics == {}
    assert {"t"}.isdisjoint(answer.value.data.tags | answer.other.data.tags)


@pytest.mark.parametrize(
    "taken", [{"value": 2.0}, {"value": 1.0, "dataset_name": "d", "dataset_digest": "1"}], ids=repr
)
def test_a_batch_with_a_metric_that_a_model_has(pair: Pair, taken: dict[str, Any]) -> None:
    run = new_run(pair)
    model = pair.make("create_logged_model", experiment_id="0", name="m")
    metric = {"key": "m", "timestamp": 1, "step": 0, "model_id": model}
    pair.ok("log_metric", run_id=run, metric=Metric(value=1.0, **metric))
    batch = [Metric(**{**metric, **taken}), Metric("new", 1, 1, 0)]
    _, codes = both(pair, "log_batch", run_id=run, metrics=batch, params=[], tags=[])
    assert codes == ["BAD_REQUEST", "BAD_REQUEST"]
    answer, _ = both(pair, "get_run", run_id=run)
    assert ["new" in found.data.metrics for found in (answer.value, answer.other)] == [True, False]


def test_a_token_that_no_answer_had(pair: Pair) -> None:
    pair.make("create_experiment", name="second")
    pair.make("create_experiment", name="third")
    answer = pair.compare(
        "search_experiments", max_results=2, page_token=SearchUtils.create_page_token(-1)
    )
    assert [len(found) for found in (answer.value, answer.other)] == [2, 2]
    offsets = [
        SearchUtils.parse_start_offset_from_page_token(found.token)
        for found in (answer.value, answer.other)
    ]
    assert offsets == [1, 2]  # MLflow's next page has the second experiment once more


@pytest.mark.parametrize("weight", [math.inf, math.nan], ids=repr)
def test_weights_and_amounts_are_finite(pair: Pair, weight: float) -> None:
    model = model_of(pair, secret_of(pair))
    config = GatewayEndpointModelConfig(model, GatewayModelLinkageType.PRIMARY, weight=weight)
    create = {"name": "e", "model_configs": [config], "usage_tracking": False}
    _, codes = both(pair, "create_gateway_endpoint", **create)
    mlflow = None if weight == math.inf else "BAD_REQUEST"
    assert codes == [mlflow, INVALID]
    policy = {
        "budget_unit": "USD",
        "budget_amount": weight,
        "duration": BudgetDuration(BudgetDurationUnit.DAYS, 1),
        "target_scope": "GLOBAL",
        "budget_action": "ALERT",
    }
    _, codes = both(pair, "create_budget_policy", **policy)
    assert codes == [mlflow, INVALID]


def test_mlflows_gateway_serves_its_own_store_alone(pair: Pair) -> None:
    with pytest.raises(MlflowException, match="only supported with SqlAlchemyStore"):
        get_endpoint_config("chat", pair.sides[1].tracking)
    with pytest.raises(MlflowException, match="GatewayEndpoint not found"):
        get_endpoint_config("chat", pair.sides[0].tracking)


def test_a_logged_models_tag_has_a_limit(pair: Pair) -> None:
    model = pair.make("create_logged_model", experiment_id="0", name="m")
    tags = [LoggedModelTag("t", "x" * 600_000)]
    answer, codes = both(pair, "set_logged_model_tags", model_id=model, tags=tags)
    assert codes == [None, INVALID]
    assert "at most 524288" in str(answer.mismatches)


def test_a_trace_told_again_answers_with_its_tags(pair: Pair) -> None:
    pair.ok("start_trace", trace_info=trace(tags={"a": "1"}))
    answer, _ = both(pair, "start_trace", trace_info=trace(tags={"b": "2"}))
    assert "b" not in answer.value.tags
    assert answer.other.tags["b"] == "2"
    pair.ok("get_trace_info", trace_id=trace_id(1))


def test_a_link_to_a_run_can_be_taken_away(pair: Pair) -> None:
    run_id = new_run(pair)
    pair.ok("start_trace", trace_info=trace())
    given = {"trace_ids": [trace_id(1)], "run_id": run_id}
    pair.ok("link_traces_to_run", **given)
    _, codes = both(pair, "unlink_traces_from_run", **given)
    assert codes == ["NotImplementedError", None]
    found, _ = both(
        pair, "search_traces", locations=["0"], filter_string=Text("run_id = '{}'", run_id)
    )
    assert [len(found.value[0]), len(found.other[0])] == [1, 0]


def test_the_id_of_an_assessment_is_its_traces_own(pair: Pair) -> None:
    for number in (1, 2):
        pair.ok("start_trace", trace_info=trace(number))
    pair.ok("create_assessment", assessment=feedback(trace_id(1)))
    _, codes = both(pair, "create_assessment", assessment=feedback(trace_id(2)))
    assert codes == ["INTERNAL_ERROR", None]


def feedback(of: str) -> Feedback:
    """An assessment of a trace, with an id that its maker chose."""
    made = Feedback(source=AssessmentSource("HUMAN", "zoë"), trace_id=of, name="good", value=True)
    made.assessment_id = "a-1"
    return made


def test_a_large_span_is_searched_in_part(pair: Pair) -> None:
    text = "begins " + "x" * 300_000 + " ends"
    pair.ok("log_spans", location="0", spans=[span(q=text)])
    [[kept]] = [each.data.spans for each in pair.ok("batch_get_traces", trace_ids=[trace_id(1)])]
    assert kept.attributes["q"] == text
    for part, there in (("begins", [1, 1]), ("ends", [1, 0])):
        wanted = f"span.attributes.q LIKE '%{part}%'"
        found, _ = both(pair, "search_traces", locations=["0"], filter_string=wanted)
        assert [len(found.value[0]), len(found.other[0])] == there
