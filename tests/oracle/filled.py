"""A deterministic store full of awkward runs, to search in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunStatus,
    RunTag,
)

from .pair import Pair, Ref

RUNS = 60
LARGEST = 1.7976931348623157e308

NAMES = [
    "alpha",
    "Alpha",
    "ALPHA 100%",
    "al_ha",
    "naïve",
    "NAÏVE",
    "it's",
    'say "hi"',
    "名前",
    "back\\slash",
    "x'; DROP TABLE runs; --",
    "alpha",
]
TEXTS = [
    "0.1",
    "0.10",
    "10",
    "9",
    "abc",
    "ABC",
    "a_c",
    "a%c",
    "it's",
    'say "hi"',
    "back\\slash",
    "NULL",
    "тест",
    "ТЕСТ",
    "😀",
    " padded ",
    "line\nbreak",
    "",
]
LOSSES = [
    0.5,
    -0.0,
    0.0,
    math.nan,
    math.inf,
    -math.inf,
    -1.0,
    0.5,
    1e-320,
    5e-324,
    2.0**53 + 2,
    LARGEST,
    1,
]
# Keys that MLflow's validation refuses, but that reach the store through create_run's tags.
HOSTILE_KEYS = [
    "it's",
    'a"b',
    "a`b",
    "a;b",
    "a%b",
    "tag with = sign",
    "a\\b",
    "тег",
    "a.b.c",
    "-- x",
]


@dataclass
class Filled:
    """A filled pair, with the ids a search needs."""

    pair: Pair
    first: Ref
    second: Ref
    deleted: Ref
    runs: list[Ref]
    models: list[Ref]

    @property
    def experiments(self) -> list[str]:
        return [self.first, self.second]


def fill(pair: Pair) -> Filled:
    """Three experiments (one deleted), sixty runs: ties, gaps, NaN, unicode, quotes, deletions."""
    ids = [pair.make("create_experiment", name=name) for name in ("first", "second", "gone")]
    runs = [_run(pair, ids, i) for i in range(RUNS)]
    models = _models(pair, ids[0], runs)
    for i, run in enumerate(runs):
        _inputs(pair, run, i)
        if i % 10 == 3:
            pair.ok("delete_run", run_id=run)
    pair.ok("delete_experiment", experiment_id=ids[2])
    return Filled(pair, *ids, runs, models)


def _run(pair: Pair, experiments: list[Ref], i: int) -> Ref:
    tags = [RunTag("all", "same"), RunTag("third", str(i % 3))]
    if i % 2:
        tags.append(RunTag(HOSTILE_KEYS[i // 2 % len(HOSTILE_KEYS)], TEXTS[i % len(TEXTS)]))
    run = pair.make(
        "create_run",
        experiment_id=experiments[2 if i % 20 == 19 else i % 3 == 0],
        user_id=["ann", "Bob", "", "Zoë"][i % 4],
        start_time=0 if i in (17, 41) else 1000 + i // 4 * 10,  # four runs share each time
        tags=tags,
        run_name=NAMES[i % len(NAMES)],
    )
    metrics = [Metric("all", 1.0, 1, 0), Metric("third", i % 3, 1, 0)]
    metrics += [Metric("loss", LOSSES[i % len(LOSSES)], 5, 1)] if i % 4 else []
    metrics += [Metric("é ñ/x:y", i / 7, 5, 1)] if i % 5 < 3 else []
    metrics += [Metric("a.b", -i, 5, 1), Metric("deep", i, 1, 5)] if i % 2 else []
    metrics += [Metric("deep", i % 7, t, s) for t, s in ((9, 4), (2, 5), (2, 5), (3, 1))]
    params = [Param("all", "same")]
    params += [Param("text", TEXTS[i % len(TEXTS)])] if i % 5 else []
    params += [Param("päram with space", str(i % 4))] if i % 3 == 1 else []
    params += [Param("long", "x" * 5999 + str(i % 2))] if i % 30 == 1 else []
    more = [RunTag("text", TEXTS[(i * 5) % len(TEXTS)])] if i % 4 < 3 else []
    pair.ok("log_batch", run_id=run, metrics=metrics, params=params, tags=more)
    if i % 3:
        status = [RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED, RunStatus.SCHEDULED]
        end = None if i % 4 == 3 else 5000 - i // 6 * 10
        pair.ok(
            "update_run_info", run_id=run, run_status=status[i % 4], end_time=end, run_name=None
        )
    if i % 12 == 5:  # the name attribute and the tag that filters look at part ways
        pair.ok("delete_tag", run_id=run, key="mlflow.runName")
    return run


def _inputs(pair: Pair, run: Ref, i: int) -> None:
    sets = [("iris", "d1"), ("Iris", "d2"), ("wine%", "d1"), ("вино", "d'4"), ("iris", "d5")]
    datasets = []
    for j in range(i % 3 if i % 2 else 0):
        name, digest = sets[(i + j) % len(sets)]
        context = ["train", "Train", "eval_1", None][(i + j) % 4]
        tags = [InputTag("other", "x")]
        tags += [InputTag("mlflow.data.context", context)] if context else []
        datasets.append(DatasetInput(Dataset(name, digest, "local", f"s{i}", "{}", None), tags))
    pair.ok("log_inputs", run_id=run, datasets=datasets)


def _models(pair: Pair, experiment: Ref, runs: list[Ref]) -> list[Ref]:
    models = [
        pair.make("create_logged_model", experiment_id=experiment, name=f"m{k}") for k in range(3)
    ]
    outputs = [LoggedModelOutput(models[k], step) for k, step in ((0, 0), (1, 7))]
    pair.ok("log_outputs", run_id=runs[2], models=outputs)
    pair.ok("log_outputs", run_id=runs[4], models=outputs[:1])
    pair.ok("log_inputs", run_id=runs[5], models=[LoggedModelInput(models[2])])
    return models
