"""What runs hold: metrics and their histories, params, batches, inputs and outputs; and gc."""

from __future__ import annotations

import math
from typing import Any

import pytest
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
    ViewType,
)

from . import look
from .pair import Pair
from .test_core import MISSING, TAGS, new_run

NAN, INF = math.nan, math.inf

KEYS: list[Any] = [
    *(
        "m",
        "",
        " ",
        None,
        ".",
        "..",
        "/m",
        "m/",
        "a/b",
        "a//b",
        "../m",
        "a/../b",
        "a b",
        "é",
        "名前",
    ),
    *("it's", "a=b", "a:b", "a`b", "k" * 250, "k" * 251, "a\x00", "m\n", "\ud800", "*", 5),
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:20])
def test_keys(pair: Pair, key: Any) -> None:
    run = new_run(pair)
    pair.call("log_metric", run_id=run, metric=Metric(key, 1.0, 1, 0))
    pair.call("log_param", run_id=run, param=Param(key, "1"))
    pair.call("log_batch", run_id=run, metrics=[Metric("ok", 1, 1, 1)], params=[], tags=[])
    for batch in (
        {"metrics": [Metric("b", 1.0, 1, 0), Metric(key, 1.0, 1, 0)], "params": [], "tags": []},
        {"metrics": [], "params": [Param("b", "1"), Param(key, "1")], "tags": []},
        {"metrics": [], "params": [], "tags": [RunTag("b", "1"), RunTag(key, "1")]},
    ):
        pair.call("log_batch", run_id=run, **batch)
    look.at_tracking(pair, [], [run], [])
    pair.call("get_metric_history", run_id=run, metric_key=key)


