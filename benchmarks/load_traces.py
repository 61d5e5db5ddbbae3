"""Made-up traces, the same in every store."""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy
from mlflow.entities import AssessmentSource, Feedback, Span
from mlflow.store.tracking.dbmodels.models import (
    SqlAssessments,
    SqlSpan,
    SqlTraceInfo,
    SqlTraceTag,
)
from mlflow.tracing.otel.translation import translate_span_when_storing
from mlflow.tracing.utils import TraceJSONEncoder
from mlflow.tracing.utils.truncation import _get_truncated_preview

from .rows import KAFKA, Kind
from .stores import Store

__all__ = ["MadeTrace", "load_traces", "load_traces_by_store", "load_traces_directly", "made_trace"]

_SEED = 21
_START_MS = 1_760_000_000_000
_MS = 1_000_000
_AT_ONCE = 200
_SPANS = (("answer", "AGENT"), ("retrieve", "RETRIEVER"), ("generate", "LLM"), ("check", "TOOL"))
_WORDS = (
    "barrel", "bottle", "cellar", "cork", "grape", "harvest", "soil", "tannin", "valley", "vintage",
)  # fmt: skip
_ASSESSED_EVERY = 5


class MadeTrace(NamedTuple):
    """One trace by its spans, and what somebody thought of it, if anybody did."""

    trace_id: str
    spans: list[Span]
    team: str
    session_id: str
    tokens: dict[str, int]
    feedback: Feedback | None


def load_traces(store: Store, count: int) -> None:
    """Load traces: by ``log_spans`` and ``create_assessment`` into a ledger, else by bulk inserts.

    Bulk inserts leave the same rows in MLflow's tables, in the same order.
    """
    if store.kind is Kind.LEDGER or store.kind in KAFKA:
        load_traces_by_store(store, count)
    else:
        load_traces_directly(store, count)


def load_traces_by_store(store: Store, count: int) -> None:
    """Load traces as MLflow's server does when spans are sent to it."""
    for chunk in _chunks(count):
        spans = [span for trace in chunk for span in trace.spans]
        store.tracking.log_spans(store.experiment_id, spans)
        for trace in chunk:
            if trace.feedback is not None:
                store.tracking.create_assessment(trace.feedback)


def load_traces_directly(store: Store, count: int) -> None:
    """Load traces into the tables of MLflow's SQL store."""
    engine = sqlalchemy.create_engine(store.uri)
    location = store.artifact_location()
    try:
        for chunk in _chunks(count):
            with engine.begin() as connection:
                for table, rows in _table_rows(chunk, int(store.experiment_id), location):
                    if rows:
                        connection.execute(table.__table__.insert(), rows)
    finally:
        engine.dispose()


def made_trace(number: int, *, spans: int = 4, words: int = 40, seed: int = _SEED) -> MadeTrace:
    """Trace ``number``, whatever was made before it; its first span is the root of the others."""
    rng = random.Random(seed * 1_000_003 + number)
    trace = rng.getrandbits(128).to_bytes(16, "big")
    parts = _Parts(rng, trace, f"tr-{trace.hex()}", number, words)
    team, session_id = f"team {rng.randrange(10_000):04}", f"session-{number // 10:06}"
    tokens = {"input_tokens": rng.randrange(1, 2000), "output_tokens": rng.randrange(1, 500)}
    tokens["total_tokens"] = sum(tokens.values())
    more: list[dict[str, Any]] = [{} for _ in range(spans)]
    more[0] |= {"mlflow.traceTag.team": team, "session.id": session_id}
    more[min(2, spans - 1)] |= {
        "mlflow.chat.tokenUsage": tokens,
        "mlflow.llm.model": f"model-{rng.randrange(5)}",
        "temperature": rng.randrange(1000) / 1000,
    }
    root = rng.getrandbits(63) + 1
    ids = [root, *(rng.getrandbits(63) + 1 for _ in range(spans - 1))]
    made = [parts.span(place, ids, attributes) for place, attributes in enumerate(more)]
    assessed = number % _ASSESSED_EVERY == 0
    feedback = _feedback(parts.trace_id, number, rng.random()) if assessed else None
    return MadeTrace(parts.trace_id, made, team, session_id, tokens, feedback)


