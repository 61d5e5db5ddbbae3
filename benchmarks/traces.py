"""Rows about traces: logging spans, reading one, searching many, counting."""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mlflow.entities import TraceInfo, TraceLocation, TraceState
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType
from mlflow.utils.search_utils import SearchTraceUtils

from .bench import Bench
from .load_traces import made_trace
from .rows import Kind, Row, Times
from .stores import Store
from .timing import Action, interleaved, latencies, medians

__all__ = ["trace_searches", "trace_writes"]

_FASTER = (Kind.SQLITE, Kind.POSTGRES)
_TIMES_5 = Times(5, _FASTER, "5x the faster peer")
_TIMES_20 = Times(20, (Kind.SQLITE,), "20x SQLite as it comes")
_NO_SLOWER = Times(1, (Kind.SQLITE,), "no slower than SQLite")
_PAGE = 100
_NEW = 1_000_000
_SPANS = (("small", 4), ("middle", 20), ("large", 100))
_DIGITS = 9
_DOUBTED = 1000
"""With so many traces MLflow's SQLite store may take minutes for one search."""


Question = Callable[[int, Store], Any]


def trace_writes(bench: Bench) -> list[Row]:
    """``log_spans`` and ``start_trace``, one trace a call, then ``get_trace``."""
    stores = bench.peers("traces-written")
    numbers = itertools.count(_NEW)
    rows = []
    for name, spans in _SPANS:
        figures = _written(bench, stores, f"log_spans, {name}", partial(_spans, numbers, spans))
        rows.append(
            Row(
                f"log_spans_{name}", f"log_spans, {spans} spans", "spans/s",
                f"`log_spans` as MLflow's server calls it: a trace of {spans} spans with inputs, "
                "outputs and counts of tokens, one trace after the other; the median round.",
                {kind: spans / seconds for kind, seconds in figures.items()},
                (_TIMES_5,), more_is_better=True,
            )
        )  # fmt: skip
    started = _written(bench, stores, "start_trace", partial(_starts, numbers))
    read = _written(bench, stores, "get_trace", partial(_reads, numbers))
    for name, figures, meaning in (
        ("start_trace", started, "`start_trace` of a trace that is not there yet, with two tags."),
        ("get_trace", read, "`get_trace` of a trace of 4 spans, by its id."),
    ):
        in_ms = {kind: seconds * 1000 for kind, seconds in figures.items()}
        goals = (_TIMES_5,) if name == "start_trace" else ()
        rows.append(Row(name, f"{name}, mean of a round", "ms", meaning, in_ms, goals))
    return rows


def trace_searches(bench: Bench) -> list[Row]:
    """Searches and counts over many traces."""
    stores, count = bench.loaded_traces(), bench.sizes.traces
    rows = []
    for name, (work, meaning, question, *goals) in _QUESTIONS.items():
        what = f"{work}; {count:,} traces"
        figures, late = _asked(bench, stores, what, partial(question, count))
        rows.append(Row(f"traces_{name}", what, "ms", meaning, figures, goals, over=late))
    return rows


def _written(
    bench: Bench,
    stores: Mapping[Kind, Store],
    what: str,
    calls: Callable[[Store, int], list[Action]],
) -> dict[Kind, float]:
    """The median, over all rounds, of a call's mean seconds."""
    bench.say(what)
    rounds: dict[Kind, list[float]] = {kind: [] for kind in stores}
    for _ in range(bench.sizes.rounds):
        for kind, store in stores.items():
            first, *others = calls(store, bench.sizes.creates + 1)
            first()
            rounds[kind].append(statistics.mean(latencies({kind: others})[kind]))
    return {kind: statistics.median(found) for kind, found in rounds.items()}


def _spans(numbers: Any, spans: int, store: Store, count: int) -> list[Action]:
    made = [made_trace(next(numbers), spans=spans).spans for _ in range(count)]
    log = store.tracking.log_spans
    return [partial(log, store.experiment_id, of_one) for of_one in made]


def _starts(numbers: Any, store: Store, count: int) -> list[Action]:
    return [partial(store.tracking.start_trace, _info(next(numbers), store)) for _ in range(count)]


def _info(number: int, store: Store) -> TraceInfo:
    return TraceInfo(
        trace_id=f"tr-{number:032x}",
        trace_location=TraceLocation.from_experiment_id(store.experiment_id),
        request_time=1_760_000_000_000 + number, execution_duration=100, state=TraceState.OK,
        request_preview="which wine?", response_preview="the red one",
        tags={"team": "cellar", "mlflow.traceName": "answer"},
        trace_metadata={"mlflow.trace.session": f"session-{number // 10}"},
    )  # fmt: skip


def _reads(numbers: Any, store: Store, count: int) -> list[Action]:
    made = [made_trace(next(numbers)) for _ in range(count)]
    store.tracking.log_spans(store.experiment_id, [s for one in made for s in one.spans])
    return [partial(store.tracking.get_trace, one.trace_id) for one in made]


def _asked(
    bench: Bench, stores: Mapping[Kind, Store], what: str, question: Callable[[Store], Any]
) -> tuple[dict[Kind, float], list[Kind]]:
    """The median times in milliseconds, and who does not answer in time: that counts as the time.

    All that answer must answer the same.
    """
    bench.say(what)
    figures, late, answering = {}, [], {}
    for kind, store in stores.items():
        patience_s = bench.sizes.patience_seconds
        doubted = kind is Kind.SQLITE and bench.sizes.traces >= _DOUBTED
        if not doubted or _answers(question, store, patience_s):
            answering[kind] = partial(question, store)
        else:
            figures[kind] = patience_s * 1000
            late.append(kind)
    sizes = bench.sizes
    times, answers = interleaved(answering, sizes.repetitions, sizes.budget_seconds)
    ours = answers[Kind.LEDGER]
    for kind, answer in answers.items():
        if answer != ours:
            raise AssertionError(f"{kind} and the ledger answer {what} differently")
    figures |= {kind: seconds * 1000 for kind, seconds in medians(times).items()}
    return figures, late


