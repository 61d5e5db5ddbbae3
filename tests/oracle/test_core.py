"""Experiments and runs: each tracking method, with its limits and its odd cases."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.entities import ExperimentTag, Param, RunStatus, RunTag, ViewType

from . import look
from .pair import Pair, Ref, Text

INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"
EXISTS = "RESOURCE_ALREADY_EXISTS"

ODD_IDS = [
    "",
    "abc",
    "-1",
    "1.5",
    "999999",
    "0",
    None,
    0,
    "9" * 30,
    "٣",
    "0x1",
    "1e3",
    " 0 ",
    "0_0",
]


def new_run(pair: Pair, experiment: Any = "0", start_time: int = 1, **kwargs: Any) -> Ref:
    args = {"user_id": "u", "tags": [], "run_name": "n", "start_time": start_time, **kwargs}
    return pair.make("create_run", experiment_id=experiment, **args)


# --- experiments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "",
        None,
        5,
        " ",
        "x" * 500,
        "x" * 501,
        "é" * 500,
        "Default",
        "it's",
        "a\x00b",
        "名前",
        "../up",
        "a/b",
        "a\nb",
        "\ud800",
        "x'; DROP TABLE experiments; --",
        ["a"],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_experiment_names(pair: Pair, name: Any) -> None:
    pair.call("create_experiment", name=name)
    pair.call("create_experiment", name=name)
    pair.call("get_experiment_by_name", experiment_name=name)
    other = pair.make("create_experiment", name="other")
    pair.call("rename_experiment", experiment_id=other, new_name=name)
    look.at_tracking(pair, [other], [], [])


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "s3://bucket/a b",
        "/abs/olute",
        "file:///abs/x",
        "mlflow-artifacts:/x",
        "runs:/x",
        "s3://" + "x" * 2043,
        "s3://" + "x" * 2044,
        "ftp://u:p@h/x?q#f",
        "dbfs:/x/",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_artifact_locations(pair: Pair, location: str | None) -> None:
    made = pair.call("create_experiment", name="a", artifact_location=location).ref
    if made:
        run = new_run(pair, made)
        model = pair.make("create_logged_model", experiment_id=made, name="m")
        look.at_tracking(pair, [made], [run], [model])


TAGS: list[tuple[Any, Any]] = [
    ("k", "v"),
    ("k", ""),
    ("k", None),
    ("", "v"),
    (None, "v"),
    ("a/b", "v"),
    ("a//b", "v"),
    ("../a", "v"),
    ("/a", "v"),
    (".", "v"),
    ("a.b-c d:e_f", "v"),
    ("é名", "😀"),
    ("it's", "v"),
    ("a=b", "v"),
    ("k" * 250, "v"),
    ("k" * 251, "v"),
    ("k", "v" * 5000),
    ("k", "v" * 5001),
    ("k", "v" * 8000),
    ("k", "v" * 8001),
    ("k", "v" * 20_000),
    ("k", "v" * 20_001),
    ("k", "a\x00b"),
    ("k", "\ud800"),
    ("k", 5),
    ("k\n", "v"),
    ("mlflow.note.content", "x"),
    ("mlflow.experiment.isGateway", "true"),
]


@pytest.mark.parametrize(("key", "value"), TAGS, ids=lambda value: repr(value)[:20])
def test_experiment_tags(pair: Pair, key: Any, value: Any) -> None:
    tag = ExperimentTag(key, value)
    pair.call("create_experiment", name="a", tags=[tag])
    experiment = pair.make("create_experiment", name="b")
    pair.call("set_experiment_tag", experiment_id=experiment, tag=tag)
    pair.call("set_experiment_tag", experiment_id=experiment, tag=ExperimentTag(key, "again"))
    pair.call("get_experiment", experiment_id=experiment)
    pair.call("delete_experiment_tag", experiment_id=experiment, key=key)
    pair.call("delete_experiment_tag", experiment_id=experiment, key=key)
    look.at_tracking(pair, [experiment], [], [])


def test_experiment_tags_twice_in_one_call(pair: Pair) -> None:
    pair.call(
        "create_experiment", name="a", tags=[ExperimentTag("k", "1"), ExperimentTag("k", "2")]
    )
    pair.call("get_experiment_by_name", experiment_name="a")


def test_experiment_lifecycle(pair: Pair) -> None:
    a = pair.make("create_experiment", name="a")
    run, gone = new_run(pair, a), new_run(pair, a)
    pair.ok("delete_run", run_id=gone)
    pair.fails(MISSING, "restore_experiment", experiment_id=a)
    pair.ok("delete_experiment", experiment_id=a)
    look.at_tracking(pair, [a], [run, gone], [])
    pair.fails(MISSING, "delete_experiment", experiment_id=a)
    pair.fails(EXISTS, "create_experiment", name="a")
    pair.call("rename_experiment", experiment_id=a, new_name="b")
    pair.call("set_experiment_tag", experiment_id=a, tag=ExperimentTag("k", "v"))
    pair.call("delete_experiment_tag", experiment_id=a, key="k")
    pair.call("create_run", experiment_id=a, user_id="u", start_time=1, tags=[], run_name="n")
    pair.call("create_logged_model", experiment_id=a, name="m")
    pair.call("set_tag", run_id=run, tag=RunTag("k", "v"))
    pair.call("restore_run", run_id=run)
    look.at_tracking(pair, [a], [run, gone], [])
    pair.ok("restore_experiment", experiment_id=a)
    look.at_tracking(pair, [a], [run, gone], [])  # restores also what was deleted on its own
    pair.call("rename_experiment", experiment_id=a, new_name="a")
    b = pair.make("create_experiment", name="b")
    pair.call("rename_experiment", experiment_id=a, new_name="b")
    pair.ok("delete_experiment", experiment_id=b)
    pair.call("rename_experiment", experiment_id=a, new_name="b")
    look.at_tracking(pair, [a, b], [run, gone], [])


def test_the_default_experiment(pair: Pair) -> None:
    pair.call("get_experiment_by_name", experiment_name="Default")
    pair.call("rename_experiment", experiment_id="0", new_name="mine")
    pair.call("create_experiment", name="Default")
    pair.call("delete_experiment", experiment_id="0")
    pair.call("create_run", experiment_id="0", user_id="u", start_time=1, tags=[], run_name="n")
    look.at_tracking(pair, [], [], [])


# Tried in test_differences.py.
NOT_ALIKE = {
    ("rename_experiment", ""),
    ("rename_experiment", None),
    ("create_run", None),
    ("create_run", "0_0"),
    ("create_logged_model", "0_0"),
    ("set_experiment_tag", "0_0"),
}


@pytest.mark.parametrize(
    ("method", "kwargs", "given"),
    [
        (method, kwargs, given)
        for method, kwargs in [
            ("get_experiment", {}),
            ("delete_experiment", {}),
            ("restore_experiment", {}),
            ("rename_experiment", {"new_name": "x"}),
            ("set_experiment_tag", {"tag": ExperimentTag("k", "v")}),
            ("delete_experiment_tag", {"key": "k"}),
            ("create_run", {"user_id": "u", "start_time": 1, "tags": [], "run_name": "n"}),
            ("create_logged_model", {"name": "m"}),
            ("_hard_delete_experiment", {}),
        ]
        for given in ODD_IDS
        if (method, given) not in NOT_ALIKE
    ],
    ids=lambda value: "" if isinstance(value, dict) else repr(value)[:30],
)
def test_odd_experiment_ids(pair: Pair, method: str, kwargs: dict[str, Any], given: Any) -> None:
    pair.call(method, experiment_id=given, **kwargs)
    look.at_tracking(pair, [], [], [])


def test_an_id_written_otherwise(pair: Pair) -> None:
    a = pair.make("create_experiment", name="a")
    for shape in ("0{}", " {} ", "+{}", "{}\n"):
        pair.call("get_experiment", experiment_id=Text(shape, a))
        args = {"user_id": "u", "start_time": 1, "tags": [], "run_name": "n"}
        pair.call("create_run", experiment_id=Text(shape, a), **args)
    look.at_tracking(pair, [a], [], [])


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", [None, "", "tagged", "x" * 251], ids=lambda v: repr(v)[:9])
@pytest.mark.parametrize(
    "name", [None, "", "named", "tagged", "x" * 251], ids=lambda v: repr(v)[:9]
)
def test_run_names(pair: Pair, name: str | None, tag: str | None) -> None:
    tags = [] if tag is None else [RunTag("mlflow.runName", tag)]
    args = {"user_id": "u", "start_time": 1}
    run = pair.call("create_run", experiment_id="0", tags=tags, run_name=name, **args).ref
    if run is None:
        return
    pair.call("get_run", run_id=run)
    for new in (None, "", "second", "x" * 300):
        pair.call("update_run_info", run_id=run, run_status=None, end_time=None, run_name=new)
        pair.call("set_tag", run_id=run, tag=RunTag("mlflow.runName", new))
        pair.call("get_run", run_id=run)
    more = [RunTag("mlflow.runName", "third"), RunTag("other", "x")]
    pair.call("log_batch", run_id=run, metrics=[], params=[], tags=more)
    pair.call("get_run", run_id=run)
    pair.call("delete_tag", run_id=run, key="mlflow.runName")
    pair.call("get_run", run_id=run)
    pair.call("update_run_info", run_id=run, run_status=None, end_time=None, run_name="fourth")
    look.at_tracking(pair, [], [run], [])


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": None},
        {"user_id": ""},
        {"user_id": "x" * 257},
        {"start_time": None},
        {"start_time": -5},
        {"start_time": 2**63},
        {"start_time": -(2**63)},
        {"start_time": -(2**63) - 1},
        {"tags": None},
        {"tags": [RunTag("k", "1"), RunTag("k", "2")]},
        {"tags": [RunTag("", "1")]},
        {"tags": [RunTag("it's", None)]},
        {"tags": [RunTag("k" * 300, "v" * 9000)]},
        {"tags": [RunTag(None, "v")]},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_odd_runs(pair: Pair, changed: dict[str, Any]) -> None:
    args = {"user_id": "u", "start_time": 1, "tags": [], "run_name": "n", **changed}
    run = pair.call("create_run", experiment_id="0", **args).ref
    look.at_tracking(pair, [], [run] if run else [], [])


@pytest.mark.parametrize("status", [*RunStatus.all_status(), None, 0, 99, "FINISHED"], ids=repr)
@pytest.mark.parametrize("end_time", [None, 0, 5, -1, 2**63], ids=repr)
def test_update_run_info(pair: Pair, status: Any, end_time: Any) -> None:
    run = new_run(pair)
    args = {"run_id": run, "run_status": status, "end_time": end_time}
    pair.call("update_run_info", run_name=None, **args)
    pair.call("get_run", run_id=run)


WRITES: list[tuple[str, dict[str, Any]]] = [
    ("update_run_info", {"run_status": RunStatus.FINISHED, "end_time": 5, "run_name": "x"}),
    ("set_tag", {"tag": RunTag("k", "v")}),
    ("set_tag", {"tag": RunTag("mlflow.runName", "v")}),
    ("delete_tag", {"key": "t"}),
    ("log_param", {"param": Param("p", "1")}),
    ("log_batch", {"metrics": [], "params": [], "tags": []}),
    ("log_batch", {"metrics": [], "params": [Param("p", "1")], "tags": []}),
    ("log_inputs", {"datasets": [], "models": []}),
    ("log_outputs", {"models": []}),
    ("get_run", {}),
    ("delete_run", {}),
    ("restore_run", {}),
    ("_hard_delete_run", {}),
]


@pytest.mark.parametrize(("method", "kwargs"), WRITES, ids=lambda v: v if type(v) is str else "")
@pytest.mark.parametrize("state", ["deleted", "active", "missing", "odd", "empty", "none"])
def test_writes_and_lifecycle(pair: Pair, state: str, method: str, kwargs: Any) -> None:
    run: Any = new_run(pair, tags=[RunTag("t", "x")])
    if state == "deleted":
        pair.ok("delete_run", run_id=run)
    given = {"missing": "f" * 32, "odd": "it's", "empty": "", "none": None}.get(state, run)
    pair.call(method, run_id=given, **kwargs)
    pair.call(method, run_id=given, **kwargs)
    look.at_tracking(pair, [], [run], [])


@pytest.mark.parametrize(("key", "value"), TAGS, ids=lambda value: repr(value)[:20])
def test_run_tags(pair: Pair, key: Any, value: Any) -> None:
    run = new_run(pair)
    pair.call("set_tag", run_id=run, tag=RunTag(key, value))
    pair.call("get_run", run_id=run)
    pair.call("set_tag", run_id=run, tag=RunTag(key, "again"))
    pair.call("delete_tag", run_id=run, key=key)
    pair.call("delete_tag", run_id=run, key=key)
    batch = [RunTag(key, "first"), RunTag("other", "x"), RunTag(key, value)]
    pair.call("log_batch", run_id=run, metrics=[], params=[], tags=batch)
    pair.call("get_run", run_id=run)


@pytest.mark.parametrize("truncate", ["true", "false"])
@pytest.mark.parametrize("length", [6000, 6001, 8000, 8001, 100_000])
def test_truncation(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, truncate: str, length: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", truncate)
    run, long = new_run(pair), "é" * length
    pair.call("set_tag", run_id=run, tag=RunTag("t", long))
    pair.call("log_param", run_id=run, param=Param("p", long))
    pair.call("log_param", run_id=run, param=Param("p", long))
    pair.call("log_param", run_id=run, param=Param("p", long + "x"))
    batch = {"params": [Param("q", long)], "tags": [RunTag("u", long)]}
    pair.call("log_batch", run_id=run, metrics=[], **batch)
    pair.call("log_batch", run_id=run, metrics=[], **batch)
    pair.call("set_experiment_tag", experiment_id="0", tag=ExperimentTag("t", long))
    look.at_tracking(pair, [], [run], [])


# --- search of experiments -----------------------------------------------------------------------


@pytest.fixture
def several(pair: Pair) -> Pair:
    """Experiments whose names and tags are hard to tell apart."""
    for i, name in enumerate(["alpha", "Alpha", "ALPHÉ", "a_pha", "a%", "b's", "名前"]):
        tags = [ExperimentTag("i", str(i % 3))] if i % 4 else []
        tags += [ExperimentTag("a b/c", name)]
        made = pair.make("create_experiment", name=name, tags=tags)
        if i == 5:
            pair.ok("delete_experiment", experiment_id=made)
    return pair


def test_experiment_filters(several: Pair) -> None:
    texts = ["alpha", "ALPHA", "a%", "a_pha", "%", "", "b%", "%é", "%É", "名%"]
    filters = [
        f"{key} {op} '{text}'"
        for key in ("name", "attribute.name", "tags.`a b/c`", "tag.i", "tags.none")
        for op in ("=", "!=", "LIKE", "ILIKE", "like", ">", "IN")
        for text in texts
    ]
    times = ("creation_time", "last_update_time", "attribute.creation_time")
    filters += [
        f"{key} {op} {number}"
        for key in times
        for op in ("=", "!=", "<", "<=", ">", ">=", "LIKE")
        for number in ("0", "99999999999999", "1.5", "'0'", "99999999999999999999")
    ]
    filters += [f"tags.i {op}" for op in ("IS NULL", "IS NOT NULL", "is null")]
    filters += [f"experiment_id {op} '0'" for op in ("=", "!=", "<", "LIKE", ">=", "ILIKE")]
    filters += [f"experiment_id {op} ('0', '77')" for op in ("IN", "NOT IN", "in")]
    filters += [
        "experiment_id IN ('x')",
        "experiment_id = 'x'",
        "experiment_id = 0",
        "name IN ('a')",
    ]
    filters += [
        "name IS NULL",
        "attributes.name = 'a'",
        "params.x = 'a'",
        "lifecycle_stage = 'active'",
    ]
    filters += ["name = 'alpha' AND tags.i = '1'", "tags.i = '1' AND tags.`a b/c` LIKE 'A%'"]
    filters += ["name = 'alpha' OR 1=1", "name", "name = alpha", 'name = "b\'s"', "name = 5"]
    filters += ["tags.i = '1' AND tags.i = '2'", "name LIKE '%'; DROP TABLE experiments", " ", "'"]
    for text in filters:
        for view in (ViewType.ACTIVE_ONLY, ViewType.ALL):
            several.call("search_experiments", view_type=view, filter_string=text)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_experiment_orders_and_pages(several: Pair, size: int) -> None:
    keys = ["name", "creation_time", "last_update_time", "experiment_id", "attribute.name"]
    orders: list[Any] = [[f"{key}{way}"] for key in keys for way in ("", " ASC", " DESC")]
    orders += [None, [], ["name", "name DESC"], ["creation_time DESC", "name"]]
    orders += [["name UP"], ["tags.i"], ["nothing"], [""], ["metrics.x"], ["name, creation_time"]]
    for order_by in orders:
        args = {"view_type": ViewType.ALL, "order_by": order_by}
        several.pages("search_experiments", size, **args)
    for max_results in (0, -1, None, 50_000, 50_001):
        several.call("search_experiments", max_results=max_results)
    for token in ("x", "e30=", "eyJvZmZzZXQiOiA1fQ=="):
        several.call("search_experiments", page_token=token)
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL, 0, 4, "ALL"):
        several.call("search_experiments", view_type=view)
