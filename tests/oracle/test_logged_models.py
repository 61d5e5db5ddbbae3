"""Logged models: each method, and the search with every filter, order, data set and page."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from mlflow.entities import (
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    RunTag,
    ViewType,
)
from mlflow.models import Model

from . import look
from .pair import Pair, Ref, Text
from .test_core import new_run

MODELS = 12


@pytest.mark.parametrize(
    "name",
    [None, "", " ", "m", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "é名😀", "x" * 600, 5, "a\x00b"],
    ids=lambda value: repr(value)[:20],
)
def test_names(pair: Pair, name: Any) -> None:
    made = pair.call("create_logged_model", experiment_id="0", name=name).ref
    look.at_tracking(pair, [], [], [made] if made else [])


@pytest.mark.parametrize(
    "changed",
    [
        {"source_run_id": "f" * 32},
        {"source_run_id": ""},
        {"model_type": "x" * 600},
        {"model_type": ""},
        {"tags": [LoggedModelTag("k", "1"), LoggedModelTag("k", "2")]},
        {"tags": [LoggedModelTag("", "")]},
        {"tags": [LoggedModelTag("it's", "é")]},
        {"tags": [LoggedModelTag("k", None)]},
        {"tags": [LoggedModelTag("k" * 300, "v" * 20_000)]},
        {"params": [LoggedModelParameter("k", "1"), LoggedModelParameter("k", "1")]},
        {"params": [LoggedModelParameter("", "")]},
        {"params": [LoggedModelParameter("k", None)]},
        {"params": [LoggedModelParameter("k", 5)]},
        {"params": []},
        {"tags": None, "params": None},
    ],
    ids=lambda value: repr(value)[:50],
)
def test_odd_models(pair: Pair, changed: dict[str, Any]) -> None:
    made = pair.call("create_logged_model", experiment_id="0", name="m", **changed).ref
    look.at_tracking(pair, [], [], [made] if made else [])


def test_lifecycle(pair: Pair) -> None:
    run = new_run(pair)
    args: dict[str, Any] = {"experiment_id": "0", "source_run_id": run, "model_type": "sk"}
    args["tags"], args["params"] = [LoggedModelTag("t", "1")], [LoggedModelParameter("p", "1")]
    model = pair.make("create_logged_model", name="m", **args)
    for status in (*LoggedModelStatus, 2, "READY", None):
        pair.call("finalize_logged_model", model_id=model, status=status)
        pair.ok("get_logged_model", model_id=model)
    tags = [LoggedModelTag("t", "2"), LoggedModelTag("u", "1"), LoggedModelTag("u", "2")]
    pair.ok("set_logged_model_tags", model_id=model, tags=tags)
    for more in ([], [LoggedModelTag("", "")], [LoggedModelTag("k", None)], None):
        pair.call("set_logged_model_tags", model_id=model, tags=more)
    pair.ok("get_logged_model", model_id=model)
    for key in ("t", "t", "", "it's", None):
        pair.call("delete_logged_model_tag", model_id=model, key=key)
    new = [LoggedModelParameter("q", "1"), LoggedModelParameter("r", "")]
    for params in (
        new,
        new,
        [LoggedModelParameter("p", "2")],
        [],
        [LoggedModelParameter("z", None)],
    ):
        pair.call("log_logged_model_params", model_id=model, params=params)
        pair.ok("get_logged_model", model_id=model)
    pair.ok("delete_logged_model", model_id=model)
    look.at_tracking(pair, [], [run], [model])
    pair.call("delete_logged_model", model_id=model)
    pair.call("get_logged_model", model_id=model)
    pair.call("finalize_logged_model", model_id=model, status=LoggedModelStatus.FAILED)
    pair.call("set_logged_model_tags", model_id=model, tags=[LoggedModelTag("late", "1")])
    pair.call("delete_logged_model_tag", model_id=model, key="late")
    pair.call("log_logged_model_params", model_id=model, params=[LoggedModelParameter("l", "1")])
    pair.call("log_metric", run_id=run, metric=Metric("m", 1, 1, 0, model_id=model))
    look.at_tracking(pair, [], [run], [model])
    for older in (0, 10**9):
        pair.call("_get_deleted_logged_models", older_than=older)
    pair.call("_hard_delete_logged_model", model_id=model)
    pair.call("_hard_delete_logged_model", model_id=model)
    look.at_tracking(pair, [], [run], [model])


@pytest.mark.parametrize("given", ["m-" + "f" * 32, "", None, "it's"], ids=repr)
def test_missing_models(pair: Pair, given: Any) -> None:
    for method, kwargs in [
        ("get_logged_model", {}),
        ("get_logged_model", {"allow_deleted": True}),
        ("delete_logged_model", {}),
        ("_hard_delete_logged_model", {}),
        ("finalize_logged_model", {"status": LoggedModelStatus.READY}),
        ("set_logged_model_tags", {"tags": [LoggedModelTag("k", "v")]}),
        ("delete_logged_model_tag", {"key": "k"}),
        ("log_logged_model_params", {"params": [LoggedModelParameter("k", "v")]}),
    ]:
        pair.call(method, model_id=given, **kwargs)


def test_models_of_a_deleted_experiment(pair: Pair) -> None:
    experiment = pair.make("create_experiment", name="a")
    model = pair.make("create_logged_model", experiment_id=experiment, name="m")
    pair.ok("delete_experiment", experiment_id=experiment)
    look.at_tracking(pair, [experiment], [], [model])
    pair.ok("restore_experiment", experiment_id=experiment)
    look.at_tracking(pair, [experiment], [], [model])


POINTS: list[dict[str, Any]] = [
    {"value": 1.0},
    {"value": math.nan, "step": 1},
    {"value": math.inf, "step": 2},
    {"value": -0.0, "step": 3},
    {"value": 3.0, "timestamp": 9, "step": 0},
    {"value": 5.0, "step": 5, "dataset_name": "d", "dataset_digest": "2"},
    {"value": 5, "step": 6, "run_id": "f" * 32},
]
# The same key, time, step and run as the first: a logged model keeps that, and refuses these.
TAKEN: list[dict[str, Any]] = [
    {"value": 2.0},
    {"value": 1.0, "dataset_name": "d", "dataset_digest": "1"},
]


@pytest.mark.parametrize("way", ["one by one", "as a batch", "twice"])
def test_metrics_of_models(pair: Pair, way: str) -> None:
    runs = [new_run(pair), new_run(pair)]
    model = pair.make("create_logged_model", experiment_id="0", name="m")
    for run in runs:
        metrics, taken = (
            [
                Metric("m", model_id=model, **{"timestamp": 1, "step": 0, **point})
                for point in points
            ]
            for points in (POINTS, TAKEN)
        )
        if way == "one by one":
            for metric in metrics + taken:
                pair.call("log_metric", run_id=run, metric=metric)
        else:
            for some in [metrics[2:6], metrics] if way == "twice" else [metrics]:
                pair.call("log_batch", run_id=run, metrics=some, params=[], tags=[])
        look.at_tracking(pair, [], [run], [model])
    pair.ok("delete_run", run_id=runs[0])
    pair.ok("get_logged_model", model_id=model)
    pair.call("_hard_delete_run", run_id=runs[0])
    pair.ok("get_logged_model", model_id=model)


def test_metrics_of_an_unknown_model(pair: Pair) -> None:
    run = new_run(pair)
    metric = Metric("bad", 1, 1, 0, model_id="m-" + "f" * 32)
    pair.fails("BAD_REQUEST", "log_metric", run_id=run, metric=metric)
    look.at_tracking(pair, [], [run], [])


# --- search --------------------------------------------------------------------------------------


@pytest.fixture
def several(pair: Pair) -> tuple[Pair, list[str]]:
    """Models with metrics on data sets, gaps, ties, NaN; one of them deleted."""
    ids: list[str] = [pair.make("create_experiment", name=name) for name in "ab"]
    runs = [new_run(pair, experiment) for experiment in ids]
    for i in range(MODELS):
        params = [LoggedModelParameter("p", f"{i % 4}")] if i % 3 else []
        tags = [LoggedModelTag("t", ["x", "X", "a_b", "a%b"][i % 4])] if i % 5 else []
        model = pair.make(
            "create_logged_model",
            experiment_id=ids[i % 2],
            name=["alpha", "Alpha", "al_ha"][i % 3],
            source_run_id=runs[i % 2] if i % 4 else None,
            model_type=["sk", None, "SK"][i % 3],
            params=params,
            tags=tags,
        )
        data = {"dataset_name": f"d{i % 2}", "dataset_digest": str(i % 3)}
        metrics = [Metric("all", i % 3, 1, 0, model_id=model)]
        metrics += [Metric("m", [0.5, math.nan, math.inf, -1][i % 4], 1, i, model_id=model, **data)]
        metrics += [Metric("m", float(i), 1, 50 - i, model_id=model)] if i % 2 else []
        metrics += [Metric("gap", float(i), 1, 0, model_id=model)] if i % 3 else []
        pair.ok("log_batch", run_id=runs[i % 2], metrics=metrics, params=[], tags=[])
        if i % 4 == 1:
            pair.ok("finalize_logged_model", model_id=model, status=LoggedModelStatus.READY)
        if i == 7:
            pair.ok("delete_logged_model", model_id=model)
    return pair, ids


def test_filters(several: tuple[Pair, list[str]]) -> None:
    pair, ids = several
    filters = [
        f"{key} {op} {value}"
        for key in ("metrics.m", "metrics.all", "metrics.gap", "metrics.none")
        for op in ("=", "!=", "<", "<=", ">", ">=", "LIKE", "IN")
        for value in ("0", "0.5", "1", "'1'", "nan", "-1")
    ]
    filters += [
        f"{key} {op} {value}"
        for key in ("name", "params.p", "tags.t", "model_type", "source_run_id", "attributes.name")
        for op in ("=", "!=", "LIKE", "ILIKE", "like", "IN", "NOT IN", ">", "IS NULL")
        for value in ("'alpha'", "'1'", "'a_%'", "('x', '1')", "('sk')", '"x"', "''", "5")
    ]
    filters += [
        f"{key} {op} {value}"
        for key in ("creation_timestamp", "creation_time", "last_updated_timestamp", "status")
        for op in ("=", ">", "<=", "!=", "LIKE")
        for value in ("0", "1", "99999999999999", "'1'", "1.5", "2")
    ]
    filters += [
        f"status {op} {value}"
        for op in ("=", "!=", "<", "LIKE", "IN", "NOT IN", "in")
        for value in ("'READY'", "'ready'", "'PENDING'", "'x'", "('READY', 'FAILED')", "('x')")
    ]
    filters += ["params.p = '1' AND tags.t = 'x'", "metrics.m > 0 AND metrics.all = 1"]
    filters += ["metrics.m > 0 AND metrics.m < 1", "name = 'alpha' OR 1 = 1", "name", "", " ", "'"]
    filters += ["metrics.`m` > 0", 'metrics."m" > 0', "tags.`t` = 'x'", "nothing.x = '1'"]
    filters += ["nothing = '1'", "model_id = 'x'", "name = 'it''s'"]
    filters += ["name = 'a'; DROP TABLE logged_models", "lifecycle_stage = 'active'", "1 = 1"]
    filters += ["name LIKE '%' metrics.all = 1", "AND name LIKE '%'", "tags.t IS NOT NULL"]
    texts: list[Any] = [*filters, Text("experiment_id = '{}'", ids[0])]
    for text in texts:
        pair.call("search_logged_models", experiment_ids=ids, filter_string=text)


def _orders() -> list[Any]:
    keys = ["metrics.m", "metrics.all", "metrics.gap", "metrics.none", "name", "creation_timestamp"]
    keys += ["last_updated_timestamp", "model_id", "model_type", "source_run_id", "status"]
    orders: list[Any] = [
        [{"field_name": key, "ascending": ascending}] for key in keys for ascending in (True, False)
    ]
    orders += [
        [{"field_name": "metrics.m", "dataset_name": "d1"}],
        [{"field_name": "metrics.m", "dataset_name": "d0", "dataset_digest": "1"}],
        [{"field_name": "metrics.m", "dataset_digest": "1", "ascending": False}],
        [{"field_name": "metrics.all"}, {"field_name": "metrics.m", "ascending": False}],
        [{"field_name": "name"}, {"field_name": "name", "ascending": False}],
        [{"field_name": "metrics.m"}, {"field_name": "metrics.m"}],
        [{"field_name": "params.p"}],
        [{"field_name": "nothing"}],
        [{"field_name": "creation_time"}],
        [{"field_name": ""}],
        [{"field_name": "metrics."}],
        [{"field_name": None}],
        [{}],
        ["name"],
        [],
        None,
    ]
    return orders


def test_orders_and_pages(several: tuple[Pair, list[str]]) -> None:
    pair, ids = several
    for order_by in _orders():
        whole = pair.call("search_logged_models", experiment_ids=ids, order_by=order_by)
        for size in (1, 2, 5) if whole.error is None else ():
            args = {"experiment_ids": ids, "order_by": order_by}
            pages = pair.pages("search_logged_models", size, **args)
            # MLflow's token of an empty order is refused with the next page: "does not match".
            expected = whole.value[:size] if order_by == [] else whole.value
            assert [m.model_id for m in pages] == [m.model_id for m in expected]


def test_datasets(several: tuple[Pair, list[str]]) -> None:
    pair, ids = several
    one = {"dataset_name": "d0"}
    for datasets in (
        [one],
        [{**one, "dataset_digest": "1"}],
        [one, {"dataset_name": "d1", "dataset_digest": "2"}],
        [{"dataset_name": "none"}],
        [{"dataset_digest": "1"}],
        [{"dataset_name": ""}],
        [{}],
        [{**one, "dataset_digest": None}],
        [],
    ):
        for text in ("", "metrics.m > 0", "metrics.all >= 0", "metrics.m > 0 AND metrics.gap > 0"):
            args = {"experiment_ids": ids, "datasets": datasets, "filter_string": text}
            pair.call("search_logged_models", **args)
            pair.call("search_logged_models", **args, order_by=[{"field_name": "metrics.m"}])


def test_which_value_of_a_metric_counts(pair: Pair) -> None:
    """From MLflow 3.18 on that of the highest step, before that any, or the last in time."""
    run = new_run(pair)
    for points in (
        [(5, 1, 0), (1, 2, 0), (3, 0, 9)],
        [(1, 1, 1), (2, 2, 1), (9, 2, 1), (0, 1, 1)],
        [(math.nan, 1, 1), (2, 1, 1)],
        [(2, 3, 0), (math.inf, 1, 2), (-math.inf, 1, 2)],
    ):
        model = pair.make("create_logged_model", experiment_id="0", source_run_id=run)
        for number, (value, timestamp, step) in enumerate(points):
            data = {"dataset_name": "d", "dataset_digest": "1"} if number % 2 else {}
            metric = Metric("m", value, timestamp, step, model_id=model, run_id=run, **data)
            pair.call("log_batch", run_id=run, metrics=[metric], params=[], tags=[])
    for datasets in None, [{"dataset_name": "d"}]:
        given = {"experiment_ids": ["0"], "datasets": datasets}
        for text in (f"metrics.m {op} {n}" for op in ("=", "!=", ">", "<=") for n in range(6)):
            pair.call("search_logged_models", **given, filter_string=text)
        for ascending in (True, False):
            order = {"field_name": "metrics.m", "ascending": ascending}
            pair.call("search_logged_models", **given, order_by=[order])
            pair.call("search_logged_models", **given, order_by=[{**order, "dataset_name": "d"}])


def test_odd_searches(several: tuple[Pair, list[str]]) -> None:
    pair, ids = several
    page = pair.call("search_logged_models", experiment_ids=ids, max_results=2)
    assert page.token
    for changed in (
        {"experiment_ids": ids[:1]},
        {"filter_string": "name = 'alpha'"},
        {"filter_string": ""},
        {"order_by": [{"field_name": "name"}]},
        {"order_by": []},
        {"max_results": 3},
        {"datasets": [{"dataset_name": "d1"}]},
    ):
        args = {"experiment_ids": ids, "page_token": page.token, **changed}
        pair.call("search_logged_models", **args)
    for token in ("", "x", "e30=", base64.b64encode(json.dumps({"offset": 1}).encode()).decode()):
        pair.call("search_logged_models", experiment_ids=ids, page_token=token)
    for size in (0, -1, None, 10**6, 10**20):
        pair.call("search_logged_models", experiment_ids=ids, max_results=size)
    for given in ([], ["999"], ["x"], [""], ids * 2, [Text("0{}", Ref(ids[0], ids[0]))]):
        if not any(isinstance(item, Text) for item in given):
            pair.call("search_logged_models", experiment_ids=given)
    pair.ok("delete_experiment", experiment_id=ids[0])
    pair.call("search_logged_models", experiment_ids=ids)
    pair.call("search_runs", experiment_ids=ids, filter_string="", run_view_type=ViewType.ALL)


def test_models_in_a_tag_of_their_run(pair: Pair) -> None:
    """MLflow 2's way, which its older clients still go."""
    run = new_run(pair)
    for path in ("model", "é", ""):
        model = Model(artifact_path=path, run_id=run, utc_time_created="then", model_uuid=path)
        pair.ok("record_logged_model", run_id=run, mlflow_model=model)
        pair.ok("get_run", run_id=run)
    pair.call("record_logged_model", run_id=run, mlflow_model="no model")
    pair.call("record_logged_model", run_id="f" * 32, mlflow_model=model)
    pair.ok("set_tag", run_id=run, tag=RunTag("mlflow.log-model.history", "[]"))
    pair.ok("record_logged_model", run_id=run, mlflow_model=model)
    pair.ok("get_run", run_id=run)
    pair.ok("delete_run", run_id=run)
    pair.call("record_logged_model", run_id=run, mlflow_model=model)