def _answers(question: Callable[[Store], Any], store: Store, within_s: float) -> bool:
    """Whether a store answers in time: it is asked in a process that can be stopped."""
    arguments = (question, store.kind, store.name, store.uri)
    process = multiprocessing.get_context("spawn").Process(target=_answer, args=arguments)
    process.start()
    process.join(within_s)
    late = process.is_alive()
    process.kill()
    process.join()
    return not late


def _answer(question: Callable[[Store], Any], kind: Kind, name: str, uri: str) -> None:
    question(Store(kind, name, uri))


def _found(_count: int, store: Store, *, offset_part: int = 0, **asked: Any) -> list[str]:
    token = SearchTraceUtils.create_page_token(_count // offset_part) if offset_part else None
    page, _ = store.tracking.search_traces(
        locations=[store.experiment_id], max_results=_PAGE, page_token=token, **asked
    )
    return [info.trace_id for info in page]


def _counted(
    _count: int, store: Store, *, view: str, metric: str, kinds: tuple[str, ...], **asked: Any
) -> list[Any]:
    points = store.tracking.query_trace_metrics(
        [store.experiment_id], MetricViewType[view], metric,
        [_aggregation(kind) for kind in kinds], **asked,
    )  # fmt: skip
    # Two stores add up floats in two orders.
    return [
        (p.dimensions, {key: round(value, _DIGITS) for key, value in p.values.items()})
        for p in points
    ]


def _aggregation(kind: str) -> MetricAggregation:
    if kind.startswith("P"):
        return MetricAggregation(AggregationType.PERCENTILE, float(kind[1:]))
    return MetricAggregation(AggregationType[kind])


def _correlated(_count: int, store: Store, *, one: str, other: str) -> list[int]:
    found = store.tracking.calculate_trace_filter_correlation([store.experiment_id], one, other)
    return [found.filter1_count, found.filter2_count, found.joint_count, found.total_count]


def _filter(text: str) -> Question:
    return partial(_found, filter_string=text)


_QUESTIONS: dict[str, Any] = {
    "latest": (
        "the latest traces", "The first page, without filter or order: an index in either store.",
        _found,
    ),
    "by_tag": ("order by a tag", "The first 100.", partial(_found, order_by=["tags.team"]),
               _TIMES_20),
    "by_duration": (
        "order by execution time", "The first 100, the slowest first.",
        partial(_found, order_by=["execution_time DESC"]), _TIMES_20,
    ),
    "deep": (
        "a deep page ordered by execution time", "100 traces from the middle on.",
        partial(_found, order_by=["execution_time"], offset_part=2), _TIMES_20,
    ),
    "tag_like": (
        "trace tag LIKE", "A pattern that begins with %: 1 % of all traces.",
        _filter("tags.team LIKE '% 04%'"), _TIMES_20,
    ),
    "status": (
        "filter on status", "The 2 % that failed.", _filter("status = 'ERROR'"), _TIMES_20,
    ),
    "feedback": (
        "filter on feedback", "A number above a bound: 1 % of all traces.",
        _filter("feedback.quality > 0.95"), _TIMES_20,
    ),
    "span_name": (
        "filter on a span's name", "A pattern that begins with a letter: 1 % of all traces.",
        _filter("span.name LIKE 'check 07%'"), _TIMES_20,
    ),
    "span_attribute": (
        "span attribute LIKE", "A number's digits: 1 % of all traces.",
        _filter("span.attributes.temperature LIKE '%0.77%'"), _TIMES_20,
    ),
    "span_rlike": (
        "span attribute RLIKE", "A regular expression on one attribute, which few meet.",
        _filter("span.attributes.`mlflow.llm.model` RLIKE 'model-[3].*9$'"), _TIMES_20,
    ),
    "text": (
        "full text", "Four words in the spans' inputs and outputs.",
        _filter("trace.text LIKE '%cork grape cork valley%'"), _TIMES_20,
    ),
    "span_latency": (
        "latency by span name", "`query_trace_metrics`: mean and p95 of all spans by their names.",
        partial(_counted, view="SPANS", metric="latency", kinds=("AVG", "P95"),
                dimensions=["span_name"]), _NO_SLOWER,
    ),
    "tokens": (
        "tokens by hour", "`query_trace_metrics`: the sum of all traces' tokens, hour by hour.",
        partial(_counted, view="TRACES", metric="total_tokens", kinds=("SUM",),
                time_interval_seconds=3600, start_time_ms=1_760_000_000_000,
                end_time_ms=1_761_000_000_000), _NO_SLOWER,
    ),
    "assessed": (
        "mean of feedback", "`query_trace_metrics`: the mean of feedback by name.",
        partial(_counted, view="ASSESSMENTS", metric="assessment_value", kinds=("AVG",),
                dimensions=["assessment_name"]), _NO_SLOWER,
    ),
    "correlation": (
        "correlation of two filters", "Failed traces against well assessed ones.",
        partial(_correlated, one="status = 'ERROR'", other="feedback.quality > 0.5"), _TIMES_20,
    ),
}  # fmt: skip
"""By name: what is asked, what it means, and the target: of what sorts or scans, 20 times."""