VALUES: list[Any] = [
    *(0.0, -0.0, 1, 1.5, NAN, -NAN, INF, -INF, 1.7976931348623157e308, 5e-324),
    *(10**400, True, None, "1", "nan", 1j, b"1"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_metric_values(pair: Pair, value: Any) -> None:
    run = new_run(pair)
    for _ in range(2):
        pair.call("log_metric", run_id=run, metric=Metric("m", value, 1, 0))
        batch = [Metric("b", value, 1, 0), Metric("b", 0.0, 1, 0)]
        pair.call("log_batch", run_id=run, metrics=batch, params=[], tags=[])
    look.at_tracking(pair, [], [run], [])


@pytest.mark.parametrize(
    "number", [0, -1, -(2**63), -(2**63) - 1, 2**63 - 1, 2**63, None, "1", NAN, True], ids=repr
)
@pytest.mark.parametrize("field", ["timestamp", "step"])
def test_metric_times_and_steps(pair: Pair, field: str, number: Any) -> None:
    run = new_run(pair)
    given = {"timestamp": 1, "step": 0, field: number}
    pair.call("log_metric", run_id=run, metric=Metric("m", 1.0, **given))
    pair.call("log_metric", run_id=run, metric=Metric("m", 2.0, 1, 0))
    batch = [Metric("m", 3.0, **given), Metric("n", 3.0, 1, 1)]
    pair.call("log_batch", run_id=run, metrics=batch, params=[], tags=[])
    look.at_tracking(pair, [], [run], [])


ORDERS: list[list[tuple[float, int, int]]] = [
    [(1, 1, 1), (2, 1, 0), (3, 0, 1), (4, 9, 0)],
    [(5, 1, 0), (3, 1, 0), (4, 1, 0)],
    [(NAN, 1, 0), (-1, 1, 0), (1, 1, 0), (0, 1, 0), (NAN, 1, 0)],
    [(-1, 1, 0), (NAN, 1, 0)],
    [(0, 1, 0), (NAN, 1, 0)],
    [(NAN, 1, 0), (0, 1, 0)],
    [(1, 1, 0), (NAN, 1, 0), (INF, 1, 0), (-INF, 1, 0)],
    [(NAN, 2, 0), (1, 1, 0), (NAN, 1, 1)],
    [(-0.0, 1, 0), (0.0, 1, 0)],
    [(0.0, 1, 0), (-0.0, 1, 0)],
    [(1, 5, -3), (2, 4, -2), (3, 3, -3)],
    [(7, 1, 0)] * 3,
]


@pytest.mark.parametrize("points", ORDERS, ids=repr)
def test_the_latest_metric(pair: Pair, points: list[tuple[float, int, int]]) -> None:
    """One by one, and as one batch: which point is the run's metric, and in which order all are."""
    metrics = [Metric("m", *point) for point in points]
    single, batch, both = (new_run(pair) for _ in range(3))
    for metric in metrics:
        pair.ok("log_metric", run_id=single, metric=metric)
        pair.ok("get_run", run_id=single)
    pair.ok("log_batch", run_id=batch, metrics=metrics, params=[], tags=[])
    pair.ok("log_batch", run_id=both, metrics=metrics[:2], params=[], tags=[])
    pair.ok("log_batch", run_id=both, metrics=metrics, params=[], tags=[])
    look.at_tracking(pair, [], [single, batch, both], [])


def _history(pair: Pair) -> dict[str, Any]:
    runs = [new_run(pair) for _ in range(3)]
    for n, run in enumerate(runs):
        steps = [(i * 7) % 23 - 3 for i in range(40)]
        metrics = [Metric("m", [i, NAN, 0.5, -INF][i % 4], i % 5, s) for i, s in enumerate(steps)]
        metrics += [Metric("flat", float(i), 5, 0) for i in range(12 * n)]
        pair.ok("log_batch", run_id=run, metrics=metrics, params=[], tags=[])
    return {"runs": runs}


def test_histories(pair: Pair) -> None:
    runs = _history(pair)["runs"]
    for key in ("m", "flat", "none"):
        for size in (1, 2, 7, 39, 40, 41):
            pages = pair.pages("get_metric_history", size, run_id=runs[2], metric_key=key)
            whole = pair.ok("get_metric_history", run_id=runs[2], metric_key=key)
            assert len(pages) == len(whole)
        for size in (0, -1, 10**6):
            pair.call("get_metric_history", run_id=runs[1], metric_key=key, max_results=size)
        for token in ("x", "e30=", "eyJvZmZzZXQiOiA1fQ=="):
            pair.call("get_metric_history", run_id=runs[1], metric_key=key, page_token=token)
        for ids in (runs, runs[::-1], [runs[0], "f" * 32], [runs[1]] * 2, [], ["it's"]):
            for size in (0, 1, 5, 30, 25_000, -1):
                pair.call("get_metric_history_bulk", run_ids=ids, metric_key=key, max_results=size)
                for start, end in ((None, None), (0, 9), (9, 0), (-5, 0), (5, None), (100, 200)):
                    pair.call(
                        "get_metric_history_bulk_interval",
                        run_ids=ids,
                        metric_key=key,
                        max_results=size,
                        start_step=start,
                        end_step=end,
                    )
        for steps in ([], [0], [3, 1, 2, 2], list(range(-5, 30)), [999]):
            for size in (0, 1, 4, 1000):
                pair.call(
                    "get_metric_history_bulk_interval_from_steps",
                    run_id=runs[2],
                    metric_key=key,
                    steps=steps,
                    max_results=size,
                )
        pair.call("get_max_step_for_metric", run_id=runs[2], metric_key=key)


def test_history_of_a_missing_run(pair: Pair) -> None:
    for given in ("f" * 32, "", None, "it's"):
        pair.call("get_metric_history", run_id=given, metric_key="m")
        pair.call("get_max_step_for_metric", run_id=given, metric_key="m")


PARAMS: list[Any] = ["1", "", " ", None, 5, 1.5, True, "é😀", "a\x00b", "\ud800", "x" * 6000]


@pytest.mark.parametrize("value", PARAMS, ids=lambda value: repr(value)[:20])
def test_param_values(pair: Pair, value: Any) -> None:
    run, second = new_run(pair), new_run(pair)
    for given in (value, value, "other", str(value)):
        pair.call("log_param", run_id=run, param=Param("p", given))
        pair.call("log_batch", run_id=second, metrics=[], params=[Param("p", given)], tags=[])
    look.at_tracking(pair, [], [run, second], [])


def test_params_of_batches(pair: Pair) -> None:
    """A param that would change refuses the whole batch."""
    run = new_run(pair)
    pair.ok("log_param", run_id=run, param=Param("p", "1"))
    metrics, tags = [Metric("m", 1, 1, 0)], [RunTag("t", "x")]
    for params in (
        [Param("new", "1"), Param("p", "2")],
        [Param("p", "2"), Param("q", "1"), Param("p", "1")],
        [Param("r", "1"), Param("r", "1")],
        [Param("p", "1"), Param("s", "1")],
        [Param("p", "2"), Param("s", "2")],
    ):
        pair.call("log_batch", run_id=run, metrics=metrics, params=params, tags=tags)
        look.at_tracking(pair, [], [run], [])


@pytest.mark.parametrize(
    ("metrics", "params", "tags"),
    [
        (1000, 0, 0),
        (1001, 0, 0),
        (0, 100, 0),
        (0, 101, 0),
        (0, 0, 100),
        (0, 0, 101),
        (800, 100, 100),
        (801, 100, 100),
        (0, 0, 0),
    ],
)
def test_batch_limits(pair: Pair, metrics: int, params: int, tags: int) -> None:
    run = new_run(pair)
    pair.call(
        "log_batch",
        run_id=run,
        metrics=[Metric(f"m{i % 9}", i, i, i) for i in range(metrics)],
        params=[Param(f"p{i}", str(i)) for i in range(params)],
        tags=[RunTag(f"t{i}", str(i)) for i in range(tags)],
    )
    look.at_tracking(pair, [], [run], [])


# --- inputs, outputs -----------------------------------------------------------------------------


def dataset(name: Any = "n", digest: Any = "d", **kwargs: Any) -> Dataset:
    return Dataset(name, digest, **{"source_type": "local", "source": "s", **kwargs})


def test_datasets_are_kept_once(pair: Pair) -> None:
    a, b = pair.make("create_experiment", name="a"), pair.make("create_experiment", name="b")
    runs = [new_run(pair, a), new_run(pair, a), new_run(pair, b)]
    context = [InputTag("mlflow.data.context", "train"), InputTag("x", "y")]
    other = [InputTag("mlflow.data.context", "eval")]
    first = dataset(schema="{1}", profile="{1}")
    for run in runs:
        pair.ok("log_inputs", run_id=run, datasets=[DatasetInput(first, context)])
        pair.ok("log_inputs", run_id=run, datasets=[DatasetInput(first, other)])
        changed = dataset(source="other", schema="{2}", source_type="http")
        pair.ok("log_inputs", run_id=run, datasets=[DatasetInput(changed, other)])
        twice = [DatasetInput(dataset("n", "e")), DatasetInput(dataset("n", "e"), other)]
        pair.ok("log_inputs", run_id=run, datasets=twice)
    look.at_tracking(pair, [a, b], runs, [])
    pair.call("_search_datasets", experiment_ids=[a])
    pair.call("_search_datasets", experiment_ids=["x"])
    pair.call("_search_datasets", experiment_ids=[])
    pair.ok("delete_run", run_id=runs[2])
    pair.call("_search_datasets", experiment_ids=[b])
    pair.ok("_hard_delete_run", run_id=runs[2])
    pair.call("_search_datasets", experiment_ids=[b])
    pair.ok("delete_experiment", experiment_id=a)
    pair.call("_search_datasets", experiment_ids=[a, b])


@pytest.mark.parametrize(
    "given",
    [
        [DatasetInput(None)],
        [DatasetInput(dataset(None))],
        [DatasetInput(dataset("n", None))],
        [DatasetInput(dataset(source=None))],
        [DatasetInput(dataset(source_type=None))],
        [DatasetInput(dataset("", ""))],
        [DatasetInput(dataset("n" * 500))],
        [DatasetInput(dataset("n" * 501))],
        [DatasetInput(dataset("n", "d" * 36))],
        [DatasetInput(dataset("n", "d" * 37))],
        [DatasetInput(dataset(source="s" * 65_536))],
        [DatasetInput(dataset(schema="s" * 1_048_576))],
        [DatasetInput(dataset(), [InputTag(None, "v")])],
        [DatasetInput(dataset(), [InputTag("k", None)])],
        [DatasetInput(dataset(), [InputTag("k" * 256, "v")])],
        [DatasetInput(dataset(), [InputTag("k", "v" * 501)])],
        [DatasetInput(dataset(), [InputTag("k", "1"), InputTag("k", "2")])],
        [DatasetInput(dataset(), [InputTag("it's", "é😀")])],
        (),
        None,
        "abc",
        [None],
        ["abc"],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_odd_inputs(pair: Pair, given: Any) -> None:
    run = new_run(pair)
    pair.call("log_inputs", run_id=run, datasets=given)
    look.at_tracking(pair, [], [run], [])


def test_model_inputs_and_outputs(pair: Pair) -> None:
    run = new_run(pair)
    model = pair.make("create_logged_model", experiment_id="0", name="m")
    unknown = "m-" + "f" * 32
    for _ in range(2):
        pair.call("log_inputs", run_id=run, models=[LoggedModelInput(model)])
        pair.call("log_outputs", run_id=run, models=[LoggedModelOutput(model, 3)])
        pair.ok("get_run", run_id=run)
    pair.call("log_outputs", run_id=run, models=[LoggedModelOutput(model, 3)] * 2)
    pair.call("log_outputs", run_id=run, models=[LoggedModelOutput(unknown, -1)])
    pair.call("log_inputs", run_id=run, models=[LoggedModelInput(unknown)] * 2)
    pair.ok("delete_logged_model", model_id=model)
    look.at_tracking(pair, [], [run], [model])


# --- gc ------------------------------------------------------------------------------------------


def test_gc_of_runs(pair: Pair) -> None:
    a = pair.make("create_experiment", name="a")
    runs = [new_run(pair, a, tags=[RunTag("k", "v")]) for _ in range(3)]
    model = pair.make("create_logged_model", experiment_id=a, name="m", source_run_id=runs[0])
    for run in runs:
        metrics = [Metric("m", 1, 1, 0, model_id=model)]
        pair.ok("log_batch", run_id=run, metrics=metrics, params=[Param("p", "1")], tags=[])
        pair.ok("log_inputs", run_id=run, datasets=[DatasetInput(dataset())])
        pair.ok("log_outputs", run_id=run, models=[LoggedModelOutput(model, 0)])
    pair.ok("delete_run", run_id=runs[0])
    pair.ok("delete_run", run_id=runs[1])
    for older in (0, 10**9, -(10**9)):
        pair.call("_get_deleted_runs", older_than=older)
    pair.call("_hard_delete_run", run_id=runs[0])
    pair.fails(MISSING, "_hard_delete_run", run_id=runs[0])
    pair.call("_hard_delete_run", run_id=runs[2])
    for method in ("get_run", "restore_run", "delete_run"):
        pair.call(method, run_id=runs[0])
    pair.call("log_metric", run_id=runs[0], metric=Metric("m", 1, 1, 0))
    look.at_tracking(pair, [a], runs, [model])


@pytest.mark.parametrize("with_models", [False, True])
def test_gc_of_experiments(pair: Pair, with_models: bool) -> None:
    first = pair.make("create_experiment", name="a")
    run = new_run(pair, first, tags=[RunTag("k", "v")])
    keep = pair.make("create_experiment", name="keep")
    models = []
    if with_models:
        homes = (first, keep)
        models = [pair.make("create_logged_model", experiment_id=home, name="m") for home in homes]
        metrics = [Metric("m", 1, 1, 0, model_id=model) for model in models]
        pair.ok("log_batch", run_id=run, metrics=metrics, params=[Param("p", "1")], tags=[])
    pair.ok("log_inputs", run_id=run, datasets=[DatasetInput(dataset())])
    pair.ok("log_metric", run_id=run, metric=Metric("loss", 1, 1, 0))
    pair.fails(MISSING, "_hard_delete_experiment", experiment_id=first)
    pair.ok("delete_experiment", experiment_id=first)
    pair.call("_hard_delete_experiment", experiment_id=first)
    pair.call("_hard_delete_experiment", experiment_id=first)
    pair.call("get_experiment_by_name", experiment_name="a")
    pair.call("restore_experiment", experiment_id=first)
    pair.make("create_experiment", name="a")
    look.at_tracking(pair, [first, keep], [run], models)
    args = {"experiment_ids": [first], "filter_string": "", "run_view_type": ViewType.ALL}
    pair.call("search_runs", **args)
    pair.call("get_metric_history", run_id=run, metric_key="loss")
    pair.call("get_metric_history_bulk", run_ids=[run], metric_key="loss", max_results=5)
    pair.call("get_max_step_for_metric", run_id=run, metric_key="loss")


def test_every_tag_key_has_been_tried() -> None:
    """`TAGS` is the table of tags for experiments and runs alike."""
    assert len(TAGS) > 20
