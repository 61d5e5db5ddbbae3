"""search_runs with every filter, operator, order, view and page, against MLflow's SQL store."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from mlflow.entities import ViewType

from .filled import HOSTILE_KEYS, NAMES, TEXTS, Filled, fill
from .pair import Answer, Factory, Template, Text, open_pair


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory,
    template: Template,
    factory: Factory,
) -> Iterator[Filled]:
    pair = open_pair(tmp_path_factory.mktemp("search"), template, factory)
    yield fill(pair)
    pair.close()


def search(store: Filled, filter_string: Any = "", **kwargs: Any) -> Answer:
    args = {
        "experiment_ids": store.experiments,
        "run_view_type": ViewType.ALL,
        "max_results": 1000,
        "order_by": None,
        "page_token": None,
    }
    return store.pair.call("search_runs", filter_string=filter_string, **{**args, **kwargs})


# --- filters -------------------------------------------------------------------------------------

NUMERIC = [">", ">=", "=", "!=", "<", "<="]
STRING = ["=", "!=", "LIKE", "ILIKE"]
NUMBERS = ["0", "0.5", "-1", "1", "1e-320", "9007199254740994"]
NUMBERS += ["1.7976931348623157e308", "-1.7976931348623157e308"]  # what +-Inf are kept as
PATTERNS = ["%", "", "a%", "A%", "%C", "a_c", "_", "__", "a\\_c", "a\\%c", "%\\%", "%ï%", "%Ï%"]
PATTERNS += ["%'%", "тест", "ТЕСТ", "%😀%", "\\", "%\n%", "a%c", "[a]%", "alpha", "АЛЬФА%"]


def quoted(text: str) -> str:
    """A filter's literal; the parser has no escape, so the quote is what the text has not."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def _filters() -> Iterator[str]:  # noqa: C901, PLR0912 - a table
    for op, number in product(NUMERIC, NUMBERS):
        yield f"metrics.loss {op} {number}"
    for op in NUMERIC:
        yield f"metrics.`é ñ/x:y` {op} 1.5"
        yield f'metric."a.b" {op} -5'
        yield f"metrics.deep {op} 3"
        yield f"metrics.missing {op} 3"
        for attribute in ("start_time", "created", "Created", "end_time", "attribute.start_time"):
            yield f"{attribute} {op} 1050"
        yield f"attributes.end_time {op} 4950.5"
    for op, key in product(["=", "!="], ["params.text", "tags.text"]):
        for text in TEXTS:
            yield f"{key} {op} {quoted(text)}"
    for op, key in product(["LIKE", "ILIKE"], ["params.text", "tags.text", "run_name"]):
        for pattern in PATTERNS:
            yield f"{key} {op} {quoted(pattern)}"
    for name in NAMES[:-1]:
        yield f"attributes.run_name = {quoted(name)}"
        yield f"attributes.`run name` != {quoted(name)}"
    for key in HOSTILE_KEYS:
        yield f"tags.`{key}` LIKE '%'"
        yield f'tags."{key}" != "abc"'
        yield f"tags.`{key}` IS NOT NULL"
    for key in ("params.text", "tags.text", "params.long", "tag.third", "param.`päram with space`"):
        for op in ("IS NULL", "IS NOT NULL", "is null", "Is Not Null"):
            yield f"{key} {op}"
    for op in STRING:
        yield f"status {op} 'FINISHED'"
        yield f"attributes.status {op} 'f%'"
        yield f"run.user_id {op} 'ann'"
        yield f"artifact_uri {op} '%artifacts'"
        yield f"lifecycle_stage {op} 'active'"
        yield f"params.missing {op} 'x'"
        yield f"tags.third {op} '1'"
        yield f"parameters.`päram with space` {op} '1'"
        for key, value in product(["name", "digest", "context"], ["iris", "d1", "train", "%i%"]):
            yield f"dataset.{key} {op} '{value}'"
        yield f'datasets.digest {op} "d\'4"'
        yield f"dataset.name {op} 'вино'"
    for op in ("IN", "NOT IN"):
        yield f"dataset.name {op} ('iris', 'wine%')"
        yield f"dataset.digest {op} ('d1')"
        yield f"dataset.context {op} ('train', 'eval_1')"
        yield f"run_id {op} ('nothing', 'none')"
    yield from [
        "metrics.loss > 0 AND metrics.loss < 1",
        "metrics.loss > 0 AND params.text = 'abc' AND tags.all = 'same'",
        "metrics.third = 1 AND tags.third = '1' and attributes.status = 'FINISHED'",
        "params.text = 'abc' AND params.text = '9'",
        "tags.text LIKE 'a%' AND tags.text LIKE '%c' AND tags.text != 'abc'",
        "tags.text IS NULL AND params.text IS NOT NULL AND metrics.loss != 0",
        "dataset.name = 'iris' AND dataset.context = 'train'",
        "dataset.name = 'iris' AND dataset.name = 'Iris'",
        "dataset.name LIKE '%' AND metrics.third > 0 AND run_name ILIKE 'ALPHA'",
        "start_time >= 1010 AND start_time < 1100 AND end_time IS NOT NULL",
        "run_name = 'alpha' AND tags.mlflow.runName = 'alpha'",
        "tags.`mlflow.runName` = 'alpha'",
        "  metrics.third=1  ",
        "metrics.third=1\nAND\n\ttags.third='1'",
        "",
        " ",
    ]


