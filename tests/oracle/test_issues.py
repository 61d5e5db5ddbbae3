"""Issues, as MLflow's store has them."""

from __future__ import annotations

from collections.abc import Mapping
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
}

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
        pair.ok("update_issue", issue_id=issue, **change)
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
    issues = [new_issue(pair, source_run_id=run), new_issue(pair, source_run_id=far)]

    def look() -> None:
        for issue in issues:
            pair.ok("get_issue", issue_id=issue)
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


_experiments, _issues = made("create_experiment"), made("create_issue")
_texts, _statuses = st.sampled_from(["", "a", "b"]), st.sampled_from(IssueStatus)
_severities = st.sampled_from([None, *IssueSeverity])
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
        },
    ),
    "update_issue": st.fixed_dictionaries(
        {"issue_id": _issues},
        optional={
            "status": _statuses, "name": _texts, "description": _texts, "severity": _severities
        },
    ),
    "get_issue": st.fixed_dictionaries({"issue_id": _issues}),
    "search_issues": st.fixed_dictionaries(
        {"experiment_id": st.none() | _experiments},
        optional={
            "filter_string": st.sampled_from(["status = 'pending'", "status != 'pending'", "x"]),
            "max_results": st.integers(0, 3),
            "include_trace_count": st.booleans(),
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
