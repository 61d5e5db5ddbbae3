"""Review queues and what they hold, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.genai.label_schemas.label_schemas import InputText
from mlflow.genai.review_queues import ReviewQueueType, ReviewStatus

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template
from .test_core import EXISTS, INVALID, MISSING, ODD_IDS
from .test_label_schemas import SCHEMA

MAKERS["create_review_queue"] = lambda queue: str(queue.queue_id)
MAKERS["get_or_create_user_queue"] = MAKERS["create_review_queue"]
field_policy.FIELDS |= {
    (kind, f"{field}_time_ms"): "time"
    for kind in ("ReviewQueue", "ReviewQueueItem")
    for field in ("creation", "last_update", "completed")
}

CUSTOM = {"name": "Night", "queue_type": "custom"}


def _named(value: Any) -> str:
    return repr(value)[:40]


def new_queue(pair: Pair, experiment: str = "0", **kwargs: Any) -> Ref:
    return pair.make("create_review_queue", experiment_id=experiment, **{**CUSTOM, **kwargs})


def new_schema(pair: Pair, name: str, experiment: str = "0") -> Ref:
    return pair.make("create_label_schema", experiment_id=experiment, **{**SCHEMA, "name": name})


def look_at(pair: Pair, queue: Ref) -> None:
    pair.call("get_review_queue", queue_id=queue)
    pair.call("list_review_queue_items", queue_id=queue)


def test_a_queue_has_users_and_questions(pair: Pair) -> None:
    schemas = [new_schema(pair, name) for name in ("a", "b", "c")]
    queue = new_queue(
        pair,
        name=" Night Shift ",
        queue_type=ReviewQueueType.CUSTOM,
        created_by="Ann",
        users=["Zoë", " bob", "BOB", "ann"],
        schema_ids=[schemas[2], schemas[0], schemas[2]],
    )
    look_at(pair, queue)
    for name in ("Night Shift", "nIGHT sHIFT", "night"):
        pair.call("get_review_queue_by_name", experiment_id="0", name=name)
    pair.ok("delete_label_schema", schema_id=schemas[0])
    look_at(pair, queue)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "  "},
        {"name": None},
        {"name": 5},
        {"name": "Default"},
        {"name": "x" * 250},
        {"name": "x" * 251},
        {"name": "ключ\n'\""},
        {"name": "\ud800"},
        {"queue_type": "odd"},
        {"queue_type": None},
        {"queue_type": "user"},
        {"queue_type": "user", "name": "default"},
        {"queue_type": "user", "users": ["NIGHT "]},
        {"queue_type": "user", "users": ["ann"]},
        {"queue_type": "user", "schema_ids": ["ls-1"]},
        {"queue_type": "user", "name": " "},
        {"users": "ann"},
        {"users": [None]},
        {"users": [" "]},
        {"users": ["x" * 251]},
        {"users": ("ann",)},
        {"users": []},
        {"users": [str(number) for number in range(10)]},
        {"users": [str(number) for number in range(11)]},
        {"schema_ids": ["ls-1", "ls-2"]},
        {"schema_ids": ["x" * 37]},
        {"schema_ids": [""]},
        {"schema_ids": "ls"},
        {"created_by": ""},
        {"created_by": "x" * 300},
    ],
    ids=_named,
)
def test_what_a_queue_may_be(pair: Pair, wrong: dict[str, Any]) -> None:
    pair.call("create_review_queue", experiment_id="0", **{**CUSTOM, **wrong})
    pair.call("list_review_queues", experiment_id="0")


@pytest.mark.parametrize("given", [g for g in ODD_IDS if g not in ("", None, "0_0")], ids=_named)
def test_odd_experiment_ids(pair: Pair, given: Any) -> None:
    for method, kwargs in [
        ("create_review_queue", CUSTOM),
        ("get_or_create_user_queue", {"user": "ann"}),
        ("get_review_queue_by_name", {"name": "Night"}),
        ("list_review_queues", {}),
    ]:
        pair.call(method, experiment_id=given, **kwargs)


def test_names_are_unique_in_an_experiment_whatever_their_case(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    first, second = new_queue(pair), new_queue(pair, name="Day")
    new_queue(pair, other)
    pair.fails(EXISTS, "create_review_queue", experiment_id="0", **{**CUSTOM, "name": "nIGHT"})
    pair.fails(EXISTS, "update_review_queue", queue_id=second, name="NIGHT")
    pair.ok("update_review_queue", queue_id=second, name="DAY")
    pair.ok("update_review_queue", queue_id=second, name="Noon")
    pair.ok("update_review_queue", queue_id=first, name="day")
    pair.ok("update_review_queue", queue_id=second, name="Night")
    for queue in (first, second):
        look_at(pair, queue)


def test_the_queue_of_a_user(pair: Pair) -> None:
    queue = pair.make("get_or_create_user_queue", experiment_id="0", user=" Ann")
    again = pair.make("get_or_create_user_queue", experiment_id="0", user="ANN")
    assert again == queue
    new_queue(pair, name="bob")
    pair.fails(EXISTS, "get_or_create_user_queue", experiment_id="0", user="Bob")
    for wrong in ("", " ", None, 5, "x" * 251):
        pair.fails(INVALID, "get_or_create_user_queue", experiment_id="0", user=wrong)
    pair.fails(MISSING, "get_or_create_user_queue", experiment_id="77", user="ann")
    for change in ({}, {"name": "x"}, {"users": []}, {"new_owner": "x"}, {"schema_ids": []}):
        pair.fails(INVALID, "update_review_queue", queue_id=queue, **change)
    pair.ok("get_or_create_user_queue", experiment_id="0", user="default")
    pair.ok("list_review_queues", experiment_id="0", user="ann")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "Noon", "users": ["eve"], "new_owner": "Zoë"},
        {"name": "Night"},
        {"name": ""},
        {"name": "default"},
        {"name": 5},
        {"new_owner": " Zoë "},
        {"new_owner": " "},
        {"new_owner": "x" * 251},
        {"new_owner": 5},
        {"users": []},
        {"users": "ann"},
        {"users": ["x"] * 11},
        {"users": [str(number) for number in range(11)]},
        {"schema_ids": []},
        {"schema_ids": ["ls-1"]},
        {"schema_ids": [5]},
        {"name": "TAKEN"},
        {"name": "TAKEN", "new_owner": "x"},
        {"name": "TAKEN", "users": []},
        {"name": "TAKEN", "users": [5]},
        {"name": "TAKEN", "schema_ids": []},
        {"name": "TAKEN", "schema_ids": [5]},
        {"name": "TAKEN", "new_owner": ""},
    ],
    ids=_named,
)
@pytest.mark.parametrize("held", [[], ["tr-1"]])
def test_what_may_change(pair: Pair, change: dict[str, Any], held: list[str]) -> None:
    queue = new_queue(pair, users=["ann"], schema_ids=[new_schema(pair, "a")], created_by="ann")
    new_queue(pair, name="taken")
    if held:
        pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=held)
    pair.call("update_review_queue", queue_id=queue, **change)
    look_at(pair, queue)


def test_questions_are_of_the_same_experiment_and_locked_by_items(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    here, there = new_schema(pair, "a"), new_schema(pair, "a", other)
    queue = new_queue(pair)
    pair.fails(INVALID, "update_review_queue", queue_id=queue, schema_ids=[here, there])
    pair.ok("update_review_queue", queue_id=queue, schema_ids=[here])
    pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=["tr-1"])
    pair.fails(INVALID, "update_review_queue", queue_id=queue, schema_ids=[])
    pair.ok("remove_items_from_review_queue", queue_id=queue, item_ids=["tr-1"])
    pair.ok("update_review_queue", queue_id=queue, schema_ids=[])
    look_at(pair, queue)


def test_items_come_once_and_stay_as_they_are(pair: Pair) -> None:
    queue, other = new_queue(pair), new_queue(pair, name="Day")
    add = {"queue_id": queue, "item_ids": ["tr-b", " tr-a ", "tr-b", "TR-A"]}
    assert len(pair.ok("add_items_to_review_queue", **add)) == 3
    pair.ok("add_items_to_review_queue", queue_id=other, item_ids=["tr-a"], item_type="trace")
    done = {"queue_id": queue, "item_id": " tr-a", "status": "complete", "completed_by": " Ann"}
    pair.ok("set_review_queue_item_status", **done)
    pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=["tr-c", "tr-a"])
    look_at(pair, queue)
    look_at(pair, other)
    pair.ok("remove_items_from_review_queue", queue_id=queue, item_ids=["tr-a", "tr-x"])
    pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=["tr-a"])
    look_at(pair, queue)
    for item_id in ("tr-a", "tr-b", "tr-x", ""):
        pair.ok("list_review_queues", experiment_id="0", item_id=item_id)
    pair.ok("delete_review_queue", queue_id=queue)
    pair.fails(MISSING, "list_review_queue_items", queue_id=queue)
    pair.ok("list_review_queues", experiment_id="0", item_id="tr-a")


@pytest.mark.parametrize(
    "given",
    [[], None, "tr", [""], [5], ["x" * 50], ["x" * 51], ("a", "b"), ["a/b", "a:/b", "ключ", "'"]],
    ids=_named,
)
def test_what_an_item_may_be(pair: Pair, given: Any) -> None:
    queue = new_queue(pair)
    for method in ("add_items_to_review_queue", "remove_items_from_review_queue"):
        pair.call(method, queue_id=queue, item_ids=given)
        pair.call("list_review_queue_items", queue_id=queue)
        pair.call(method, queue_id="rq-1", item_ids=given)
    pair.fails(
        INVALID, "add_items_to_review_queue", queue_id=queue, item_ids=["a"], item_type="span"
    )


def test_an_item_is_finished_by_who_came_first(pair: Pair) -> None:
    queue = new_queue(pair)
    pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=["tr-1", "tr-2", "tr-3"])

    def say(status: Any, by: Any = None, item: str = "tr-1") -> None:
        pair.call(
            "set_review_queue_item_status",
            queue_id=queue, item_id=item, status=status, completed_by=by,
        )  # fmt: skip
        pair.ok("list_review_queue_items", queue_id=queue)

    say("pending")
    say("complete", "ann")
    say("complete", "bob")
    say("declined", "bob")
    say(ReviewStatus.DECLINED, "ann")
    say("complete", " EVE ")
    say("pending")
    say("declined", "ann", "tr-2")
    for status in (*ReviewStatus, "pending", None, "odd"):
        pair.call("list_review_queue_items", queue_id=queue, status=status)
    for wrong in (("pending", "ann"), ("pending", ""), ("complete", None), ("complete", " "),
                  ("declined", "x" * 251), ("declined", "x" * 250), ("complete", 5), ("odd", "a"),
                  (None, "a")):  # fmt: skip
        say(*wrong)
    for item in ("tr-9", "", None, 5):
        say("complete", "ann", item)  # type: ignore[arg-type]  # what is no id either


def test_lists_come_in_pages(pair: Pair) -> None:
    queues = [new_queue(pair, name=f"q{n}", users=["ann", "bob"][: n % 3]) for n in range(5)]
    pair.make("get_or_create_user_queue", experiment_id="0", user="bob")
    for ids in (["tr-3", "tr-1", "tr-2"], ["tr-0"], ["tr-5", "tr-4"]):
        pair.ok("add_items_to_review_queue", queue_id=queues[0], item_ids=ids)
    for kwargs in ({}, {"user": "Bob"}, {"user": ""}, {"item_id": "tr-1"}):
        pair.pages("list_review_queues", 2, experiment_id="0", **kwargs)
    pair.fails(INVALID, "list_review_queues", experiment_id="0", user=5)
    assert len(pair.pages("list_review_queue_items", 4, queue_id=queues[0])) == 6
    pair.pages("list_review_queue_items", 2, queue_id=queues[0], status="pending")
    for method, of in (
        ("list_review_queues", {"experiment_id": "0"}),
        ("list_review_queue_items", {"queue_id": queues[0]}),
    ):
        for size in (0, -1, 50_000, 50_001, None):
            pair.call(method, **of, max_results=size)
        for token in ("nonsense", "", None, 5):
            pair.call(method, **of, page_token=token)


def test_more_items_than_one_event_names(pair: Pair) -> None:
    queue = new_queue(pair)
    ids = [f"tr-{number % 10}-{number}" for number in range(4_500)]
    pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=ids)
    assert len(pair.pages("list_review_queue_items", 3_000, queue_id=queue)) == 4_500
    pair.ok("remove_items_from_review_queue", queue_id=queue, item_ids=ids[1:])
    look_at(pair, queue)


def test_what_is_gone_is_not_found(pair: Pair) -> None:
    queue = new_queue(pair)
    pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=["tr-1"])
    pair.ok("delete_review_queue", queue_id=queue)
    pair.ok("delete_review_queue", queue_id=queue)
    pair.fails(MISSING, "get_review_queue", queue_id=queue)
    pair.fails(MISSING, "update_review_queue", queue_id=queue)
    pair.fails(MISSING, "get_review_queue_by_name", experiment_id="0", name="night")
    pair.fails(MISSING, "add_items_to_review_queue", queue_id=queue, item_ids=["tr-1"])
    pair.fails(MISSING, "remove_items_from_review_queue", queue_id=queue, item_ids=["tr-1"])
    pair.fails(MISSING, "list_review_queue_items", queue_id=queue)
    status = {"item_id": "tr-1", "status": "pending"}
    pair.fails(MISSING, "set_review_queue_item_status", queue_id=queue, **status)
    pair.fails(MISSING, "list_review_queues", experiment_id="77")
    for odd in (None, 5, ["x"], ""):
        pair.call("get_review_queue", queue_id=odd)
        pair.call("get_review_queue_by_name", experiment_id="0", name=odd)


def test_they_go_with_their_experiment(pair: Pair) -> None:
    experiment = pair.make("create_experiment", name="short")
    queue = new_queue(pair, experiment)
    pair.ok("add_items_to_review_queue", queue_id=queue, item_ids=["tr-1"])
    pair.ok("delete_experiment", experiment_id=experiment)
    look_at(pair, queue)
    pair.fails(MISSING, "list_review_queues", experiment_id=experiment)
    pair.fails(MISSING, "create_review_queue", experiment_id=experiment, **CUSTOM)
    pair.ok("update_review_queue", queue_id=queue, name="Day")
    pair.ok("_hard_delete_experiment", experiment_id=experiment)
    look_at(pair, queue)


_names = st.sampled_from(["q", "Q", "ann", "Ann", "r", " s", "", "Default", "x" * 251])
_users = st.lists(st.sampled_from(["ann", "ANN ", "bob", ""]), max_size=3)
_experiments, _schemas = made("create_experiment"), made("create_label_schema")
_queues = made("create_review_queue") | made("get_or_create_user_queue")
_items = st.lists(st.sampled_from(["a", "b", "c", " c", "A"]), max_size=4)
_sets = {"users": _users, "schema_ids": st.lists(_schemas, max_size=2)}
_statuses = st.sampled_from(["pending", "complete", "complete", "declined", "odd"])


def _of_queue(**given: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"queue_id": _queues, **given})


CALLS: Calls = {
    "create_review_queue": st.fixed_dictionaries(
        {
            "experiment_id": _experiments,
            "name": _names,
            "queue_type": st.sampled_from(["custom", "custom", "user"]),
        },
        optional={"created_by": st.sampled_from([None, "Ann"]), **_sets},
    ),
    "get_or_create_user_queue": st.fixed_dictionaries(
        {"experiment_id": _experiments, "user": _names}
    ),
    "update_review_queue": st.fixed_dictionaries(
        {"queue_id": _queues}, optional={"name": _names, "new_owner": _names, **_sets}
    ),
    "delete_review_queue": _of_queue(),
    "get_review_queue_by_name": st.fixed_dictionaries(
        {"experiment_id": _experiments, "name": _names}
    ),
    "list_review_queues": st.fixed_dictionaries(
        {"experiment_id": _experiments},
        optional={"user": _names, "item_id": st.sampled_from("abc"), "max_results": st.just(1)},
    ),
    "add_items_to_review_queue": _of_queue(item_ids=_items),
    "remove_items_from_review_queue": _of_queue(item_ids=_items),
    "list_review_queue_items": st.fixed_dictionaries(
        {"queue_id": _queues},
        optional={"status": _statuses, "max_results": st.integers(0, 3)},
    ),
    "set_review_queue_item_status": st.fixed_dictionaries(
        {"queue_id": _queues, "item_id": st.sampled_from("abc"), "status": _statuses},
        optional={"completed_by": st.sampled_from(["ann", "Bob", ""])},
    ),
    "create_label_schema": st.fixed_dictionaries(
        {"experiment_id": _experiments, "name": st.sampled_from("qr"), "type": st.just("feedback"),
         "input": st.just(InputText())}
    ),
    "delete_label_schema": st.fixed_dictionaries({"schema_id": _schemas}),
    "delete_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
    "restore_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
}  # fmt: skip


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for queue_id in [*ids["create_review_queue"], *ids["get_or_create_user_queue"]]:
        look_at(pair, queue_id)
    for experiment_id in ids["create_experiment"]:
        pair.call("list_review_queues", experiment_id=experiment_id)


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
