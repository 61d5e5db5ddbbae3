"""The registry: models, versions, stages, aliases, tags, and their searches."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

from . import look
from .pair import Pair, Text

INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"
EXISTS = "RESOURCE_ALREADY_EXISTS"

NAMES: list[Any] = [
    *(
        "m",
        "",
        None,
        " ",
        "  m",
        "a/b",
        "a:b",
        "a.b",
        ".",
        "..",
        "../x",
        "it's",
        "é名😀",
        "x" * 257,
    ),
    *(5, "a\x00b", "m\n", "\ud800", "a%b", "models:", "a//b"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda value: repr(value)[:20])
def test_names(pair: Pair, name: Any) -> None:
    pair.call("create_registered_model", name=name)
    pair.call("create_registered_model", name=name)
    pair.ok("create_registered_model", name="other")
    pair.call("create_model_version", name=name, source="s")
    pair.call("get_registered_model", name=name)
    pair.call("get_latest_versions", name=name)
    pair.call("update_registered_model", name=name, description="d")
    pair.call("set_registered_model_alias", name=name, alias="a", version=1)
    pair.call("get_model_version_by_alias", name=name, alias="a")
    pair.call("rename_registered_model", name="other", new_name=name)
    pair.call("rename_registered_model", name="other", new_name=f"{name}2")
    look.at_registry(pair)
    pair.call("delete_registered_model", name=name)
    look.at_registry(pair)


TAGS: list[tuple[Any, Any]] = [
    *(("k", "v"), ("k", ""), ("k", None), ("", "v"), (None, "v"), ("a/b", "v"), ("../a", "v")),
    *(("it's", "v"), ("é名", "😀"), ("k" * 250, "v"), ("k" * 251, "v"), ("k", "v" * 5001)),
    *(("k", "v" * 100_000), ("k", "v" * 100_001), ("k", "a\x00b"), ("k", 5), ("k", "\ud800")),
    *(("mlflow.prompt.is_prompt", "true"), ("mlflow.prompt.is_prompt", "false")),
    ("mlflow.prompt.text", "t" * 100_001),
]


@pytest.mark.parametrize(("key", "value"), TAGS, ids=lambda value: repr(value)[:20])
def test_tags(pair: Pair, key: Any, value: Any) -> None:
    model_tag, version_tag = RegisteredModelTag(key, value), ModelVersionTag(key, value)
    pair.call("create_registered_model", name="tagged", tags=[model_tag, model_tag])
    pair.call("create_registered_model", name="tagged", tags=[model_tag])
    pair.ok("create_registered_model", name="m")
    pair.call("create_model_version", name="m", source="s", tags=[version_tag, version_tag])
    pair.ok("create_model_version", name="m", source="s")
    at = {"name": "m", "version": "1"}
    for _ in range(2):
        pair.call("set_registered_model_tag", name="m", tag=model_tag)
        pair.call("set_model_version_tag", tag=version_tag, **at)
    look.at_registry(pair)
    for _ in range(2):
        pair.call("delete_registered_model_tag", name="m", key=key)
        pair.call("delete_model_version_tag", key=key, **at)
    look.at_registry(pair)


def test_models_live_and_die(pair: Pair) -> None:
    pair.ok(
        "create_registered_model", name="a", description="d", tags=[RegisteredModelTag("k", "v")]
    )
    pair.fails(EXISTS, "create_registered_model", name="a")
    for description in ("new", "", None, "x" * 5001):
        pair.call("update_registered_model", name="a", description=description)
    for _ in range(3):
        pair.ok("create_model_version", name="a", source="s")
    pair.ok("set_registered_model_alias", name="a", alias="best", version="2")
    pair.ok("set_model_version_tag", name="a", version=2, tag=ModelVersionTag("k", "v"))
    pair.ok("rename_registered_model", name="a", new_name="b")
    look.at_registry(pair)
    pair.ok("get_model_version_by_alias", name="b", alias="best")
    pair.call("rename_registered_model", name="b", new_name="b")
    pair.ok("create_registered_model", name="a")
    pair.fails(EXISTS, "rename_registered_model", name="b", new_name="a")
    for method in ("get_registered_model", "delete_registered_model", "get_latest_versions"):
        pair.fails(MISSING, method, name="none")
    pair.fails(MISSING, "rename_registered_model", name="none", new_name="x")
    pair.fails(MISSING, "update_registered_model", name="none", description="x")
    pair.ok("delete_model_version", name="b", version=3)
    pair.ok("delete_registered_model", name="b")
    look.at_registry(pair)
    pair.call("get_model_version", name="b", version="1")
    pair.ok("create_registered_model", name="b")
    pair.ok("create_model_version", name="b", source="again")
    look.at_registry(pair)


@pytest.mark.parametrize(
    "changed",
    [
        {"source": None},
        {"source": ""},
        {"source": "x" * 501},
        {"source": "s3://b/é"},
        {"run_id": "f" * 32},
        {"run_id": ""},
        {"run_link": "http://x"},
        {"description": ""},
        {"description": "é" * 6000},
        {"tags": []},
        {"tags": [ModelVersionTag("k", None)]},
        {"local_model_path": "/x"},
        {"name": "none"},
        {"model_id": "m-" + "f" * 32},
        {"source": "models:/m-" + "f" * 32},
        {"source": "models:/none/1"},
        {"source": "models:/m/1"},
        {"source": "models:/m/77"},
        {"source": "models:/m@best"},
        {"source": "models:/m/Production"},
        {"source": "models:/"},
        {"source": "models:/m/latest"},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_odd_versions(pair: Pair, changed: dict[str, Any]) -> None:
    pair.ok("create_registered_model", name="m")
    pair.ok("create_model_version", name="m", source="s3://first", run_id="r" * 32)
    pair.ok("set_registered_model_alias", name="m", alias="best", version=1)
    pair.call("create_model_version", **{"name": "m", "source": "s", **changed})
    look.at_registry(pair)


def test_versions_of_logged_models(pair: Pair) -> None:
    args = {"user_id": "u", "start_time": 1, "tags": [], "run_name": "n"}
    run = pair.make("create_run", experiment_id="0", **args)
    model = pair.make("create_logged_model", experiment_id="0", name="l", source_run_id=run)
    loose = pair.make("create_logged_model", experiment_id="0", name="l")
    pair.ok("create_registered_model", name="m")
    pair.ok("create_model_version", name="m", source=Text("models:/{}", model))
    pair.ok("create_model_version", name="m", source=Text("models:/{}", loose))
    pair.ok("create_model_version", name="m", source="s", model_id=model)
    pair.ok("create_model_version", name="m", source="s", model_id=loose, run_id="given")
    pair.ok("create_model_version", name="m", source="models:/m/1")
    look.at_registry(pair)
    tags = {"name": "m", "version": "1", "model_id": model}
    pair.call("set_model_versions_tags", **tags)
    pair.call("set_model_versions_tags", **{**tags, "name": "other"})
    pair.call("get_logged_model", model_id=model)
    pair.ok("delete_logged_model", model_id=model)
    pair.call("create_model_version", name="m", source=Text("models:/{}", model))
    look.at_registry(pair)


VERSIONS: list[Any] = [1, "1", "2", 0, -1, "x", "", None, 1.0, "1.0", 99, "01", " 1", "9" * 30]


@pytest.mark.parametrize("version", VERSIONS, ids=repr)
def test_odd_version_numbers(pair: Pair, version: Any) -> None:
    pair.ok("create_registered_model", name="m")
    pair.ok("create_model_version", name="m", source="s")
    pair.ok("create_model_version", name="m", source="s", description="d", run_id="r")
    at = {"name": "m", "version": version}
    pair.call("get_model_version", **at)
    pair.call("get_model_version_download_uri", **at)
    pair.call("update_model_version", description="new", **at)
    pair.call("update_model_version", description=None, **at)
    pair.call("set_model_version_tag", tag=ModelVersionTag("k", "v"), **at)
    pair.call("set_registered_model_alias", alias="a", **at)
    look.at_registry(pair)
    stage = {"stage": "Staging", "archive_existing_versions": True}
    pair.call("transition_model_version_stage", **stage, **at)
    pair.call("delete_model_version_tag", key="k", **at)
    look.at_registry(pair)
    for _ in range(2):
        pair.call("delete_model_version", **at)
    look.at_registry(pair)
    pair.call("get_model_version_by_alias", name="m", alias="a")
    pair.call("set_model_version_tag", tag=ModelVersionTag("k", "v"), **at)
    pair.call("update_model_version", description="new", **at)
    pair.ok("create_model_version", name="m", source="next")
    look.at_registry(pair)


STAGES: list[Any] = ["None", "Staging", "Production", "Archived", "staging", "PRODUCTION", "none"]
STAGES += ["Deleted_Internal", "", None, "nothing"]


@pytest.mark.parametrize("archive", [True, False, None], ids=repr)
@pytest.mark.parametrize("stage", STAGES, ids=repr)
def test_stages(pair: Pair, stage: Any, archive: Any) -> None:
    pair.ok("create_registered_model", name="m")
    for i in range(4):
        pair.ok("create_model_version", name="m", source="s")
        before = {"stage": ["Staging", "Production"][i % 2], "archive_existing_versions": False}
        if i < 3:
            pair.ok("transition_model_version_stage", name="m", version=i + 1, **before)
    for version in (1, "2", 4, 9):
        pair.call(
            "transition_model_version_stage",
            name="m",
            version=version,
            stage=stage,
            archive_existing_versions=archive,
        )
        pair.call("search_model_versions")
    look.at_registry(pair)
    for stages in ([stage], ["Staging", stage], ["production", "PRODUCTION"], [], None):
        pair.call("get_latest_versions", name="m", stages=stages)


ALIASES: list[Any] = ["best", "Best", "", None, "a b", "it's", "é", "a.b", "a-b_c", "x" * 255]
ALIASES += ["x" * 256, "latest", "LATEST", "v1", "V22", "v1x", "1", "champion\n", 5]


@pytest.mark.parametrize("alias", ALIASES, ids=lambda value: repr(value)[:20])
def test_aliases(pair: Pair, alias: Any) -> None:
    pair.ok("create_registered_model", name="m")
    for _ in range(2):
        pair.ok("create_model_version", name="m", source="s")
    pair.call("get_model_version_by_alias", name="m", alias=alias)
    for version in (1, 1, "2", 9):
        pair.call("set_registered_model_alias", name="m", alias=alias, version=version)
        pair.call("get_model_version_by_alias", name="m", alias=alias)
        pair.call("get_registered_model", name="m")
    look.at_registry(pair)
    pair.ok("set_registered_model_alias", name="m", alias="second", version=2)
    pair.ok("delete_model_version", name="m", version=2)
    look.at_registry(pair)
    for name in ("m", "m", "none"):
        pair.call("delete_registered_model_alias", name=name, alias=alias)
        pair.call("get_model_version_by_alias", name=name, alias=alias)
    look.at_registry(pair)


def test_copies(pair: Pair) -> None:
    pair.ok("create_registered_model", name="a")
    tags = [ModelVersionTag("k", "v")]
    args = {"run_id": "r", "tags": tags, "run_link": "l", "description": "d"}
    pair.ok("create_model_version", name="a", source="s3://x", **args)
    version = pair.ok("get_model_version", name="a", version=1)
    pair.ok("copy_model_version", src_mv=version, dst_name="b")
    pair.ok("copy_model_version", src_mv=version, dst_name="b")
    copied = pair.ok("get_model_version", name="b", version=1)
    pair.ok("copy_model_version", src_mv=copied, dst_name="a")
    pair.call("copy_model_version", src_mv=version, dst_name="a/b")
    pair.ok("delete_model_version", name="a", version=1)
    pair.call("copy_model_version", src_mv=version, dst_name="c")
    look.at_registry(pair)


# --- search --------------------------------------------------------------------------------------


@pytest.fixture
def several(pair: Pair) -> Pair:
    """Models and versions that are hard to tell apart; prompts among them."""
    for i, name in enumerate(["alpha", "Alpha", "al_ha", "a%", "b's", "é", "É", "zed"]):
        tags = [RegisteredModelTag("t", ["x", "X", "a_b"][i % 3])] if i % 4 else []
        tags += [RegisteredModelTag("u v", "1")] if i % 2 else []
        tags += [RegisteredModelTag("mlflow.prompt.is_prompt", "true")] if i in (3, 6) else []
        pair.ok("create_registered_model", name=name, tags=tags)
        for j in range(i % 4):
            more = [ModelVersionTag("t", ["x", "X", "a_b"][j % 3])] if j else []
            more += [ModelVersionTag("mlflow.prompt.is_prompt", "true")] if i in (3, 6) else []
            run = ["r1", "R1", "r_2", None][(i + j) % 4]
            pair.ok("create_model_version", name=name, source=f"s{j}", run_id=run, tags=more)
    pair.ok("delete_model_version", name="al_ha", version=1)
    pair.ok("update_model_version", name="Alpha", version=1, description="late")
    return pair


TEXTS = [
    "'alpha'",
    "'ALPHA'",
    "'a%'",
    "'%'",
    "'al_ha'",
    "'é'",
    "'É'",
    "''",
    '"b\'s"',
    "'x'",
    "'a_b'",
]
OPS = ["=", "!=", "LIKE", "ILIKE", "like", "IN", ">", "IS NULL"]


def test_model_filters(several: Pair) -> None:
    filters = [
        f"{key} {op} {text}"
        for key in ("name", "attribute.name", "tags.t", "tag.`u v`", "tags.none")
        for op in OPS
        for text in TEXTS
    ]
    filters += [f"name {op} ('alpha', 'é')" for op in ("IN", "NOT IN", "in", "=")]
    prompt = "tags.`mlflow.prompt.is_prompt`"
    filters += [f"{prompt} {op} '{v}'" for op in OPS[:4] for v in ("true", "false", "True", "x")]
    filters += [f"{prompt} = 'true' AND name LIKE 'a%'", f"name LIKE '%' AND {prompt} = 'true'"]
    filters += ["tags.t = 'x' AND tags.t = 'X'", "tags.t LIKE '%' AND tags.t != 'x'"]
    filters += ["tags.t = 'x' AND tags.`u v` = '1' AND name ILIKE 'A%'", "name = 'alpha' OR 1=1"]
    filters += ["tags.t IS NOT NULL", "name", "", " ", "'", "name = 5", "run_id = 'x'", "a.b = 'c'"]
    filters += ["name = 'alpha'; DROP TABLE registered_models", "name = alpha", "name IN ()"]
    filters += ["creation_timestamp > 0", "description = 'd'", "aliases.x = '1'", "name = 'it''s'"]
    for text in filters:
        several.call("search_registered_models", filter_string=text)


def test_version_filters(several: Pair) -> None:
    filters = [
        f"{key} {op} {text}"
        for key in ("name", "run_id", "source_path", "tags.t", "tags.none", "attributes.name")
        for op in OPS
        for text in [*TEXTS, "'r1'", "'s0'", "'r_2'"]
    ]
    filters += [
        f"version_number {op} {value}"
        for op in ("=", "!=", "<", "<=", ">", ">=", "LIKE", "IN")
        for value in ("1", "2", "0", "1.5", "'1'", "'x'", "(1)", "('1')", "9" * 20)
    ]
    filters += [f"{k} {op} ('r1', 'alpha')" for k in ("run_id", "name") for op in ("IN", "NOT IN")]
    filters += ["source_path IN ('s0')", "current_stage = 'None'", "version = 1", "user_id = 'x'"]
    prompt = "tags.`mlflow.prompt.is_prompt`"
    filters += [f"{prompt} {op} '{v}'" for op in OPS[:4] for v in ("true", "false", "True", "x")]
    filters += ["name = 'alpha' AND version_number > 1", "tags.t = 'x' AND tags.t = 'X'"]
    filters += [
        "tags.t = 'x' AND run_id = 'r1'",
        "",
        " ",
        "'",
        "name",
        "last_updated_timestamp > 0",
    ]
    for text in filters:
        several.call("search_model_versions", filter_string=text)


ODD_ORDERS: list[Any] = [
    ["name UP"],
    ["nothing"],
    [""],
    ["name", "name DESC"],
    ["tags.t"],
    ["run_id"],
]
ODD_ORDERS += [["name, version_number"], ["description"], ["1"], ["name; DROP TABLE x"], "name"]


def test_model_orders_and_pages(several: Pair) -> None:
    keys = ["name", "timestamp", "last_updated_timestamp", "creation_timestamp", "attribute.name"]
    orders: list[Any] = [[key + way] for key in keys for way in ("", " ASC", " DESC", " desc")]
    orders += [None, [], ["timestamp DESC", "name"], ["timestamp", "last_updated_timestamp"]]
    for order_by in orders + ODD_ORDERS:
        for size in (1, 2, 3, 100):
            several.pages("search_registered_models", size, order_by=order_by)
        several.call("search_prompts", order_by=order_by)
    for max_results in (0, -1, 1000, 1001):
        several.call("search_registered_models", max_results=max_results)
    for token in ("", "x", "e30=", "eyJvZmZzZXQiOiA1fQ=="):
        several.call("search_registered_models", page_token=token)


def test_version_orders_and_pages(several: Pair) -> None:
    keys = ["name", "version_number", "creation_timestamp", "last_updated_timestamp"]
    orders: list[Any] = [[key + way] for key in keys for way in ("", " ASC", " DESC")]
    orders += [None, [], ["version_number DESC", "name DESC"], ["creation_timestamp", "name"]]
    for order_by in orders + ODD_ORDERS:
        for size in (1, 2, 3, 100):
            several.pages("search_model_versions", size, order_by=order_by)
    for max_results in (0, -1, 200_000, 200_001, None, "5", 1.5, True):
        several.call("search_model_versions", max_results=max_results)
    for token in ("", "x", "e30=", "eyJvZmZzZXQiOiA1fQ=="):
        several.call("search_model_versions", page_token=token)