FILTERS = list(dict.fromkeys(_filters()))


@pytest.mark.parametrize("filter_string", FILTERS)
def test_filter(store: Filled, filter_string: str) -> None:
    search(store, filter_string)


def test_filters_distinguish(store: Filled) -> None:
    """The table above is worth its time: most filters choose some runs and leave others."""
    sizes = [len(search(store, text).value or []) for text in FILTERS[::7]]
    assert sum(0 < size < 57 for size in sizes) > len(sizes) / 2


ERRORS = [
    "metrics.loss LIKE '1'",
    "metrics.loss > '1'",
    "metrics.loss = nan",
    "metrics.loss > inf",
    "metrics.loss IN (1, 2)",
    "metrics.loss IS NULL",
    "metrics.loss",
    "metrics.loss >",
    "> 1",
    "metrics.loss == 1",
    "metrics.loss <> 1",
    "metrics.loss ~ 1",
    "metrics.loss > 1 OR metrics.loss < 0",
    "NOT metrics.loss > 1",
    "metrics.loss BETWEEN 0 AND 1",
    "metrics.loss > 1; DROP TABLE runs",
    "metrics.loss > 1 -- comment",
    "metrics.loss > 1 /* comment */",
    "(metrics.loss > 1)",
    "metrics.loss > (SELECT 1)",
    "1 = 1",
    "'a' = 'a'",
    "params.text = 'a' UNION SELECT 1",
    "params.text = ''' OR 1=1 --'",
    "params.text = 'it''s'",
    "params.text = 'unbalanced",
    'params.text = "unbalanced',
    "params.`text = 'x'",
    "params.text = 5",
    "params.text > 'a'",
    "params.text = `abc`",
    "params.text = abc",
    "params.text like 'a%'",
    "params.text in ('a')",
    "params.text IS",
    "params.text IS NOT",
    "tags.text >= 'a'",
    "tags.text = 1.5",
    "tags = 'x'",
    "tags. = 'x'",
    ".text = 'x'",
    "params.'text' = 'abc'",
    "status > 'RUNNING'",
    "status IN ('FINISHED')",
    "status IS NULL",
    "status = 1",
    "start_time = '1000'",
    "start_time LIKE '1%'",
    "start_time IN (1000)",
    "run_id IN ()",
    "run_id IN (1, 2)",
    "run_id IN ('a'",
    "run_id IN 'a'",
    "run_id IN ('a', 2)",
    "run_id = ('a')",
    "run_id LIKE ('a', 'b')",
    "run_name IN ('alpha')",
    "dataset.name > 'a'",
    "dataset.name = 5",
    "dataset.name IS NULL",
    "dataset.source = 'x'",
    "dataset.name IN ()",
    "datasets.profile LIKE '%'",
    "attributes.nothing = 'x'",
    "nothing = 'x'",
    "nothing.key = 'x'",
    "experiment_id = '1'",
    "run_uuid = 'x'",
    "inputs.name = 'x'",
    "traces.x = 'y'",
    "metrics.third = 1 metrics.all = 1",
    "metrics.third = 1 AND",
    "AND metrics.third = 1",
    "metrics.third = 1 AND AND metrics.all = 1",
    "metrics.third = 1, metrics.all = 1",
    "\x00",
    "😀",
    "🎉 = '😀'",
    "metrics.loss > 1e999",
    "metrics.loss > 0x10",
    "metrics.loss > - 1",
    "metrics.loss > +1",
    "metrics.loss > 1_000",
    "start_time > 9223372036854775808",
    "start_time > 1e30",
]


@pytest.mark.parametrize("filter_string", ERRORS)
def test_odd_filter(store: Filled, filter_string: str) -> None:
    """Most of these are errors; what is not must be understood alike."""
    search(store, filter_string)


@pytest.mark.parametrize("op", ["IN", "NOT IN", "in"])
def test_run_id_lists(store: Filled, op: str) -> None:
    found = search(store, Text(f"run_id {op} ('{{}}', '{{}}', 'none')", *store.runs[4:6])).value
    assert found is None or len(found) in (2, 55)
    search(store, Text(f"attributes.run_id {op} ('{{}}')", store.runs[3]))


@pytest.mark.parametrize("op", ["=", "!=", "LIKE", "ILIKE"])
def test_run_id(store: Filled, op: str) -> None:
    search(store, Text(f"run_id {op} '{{}}'", store.runs[0]))
    search(store, Text(f"run_id {op} '{{}}'", store.runs[0].upper()))


# --- order ---------------------------------------------------------------------------------------

