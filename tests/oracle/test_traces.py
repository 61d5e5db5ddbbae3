"""Traces as MLflow's store keeps them: told as a whole, span by span, in any order."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from mlflow.entities import (
    Assessment,
    AssessmentSource,
    Expectation,
    Feedback,
    TraceState,
)
from mlflow.entities.assessment import ExpectationValue, FeedbackValue
from mlflow.entities.model_registry import PromptVersion
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType

from .family_machine import Calls, Place, play
from .pair import Factory, Pair, Template
from .test_core import INVALID, MISSING
from .tracing import BEGIN_MS, span, start, trace, trace_id

USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
COST = {"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.3}
T1 = trace_id(1)


def look(pair: Pair, *numbers: int) -> None:
    for number in numbers or (1,):
        pair.call("get_trace_info", trace_id=trace_id(number))
        pair.call("get_trace", trace_id=trace_id(number), allow_partial=True)
    ids = [trace_id(number) for number in numbers or (1,)]
    pair.call("batch_get_traces", trace_ids=[*reversed(ids), "none"])
    pair.call("batch_get_trace_infos", trace_ids=[*ids, "none"], experiment_ids=["0"])


FULL = {
    "tags": {"mlflow.traceName": "chain", "a": "b", "mlflow.user": "zoë"},
    "trace_metadata": {
        "mlflow.trace.session": "s1",
        "mlflow.trace.tokenUsage": '{"input_tokens": 1, "output_tokens": "x", "other": 5}',
        "mlflow.trace.cost": '{"input_cost": 0.5, "total_cost": null}',
        "mlflow.sourceRun": "r",
        "k": "v",
    },
    "client_request_id": "c1",
    "request_preview": "in",
    "response_preview": "out",
}


def test_a_trace_is_told_as_a_whole(pair: Pair) -> None:
    start(pair, trace())
    start(pair, trace(2, **FULL))
    start(pair, trace(3, state=TraceState.IN_PROGRESS, execution_duration=None))
    look(pair, 1, 2, 3)
    start(pair, trace(2, state=TraceState.ERROR, request_preview="again"))
    start(pair, trace(1, **FULL))
    look(pair, 1, 2)


def test_what_cannot_be_told(pair: Pair) -> None:
    pair.fails(MISSING, "start_trace", trace_info=trace(1, "77"))
    pair.call("start_trace", trace_info=trace(1, "x"))
    gone = pair.make("create_experiment", name="gone")
    pair.ok("delete_experiment", experiment_id=gone)
    pair.fails(INVALID, "start_trace", trace_info=trace(1, gone))
    long = "x" * 9000
    pair.call("start_trace", trace_info=trace(1, tags={"mlflow.traceName": long}))
    pair.call("start_trace", trace_info=trace(1, trace_metadata={"mlflow.trace.session": long}))
    pair.call("start_trace", trace_info=trace(1, tags={"mlflow.artifactLocation": "x"}))
    pair.call(
        "start_trace", trace_info=trace(1, tags={"mlflow.trace.spansLocation": "ARTIFACT_REPO"})
    )
    pair.call("start_trace", trace_info=trace(1))
    pair.call("log_spans", location="0", spans=[span()])
    pair.call("log_spans", location="0", spans=[span(2), span()])
    look(pair)
    pair.ok("set_trace_tag", trace_id=T1, key="mlflow.trace.spansLocation", value="ARCHIVE_REPO")
    pair.call("log_spans", location="0", spans=[span(2), span()])
    pair.call("get_trace_info", trace_id=trace_id(2))


@pytest.mark.parametrize(
    "odd",
    ["", ".", "..", "a/b", "../x", "a.", "a ", "a%2Fb", "a?b", "a#b", "a\nb", "a\x7fb", "ü b"],
)
def test_what_is_no_id_of_a_trace(pair: Pair, odd: str) -> None:
    pair.call("start_trace", trace_info=trace(1, trace_id=odd))
    pair.call("start_trace", trace_info=trace(1, "77", trace_id=odd))
    spans = [span(2, attributes={"mlflow.traceRequestId": odd})]
    pair.call("log_spans", location="0", spans=spans)
    look(pair, 2)


def test_a_trace_stays_in_its_experiment(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    start(pair, trace(1))
    pair.ok("log_spans", location=other, spans=[span(2), span(3)])
    for number, experiment in (1, other), (2, "0"):
        info = trace(number, experiment, request_preview="again")
        answer = pair.compare("start_trace", trace_info=info)
        assert answer.error == answer.other_error, answer.report()
        pair.call("log_spans", location=experiment, spans=[span(number, 7), span(9)])
        look(pair, number)
    pair.call("log_spans", location="0", spans=[span(3), span(2), span(9)])
    look(pair, 1, 2, 3, 9)


def test_previews_are_kept(pair: Pair) -> None:
    odd = {"request_preview": "a\0b", "response_preview": "\0"}
    start(pair, trace(1, **odd))
    pair.ok("log_spans", location="0", spans=[span(2)])
    start(pair, trace(2, **odd))
    start(pair, trace(3, request_preview="", response_preview=None))
    inputs = {"mlflow.spanInputs": "x\0y", "mlflow.spanOutputs": {"a": "\0"}}
    pair.ok("log_spans", location="0", spans=[span(4, attributes=inputs)])
    look(pair, 1, 2, 3, 4)


SPANS = [
    span(1, 1, None, begin=5, took=90, name="root", attributes={
        "mlflow.spanInputs": {"q": "ключ"}, "mlflow.spanOutputs": "answer",
        "mlflow.spanType": "CHAIN", "user.id": "u1", "session.id": "s9",
        "mlflow.traceTag.colour": "red", "mlflow.traceTag.mlflow.traceName": "told by the root",
    }),
    span(1, 2, 1, begin=3, took=200, name="model", attributes={
        "mlflow.spanType": "CHAT_MODEL", "mlflow.chat.tokenUsage": USAGE, "mlflow.llm.cost": COST,
        "mlflow.llm.model": "gpt", "mlflow.llm.provider": "openai",
    }),
    span(1, 3, 2, begin=10, name="part", attributes={
        "mlflow.chat.tokenUsage": USAGE | {"cache_read_input_tokens": 1}, "mlflow.llm.cost": COST,
    }),
    span(1, 4, 1, begin=1, took=None, name="odd", status="STATUS_CODE_UNSET", attributes={
        "mlflow.chat.tokenUsage": {"input_tokens": 1}, "mlflow.llm.cost": {"total_cost": 0.7},
    }),
    span(1, 5, 4, begin=0, took=1, name="plain", status="STATUS_CODE_ERROR"),
]  # fmt: skip


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::2], ids=str)
def test_spans_and_the_trace_come_in_any_order(pair: Pair, order: tuple[int, ...]) -> None:
    """What the two stores make of it is compared after each step."""
    info = {"tags": {"x": "y"}, "trace_metadata": {"mlflow.trace.session": "s2"}}
    steps: list[Any] = [SPANS[:2], SPANS[2:4], SPANS[4:], None]
    for step in order:
        if steps[step] is None:
            start(pair, trace(1, **info))
        else:
            pair.ok("log_spans", location="0", spans=steps[step])
        look(pair)


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::9], ids=str)
def test_spans_one_by_one(pair: Pair, order: tuple[int, ...]) -> None:
    for number in order:
        pair.ok("log_spans", location="0", spans=[SPANS[number]])
    look(pair)
    pair.ok("log_spans", location="0", spans=[SPANS[number] for number in order])
    look(pair)
    start(pair, trace(1, **FULL))
    pair.ok("log_spans", location="0", spans=[SPANS[order[0]], SPANS[order[0]]])
    look(pair)


def test_failed_traces(pair: Pair) -> None:
    pair.ok("log_spans", location="0", spans=[span(1, status="STATUS_CODE_ERROR"), span(2, 2, 1)])
    look(pair, 1, 2)
    pair.ok("log_spans", location="0", spans=[span(2, 1, status="STATUS_CODE_UNSET"), span(1)])
    look(pair, 1, 2)
    pair.ok("log_spans", location="0", spans=[])
    pair.fails(MISSING, "log_spans", location="77", spans=[span(3)])
    pair.call("log_spans", location="77", spans=[span(2, 7)])
    pair.call("log_spans", location="x", spans=[span(3)])
    look(pair, 1, 2, 3)


def test_partial_traces(pair: Pair) -> None:
    stats = {"mlflow.trace.sizeStats": '{"num_spans": 2}'}
    start(pair, trace(1, trace_metadata=stats))
    pair.ok("log_spans", location="0", spans=[span(1, 1)])
    pair.ok("get_trace", trace_id=T1, allow_partial=True)
    pair.ok("batch_get_traces", trace_ids=[T1])
    pair.fails(MISSING, "get_trace", trace_id=T1)
    pair.ok("log_spans", location="0", spans=[span(1, 2)])
    pair.ok("get_trace", trace_id=T1)


def test_tags(pair: Pair) -> None:
    start(pair, trace(1, tags={"a": "1"}))
    for key, value in [
        ("a", "2"), ("b", "x" * 9000), ("mlflow.traceName", "n"), ("", "v"), ("k" * 300, "v"),
        ("mlflow.traceName", "n" * 9000), ("a/b", "v"), ("n", 5), ("none", None),
    ]:  # fmt: skip
        pair.call("set_trace_tag", trace_id=T1, key=key, value=value)
        look(pair)
    for key in ("a", "a", "mlflow.traceName", "mlflow.traceName", "never"):
        pair.call("delete_trace_tag", trace_id=T1, key=key)
        look(pair)
    for key in ("a", "mlflow.traceName"):
        pair.call("set_trace_tag", trace_id="none", key=key, value="v")
        pair.call("delete_trace_tag", trace_id="none", key=key)


def test_traces_are_deleted(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    for number in range(1, 9):
        start(pair, trace(number, other if number == 8 else "0"))
    pair.ok("log_spans", location="0", spans=[span()])
    until = 1_700_000_000_006
    for given in [
        {}, {"trace_ids": []}, {"trace_ids": ["t"], "max_timestamp_millis": 1},
        {"trace_ids": ["t"], "max_traces": 1}, {"max_timestamp_millis": 1, "max_traces": 0},
        {"trace_ids": [trace_id(8), trace_id(2), trace_id(2), "none"]},
        {"max_timestamp_millis": until, "max_traces": 2}, {"max_timestamp_millis": until},
        {"max_timestamp_millis": until},
    ]:  # fmt: skip
        pair.call("delete_traces", experiment_id="0", **given)
        look(pair, *range(1, 9))
    pair.ok("log_spans", location="0", spans=[span()])
    look(pair)


def test_traces_go_with_their_experiment(pair: Pair) -> None:
    other = pair.make("create_experiment", name="other")
    start(pair, trace(1, other, **FULL))
    pair.ok("log_spans", location=other, spans=SPANS)
    pair.ok("delete_experiment", experiment_id=other)
    look(pair)
    pair.ok("_hard_delete_experiment", experiment_id=other)
    look(pair)
    pair.call("set_trace_tag", trace_id=T1, key="mlflow.traceName", value="v")
    pair.ok("log_spans", location="0", spans=[span()])
    look(pair)


def test_spans_of_any_size(pair: Pair) -> None:
    """Many events, and blobs, of one call; tokens are counted over all of them."""
    large = [
        span(1, number, None if number == 1 else 1, begin=number, name=f"n{number}", attributes={
            "mlflow.spanInputs": "ж" * size, "mark": f"here{number}", "session.id": "s",
            "mlflow.chat.tokenUsage": USAGE,
        } if number != 1 else {"mlflow.spanInputs": "x" * size})
        for number, size in enumerate((200_000, 100_000, 300_000, 10, 90_000, 90_000), 1)
    ]  # fmt: skip
    pair.ok("log_spans", location="0", spans=large)
    look(pair)
    for text in ("span.attributes.mark LIKE '%here3%'", "trace.text LIKE '%жжж%'"):
        pair.ok("search_traces", locations=["0"], filter_string=text)
    pair.ok("start_trace", trace_info=trace(2))
    pair.ok("log_spans", location="0", spans=large)
    look(pair)


_ids = st.integers(1, 4)
_infos = st.builds(
    trace,
    _ids,
    state=st.sampled_from([TraceState.OK, TraceState.IN_PROGRESS]),
    request_time=st.integers(BEGIN_MS - 5, BEGIN_MS + 5),
    trace_metadata=st.sampled_from(
        [{}, FULL["trace_metadata"], {"mlflow.trace.tokenUsage": '{"input_tokens": 9}'}]
    ),
    request_preview=st.sampled_from([None, "p"]),
)
_spans = st.lists(
    st.builds(
        span,
        _ids,
        st.integers(1, 5),
        st.sampled_from([None, 1, 2, 3]),
        begin=st.integers(-5, 5),
        took=st.sampled_from([None, 0, 7]),
        status=st.sampled_from(["STATUS_CODE_OK", "STATUS_CODE_ERROR"]),
        attributes=st.sampled_from(
            [
                {},
                {"mlflow.chat.tokenUsage": USAGE, "mlflow.llm.cost": COST},
                {"mlflow.llm.cost": {"total_cost": 0.7}, "user.id": "u"},
                {"session.id": "s", "mlflow.traceTag.a": "b", "mlflow.spanInputs": "in"},
            ]
        ),
    ),
    max_size=4,
    # MLflow walks for ever where a span that is given twice stands below itself.
    unique_by=lambda one: (one.trace_id, one.span_id),
)
_trace_ids = _ids.map(trace_id)
_keys = st.sampled_from(["a", "b", "mlflow.traceName"])
_assessment_ids = st.sampled_from(["a-1", "a-2", "a-3", "a-4"])
_values = st.sampled_from([True, False, "yes", 1, 0.5, ["x"], {"k": 1}])
_wanted = st.sampled_from([True, 1, "x", ["x"]])


def _assessed(
    kind: type[Feedback | Expectation], number: int, assessment_id: str, **said: Any
) -> Assessment:
    over = said.pop("overrides", None)
    made = kind(
        source=AssessmentSource("HUMAN", "zoë"), trace_id=trace_id(number), create_time_ms=5,
        last_update_time_ms=6, **said,
    )  # fmt: skip
    made.assessment_id = f"{assessment_id}-{number}"  # ids are a trace's own: docs/differences.md
    made.overrides = over and f"{over}-{number}"
    return made


_said = {
    "name": st.sampled_from("qr"),
    "value": _values,
    "metadata": st.sampled_from([None, {"m": "1"}, {"mlflow.trace.session": "s"}]),
    "span_id": st.sampled_from([None, "0000000000000001"]),
}
_feedback = st.builds(
    _assessed,
    st.just(Feedback),
    _ids,
    _assessment_ids,
    **_said,
    rationale=st.sampled_from([None, "because"]),
    overrides=st.sampled_from([None, None, "a-1", "a-2"]),
)
_expectation = st.builds(
    _assessed, st.just(Expectation), _ids, _assessment_ids, **_said | {"value": _wanted}
)
_one = {
    "trace_id": _trace_ids,
    "assessment_id": st.builds("{}-{}".format, _assessment_ids, _ids),
}
_prompts = st.builds(PromptVersion, st.sampled_from("pq"), st.integers(1, 2), st.just("hi"))
CALLS: Calls = {
    "archive_traces": st.just(
        {  # both stores write the same files
            "resolved_trace_archival_location": Place("archive"),
            "broader_retention": "1d",
            "max_traces_per_pass": 1,
        }
    ),
    "create_assessment": st.fixed_dictionaries({"assessment": _feedback | _expectation}),
    "update_assessment": st.fixed_dictionaries(
        _one,
        optional={
            "name": st.sampled_from("qr"),
            "feedback": _wanted.map(FeedbackValue),
            "expectation": st.sampled_from([1, "x", ["y"]]).map(ExpectationValue),
            "rationale": st.sampled_from(["", "later"]),
            "metadata": st.sampled_from([{}, {"m": "2"}, {"n": "3"}]),
        },
    ),
    "get_assessment": st.fixed_dictionaries(_one),
    "delete_assessment": st.fixed_dictionaries(_one),
    "link_traces_to_run": st.fixed_dictionaries(
        {
            "trace_ids": st.lists(_trace_ids | st.just("none"), max_size=3),
            "run_id": st.sampled_from(["r1", "r2"]),
        }
    ),
    "link_prompts_to_trace": st.fixed_dictionaries(
        {"trace_id": _trace_ids, "prompt_versions": st.lists(_prompts, max_size=2)}
    ),
    "log_spans": st.fixed_dictionaries({"location": st.just("0"), "spans": _spans}),
    "set_trace_tag": st.fixed_dictionaries(
        {"trace_id": _trace_ids, "key": _keys, "value": st.sampled_from(["", "1", "2"])}
    ),
    "delete_trace_tag": st.fixed_dictionaries({"trace_id": _trace_ids, "key": _keys}),
    "delete_traces": st.fixed_dictionaries(
        {"experiment_id": st.just("0"), "trace_ids": st.lists(_trace_ids, min_size=1, max_size=2)}
    ),
    "start_trace": st.fixed_dictionaries({"trace_info": _infos}),
}


_SUMS = [
    (MetricViewType.TRACES, "trace_count", AggregationType.COUNT),
    (MetricViewType.TRACES, "input_tokens", AggregationType.SUM),
    (MetricViewType.SPANS, "latency", AggregationType.MAX),
    (MetricViewType.ASSESSMENTS, "assessment_count", AggregationType.COUNT),
]


def _look(pair: Pair, _: Any) -> None:
    look(pair, 1, 2, 3, 4)
    for wanted in (
        None, "run_id = 'r1'", "run_id = 'r2'", "prompt = 'p/1'", "prompt = 'q/2'",
        "feedback.q = 'true'", "feedback.r > 0.6", "expectation.q = 1", "feedback.q IS NULL",
        "trace.text LIKE '%in%'", "span.name = 'step'",
    ):  # fmt: skip
        pair.call("search_traces", locations=["0"], filter_string=wanted)
    for view, metric, aggregation in _SUMS:
        pair.call(
            "query_trace_metrics", experiment_ids=["0"], view_type=view, metric_name=metric,
            aggregations=[MetricAggregation(aggregation)],
        )  # fmt: skip
    pair.call(
        "calculate_trace_filter_correlation", experiment_ids=["0"],
        filter_string1="status = 'OK'", filter_string2="feedback.q = 'true'",
    )  # fmt: skip
    since, until = BEGIN_MS - 9, BEGIN_MS + 9
    pair.call(
        "find_completed_sessions", experiment_id="0", min_last_trace_timestamp_ms=since,
        max_last_trace_timestamp_ms=until,
    )  # fmt: skip
    pair.call("sum_gateway_trace_cost", start_time_ms=since, end_time_ms=until)


def test_random_histories(tmp_path: Path, template: Template, factory: Factory) -> None:
    play(tmp_path, template, factory, CALLS, _look)
