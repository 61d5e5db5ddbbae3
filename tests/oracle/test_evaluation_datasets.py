"""Evaluation data sets and their records, as MLflow's store has them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.entities import DatasetRecordSource

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template, Text
from .test_core import INVALID, MISSING
from .test_differences import both

MAKERS["create_dataset"] = lambda dataset: str(dataset.dataset_id)
field_policy.FIELDS |= {
    ("EvaluationDataset", "created_time"): "time",
    ("EvaluationDataset", "last_update_time"): "time",
    ("EvaluationDataset", "digest"): "unsaid",  # a hash of the time: see digests() below
    ("EvaluationDataset", "tracking_store"): "unsaid",
    ("DatasetRecord", "created_time"): "time",
    ("DatasetRecord", "last_update_time"): "time",
}

BAD, INTERNAL = "BAD_REQUEST", "INTERNAL_ERROR"
USER = "mlflow.user"
HUMAN: dict[str, Any] = {"source_type": "human", "source_data": {"source_id": 7}}
TRACE = {"source_type": "TRACE", "source_data": {"trace_id": "tr-1", "session_id": "s"}}
RECORDS: list[dict[str, Any]] = [
    {"inputs": {"q": "Who?", "n": 1}, "expectations": {"a": "she"}, "tags": {"t": "1"}},
    {"inputs": {"q": None, "l": [1], "d": {"x": 1}, "b": True, "f": 0.5}, "outputs": {"o": 1}},
    {"inputs": {"ключ": "☃\x00\ud800"}, "outputs": "text", "source": HUMAN},
    {"inputs": {}, "outputs": None, "source": TRACE, "tags": {USER: "zoë"}},
    {"outputs": [], "source": DatasetRecordSource("CODE"), "expectations": {}},
    {"inputs": {"n": float("inf")}, "tags": {USER: None, "u": ["v"]}},
]


def digests(pair: Pair, dataset_id: str) -> None:
    """The digest of a data set is that of its name and of the last change of its records."""
    for side, known in zip(pair.sides, _known(dataset_id), strict=True):
        dataset = side.tracking.get_dataset(known)
        said = f"{dataset.name}:{dataset.last_update_time}".encode()
        assert dataset.digest == hashlib.sha256(said).hexdigest()[:8]


def _known(dataset_id: str) -> tuple[str, str]:
    return str(dataset_id), dataset_id.other if isinstance(dataset_id, Ref) else dataset_id


def look(pair: Pair, dataset_id: str) -> list[str]:
    """All that a store tells of a data set; returns the ids of its records."""
    pair.call("get_dataset", dataset_id=dataset_id)
    pair.call("get_dataset_experiment_ids", dataset_id=dataset_id)
    records, _ = pair.ok("_load_dataset_records", dataset_id=dataset_id)
    return [record.dataset_record_id for record in records]


@pytest.fixture
def dataset(pair: Pair) -> Ref:
    return pair.make("create_dataset", name="d", experiment_ids=["0"])


@pytest.mark.parametrize("tags", [None, {}, {"a": "1", "ключ": ""}, {USER: "zoë", "none": None}])
@pytest.mark.parametrize("linked", [None, [], ["0"], ["77", "no"], "07"])
def test_a_created_dataset_comes_back(pair: Pair, tags: Any, linked: Any) -> None:
    dataset_id = pair.make("create_dataset", name="d", tags=tags, experiment_ids=linked)
    look(pair, dataset_id)
    digests(pair, dataset_id)


def test_names_are_not_unique_and_experiments_are_not_repeated(pair: Pair) -> None:
    pair.make("create_dataset", name="d")
    pair.make("create_dataset", name="d", experiment_ids=["0"])
    pair.make("create_dataset", name="")
    pair.fails(BAD, "create_dataset", name="d", experiment_ids=["0", "0"])
    pair.fails(BAD, "create_dataset", name="d", experiment_ids=["1", 1])
    look(pair, pair.make("create_dataset", name=None))


def test_a_deleted_dataset_takes_all_along(pair: Pair, dataset: Ref) -> None:
    pair.ok("upsert_dataset_records", dataset_id=dataset, records=RECORDS)
    pair.ok("set_dataset_tags", dataset_id=dataset, tags={"a": 1})
    pair.ok("delete_dataset", dataset_id=dataset)
    pair.ok("delete_dataset", dataset_id=dataset)
    assert look(pair, dataset) == []
    pair.fails(MISSING, "get_dataset", dataset_id=dataset)
    pair.fails(MISSING, "set_dataset_tags", dataset_id=dataset, tags={})
    pair.fails(MISSING, "add_dataset_to_experiments", dataset_id=dataset, experiment_ids=["0"])
    pair.fails(MISSING, "remove_dataset_from_experiments", dataset_id=dataset, experiment_ids=[])
    pair.fails(BAD, "upsert_dataset_records", dataset_id=dataset, records=RECORDS)
    pair.ok("upsert_dataset_records", dataset_id=dataset, records=[])
    pair.ok("delete_dataset_records", dataset_id=dataset, dataset_record_ids=["dr-1"])
    pair.ok("delete_dataset_tag", dataset_id=dataset, key="a")
    assert pair.ok("search_datasets", experiment_ids=["0"]) == []


def test_tags_are_set_and_deleted(pair: Pair, dataset: Ref) -> None:
    pair.ok("set_dataset_tags", dataset_id=dataset, tags={"a": "1", "b": 2, "c": None})
    pair.ok("set_dataset_tags", dataset_id=dataset, tags={"a": None, "b": "3", USER: "x"})
    look(pair, dataset)
    pair.ok("delete_dataset_tag", dataset_id=dataset, key="a")
    pair.ok("delete_dataset_tag", dataset_id=dataset, key="a")
    pair.ok("set_dataset_tags", dataset_id=dataset, tags={})
    look(pair, dataset)


def test_links_to_experiments(pair: Pair, dataset: Ref) -> None:
    one, two = (pair.make("create_experiment", name=name) for name in "ab")
    pair.ok("add_dataset_to_experiments", dataset_id=dataset, experiment_ids=[two, "0"])
    pair.ok("add_dataset_to_experiments", dataset_id=dataset, experiment_ids=[one])
    pair.ok("add_dataset_to_experiments", dataset_id=dataset, experiment_ids=[])
    pair.ok("add_dataset_to_experiments", dataset_id=dataset, experiment_ids=["0", 0])
    look(pair, dataset)
    for wrong in ("77", "00", "x", "-1", " 0", ""):
        pair.fails(
            MISSING, "add_dataset_to_experiments", dataset_id=dataset, experiment_ids=[wrong]
        )
    for found in ([one], [two, "77"], ["77"], [], "0", None, [0]):
        pair.ok("search_datasets", experiment_ids=found)
    pair.ok("remove_dataset_from_experiments", dataset_id=dataset, experiment_ids=["77"])
    pair.ok("remove_dataset_from_experiments", dataset_id=dataset, experiment_ids=[two, "77", two])
    look(pair, dataset)
    pair.fails(BAD, "add_dataset_to_experiments", dataset_id=dataset, experiment_ids=[two, two])
    pair.ok("delete_experiment", experiment_id=one)
    pair.ok("add_dataset_to_experiments", dataset_id=dataset, experiment_ids=[one])
    pair.ok("_hard_delete_experiment", experiment_id=one)
    look(pair, dataset)
    pair.ok("search_datasets", experiment_ids=[one])
    pair.fails(MISSING, "add_dataset_to_experiments", dataset_id=dataset, experiment_ids=[one])


@pytest.mark.parametrize("record", RECORDS, ids="-".join)
def test_every_kind_of_record_comes_back(pair: Pair, dataset: Ref, record: dict[str, Any]) -> None:
    for _ in range(2):
        pair.ok("upsert_dataset_records", dataset_id=dataset, records=[record])
        look(pair, dataset)
        digests(pair, dataset)


def test_records_of_equal_inputs_are_merged(pair: Pair, dataset: Ref) -> None:
    for changes in (
        {"expectations": {"b": 1, "a": {"deep": 1}}, "tags": {"t": "2", "v": "3"}},
        {"outputs": {"answer": [1, 2]}, "source": TRACE},
        {"outputs": None, "expectations": None, "tags": None},
        {"outputs": "", "expectations": {}, "tags": {}},
        {"tags": {USER: "ann"}, "expectations": {1: 2, "2": 3}},
        {"source": "nonsense"},
    ):
        given = [{**RECORDS[0], **changes}, *RECORDS, {**RECORDS[1], **changes}]
        pair.call("upsert_dataset_records", dataset_id=dataset, records=given)
        assert len(look(pair, dataset)) == 5
    pair.ok("upsert_dataset_records", dataset_id=dataset, records=[])
    look(pair, dataset)


def test_schemas_grow(pair: Pair, dataset: Ref) -> None:
    for record in (
        {"inputs": {"a": 1}},
        {"inputs": {"a": "text", "b": [1]}, "expectations": {"x": True}, "outputs": ""},
        {"inputs": {"c": 1}, "outputs": 5},
        {"inputs": {"c": 2}, "outputs": {"r": 1}},
        {"inputs": {"c": 3}, "outputs": {"zz": 1}},  # MLflow stumbles over outputs of two kinds
        {"inputs": {"c": 4}, "outputs": [1]},
    ):
        pair.call("upsert_dataset_records", dataset_id=dataset, records=[record])
        look(pair, dataset)


@pytest.mark.parametrize(
    ("code", "record"),
    [
        (INTERNAL, {"inputs": None}),
        (INTERNAL, {"inputs": [1]}),
        (INTERNAL, {"inputs": {"a": {1}}}),
        (INTERNAL, {"inputs": {"a": 1}, "expectations": [1]}),
        (INTERNAL, {"inputs": {"a": 1}, "tags": "t"}),
        (INTERNAL, {"inputs": {"a": 1}, "source": "s"}),
        (INTERNAL, {"inputs": {"a": 1}, "source": {"what": 1}}),
        (INVALID, {"inputs": {"a": 1}, "source": {"source_type": "odd"}}),
        (BAD, {"inputs": {"a": 1}, "outputs": {1}}),
        (BAD, {"inputs": {"a": 1}, "expectations": {"e": {1}}}),
        (INTERNAL, "text"),
    ],
    ids=repr,
)
def test_records_without_sense(pair: Pair, dataset: Ref, code: str, record: Any) -> None:
    pair.fails(code, "upsert_dataset_records", dataset_id=dataset, records=[record])
    pair.fails(code, "upsert_dataset_records", dataset_id=dataset, records=[RECORDS[0], record])
    assert look(pair, dataset) == []


def test_records_are_deleted(pair: Pair, dataset: Ref) -> None:
    other = pair.make("create_dataset", name="other")
    for each in (dataset, other):
        pair.ok("upsert_dataset_records", dataset_id=each, records=RECORDS)
    ids = look(pair, dataset)
    for gone in (ids[:2], [*ids[1:3], ids[2], "dr-1"], [], ids[:1], look(pair, other), ids):
        pair.ok("delete_dataset_records", dataset_id=dataset, dataset_record_ids=gone)
        look(pair, dataset)
    pair.ok("upsert_dataset_records", dataset_id=dataset, records=[])
    look(pair, dataset)
    pair.ok("upsert_dataset_records", dataset_id=dataset, records=RECORDS[:1])
    look(pair, dataset)
    assert len(look(pair, other)) == 5


@pytest.mark.parametrize("size", [1, 2, 5, 6, 0, None])
def test_records_come_in_pages(pair: Pair, dataset: Ref, size: int | None) -> None:
    for record in RECORDS:
        pair.ok("upsert_dataset_records", dataset_id=dataset, records=[record])
    pages = [list(_pages(side.tracking, dataset, size)) for side in pair.sides]
    assert pages[0] == pages[1]
    assert len(list(itertools.chain(*pages[0]))) == 5
    for token in ("2", "1234", "-1", "nonsense", "MTI6ZA=="):
        pair.call("_load_dataset_records", dataset_id=dataset, page_token=token)
    for size_ in (-1, -9):
        pair.call("_load_dataset_records", dataset_id=dataset, max_results=size_)


def _pages(store: Any, dataset_id: str, size: int | None) -> Any:
    token = None
    while True:
        records, token = store._load_dataset_records(dataset_id, size, token)
        yield [record.dataset_record_id for record in records]
        if token is None:
            return


FILTERS = [
    "name = 'd'", "name != 'd'", "name LIKE 'D%'", "name ILIKE 'D%'", "name IN ('d', 'e')",
    "name NOT IN ('d')", "name > 'd'", "created_by = 'zoë'", "created_by != 'zoë'",
    "created_by IN ('zoë')", "last_updated_by LIKE 'z%'", "last_updated_by != 'x'",
    "created_time > 0", "created_time = 5", "last_update_time < 5", "created_time > 1.5",
    "created_time LIKE '1%'", "created_time > 'x'", "created_time >= '3'", "created_time IN (1)",
    "tags.a = '1'", "tags.a != '1'", "tags.a LIKE '%'", "tags.a ILIKE 'X'", "tags.a > '1'",
    "tags.a = '1' AND tags.b = '2'", "tags.`b` = '2' AND name = 'd'", "tags.a IN ('1')",
    "name = 'd' OR name = 'e'", "digest = 'x'", "odd.a = '1'", "name = d", "nonsense", "",
]  # fmt: skip


def test_searches(pair: Pair) -> None:
    for name, tags in (
        ("d", {"a": "1", "b": "2"}), ("Dx", {"a": "x"}),
        ("e", {USER: "zoë", "a": "1"}), ("d", None),
    ):  # fmt: skip
        pair.make("create_dataset", name=name, tags=tags, experiment_ids=["0"])
    last = pair.make("create_dataset", name="last", tags={USER: "x"})
    pair.ok("upsert_dataset_records", dataset_id=last, records=RECORDS[3:4])
    for filter_string in FILTERS:
        pair.call("search_datasets", filter_string=filter_string)
        pair.call("search_datasets", filter_string=filter_string, experiment_ids=["0"])
    for order in (
        ["name"], ["name DESC", "created_time ASC"], ["last_update_time DESC"], ["created_time"],
        ["name", "name DESC"], [], ["created_by"], ["nonsense"], ["tags.a"], ["dataset_id"],
    ):  # fmt: skip
        pair.call("search_datasets", order_by=order)
    assert len(pair.pages("search_datasets", 2, order_by=["name"])) == 5
    assert len(pair.pages("search_datasets", 3, filter_string="name ILIKE 'd%'")) == 3
    for wrong in ({"max_results": 0}, {"max_results": None}, {"max_results": 50_001}):
        pair.fails(INVALID, "search_datasets", **wrong)
    pair.call("search_datasets", page_token="nonsense")


def test_ids_in_filters_mean_nothing(pair: Pair, dataset: Ref) -> None:
    pair.ok("search_datasets", filter_string=Text("name = '{0}'", dataset))


def test_records_of_any_size(pair: Pair, dataset: Ref) -> None:
    """Many of them, and large ones, which travel as blobs."""
    many = [{"inputs": {"n": n}, "outputs": "x" * 200} for n in range(3000)]
    large = {"inputs": {"n": "y" * 300_000}, "outputs": ["z" * 700_000], "expectations": {"a": 1}}
    for records in (many, [large], [{**large, "outputs": "ж" * 90_000}], many[:5]):
        pair.ok("upsert_dataset_records", dataset_id=dataset, records=records)
    assert len(look(pair, dataset)) == 3001


def test_the_expectations_of_a_record_have_a_limit(pair: Pair, dataset: Ref) -> None:
    records = [{"inputs": {"q": 1}, "expectations": {"a": "x" * 600_000}}]
    answer, codes = both(pair, "upsert_dataset_records", dataset_id=dataset, records=records)
    assert codes == [None, INVALID]
    assert "at most 524288" in str(answer.mismatches)


_experiments = made("create_experiment")
_one_experiment = st.lists(_experiments, max_size=1)  # of several at once the texts are sorted
_datasets = made("create_dataset")
_few = st.sampled_from([{"a": 1}, {"a": 2}, {"b": None, "c": [1.5]}, {}])
_values = st.none() | st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, "x", None, [1]]))
_record = st.fixed_dictionaries(
    {},
    optional={
        "inputs": _few,
        "outputs": _values | st.sampled_from(["s", 3, [], ""]),
        "expectations": _values,
        "tags": _values | st.sampled_from([{USER: "zoë"}, {USER: "ann", "t": "1"}]),
        "source": st.sampled_from([HUMAN, TRACE, None, {}]),
    },
)
_tags = st.dictionaries(st.sampled_from([USER, "a", "b"]), st.sampled_from(["1", "2", ""]))
_id = {"dataset_id": _datasets}
CALLS: Calls = {
    "create_dataset": st.fixed_dictionaries(
        {"name": st.sampled_from(["d", "e", "f"])},
        optional={"tags": _tags, "experiment_ids": _one_experiment},
    ),
    "get_dataset": st.fixed_dictionaries(_id),
    "delete_dataset": st.fixed_dictionaries(_id),
    "get_dataset_experiment_ids": st.fixed_dictionaries(_id),
    "set_dataset_tags": st.fixed_dictionaries({**_id, "tags": _tags}),
    "delete_dataset_tag": st.fixed_dictionaries({**_id, "key": st.sampled_from("ab")}),
    "add_dataset_to_experiments": st.fixed_dictionaries({**_id, "experiment_ids": _one_experiment}),
    "remove_dataset_from_experiments": st.fixed_dictionaries(
        {**_id, "experiment_ids": st.lists(_experiments, max_size=2)}
    ),
    "upsert_dataset_records": st.fixed_dictionaries(
        {**_id, "records": st.lists(_record, max_size=3)}
    ),
    "delete_dataset_records": st.fixed_dictionaries(
        {**_id, "dataset_record_ids": st.just(["dr-1"])}
    ),
    "search_datasets": st.fixed_dictionaries(
        {},
        optional={
            "experiment_ids": st.lists(_experiments, max_size=2),
            "filter_string": st.sampled_from(FILTERS),
            "max_results": st.integers(0, 3),
            "order_by": st.sampled_from([["name"], ["last_update_time DESC", "name ASC"]]),
        },
    ),
    "delete_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
    "_hard_delete_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
}


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for dataset_id in ids["create_dataset"]:
        gone = look(pair, dataset_id)[::2]
        pair.call("delete_dataset_records", dataset_id=dataset_id, dataset_record_ids=gone)
        look(pair, dataset_id)
    pair.ok("search_datasets")


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
