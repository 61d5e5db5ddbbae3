"""Issues, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.entities.issue import IssueSeverity, IssueStatus

from . import field_policy
from .family_machine import Calls, made, play
from .pair import MAKERS, Factory, Pair, Ref, Template, Text
from .test_core import INVALID, MISSING, ODD_IDS, new_run

MAKERS["create_issue"] = lambda issue: str(issue.issue_id)
field_policy.FIELDS |= {
    ("Issue", "created_timestamp"): "time",
    ("Issue", "last_updated_timestamp"): "time",
    ("Issue", "last_seen_timestamp"): "time",
}
NEWER = find_spec("mlflow.utils.issue_utils") is not None
newer = pytest.mark.skipif(not NEWER, reason="issues say and are asked this from MLflow 3.18 on")

ISSUE = {"name": "Wrong tongue", "description": "It answers\nin another language."}


def new_issue(pair: Pair, experiment: str = "0", **kwargs: Any) -> Ref:
    return pair.make("create_issue", experiment_id=experiment, **{**ISSUE, **kwargs})


def _named(value: Any) -> str:
    return repr(value)[:40]


def test_what_an_issue_says_comes_back(pair: Pair) -> None:
    issue = new_issue(
        pair, status=IssueStatus.REJECTED, severity=IssueSeverity.LOW, root_causes=["a", "ключ"],
        categories=["c"], created_by="Ann", source_run_id=new_run(pair),
    )  # fmt: skip
    pair.ok("get_issue", issue_id=issue)
    for change in (
        {},
        {"status": IssueStatus.RESOLVED},
        {"severity": IssueSeverity.NOT_AN_ISSUE, "name": "n"},
        {"description": "", "name": ""},
    ):
        pair.call("update_issue", issue_id=issue, **change)
        pair.ok("get_issue", issue_id=issue)


@pytest.mark.parametrize(
    "odd",
    [
        {"name": ""},
        {"name": None},
        {"description": None},
        {"description": "\ud800"},
        {"name": "x" * 300},
        {"status": "pending"},
        {"status": None},
        {"severity": "high"},
        {"root_causes": []},
        {"root_causes": "text", "categories": ("a", "b")},
        {"categories": [{"a": 1}]},
        {"created_by": ""},
        {"source_run_id": "r" * 32},
        {"source_run_id": ""},
        {"name": "n" * 300_000, "description": "d" * 300_000, "root_causes": ["r" * 300_000],
         "categories": ["c" * 300_000]},
    ],
    ids=_named,
)  # fmt: skip
def test_what_an_issue_may_be(pair: Pair, odd: dict[str, Any]) -> None:
    pair.call("create_issue", experiment_id="0", **{**ISSUE, **odd})
    issue = new_issue(pair)
    change = {key: odd[key] for key in odd if key in ("name", "description", "status", "severity")}
    pair.call("update_issue", issue_id=issue, **change)
    pair.call("search_issues", include_trace_count=True)


@pytest.mark.parametrize("given", [g for g in ODD_IDS if g not in ("", None, "0_0")], ids=_named)
def test_odd_experiment_ids(pair: Pair, given: Any) -> None:
    new_issue(pair)
    pair.call("create_issue", experiment_id=given, **ISSUE)
    pair.call("search_issues", experiment_id=given)


def test_what_is_not_there(pair: Pair) -> None:
    for odd in ("iss-1", "", None, 5, ["x"]):
        pair.call("get_issue", issue_id=odd)
    pair.fails(MISSING, "get_issue", issue_id="iss-1")
    pair.fails(MISSING, "update_issue", issue_id="iss-1", name="x")
    pair.fails(MISSING, "create_issue", experiment_id="77", **ISSUE)


@pytest.mark.parametrize("counted", [False, True])
def test_the_most_severe_come_first(pair: Pair, counted: bool) -> None:
    other = pair.make("create_experiment", name="other")
    for severity in (None, *IssueSeverity, None, *reversed(IssueSeverity)):
        new_issue(pair, severity=severity)
        new_issue(pair, other, severity=severity)
    for experiment in ("0", other, "77", None):
        asked = {"experiment_id": experiment, "include_trace_count": counted}
        pair.ok("search_issues", **asked)
        pair.pages("search_issues", 3, **asked)


def test_filters(pair: Pair) -> None:
    runs = [new_run(pair), new_run(pair)]
    for number, status in enumerate((*IssueStatus, IssueStatus.PENDING)):
        new_issue(pair, status=status, source_run_id=[None, *runs][number % 3])
    for filter_string in (
        None,
        "",
        "status = 'pending'",
        "status != 'pending'",
        'status = "Pending"',
        "status = 'odd' AND status = 'pending'",
        "`status` = 'resolved'",
        "status = ' pending '",
        Text("source_run_id = '{}'", runs[0]),
        Text("source_run_id != '{}'", runs[0]),
        Text("status = 'pending' AND source_run_id != '{}'", runs[1]),
        "status LIKE 'p%'",
        "status IN ('pending')",
        "status > 'a'",
        "name = 'x'",
        "severity = 'high'",
        "status = 'a' OR status = 'b'",
        "status",
        "nonsense",
        "status = 5",
        "status = pending",
        "'status' = 'pending'",
    ):
        pair.call("search_issues", filter_string=filter_string)
        pair.call(
            "search_issues",
            experiment_id="0", filter_string=filter_string, include_trace_count=True, max_results=1,
        )  # fmt: skip


def test_pages_that_make_no_sense(pair: Pair) -> None:
    new_issue(pair)
    for size in (0, -1, 50_000, 50_001, None):
        pair.call("search_issues", max_results=size)
    for token in ("nonsense", "", None, 5):
        pair.call("search_issues", page_token=token)
    pair.fails(INVALID, "search_issues", max_results=0)


def test_a_source_that_is_gone_is_no_source(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    run, far = new_run(pair), new_run(pair, other)
    issues = [
        new_issue(pair, source_run_id=run),
        new_issue(pair, other if NEWER else "0", source_run_id=far),
    ]

    def look() -> None:
        for issue in issues:
            pair.call("get_issue", issue_id=issue)
        pair.ok("search_issues", filter_string=Text("source_run_id != '{}'", "x"))
        pair.ok("search_issues", filter_string=Text("source_run_id = '{}'", run))

    pair.ok("delete_run", run_id=run)
    look()
    new_issue(pair, source_run_id=run)
    pair.ok("_hard_delete_run", run_id=run)
    look()
    pair.call("create_issue", experiment_id="0", source_run_id=run, **ISSUE)
    pair.ok("delete_experiment", experiment_id=other)
    look()
    pair.ok("_hard_delete_experiment", experiment_id=other)
    look()


def test_they_go_with_their_experiment(pair: Pair) -> None:
    experiment = pair.make("create_experiment", name="short")
    issue = new_issue(pair, experiment)
    pair.ok("delete_experiment", experiment_id=experiment)
    pair.ok("get_issue", issue_id=issue)
    pair.ok("update_issue", issue_id=issue, name="x")
    pair.ok("search_issues", experiment_id=experiment)
    pair.fails(MISSING, "create_issue", experiment_id=experiment, **ISSUE)
    pair.ok("_hard_delete_experiment", experiment_id=experiment)
    pair.fails(MISSING, "get_issue", issue_id=issue)
    pair.ok("search_issues")


_LATER = 2**42
"""In milliseconds: no clock says this yet."""


@newer
@pytest.mark.parametrize(
    "given",
    [
        {"issue_id": "iss-my_own-1"},
        {"issue_id": "iss-"},
        {"issue_id": "iss-" + "x" * 33},
        {"issue_id": "iss-я"},
        {"issue_id": "iss-1\n"},
        {"issue_id": ""},
        {"issue_id": 5},
        {"last_seen_timestamp": _LATER},
        {"last_seen_timestamp": 0},
        {"last_seen_timestamp": -1},
        {"last_seen_timestamp": 2**63},
        {"last_seen_timestamp": True},
        {"last_seen_timestamp": 1.0},
        {"last_seen_timestamp": "5"},
        {"metadata": {}},
        {"metadata": {"team": "tongues", "empty": ""}},
        {"metadata": {"": "x"}},
        {"metadata": {"k" * 250: "ü" * 65536}},
        {"metadata": {"k" * 251: "x"}},
        {"metadata": {"k": "x" * 65537}},
        {"metadata": {"k": 5}},
        {"metadata": [("k", "v")]},
        {"metadata": {f"{'k' * 245}{n}": "v" * 5000 for n in range(100)}},
        {"metadata": {str(n): "v" for n in range(101)}},
        {"categories": ["Tone", " tone ", "Tone"]},
        {"categories": ["c"] * 101},
        {"categories": [""]},
        {"categories": ("a",)},
        {"categories": ["ЖЖ" * 125] * 2},
        {"created_by": "x" * 256},
        {"created_by": 5},
        {"last_updated_by": "Ben"},
        {"last_updated_by": ""},
        {"last_updated_by": "x" * 256},
        {"delete_metadata_keys": []},
        {"delete_metadata_keys": ["none"]},
        {"delete_metadata_keys": [""]},
        {"delete_metadata_keys": "text"},
        {"metadata": {"a": "b"}, "delete_metadata_keys": ["a"]},
        {"metadata": {"a": "b"}, "delete_metadata_keys": ["team"]},
        {"severity": "high", "status": "resolved"},
        {"severity": "odd"},
        {"status": "odd"},
        {"status": 5},
    ],
    ids=_named,
)
def test_what_an_issue_says_since_3_18(pair: Pair, given: dict[str, Any]) -> None:
    only_of_updates = {"last_updated_by", "delete_metadata_keys"}
    if not only_of_updates & given.keys():
        pair.call("create_issue", experiment_id="0", **{**ISSUE, **given})
    for first in {}, {"metadata": {"team": "x", "b": "c"}, "categories": ["c"], "created_by": "A"}:
        issue = new_issue(pair, **first)
        if not {"issue_id", "created_by"} & given.keys():
            pair.call("update_issue", issue_id=issue, **given)
            pair.ok("get_issue", issue_id=issue)
    pair.ok("search_issues", view="basic")
    pair.ok("search_issues", view="full", categories=["TONE"])


@newer
def test_an_id_of_ones_own_is_given_once(pair: Pair) -> None:
    new_issue(pair, issue_id="iss-1")
    again = {"experiment_id": "0", "issue_id": "iss-1", **ISSUE}
    pair.fails("RESOURCE_ALREADY_EXISTS", "create_issue", **again)
    pair.fails("RESOURCE_ALREADY_EXISTS", "create_issue", **again, source_run_id="r" * 32)
    other = pair.make("create_experiment", name="other")
    pair.fails("RESOURCE_ALREADY_EXISTS", "create_issue", **{**again, "experiment_id": other})
    pair.fails(INVALID, "create_issue", experiment_id=other, source_run_id=new_run(pair), **ISSUE)


@newer
def test_an_observation_never_moves_back(pair: Pair) -> None:
    issue = new_issue(pair)
    for seen in (5, _LATER, _LATER - 1, _LATER + 1, 0):
        pair.ok("update_issue", issue_id=issue, last_seen_timestamp=seen)
        pair.ok("get_issue", issue_id=issue)
    old = new_issue(pair, last_seen_timestamp=5)
    pair.ok("update_issue", issue_id=old, last_seen_timestamp=4)
    pair.ok("search_issues", order_by=["last_seen_timestamp ASC"])


@newer
def test_metadata_changes_key_by_key(pair: Pair) -> None:
    issue = new_issue(pair)
    hundred = {f"k{n}": "v" for n in range(100)}
    for change in (
        {"metadata": {"a": "1"}},
        {"metadata": {"b": "2" * 3000, "a": "3"}},
        {"delete_metadata_keys": ["a", "x"]},
        {"metadata": {}},
        {"metadata": {"a": "1"}, "delete_metadata_keys": ["b"]},
        {"metadata": hundred},
        {"metadata": {key: hundred[key] for key in list(hundred)[:99]}},
        {"metadata": {"more": "x"}, "delete_metadata_keys": ["k1"]},
        {"delete_metadata_keys": list(hundred)},
        {"delete_metadata_keys": ["a", "more"]},
    ):
        pair.call("update_issue", issue_id=issue, **change)
        pair.ok("get_issue", issue_id=issue)


@newer
def test_searches_of_3_18(pair: Pair) -> None:
    names = ("Tone", "tone_2", "100% wrong", "a\\b", "ЖЖ", "tone", "%")
    for number, name in enumerate(names):
        new_issue(
            pair,
            name=name,
            status=list(IssueStatus)[number % 3],
            severity=[None, *IssueSeverity][number % 5],
            categories=[["Tone", "b "], ["TONE "], [], ["ЖЖ"], None, ["c"], ["tone"]][number],
            metadata={"a": "b"} if number % 2 else None,
            last_seen_timestamp=[5, _LATER, None, 7, 7, None, 1][number],
        )
    for asked in (
        *({"name": name} for name in (*names, "TONE", "_", "жж", "", "\\", "x" * 251, 5)),
        {"statuses": ["pending"]},
        {"statuses": ["pending", "resolved", "pending"], "severities": ["high", "low"]},
        {"statuses": []},
        {"statuses": ["odd"]},
        {"statuses": ["Pending"]},
        {"statuses": "pending"},
        {"severities": ["high", 5]},
        {"severities": ["odd"]},
        {"categories": ["tone"]},
        {"categories": [" Tone", "c"]},
        {"categories": ["жж"]},
        {"categories": [""]},
        {"categories": []},
        {"categories": ["none"], "name": "tone"},
        {"view": "odd"},
        {"view": "basic", "include_trace_count": True},
        {"order_by": ["name"]},
        {"order_by": ["name desc", "created_timestamp"]},
        {"order_by": ["severity DESC"]},
        {"order_by": ["status", "name DESC"]},
        {"order_by": ["last_seen_timestamp"], "include_trace_count": True},
        {"order_by": ["last_updated_timestamp DESC"]},
        {"order_by": ["name", "name DESC"]},
        {"order_by": []},
        {"order_by": [""]},
        {"order_by": ["odd"]},
        {"order_by": ["name up"]},
        {"order_by": ["name ASC x"]},
        {"order_by": ["`name`"]},
        {"order_by": "name"},
        {"order_by": [5]},
    ):
        pair.call("search_issues", **asked)
        pair.call("search_issues", **asked, max_results=2, include_total_count=True)
        if pair.call("search_issues", **asked, max_results=2).token is not None:
            pair.pages("search_issues", 2, **asked)
    pair.pages("search_issues", 2, order_by=["name"], filter_string="status = 'pending'")
    pair.ok("search_issues", include_total_count=True, filter_string="status = 'pending'")


@newer
def test_a_token_is_of_its_search(pair: Pair) -> None:
    for number in range(5):
        new_issue(pair, name=f"n{number}")
    asked = {"max_results": 2, "order_by": ["name"]}
    token = pair.ok("search_issues", **asked).token
    plain = pair.ok("search_issues", max_results=2).token
    viewed = pair.ok("search_issues", max_results=2, view="full").token
    for given in (token, plain, viewed, "e30=", "bnVsbA==", "eyJvZmZzZXQiOiAtMX0="):
        pair.call("search_issues", page_token=given, **asked)
        pair.call("search_issues", page_token=given, max_results=2)
        pair.call("search_issues", page_token=given, max_results=2, view="full")
        pair.call("search_issues", page_token=given, max_results=2, order_by=["name DESC"])
    pair.ok("update_issue", issue_id=new_issue(pair, name="n0"), name="n9")
    pair.ok("search_issues", page_token=token, **asked)


_experiments, _issues = made("create_experiment"), made("create_issue")
_texts, _statuses = st.sampled_from(["", "a", "b"]), st.sampled_from(IssueStatus)
_severities = st.sampled_from([None, *IssueSeverity])
_times = st.sampled_from([0, 5, _LATER])
_metadata = st.dictionaries(st.sampled_from("klm"), st.sampled_from(["", "v", "v" * 2000]))
_orders = st.sampled_from(
    ["name", "name DESC", "status", "severity DESC", "created_timestamp", "last_seen_timestamp"]
)


def _newer(**arguments: Any) -> dict[str, Any]:
    return arguments if NEWER else {}


CALLS: Calls = {
    "create_issue": st.fixed_dictionaries(
        {"experiment_id": _experiments, "name": _texts, "description": _texts},
        optional={
            "status": _statuses,
            "severity": _severities,
            "root_causes": st.lists(_texts, max_size=2),
            "categories": st.lists(_texts, max_size=2),
            "source_run_id": st.none() | made("create_run"),
            "created_by": st.sampled_from([None, "ann"]),
            **_newer(
                issue_id=st.sampled_from(["iss-1", "iss-2"]),
                last_seen_timestamp=_times,
                metadata=_metadata,
            ),
        },
    ),
    "update_issue": st.fixed_dictionaries(
        {"issue_id": _issues},
        optional={
            "status": _statuses, "name": _texts, "description": _texts, "severity": _severities,
            **_newer(
                categories=st.none() | st.lists(_texts, max_size=2),
                last_seen_timestamp=_times,
                last_updated_by=st.sampled_from(["", "ben"]),
                metadata=_metadata,
                delete_metadata_keys=st.lists(st.sampled_from("kl"), max_size=2),
            ),
        },
    ),
    "get_issue": st.fixed_dictionaries({"issue_id": _issues}),
    "search_issues": st.fixed_dictionaries(
        {"experiment_id": st.none() | _experiments},
        optional={
            "filter_string": st.sampled_from(["status = 'pending'", "status != 'pending'", "x"]),
            "max_results": st.integers(0, 3),
            "include_trace_count": st.booleans(),
            **_newer(
                name=_texts,
                statuses=st.lists(_statuses.map(str), max_size=2),
                severities=st.lists(st.sampled_from(IssueSeverity).map(str), max_size=2),
                categories=st.lists(_texts, max_size=2),
                order_by=st.lists(_orders, max_size=3),
                include_total_count=st.booleans(),
                view=st.sampled_from([None, "basic", "full"]),
            ),
        },
    ),
    "create_run": st.fixed_dictionaries(
        {"experiment_id": _experiments, "user_id": st.just("u"), "start_time": st.just(1),
         "tags": st.just([]), "run_name": st.just("n")}
    ),
    "delete_run": st.fixed_dictionaries({"run_id": made("create_run")}),
    "_hard_delete_run": st.fixed_dictionaries({"run_id": made("create_run")}),
    "delete_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
    "restore_experiment": st.fixed_dictionaries({"experiment_id": _experiments}),
}  # fmt: skip


def _look(pair: Pair, ids: Mapping[str, list[Ref]]) -> None:
    for issue_id in ids["create_issue"]:
        pair.call("get_issue", issue_id=issue_id)
    for experiment_id in (None, *ids["create_experiment"]):
        pair.call("search_issues", experiment_id=experiment_id, include_trace_count=True)


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