KEYS = [
    "metrics.loss",
    "metrics.third",
    "metrics.`é ñ/x:y`",
    'metrics."a.b"',
    "metrics.deep",
    "metrics.missing",
    "params.text",
    "params.all",
    "params.`päram with space`",
    "params.missing",
    "tags.text",
    "tags.third",
    "tags.`mlflow.runName`",
    "tags.`it's`",
    "tags.`a;b`",
    "tag.тег",
    "start_time",
    "attributes.start_time",
    "Created",
    "attribute.end_time",
    "run_name",
    "attributes.run_name",
    "attribute.status",
    "run_id",
    "user_id",
    "attributes.`run_name`",
    "experiment_id",
    "lifecycle_stage",
]


@pytest.mark.parametrize("direction", ["", " ASC", " DESC", " desc"])
@pytest.mark.parametrize("key", KEYS)
def test_order(store: Filled, key: str, direction: str) -> None:
    search(store, order_by=[key + direction])


@pytest.mark.parametrize("key", ["artifact_uri", "attributes.artifact_uri DESC"])
def test_order_by_place(store: Filled, key: str) -> None:
    """Within one experiment only: between two it is the order of ids that the stores made up."""
    search(store, order_by=[key], experiment_ids=[store.first])


@pytest.mark.parametrize(
    "order_by",
    [
        ["metrics.third DESC", "metrics.loss ASC"],
        ["metrics.loss DESC", "metrics.third ASC", "params.text DESC"],
        ["tags.third", "run_name DESC", "metrics.deep"],
        ["params.text", "start_time"],
        ["status", "end_time DESC", "start_time ASC"],
        ["metrics.all", "params.all", "tags.all"],
        ["metrics.third", "params.third", "tags.third"],
        ["metrics.loss", "metrics.loss"],
        ["metrics.loss ASC", "metric.loss DESC"],
        ["start_time", "Created DESC"],
        ["run_name", "attributes.run_name"],
        ["run_id", "metrics.loss"],
        [],
        [""],
        ["metrics.loss UP"],
        ["metrics.loss ASC DESC"],
        ["metrics.loss, metrics.third"],
        ["metrics.loss; DROP TABLE runs"],
        ["(metrics.loss)"],
        ["loss"],
        ["nothing.loss"],
        ["dataset.name"],
        ["metrics"],
        ["metrics."],
        ["metrics.`loss"],
        ["1"],
        ["*"],
        ["timestamp"],
        ["metrics.loss NULLS FIRST"],
        ["ABS(metrics.loss)"],
        ["'metrics.loss'"],
        ["Run name"],
        ["attributes.`Run Name` DESC"],
    ],
    ids=repr,
)
def test_orders(store: Filled, order_by: list[str]) -> None:
    search(store, order_by=order_by)
    search(store, "metrics.loss > 0 AND tags.text LIKE '%'", order_by=order_by)


# --- views, pages, experiments -------------------------------------------------------------------


@pytest.mark.parametrize("view", [ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL])
def test_views(store: Filled, view: int) -> None:
    found = search(store, run_view_type=view).value
    assert found
    search(store, "metrics.third > 0", run_view_type=view, order_by=["metrics.loss"])
    search(store, run_view_type=view, experiment_ids=[store.deleted])
    search(store, run_view_type=view, experiment_ids=[store.deleted, store.first])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 57, 1000])
@pytest.mark.parametrize(
    ("filter_string", "order_by"),
    [
        ("", None),
        ("", ["metrics.loss"]),
        ("", ["tags.third DESC"]),
        ("dataset.name LIKE '%'", ["params.text DESC", "metrics.missing"]),
        ("metrics.third >= 1", ["start_time ASC"]),
    ],
    ids=repr,
)
def test_pages_join(store: Filled, filter_string: str, order_by: Any, size: int) -> None:
    args = {"experiment_ids": store.experiments, "run_view_type": ViewType.ALL}
    args.update(filter_string=filter_string, order_by=order_by)
    pages = store.pair.pages("search_runs", size, **args)
    whole = search(store, filter_string, order_by=order_by).value
    assert [run.info.run_id for run in pages] == [run.info.run_id for run in whole]


def _token(content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    "page_token",
    ["", "x", "====", "no base64 at all", "eA==", _token({}), _token({"offset": 0})]
    + [_token({"offset": value}) for value in (-1, 5, "5", "five", 2.9, 10**6, 10**20, [1], None)]
    + [_token([1]), _token("x"), _token(None)],
)
def test_odd_page_tokens(store: Filled, page_token: str) -> None:
    search(store, page_token=page_token)


@pytest.mark.parametrize("max_results", [0, -1, 1, 50_000, 50_001, None, 10**30])
def test_max_results(store: Filled, max_results: int | None) -> None:
    search(store, max_results=max_results)


@pytest.mark.parametrize(
    "ids", [[], ["0"], ["999999"], ["abc"], [""], ["1.5"], ["-1"], ["9" * 30]], ids=repr
)
def test_odd_experiments(store: Filled, ids: list[str]) -> None:
    search(store, experiment_ids=ids)
    search(store, experiment_ids=[*ids, store.second])


def test_experiment_twice(store: Filled) -> None:
    search(store, experiment_ids=[store.first, store.second, store.first])
    search(store, experiment_ids=[Text("0{}", store.first), Text(" {} ", store.second)])
