"""Values of ten megabytes: what MLflow's store refuses ours refuses, what it takes ours keeps."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.entities import ExperimentTag, Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

from . import look
from .pair import Pair
from .test_core import new_run

LARGE = "x" * 10_000_000


def test_what_runs_and_experiments_hold(pair: Pair) -> None:
    run = new_run(pair)
    pair.call("set_tag", run_id=run, tag=RunTag("t", LARGE))
    pair.call("set_tag", run_id=run, tag=RunTag(LARGE, "t"))
    pair.call("set_experiment_tag", experiment_id="0", tag=ExperimentTag("t", LARGE))
    pair.call("log_param", run_id=run, param=Param("p", LARGE))
    pair.call("log_param", run_id=run, param=Param(LARGE, "p"))
    pair.call("log_metric", run_id=run, metric=Metric(LARGE, 1.0, 1, 0))
    ok = [RunTag("ok", "1")]
    for batch in (
        {"metrics": [], "params": [], "tags": [*ok, RunTag("t", LARGE)]},
        {"metrics": [], "params": [Param("q", "1"), Param("p", LARGE)], "tags": ok},
    ):
        pair.call("log_batch", run_id=run, **batch)
    look.at_tracking(pair, [], [run], [])


def test_what_models_hold(pair: Pair) -> None:
    pair.ok("create_registered_model", name="r")
    pair.call("set_registered_model_tag", name="r", tag=RegisteredModelTag("t", LARGE))
    pair.call("create_model_version", name="r", source="s")
    pair.call("set_model_version_tag", name="r", version="1", tag=ModelVersionTag("t", LARGE))
    pair.call("update_registered_model", name="r", description=LARGE)
    pair.call("update_model_version", name="r", version="1", description=LARGE)
    pair.call("get_registered_model", name="r")
    pair.call("get_model_version", name="r", version="1")


@pytest.mark.parametrize(
    "filter_", [f"tags.t = '{LARGE}'", f"params.`{LARGE}` = '1'"], ids=["value", "key"]
)
def test_what_is_asked(pair: Pair, filter_: str) -> None:
    new_run(pair)
    found: dict[str, Any] = {"experiment_ids": ["0"], "filter_string": filter_, "run_view_type": 1}
    pair.call("search_runs", **found)
