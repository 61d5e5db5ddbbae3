"""Searches of traces: every kind of filter, every order, pages, sessions, correlations."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from mlflow.entities import (
    AssessmentSource,
    Expectation,
    Feedback,
    IssueReference,
    TraceState,
)
from mlflow.entities.model_registry import PromptVersion
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType

from .pair import Pair, Ref
from .test_core import INVALID, MISSING, new_run
from .tracing import BEGIN_MS, span, start, trace, trace_id

SOURCE = AssessmentSource("HUMAN", "zoë")
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def others(pair: Pair) -> list[Ref]:
    """The experiment that is not the default one."""
    sides = [side.tracking.get_experiment_by_name("other").experiment_id for side in pair.sides]
    return [Ref(*sides)]


def feedback(number: int, name: str, value: Any, **said: Any) -> Feedback:
    said.setdefault("create_time_ms", 5)
    said.setdefault("last_update_time_ms", 6)
    return Feedback(name=name, value=value, source=SOURCE, trace_id=trace_id(number), **said)


def expectation(number: int, name: str, value: Any) -> Expectation:
    return Expectation(
        name=name, value=value, source=SOURCE, trace_id=trace_id(number),
        create_time_ms=5, last_update_time_ms=6,
    )  # fmt: skip


def test_a_trace_with_much_to_say_is_found_whole(pair: Pair) -> None:
    for number in (1, 2):
        tags = {f"long{part}": "é" * 4000 for part in range(3 * (number - 1))}
        start(pair, trace(number, "0", request_time=BEGIN_MS + number, tags={**tags, "k": "v"}))
        said = feedback(number, "quality", {"nested": [[[1.5]]] * 3}, rationale="r" * 3000)
        pair.ok("create_assessment", assessment=said)
    for asked in ({}, {"filter_string": "tags.k = 'v'"}, {"order_by": ["tags.k"]}):
        pair.ok("search_traces", locations=["0"], **asked)
    pair.ok("get_trace_info", trace_id=trace_id(2))


def fill(pair: Pair) -> None:
    """Nine traces, the last of them elsewhere; spans, links, assessments."""
    other = pair.make("create_experiment", name="other")
    states = [TraceState.OK, TraceState.ERROR, TraceState.IN_PROGRESS]
    for number in range(1, 10):
        start(
            pair,
            trace(
                number,
                other if number == 9 else "0",
                state=states[number % 3],
                request_time=BEGIN_MS + number // 2,
                execution_duration=None if number == 4 else 10 * (number % 4),
                client_request_id=f"c{number}" if number % 2 else None,
                tags={"mlflow.traceName": f"Name{number % 3}", "k": f"v{number % 2}", "f": "a.b"}
                if number != 5
                else {"only": "five"},
                trace_metadata={"mlflow.trace.session": f"s{number % 3}", "m": f"x{number}"}
                | ({"mlflow.sourceRun": "run1"} if number == 2 else {})
                | ({"mlflow.trace.tokenUsage": '{"input_tokens": 3}'} if number < 4 else {}),
            ),
        )
    for number in (1, 2, 9):
        pair.ok(
            "log_spans",
            location=other if number == 9 else "0",
            spans=[
                span(number, 1, name="Root", begin=number, attributes={
                    "mlflow.spanType": "CHAIN", "q": "ключ 50%", "mlflow.spanInputs": {"a": 1},
                }),
                span(number, 2, 1, name=f"model{number}", status="STATUS_CODE_ERROR", attributes={
                    "mlflow.spanType": "LLM", "temperature": 0.5, "mlflow.chat.tokenUsage": USAGE,
                }),
            ],
        )  # fmt: skip
    pair.ok("log_spans", location="0", spans=[span(20, 1, name="lonely", begin=-20_000)])
    pair.ok("link_traces_to_run", trace_ids=[trace_id(3), trace_id(4), "none"], run_id="run1")
    pair.ok(
        "link_prompts_to_trace",
        trace_id=trace_id(6),
        prompt_versions=[PromptVersion("greet", 1, "hi"), PromptVersion("greet", 2, "hi")],
    )
    session = {"mlflow.trace.session": "s1"}
    for assessment in [
        feedback(1, "good", True), feedback(2, "good", False), feedback(3, "good", "yes"),
        feedback(3, "score", 0.5, metadata={"k": "v"}), feedback(5, "score", 7),
        feedback(4, "score", 1, metadata=session), expectation(6, "answer", "Zürich"),
        expectation(7, "answer", {"a": 1}), feedback(8, "text", "A.b"),
        IssueReference("iss-1", "slow", source=SOURCE, trace_id=trace_id(2),
                       create_time_ms=5, last_update_time_ms=6),
    ]:  # fmt: skip
        pair.ok("create_assessment", assessment=assessment)


FILTERS = [
    "status = 'OK'", "trace.status != 'OK'", "attributes.status IN ('OK', 'ERROR')",
    "status NOT IN ('OK')", "status LIKE 'E%'", "status LIKE 'e%'", "status ILIKE 'e%'",
    "status RLIKE '^(OK|ER)'", "status RLIKE '('", f"timestamp_ms > {BEGIN_MS + 2}",
    f"timestamp <= {BEGIN_MS + 2} AND status = 'OK'", f"timestamp_ms = '{BEGIN_MS + 2}'",
    "execution_time_ms >= 10", "execution_time < 20", "execution_time_ms != 10",
    f"end_time_ms > {BEGIN_MS + 20}", f"end_time <= {BEGIN_MS + 20}",
    "request_id = 'tr-trace3'", "request_id IN ('tr-trace3', 'tr-trace4')",
    "client_request_id = 'c1'", "client_request_id != 'c1'", "client_request_id RLIKE '[13]$'",
    "name = 'Name1'", "name != 'Name1'", "name ILIKE 'NAME%'", "name RLIKE '[12]'",
    "name IN ('Name1', 'Name2')", "tags.mlflow.traceName = 'Name1'",
    "tags.`mlflow.traceName` IS NULL", "tags.`mlflow.traceName` IS NOT NULL",
    "tags.k = 'v1'", "tag.k != 'v1'", "tags.k LIKE 'v%'", "tags.k ILIKE 'V1'", "tags.k RLIKE '1'",
    "tags.only IS NULL", "tags.only IS NOT NULL", "tags.f = 'a.b' AND tags.k = 'v0'",
    "metadata.m = 'x1'", "request_metadata.m != 'x1'", "metadata.m RLIKE 'x[1-3]'",
    "metadata.m LIKE 'x_'", "metadata.m IS NULL", "metadata.m IS NOT NULL",
    "metadata.`mlflow.trace.session` = 's1'", "metadata.`mlflow.trace.session` IS NULL",
    "metadata.`mlflow.trace.session` RLIKE '[12]'",
    "metadata.`mlflow.trace.session` IS NOT NULL",
    "metadata.`mlflow.trace.tokenUsage` = '{\"input_tokens\": 3}'",
    "metadata.`mlflow.trace.tokenUsage` = '{\"input_tokens\":3}'",
    "metadata.`mlflow.trace.tokenUsage` != '{\"input_tokens\": 3}'",
    "metadata.`mlflow.trace.tokenUsage` IS NULL", "metadata.`mlflow.trace.cost` IS NOT NULL",
    "metadata.`mlflow.trace.cost` = 'x'", "metadata.`mlflow.trace.cost` LIKE 'x'",
    "run_id = 'run1'", "run_id != 'run1'", "attributes.run_id = 'none'",
    "prompt = 'greet/1'", "prompt = 'greet/3'", "prompt = 'greet'", "prompt != 'greet/1'",
    "span.name = 'Root'", "span.name != 'Root'", "span.name LIKE 'model%'",
    "span.name IN ('Root', 'lonely')", "span.name RLIKE 'model[12]'", "span.type = 'LLM'",
    "span.status = 'ERROR'", "span.name = 'Root' AND span.type = 'LLM'",
    "span.name = 'Root' AND span.type = 'CHAIN'", "span.name NOT IN ('Root')",
    f"span.name = 'lonely' AND timestamp_ms > {BEGIN_MS - 30_000}",
    f"span.name = 'Root' AND timestamp_ms >= {BEGIN_MS + 20_000}",
    "span.attributes.q LIKE '%ключ%'", "span.attributes.q LIKE '%50%'",
    "span.attributes.temperature RLIKE '0.5'", "span.attributes.q RLIKE '^ключ'",
    "span.attributes.q RLIKE '50%$'", "span.attributes.q RLIKE 'ключ|50%'",
    "span.attributes.q RLIKE '?'", "span.attributes.`t.m` RLIKE '0'",
    "span.attributes.temp.rature RLIKE '^0'",
    "span.attributes.q = 'x'", "span.attributes.none ILIKE '%'",
    "trace.text LIKE '%ключ%'", "text ILIKE '%MODEL1%'", "span.content LIKE '%model%'",
    "text = 'x'", "text RLIKE 'x'", "span.nothing = 'x'", "span.name > 'x'",
    "feedback.good = 'true'", "feedback.good = 'yes'", "feedback.good != 'true'",
    "feedback.score > 0.4", "feedback.score <= 1", "feedback.score >= 7", "feedback.score < 'x'",
    "feedback.score = '7'", "feedback.score IS NULL", "feedback.score IS NOT NULL",
    "feedback.text LIKE '%A%'", "feedback.text ILIKE '%a.B%'", "feedback.text RLIKE 'A\\.b'",
    "expectation.answer = 'Zürich'", "expectation.answer LIKE '%a%'",
    "expectation.answer IS NOT NULL", "feedback.score = 7", "issue.id = 'iss-1'",
    "issue.id != 'iss-1'", "issue.name = 'x'", "nonsense", "what = 'x'", "status = 5",
    "timestamp_ms LIKE 'x'", "tags.k > 'v'", "tags.k IN ('v1', 'v2')",
    "status = 'OK' OR name = 'x'",
    "feedback.score > 0 AND status = 'OK' AND tags.k = 'v0'",
]  # fmt: skip

ORDERS = [
    ["timestamp_ms ASC"], ["timestamp DESC", "request_id DESC"], ["execution_time_ms ASC"],
    ["execution_time DESC"], ["status", "name DESC"], ["tags.k DESC"], ["tags.only"],
    ["metadata.m ASC"], ["run_id"], ["experiment_id DESC"], ["metadata.`mlflow.trace.session`"],
    ["name ASC"], ["tags.k", "tags.k"], ["end_time_ms"], ["nonsense"], ["span.name"],
    ["end_time DESC"], ["end_time", "run_id"],
    ["metadata.`mlflow.trace.cost`"], ["client_request_id"],
]  # fmt: skip


@pytest.fixture
def filled(pair: Pair) -> Pair:
    fill(pair)
    return pair


def test_filters(filled: Pair) -> None:
    wrong, both = [], ["0", *others(filled)]
    for text in FILTERS:
        for method, given in [
            ("search_traces", {"locations": ["0"], "filter_string": text}),
            ("search_traces", {"filter_string": text, "locations": both, "max_results": 5}),
            (
                "calculate_trace_filter_correlation",
                {"experiment_ids": ["0"], "filter_string1": text, "filter_string2": "status = 'OK'"}
                | ({"base_filter": "tags.k = 'v1'"} if len(text) % 2 else {}),
            ),
            (
                "find_completed_sessions",
                {"experiment_id": "0", "min_last_trace_timestamp_ms": 0, "filter_string": text}
                | {"max_last_trace_timestamp_ms": BEGIN_MS + 100},
            ),
        ]:
            answer = filled.compare(method, **given)
            if answer.mismatches:
                del answer.mismatches[2:]
                wrong.append(answer.report())
    assert not wrong, "\n".join(wrong)


def test_orders_and_pages(filled: Pair) -> None:
    for order in ORDERS:
        filled.call("search_traces", locations=["0", *others(filled)], order_by=order)
    for size in (1, 4, 9, 10):
        token, count = None, 0
        while count == 0 or token:
            found, token = filled.ok(
                "search_traces", locations=["0"], max_results=size, page_token=token
            )
            count += len(found)
        assert count == 9
    for order, size in itertools.product(["tags.k", "tags.only DESC", "tags.none"], (1, 2, 4)):
        token, ids = None, []
        while not ids or token:
            found, token = filled.ok(
                "search_traces", locations=["0"], max_results=size, page_token=token,
                order_by=[order],
            )  # fmt: skip
            ids += [info.trace_id for info in found]
        assert len(set(ids)) == len(ids) == 9
    for given in [
        {"experiment_ids": ["0"]}, {"locations": []}, {"locations": ["x"]}, {"max_results": 0},
        {"page_token": "nonsense", "locations": ["0"]}, {"locations": ["77"]},
    ]:  # fmt: skip
        filled.call("search_traces", **given)


def test_sessions(filled: Pair) -> None:
    for least, most in [
        (0, 9),
        (0, BEGIN_MS * 2),
        (BEGIN_MS, BEGIN_MS + 3),
        (BEGIN_MS + 4, BEGIN_MS + 9),
    ]:
        for count in (None, 0, 1, 2):
            filled.call(
                "find_completed_sessions", experiment_id="0", max_results=count,
                min_last_trace_timestamp_ms=least, max_last_trace_timestamp_ms=most,
            )  # fmt: skip


def test_links(filled: Pair) -> None:
    run = new_run(filled)
    ids = [trace_id(number) for number in (1, 2)]
    filled.ok("link_traces_to_run", trace_ids=[], run_id=run)
    filled.ok("link_traces_to_run", trace_ids=ids, run_id=run)
    filled.ok("link_traces_to_run", trace_ids=[*ids, ids[0], trace_id(5)], run_id=run)
    filled.call("link_traces_to_run", trace_ids=["twice", "twice"], run_id=run)
    filled.fails(INVALID, "link_traces_to_run", trace_ids=["t"] * 101, run_id=run)
    prompt = PromptVersion("greet", 1, "hi")
    filled.fails(MISSING, "link_prompts_to_trace", trace_id="none", prompt_versions=[prompt])
    filled.ok("link_prompts_to_trace", trace_id="none", prompt_versions=[])
    filled.ok("link_prompts_to_trace", trace_id=trace_id(6), prompt_versions=[prompt])
    filled.call("link_prompts_to_trace", trace_id=trace_id(1), prompt_versions=[prompt, prompt])
    filled.ok("search_traces", locations=["0"], filter_string=f"run_id = '{run}'")
    filled.ok("delete_traces", experiment_id="0", trace_ids=[trace_id(6)])
    filled.ok("search_traces", locations=["0"], filter_string="prompt = 'greet/1'")


def test_assessments(filled: Pair) -> None:
    made = filled.ok("create_assessment", assessment=feedback(1, "late", 0.1, rationale="since"))
    one = {"trace_id": trace_id(1), "assessment_id": made.assessment_id}
    filled.ok("get_assessment", **one)
    over = feedback(1, "late", 0.9)
    over.overrides = made.assessment_id
    second = filled.ok("create_assessment", assessment=over)
    filled.ok("get_assessment", **one)
    filled.ok("search_traces", locations=["0"], filter_string="feedback.late < 0.5")
    filled.ok("delete_assessment", trace_id=trace_id(1), assessment_id=second.assessment_id)
    filled.ok("delete_assessment", trace_id=trace_id(1), assessment_id=second.assessment_id)
    filled.ok("get_assessment", **one)
    filled.call("create_assessment", assessment=made)
    missing = feedback(1, "late", 1)
    missing.overrides = "a-none"
    filled.fails(MISSING, "create_assessment", assessment=missing)
    filled.fails(MISSING, "create_assessment", assessment=feedback(77, "late", 1))
    filled.fails(MISSING, "get_assessment", trace_id="none", assessment_id="a")
    filled.fails(MISSING, "get_assessment", trace_id=trace_id(1), assessment_id="a")
    filled.fails(MISSING, "update_assessment", trace_id=trace_id(1), assessment_id="a")
    told = feedback(1, "x", "no")
    wanted = expectation(1, "x", 3)
    for given in [
        {"name": "later"}, {"feedback": told.feedback}, {"rationale": "because"},
        {"metadata": {"a": "b"}}, {"metadata": {"c": "d"}}, {"expectation": wanted.expectation},
        {"feedback": told.feedback, "expectation": wanted.expectation},
        {"feedback": feedback(1, "x", None, error=ValueError("odd")).feedback}, {},
    ]:  # fmt: skip
        filled.call("update_assessment", **one, **given)
        filled.ok("get_assessment", **one)
    expected = filled.ok("create_assessment", assessment=wanted)
    two = {"trace_id": trace_id(1), "assessment_id": expected.assessment_id}
    for given in [{"expectation": expectation(1, "y", [1]).expectation}, {"rationale": "r"},
                  {"feedback": told.feedback}, {"metadata": {"a": "b"}}]:  # fmt: skip
        filled.call("update_assessment", **two, **given)
        filled.ok("get_assessment", **two)
    filled.ok("get_trace_info", trace_id=trace_id(1))
    start(filled, trace(30, assessments=[feedback(30, "came", True), expectation(30, "a", 1)]))
    filled.ok("search_traces", locations=["0"], filter_string="feedback.came = 'true'")
    filled.ok("get_trace_info", trace_id=trace_id(30))
    filled.ok("delete_traces", experiment_id="0", trace_ids=[trace_id(30)])
    filled.call("get_assessment", trace_id=trace_id(30), assessment_id="a")


COUNT, SUM, AVG, MIN, MAX = (
    MetricAggregation(AggregationType[kind]) for kind in ("COUNT", "SUM", "AVG", "MIN", "MAX")
)
P50, P90 = (MetricAggregation(AggregationType.PERCENTILE, percent) for percent in (50, 90.5))
METRICS: list[tuple[MetricViewType, str, list[MetricAggregation], list[list[str]]]] = [
    (MetricViewType.TRACES, "trace_count", [COUNT], [["trace_name"], ["trace_status"]]),
    (MetricViewType.TRACES, "session_count", [COUNT], []),
    (MetricViewType.TRACES, "latency", [AVG, MIN, MAX, P50, P90], [["trace_name"]]),
    (MetricViewType.TRACES, "input_tokens", [SUM, AVG, P50], [["trace_name"]]),
    (
        MetricViewType.SPANS,
        "span_count",
        [COUNT],
        [["span_name"], ["span_type", "span_status"], ["span_model_name"]],
    ),
    (MetricViewType.SPANS, "latency", [P90, AVG, MAX], [["span_name"], ["span_status"]]),
    (MetricViewType.SPANS, "total_cost", [SUM, P50], [["span_model_name"]]),
    (
        MetricViewType.ASSESSMENTS,
        "assessment_count",
        [COUNT],
        [["assessment_name"], ["assessment_name", "assessment_value"]],
    ),
    (MetricViewType.ASSESSMENTS, "assessment_value", [AVG, P50, MIN], [["assessment_name"]]),
]
METRIC_FILTERS = [
    None, ["trace.status = 'OK'"], ["trace.tag.k = 'v1'"], ["trace.metadata.m = 'x1'"],
    ["trace.metadata.`mlflow.trace.session` = 's1'"], ["trace.tag.`mlflow.traceName` = 'Name1'"],
    ["trace.metadata.`mlflow.sourceRun` = 'run1'"], ["span.name = 'Root'"], ["span.type = 'LLM'"],
    ["trace.metadata.`mlflow.trace.tokenUsage` = '{\"input_tokens\": 3}'"],
    ["assessment.name = 'score'"], ["assessment.type = 'feedback'"], ["what.x = 'y'"],
]  # fmt: skip


def test_metrics(filled: Pair) -> None:
    filled.ok("log_spans", location="0", spans=[
        span(31, number, attributes={
            "mlflow.llm.cost": {"total_cost": number / 10}, "mlflow.llm.model": f"m{number % 2}",
        }) for number in range(1, 6)
    ])  # fmt: skip
    times: list[dict[str, Any]] = [
        {},
        {"start_time_ms": BEGIN_MS + 2},
        {"start_time_ms": BEGIN_MS, "end_time_ms": BEGIN_MS + 3, "time_interval_seconds": 60},
        {"start_time_ms": 0, "end_time_ms": BEGIN_MS * 2, "time_interval_seconds": 3600},
        {"max_results": 1},
    ]
    wrong = []
    for view, metric, aggregations, dimensions in METRICS:
        given: dict[str, Any] = {
            "experiment_ids": ["0"], "view_type": view, "metric_name": metric,
            "aggregations": aggregations,
        }  # fmt: skip
        wrong += [
            filled.compare("query_trace_metrics", dimensions=groups, **given, **when)
            for groups in [None, *dimensions]
            for when in times
        ]
        wrong += [
            filled.compare("query_trace_metrics", filters=filters, **given)
            for filters in METRIC_FILTERS
        ]
    told = [answer.report() for answer in wrong if answer.mismatches]
    assert not told, "\n".join(told)


def test_what_requests_to_the_gateway_cost(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    for number in range(1, 8):
        said = {
            "mlflow.gateway.endpointId": f"e{number % 2}",
            "mlflow.auth.username": f"u{number % 3}",
        }
        where = other if number == 6 else "0"
        start(pair, trace(number, where, trace_metadata=said if number != 7 else {}))
        cost = {"mlflow.llm.cost": {"total_cost": number / 4}} if number != 5 else {}
        pair.ok("log_spans", location=where, spans=[span(number, attributes=cost)])
    begin = BEGIN_MS + 1
    for given in (
        {}, {"endpoint_id": "e0"}, {"endpoint_id": ""}, {"username": "u1"}, {"username": ""},
        {"endpoint_id": "e1", "username": "u1"}, {"workspace": "default"}, {"workspace": "none"},
    ):  # fmt: skip
        for until in (begin, begin + 3, begin + 9):
            pair.ok("sum_gateway_trace_cost", start_time_ms=begin, end_time_ms=until, **given)
    assert pair.ok("sum_gateway_trace_cost", start_time_ms=begin, end_time_ms=begin + 9) == 4.0
    pair.ok("delete_experiment", experiment_id=other)
    pair.ok("sum_gateway_trace_cost", start_time_ms=begin, end_time_ms=begin + 9)
    pair.ok("_hard_delete_experiment", experiment_id=other)
    pair.ok("sum_gateway_trace_cost", start_time_ms=begin, end_time_ms=begin + 9)
