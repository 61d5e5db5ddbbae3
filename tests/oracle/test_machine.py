"""Random calls over all of tracking and registry, in random order, each answer compared."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from mlflow.entities import (
    ExperimentTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
)
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

from . import look
from . import machine_values as v
from .family_machine import bounds
from .machine_odd import OddCalls
from .methods import METHODS, NEVER_REFUSED
from .pair import Factory, Pair, Ref, Template, open_pair
from .stores import make_kafka_ledger, wants_kafka

OUTCOMES: Counter[tuple[str, bool]] = Counter()
"""How often a method succeeded, and how often it was refused, in all histories."""


class Machine(OddCalls):
    """What a client could do to a store, compared call by call."""

    experiments: Bundle[Any] = Bundle("experiments")
    runs: Bundle[Any] = Bundle("runs")
    models: Bundle[Any] = Bundle("models")
    registered: Bundle[Any] = Bundle("registered")

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair
        self.made: dict[str, list[Ref]] = {"experiments": [], "runs": [], "models": []}

    def add(self, bundle: str, method: str, **kwargs: Any) -> Any:
        ref = self.pair.call(method, **kwargs).ref
        if ref is None:
            return multiple()
        self.made.setdefault(bundle, []).append(ref)
        return ref

    def teardown(self) -> None:
        try:
            look.at_tracking(self.pair, **self.made)
            look.at_registry(self.pair)
        finally:
            OUTCOMES.update(self.pair.outcomes)
            self.pair.close()

    # --- experiments

    @initialize(target=experiments)
    def some_experiments(self) -> Any:
        args = {"tags": [ExperimentTag("k", "v")]}
        made = [self.add("experiments", "create_experiment", name=name, **args) for name in "ab"]
        return multiple("0", *made)

    @initialize(target=runs, start=v.times, name=v.names)
    def some_runs(self, start: int, name: str) -> Any:
        args = {"user_id": "u", "tags": [RunTag("k", "a"), RunTag("l", "b")], "run_name": name}
        return multiple(
            *(
                self.add("runs", "create_run", experiment_id=where, start_time=start, **args)
                for where in ["0", *self.made["experiments"]]
            )
        )

    @initialize(target=models)
    def some_models(self) -> Any:
        where = ["0", *self.made["experiments"]]
        args = {"name": "m", "model_type": "a", "tags": [LoggedModelTag("k", "v")]}
        return multiple(
            *(self.add("models", "create_logged_model", experiment_id=e, **args) for e in where)
        )

    @initialize(target=registered)
    def some_registered_models(self) -> Any:
        for name in "abc":
            self.pair.ok("create_registered_model", name=name)
            for source in "st" if name != "c" else "":
                self.pair.ok("create_model_version", name=name, source=source)
        return multiple("a", "b", "c")

    @rule(
        target=experiments,
        name=v.names,
        tags=st.lists(st.builds(ExperimentTag, v.keys, v.values), max_size=2),
    )
    def create_experiment(self, name: str, tags: Any) -> Any:
        return self.add("experiments", "create_experiment", name=name, tags=tags)

    @rule(experiment=experiments, name=v.names)
    def rename_experiment(self, experiment: str, name: str) -> None:
        self.pair.call("rename_experiment", experiment_id=experiment, new_name=name)

    @rule(
        experiment=experiments,
        method=st.sampled_from(["delete_experiment", "restore_experiment", "get_experiment"]),
    )
    def turn_experiment(self, experiment: str, method: str) -> None:
        self.pair.call(method, experiment_id=experiment)

    @rule(experiment=experiments, key=v.keys, value=v.values)
    def set_experiment_tag(self, experiment: str, key: str, value: str) -> None:
        tag = ExperimentTag(key, value)
        self.pair.call("set_experiment_tag", experiment_id=experiment, tag=tag)

    @rule(experiment=experiments, key=v.keys)
    def delete_experiment_tag(self, experiment: str, key: str) -> None:
        self.pair.call("delete_experiment_tag", experiment_id=experiment, key=key)

    @rule(name=v.names)
    def get_experiment_by_name(self, name: str) -> None:
        self.pair.call("get_experiment_by_name", experiment_name=name)

    @rule(
        text=v.experiment_filters,
        view=v.views,
        order=v.orders("name creation_time last_update_time experiment_id"),
        size=v.sizes,
    )
    def search_experiments(self, text: str, view: int, order: list[str], size: int) -> None:
        args = {"view_type": view, "filter_string": text, "order_by": order}
        self.pair.pages("search_experiments", size, **args)

    # --- runs

    @rule(
        target=runs,
        experiment=experiments,
        user=v.texts,
        start=v.times,
        tags=st.lists(v.tags, max_size=2),
        name=v.optional_texts,
    )
    def create_run(self, experiment: str, user: str, start: int, tags: Any, name: Any) -> Any:
        args = {"user_id": user, "start_time": start, "tags": tags, "run_name": name}
        return self.add("runs", "create_run", experiment_id=experiment, **args)

    @rule(run=runs, method=st.sampled_from(["delete_run", "restore_run", "get_run"]))
    def turn_run(self, run: str, method: str) -> None:
        self.pair.call(method, run_id=run)

    @rule(run=runs, key=v.keys)
    def delete_tag(self, run: str, key: str) -> None:
        self.pair.call("delete_tag", run_id=run, key=key)

    @rule(
        run=runs,
        status=st.one_of(st.none(), st.sampled_from(RunStatus.all_status())),
        end=st.one_of(st.none(), v.times),
        name=v.optional_texts,
    )
    def update_run_info(self, run: str, status: Any, end: Any, name: Any) -> None:
        args = {"run_status": status, "end_time": end, "run_name": name}
        self.pair.call("update_run_info", run_id=run, **args)

    @rule(run=runs, metric=v.metrics)
    def log_metric(self, run: str, metric: Metric) -> None:
        self.pair.call("log_metric", run_id=run, metric=metric)

    @rule(run=runs, model=models, metric=v.metrics, dataset=st.booleans())
    def log_model_metric(self, run: str, model: str, metric: Metric, dataset: bool) -> None:
        data = {"dataset_name": "a", "dataset_digest": "1"} if dataset else {}
        given = (metric.key, metric.value, metric.timestamp, metric.step)
        self.pair.call("log_metric", run_id=run, metric=Metric(*given, model_id=model, **data))

    @rule(run=runs, param=v.params)
    def log_param(self, run: str, param: Param) -> None:
        self.pair.call("log_param", run_id=run, param=param)

    @rule(run=runs, tag=st.one_of(v.tags, st.builds(RunTag, st.just("mlflow.runName"), v.texts)))
    def set_tag(self, run: str, tag: RunTag) -> None:
        self.pair.call("set_tag", run_id=run, tag=tag)

    @rule(
        run=runs,
        metrics=st.lists(v.metrics, max_size=6),
        params=st.lists(v.params, max_size=2),
        tags=st.lists(v.tags, max_size=2),
    )
    def log_batch(self, run: str, metrics: Any, params: Any, tags: Any) -> None:
        self.pair.call("log_batch", run_id=run, metrics=metrics, params=params, tags=tags)

    @rule(run=runs, datasets=v.datasets)
    def log_inputs(self, run: str, datasets: Any) -> None:
        self.pair.call("log_inputs", run_id=run, datasets=datasets)

    @rule(run=runs, model=models, step=v.times)
    def log_models(self, run: str, model: str, step: int) -> None:
        self.pair.call("log_outputs", run_id=run, models=[LoggedModelOutput(model, step)])
        self.pair.call("log_inputs", run_id=run, models=[LoggedModelInput(model)])

    @rule(
        some=st.lists(experiments, max_size=3),
        text=v.run_filters,
        view=v.views,
        order=v.orders("metrics.m metrics.n params.k tags.k start_time end_time run_name status"),
        size=v.sizes,
    )
    def search_runs(self, some: Any, text: str, view: int, order: Any, size: int) -> None:
        args = {"experiment_ids": some, "filter_string": text, "run_view_type": view}
        self.pair.pages("search_runs", size, order_by=order, **args)

    @rule(some=st.lists(runs, min_size=1, max_size=3), size=st.integers(1, 5), first=v.times)
    def histories(self, some: Any, size: int, first: int) -> None:
        self.pair.pages("get_metric_history", size, run_id=some[0], metric_key="m")
        args = {"run_ids": some, "metric_key": "m", "max_results": size}
        self.pair.call("get_metric_history_bulk", **args)
        for start, end in ((None, None), (first, 3)):
            steps = {"start_step": start, "end_step": end}
            self.pair.call("get_metric_history_bulk_interval", **args, **steps)

    # --- logged models

    @rule(
        target=models,
        experiment=experiments,
        name=v.optional_texts,
        kind=st.sampled_from([None, "a", "b"]),
        keys=st.lists(v.keys, max_size=2),
    )
    def create_logged_model(self, experiment: str, name: Any, kind: Any, keys: list[str]) -> Any:
        args = {"name": name, "model_type": kind, "tags": [LoggedModelTag(k, "v") for k in keys]}
        args["params"] = [LoggedModelParameter(key, key) for key in keys]
        return self.add("models", "create_logged_model", experiment_id=experiment, **args)

    @rule(model=models, status=st.sampled_from(list(LoggedModelStatus)))
    def finalize_logged_model(self, model: str, status: Any) -> None:
        self.pair.call("finalize_logged_model", model_id=model, status=status)

    @rule(model=models, keys=st.lists(v.keys, max_size=2), value=v.texts)
    def write_logged_model(self, model: str, keys: list[str], value: str) -> None:
        tags = [LoggedModelTag(key, value) for key in keys]
        self.pair.call("set_logged_model_tags", model_id=model, tags=tags)
        params = [LoggedModelParameter(key, value) for key in keys]
        self.pair.call("log_logged_model_params", model_id=model, params=params)

    @rule(model=models, key=v.keys)
    def delete_logged_model_tag(self, model: str, key: str) -> None:
        self.pair.call("delete_logged_model_tag", model_id=model, key=key)

    @rule(model=models, method=st.sampled_from(["get_logged_model", "delete_logged_model"]))
    def turn_logged_model(self, model: str, method: str) -> None:
        self.pair.call(method, model_id=model)

    @rule(
        some=st.lists(experiments, max_size=3),
        text=v.model_filters,
        order=st.lists(st.sampled_from(["metrics.m", "metrics.n", "name"]), min_size=1, max_size=2),
        up=st.booleans(),
        size=v.sizes,
    )
    def search_logged_models(self, some: Any, text: str, order: Any, up: bool, size: int) -> None:
        order_by = [{"field_name": name, "ascending": up} for name in order]
        args = {"experiment_ids": some, "filter_string": text or None, "order_by": order_by}
        self.pair.pages("search_logged_models", size, **args)

    # --- gc

    @rule(run=consumes(runs))
    def hard_delete_run(self, run: str) -> None:
        self.pair.call("_hard_delete_run", run_id=run)

    @rule(model=consumes(models))
    def hard_delete_model(self, model: str) -> None:
        self.pair.call("_hard_delete_logged_model", model_id=model)

    @rule(experiment=consumes(experiments))
    def hard_delete_experiment(self, experiment: str) -> None:
        self.pair.call("_hard_delete_experiment", experiment_id=experiment)
        self.pair.call("delete_experiment", experiment_id=experiment)
        self.pair.call("_hard_delete_experiment", experiment_id=experiment)

    # --- registry

    @rule(target=registered, name=v.names, key=v.keys, value=v.texts)
    def create_registered_model(self, name: str, key: str, value: str) -> Any:
        tags = [RegisteredModelTag(key, value)]
        args = {"tags": tags, "description": value}
        answer = self.pair.call("create_registered_model", name=name, **args)
        return multiple() if answer.error else name

    @rule(target=registered, name=registered, new=v.names)
    def rename_registered_model(self, name: str, new: str) -> Any:
        answer = self.pair.call("rename_registered_model", name=name, new_name=new)
        return multiple() if answer.error else new

    @rule(name=registered, text=v.optional_texts)
    def update_registered_model(self, name: str, text: Any) -> None:
        self.pair.call("update_registered_model", name=name, description=text)

    @rule(name=consumes(registered))
    def delete_registered_model(self, name: str) -> None:
        self.pair.call("delete_registered_model", name=name)

    @rule(name=registered, source=v.texts, run=v.optional_texts, key=v.keys, value=v.texts)
    def create_model_version(self, name: str, source: str, run: Any, key: str, value: str) -> None:
        args = {"source": source, "run_id": run, "tags": [ModelVersionTag(key, value)]}
        self.pair.call("create_model_version", name=name, description=value, **args)

    @rule(name=registered, version=v.versions, text=v.optional_texts)
    def update_model_version(self, name: str, version: int, text: Any) -> None:
        self.pair.call("update_model_version", name=name, version=version, description=text)

    @rule(name=registered, version=v.versions, stage=v.stages, archive=st.booleans())
    def transition(self, name: str, version: int, stage: str, archive: bool) -> None:
        args = {"stage": stage, "archive_existing_versions": archive}
        self.pair.call("transition_model_version_stage", name=name, version=version, **args)

    @rule(name=registered, version=v.versions)
    def delete_model_version(self, name: str, version: int) -> None:
        self.pair.call("delete_model_version", name=name, version=version)

    @rule(name=registered, alias=v.aliases, version=v.versions)
    def set_alias(self, name: str, alias: str, version: int) -> None:
        args = {"alias": alias, "version": version}
        self.pair.call("set_registered_model_alias", name=name, **args)

    @rule(name=registered, alias=v.aliases, method=st.sampled_from(["get", "delete"]))
    def turn_alias(self, name: str, alias: str, method: str) -> None:
        full = "get_model_version_by_alias" if method == "get" else "delete_registered_model_alias"
        self.pair.call(full, name=name, alias=alias)

    @rule(name=registered, version=v.versions, key=v.keys, value=v.texts)
    def set_registry_tags(self, name: str, version: int, key: str, value: str) -> None:
        self.pair.call("set_registered_model_tag", name=name, tag=RegisteredModelTag(key, value))
        tag = ModelVersionTag(key, value)
        self.pair.call("set_model_version_tag", name=name, version=version, tag=tag)

    @rule(name=registered, version=v.versions, key=v.keys)
    def delete_registry_tags(self, name: str, version: int, key: str) -> None:
        self.pair.call("delete_registered_model_tag", name=name, key=key)
        self.pair.call("delete_model_version_tag", name=name, version=version, key=key)

    @rule(
        text=v.registered_filters,
        order=v.orders("name timestamp last_updated_timestamp"),
        size=v.sizes,
    )
    def search_registered_models(self, text: str, order: Any, size: int) -> None:
        self.pair.pages("search_registered_models", size, filter_string=text, order_by=order)

    @rule(
        text=v.version_filters,
        order=v.orders("name version_number creation_timestamp last_updated_timestamp"),
        size=v.sizes,
    )
    def search_model_versions(self, text: str, order: Any, size: int) -> None:
        self.pair.pages("search_model_versions", size, filter_string=text, order_by=order)


@pytest.mark.brokers
@pytest.mark.skipif(wants_kafka(), reason="all histories are played there already")
def test_random_histories_on_kafka(tmp_path: Path, template: Template) -> None:
    """A few, since each has topics of its own; `make oracle-kafka` plays all of it there."""
    folders = itertools.count()

    def machine() -> Machine:
        return Machine(open_pair(tmp_path / str(next(folders)), template, make_kafka_ledger))

    run_state_machine_as_test(
        machine,
        settings=bounds(6, 60),
    )


@pytest.mark.timeout(7200)  # the long profile outlives the suite's limit
def test_random_histories(
    tmp_path: Path,
    template: Template,
    factory: Factory,
    pytestconfig: pytest.Config,
) -> None:
    """A minute or two; `--hypothesis-profile=long` for an hour."""
    long = pytestconfig.getoption("--hypothesis-profile", default=None) == "long"
    count = 0

    def machine() -> Machine:
        nonlocal count
        count += 1
        return Machine(open_pair(tmp_path / str(count), template, factory))

    OUTCOMES.clear()
    run_state_machine_as_test(
        machine,
        settings=bounds(1500 if long else 15, 80 if long else 50),
    )
    if long:  # in fewer histories a rare one may be missing
        assert {method for method in METHODS if not OUTCOMES[method, True]} == set()
        assert {m for m in METHODS - NEVER_REFUSED if not OUTCOMES[m, False]} == set()
