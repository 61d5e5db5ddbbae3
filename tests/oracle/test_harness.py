"""The harness itself: equal stores pass, and any small difference between two stores is caught."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Feedback, Metric, Param, RunTag, ViewType
from mlflow.entities.model_registry import RegisteredModelTag
from mlflow.exceptions import MlflowException

from .pair import OracleMismatch, Pair, Template, Text, open_pair
from .stores import make_self, now
from .tracing import trace, trace_id


@pytest.fixture
def twins(tmp_path: Path, template: Template) -> Iterator[Pair]:
    """MLflow's store against itself, whatever the session compares."""
    made = open_pair(tmp_path, template, make_self(template[0]))
    yield made
    for store in (made.sides[1].tracking, made.sides[1].registry):
        for name in [name for name, item in vars(store).items() if inspect.isfunction(item)]:
            if name != "ManagedSessionMaker":
                delattr(store, name)  # stores are used again
    made.close()


def script(pair: Pair) -> None:
    """A short tour of both stores."""
    experiment = pair.call("create_experiment", name="tour").ref
    args = {"experiment_id": experiment, "user_id": "u", "start_time": 5, "tags": []}
    run = pair.call("create_run", run_name=None, **args).ref
    batch = {"metrics": [Metric("m", 1, 1, 0), Metric("m", float("nan"), 1, 1)]}
    pair.call("log_batch", run_id=run, params=[Param("p", "1")], tags=[RunTag("t", "x")], **batch)
    pair.call("get_run", run_id=run)
    pair.call("get_metric_history", run_id=run, metric_key="m")
    pair.call("search_experiments", filter_string=Text("experiment_id = '{}'", experiment))
    assert pair.call("get_experiment", experiment_id="77").error == "RESOURCE_DOES_NOT_EXIST"
    pair.call("set_experiment_tag", experiment_id=experiment, tag=RunTag("a", "b"))
    pair.call("rename_experiment", experiment_id=experiment, new_name="renamed")
    pair.call("get_experiment", experiment_id=experiment)
    for name in "abc":
        pair.call("create_registered_model", name=name, tags=[RegisteredModelTag("k", name)])
    pair.call("create_model_version", name="a", source="s", run_id=run)
    pair.call("set_registered_model_alias", name="a", alias="best", version="1")
    assert len(pair.pages("search_registered_models", 1)) == 3
    assert pair.call("get_model_version_by_alias", name="a", alias="x").error


def test_equal_stores_pass(twins: Pair) -> None:
    script(twins)


def test_ids_differ_and_are_translated(twins: Pair) -> None:
    ref = twins.call("create_experiment", name="x").ref
    assert ref == "1"
    assert len(ref.other) == 18
    logged = [twins.call("create_logged_model", experiment_id=ref, name="m").ref for _ in range(3)]
    assert len(set(logged)) == 3
    ids: dict[str, Any] = {"experiment_ids": [ref]}
    assert len(twins.pages("search_logged_models", 1, **ids)) == 3
    wrong = twins.compare("get_experiment", experiment_id=str(ref))
    assert [kind for kind, _ in wrong.mismatches] == ["outcome"]


Change = Callable[[Any], Any]


def _altered(attribute: str, change: Change) -> Change:
    def alter(value: Any) -> Any:
        setattr(value, attribute, change(getattr(value, attribute)))
        return value

    return alter


def _info(change: Change) -> Change:
    def alter(run: Any) -> Any:
        run.info._run_name = change(run.info._run_name)
        return run

    return alter


@pytest.mark.parametrize(
    ("method", "change"),
    [
        pytest.param("get_run", _info(lambda name: name + " "), id="a run's name"),
        pytest.param(
            "get_experiment", _altered("_tags", lambda t: {**t, "x": ""}), id="a tag more"
        ),
        pytest.param(
            "get_experiment", _altered("_last_update_time", lambda t: t - 5000), id="5 s too early"
        ),
        pytest.param(
            "get_metric_history",
            lambda found: (found.reverse(), found)[1],
            id="the order of a history",
        ),
        pytest.param(
            "create_model_version", _altered("_version", str), id="a number that is a text"
        ),
        pytest.param("set_experiment_tag", lambda _: "set", id="an answer where there is none"),
        pytest.param("search_registered_models", list, id="no page token"),
    ],
)
def test_a_changed_answer_is_caught(twins: Pair, method: str, change: Change) -> None:
    _wrap(twins, method, change)
    with pytest.raises(OracleMismatch, match=method):
        script(twins)


@pytest.mark.parametrize("what", ["code", "message", "silence"])
def test_a_changed_error_is_caught(twins: Pair, what: str) -> None:
    store = twins.sides[1].tracking
    real = store.get_experiment

    def changed(**kwargs: Any) -> Any:
        try:
            return real(**kwargs)
        except MlflowException as error:
            if what == "silence":
                return None
            code = 1000 if what == "code" else 3001
            raise MlflowException(f"{error}{'.' if what == 'message' else ''}", code) from None

    store.get_experiment = changed
    with pytest.raises(OracleMismatch, match=r"code|message|outcome"):
        script(twins)


def test_a_forgotten_write_is_caught(twins: Pair) -> None:
    store = twins.sides[1].tracking
    store.log_batch = lambda **_: None
    with pytest.raises(OracleMismatch, match="get_run"):
        script(twins)


def test_a_wrong_clock_is_caught(twins: Pair) -> None:
    """A write that moves a time it should leave alone."""
    store = twins.sides[1].tracking
    real = store.set_experiment_tag

    def touching(experiment_id: str, tag: Any) -> None:
        real(experiment_id, tag)
        name = store.get_experiment(experiment_id).name
        store.rename_experiment(experiment_id, name)

    store.set_experiment_tag = touching
    experiment = twins.call("create_experiment", name="x").ref
    twins.call("set_experiment_tag", experiment_id=experiment, tag=RunTag("a", "b"))
    with pytest.raises(OracleMismatch, match="last_update_time"):
        twins.call("search_experiments", view_type=ViewType.ALL)


def test_a_time_that_was_given_is_no_time_of_a_call(twins: Pair) -> None:
    """However soon before or after a call an entity takes it from the clock."""
    twins.ok("start_trace", trace_info=trace())
    for _ in range(50):
        assert now() > twins.clock
        given = Feedback(name="good", value=True, trace_id=trace_id(1))
        made = twins.ok("create_assessment", assessment=given)
        assert made.create_time_ms == given.create_time_ms
        assert all(side.starts[-1] > given.create_time_ms for side in twins.sides)


def _wrap(pair: Pair, method: str, change: Change) -> None:
    side = pair.sides[1]
    store = side.tracking if hasattr(side.tracking, method) else side.registry
    real = getattr(store, method)
    setattr(store, method, lambda *args, **kwargs: change(real(*args, **kwargs)))