class _Parts(NamedTuple):
    """What the spans of one trace share."""

    rng: random.Random
    trace: bytes
    trace_id: str
    number: int
    words: int

    def span(self, place: int, ids: Sequence[int], more: dict[str, Any]) -> Span:
        name, kind = _SPANS[place % len(_SPANS)]
        begin_ns = (_START_MS + self.number * 1000 + place) * _MS
        took_ms = self.rng.randrange(1, 400) if place else self.rng.randrange(500, 9000)
        failed = place == 0 and self.number % 50 == 0
        attributes = {
            "mlflow.traceRequestId": self.trace_id,
            "mlflow.spanType": kind,
            "mlflow.spanInputs": {"question": self._sentence()},
            "mlflow.spanOutputs": self._sentence(),
            **more,
        }
        return Span.from_dict(
            {
                "trace_id": _coded(self.trace),
                "span_id": _coded(ids[place].to_bytes(8, "big")),
                "parent_span_id": _coded(ids[0].to_bytes(8, "big")) if place else None,
                "name": f"{name} {self.rng.randrange(100):02}",
                "start_time_unix_nano": begin_ns,
                "end_time_unix_nano": begin_ns + took_ms * _MS,
                "events": [],
                "status": {
                    "code": "STATUS_CODE_ERROR" if failed else "STATUS_CODE_OK",
                    "message": "",
                },
                "attributes": {key: json.dumps(value) for key, value in attributes.items()},
            }
        )

    def _sentence(self) -> str:
        return " ".join(self.rng.choices(_WORDS, k=self.words))


def _feedback(trace_id: str, number: int, value: float) -> Feedback:
    at_ms = _START_MS + number * 1000
    return Feedback(
        name="quality", value=value, trace_id=trace_id,
        source=AssessmentSource(source_type="HUMAN", source_id="taster"),
        create_time_ms=at_ms, last_update_time_ms=at_ms,
    )  # fmt: skip


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _chunks(count: int) -> Iterator[list[MadeTrace]]:
    traces = (made_trace(number) for number in range(count))
    while chunk := list(itertools.islice(traces, _AT_ONCE)):
        yield chunk


def _table_rows(
    traces: Sequence[MadeTrace], experiment_id: int, location: str
) -> list[tuple[Any, list[dict[str, Any]]]]:
    """The rows that MLflow's SQL store would have written for these traces."""
    rows = [_trace_row(trace, experiment_id) for trace in traces]
    return [
        (SqlTraceInfo, rows),
        (SqlTraceTag, [tag for trace in traces for tag in _tag_rows(trace, location)]),
        (SqlSpan, [_span_row(s, t, experiment_id) for t in traces for s in t.spans]),
        (
            SqlAssessments,
            [
                _assessment_row(trace, row)
                for trace, row in zip(traces, rows, strict=True)
                if trace.feedback is not None
            ],
        ),
    ]


def _trace_row(trace: MadeTrace, experiment_id: int) -> dict[str, Any]:
    root, *_ = trace.spans
    attributes = translate_span_when_storing(root)["attributes"]
    start_ms = min(span.start_time_ns for span in trace.spans) // _MS
    end_ms = max(span.end_time_ns or 0 for span in trace.spans) // _MS
    return {
        "request_id": trace.trace_id,
        "experiment_id": experiment_id,
        "timestamp_ms": start_ms,
        "execution_time_ms": end_ms - start_ms,
        "status": "ERROR" if root.status.status_code.value == "ERROR" else "OK",
        "request_preview": _get_truncated_preview(attributes["mlflow.spanInputs"], role="user"),
        "response_preview": _get_truncated_preview(
            attributes["mlflow.spanOutputs"], role="assistant"
        ),
        "session_id": trace.session_id,
        **trace.tokens,
    }


def _tag_rows(trace: MadeTrace, location: str) -> list[dict[str, Any]]:
    tags = {
        "mlflow.artifactLocation": f"{location}/traces/{trace.trace_id}/artifacts",
        "team": trace.team,
        "mlflow.trace.spansLocation": "TRACKING_STORE",
    }
    return [{"request_id": trace.trace_id, "key": k, "value": v} for k, v in tags.items()]


def _span_row(span: Span, trace: MadeTrace, experiment_id: int) -> dict[str, Any]:
    document = translate_span_when_storing(span)
    model = document["attributes"].get("mlflow.llm.model")
    return {
        "trace_id": trace.trace_id,
        "experiment_id": experiment_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_id,
        "name": span.name,
        "type": span.span_type,
        "status": span.status.status_code,
        "start_time_unix_nano": span.start_time_ns,
        "end_time_unix_nano": span.end_time_ns,
        "content": json.dumps(document, cls=TraceJSONEncoder, ensure_ascii=False),
        "model_name": None if model is None else json.loads(model),
    }


def _assessment_row(trace: MadeTrace, row: dict[str, Any]) -> dict[str, Any]:
    assert trace.feedback is not None
    value = trace.feedback.value
    return {
        "assessment_id": f"a-{trace.trace_id[3:]}",
        "trace_id": trace.trace_id,
        "name": "quality",
        "assessment_type": "feedback",
        "value": json.dumps(value),
        "created_timestamp": trace.feedback.create_time_ms,
        "last_updated_timestamp": trace.feedback.last_update_time_ms,
        "experiment_id": row["experiment_id"],
        "trace_timestamp_ms": row["timestamp_ms"],
        "aggregate_value": value,
        "is_numeric_value": True,
        "source_type": "HUMAN",
        "source_id": "taster",
        "valid": True,
    }
