"""Traces with attachments, large spans, sessions, tokens and costs; prints what is found."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from typing import Any

import mlflow
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType
from mlflow.tracing.attachments import Attachment
from mlflow.tracing.client import TracingClient

IMAGE = bytes(range(256)) * 2048
KIB = 1024
client = TracingClient()
experiment_id = mlflow.set_experiment("attached").experiment_id


def spend(span: Any, tokens: int, dollars: float) -> None:
    span.set_attribute("mlflow.llm.model", f"model {dollars}")
    span.set_attribute(
        "mlflow.chat.tokenUsage",
        {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1},
    )
    span.set_attribute(
        "mlflow.llm.cost",
        {"input_cost": dollars, "output_cost": dollars, "total_cost": 2 * dollars},
    )


def asked(number: int, session: str) -> None:
    """A turn of a session; the inner spans are what costs, one of them under the other."""
    with mlflow.start_span(f"turn {number}") as root:
        mlflow.update_current_trace(
            metadata={"mlflow.trace.session": session, "mlflow.trace.user": "taster"}
        )
        for part in range(2):
            with mlflow.start_span("call", span_type="LLM") as span:
                spend(span, 10 * number + part, 0.25)
                with mlflow.start_span("deeper") as deeper:
                    spend(deeper, 5, 0.125)
        root.set_outputs(number)


with mlflow.start_span("attached") as span:
    span.set_inputs({
        "image": Attachment(content_type="image/png", content_bytes=IMAGE),
        "embedded": {"url": "data:audio/wav;base64,UklGRg=="},
    })  # fmt: skip
    span.set_outputs([Attachment(content_type="text/plain", content_bytes=b"page")])
for size in (200, 256, 257, 300, 2048):
    with mlflow.start_span(f"large {size}") as span:
        span.set_inputs({"text": "ä" * (size * KIB // 2)})
        with mlflow.start_span("inside") as inner:
            inner.set_outputs("x" * (size * KIB))
for number in range(1, 5):
    asked(number, f"session {number % 2}")
mlflow.flush_trace_async_logging()


def found(**of: Any) -> list[Any]:
    return list(mlflow.search_traces(return_type="list", **of))


def attachments() -> Any:
    """Each attachment by the reference in its span, as the client reads it, then the server."""
    [trace] = found(filter_string="trace.name = 'attached'")
    repository = client._get_artifact_repo_for_trace(trace.info)
    [span] = trace.data.spans
    read = []
    for reference in (span.inputs["image"], span.inputs["embedded"]["url"], *span.outputs):
        known = Attachment.parse_ref(reference)
        if known is None:
            read.append(reference)
            continue
        assert known["trace_id"] == trace.info.trace_id
        data = repository.download_trace_attachment(known["attachment_id"])
        assert served(trace.info.trace_id, known["attachment_id"]) in (data, None)
        read.append([known["content_type"], known["size"], hashlib.sha256(data).hexdigest()])
    return read


def served(trace_id: str, path: str) -> bytes | None:
    """What the server answers to its page about an attachment, if there is a server."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("http"):
        return None
    route = f"{uri}/ajax-api/3.0/mlflow/get-trace-artifact?request_id={trace_id}&path={path}"
    with urllib.request.urlopen(route) as answer:  # our own server
        return bytes(answer.read())


def sizes() -> Any:
    return [
        [
            trace.data.spans[0].name,
            len(trace.data.spans[0].inputs["text"]),
            len(trace.data.spans[1].outputs),
            hashlib.sha256(json.dumps(trace.data.spans[0].inputs).encode()).hexdigest(),
            len(trace.info.request_preview),
        ]
        for trace in ordered("large%")
    ]


def counted(view: MetricViewType, metric: str, *dimensions: str) -> Any:
    points = mlflow.MlflowClient()._tracing_client.store.query_trace_metrics(
        experiment_ids=[experiment_id], view_type=view, metric_name=metric,
        aggregations=[MetricAggregation(AggregationType.SUM)], dimensions=list(dimensions),
    )  # fmt: skip
    return [[point.dimensions, point.values] for point in points]


def ordered(name: str) -> list[Any]:
    return sorted(found(filter_string=f"trace.name LIKE '{name}'"), key=began)


def began(trace: Any) -> int:
    return int(trace.data.spans[0].start_time_ns)


def told(trace: Any) -> Any:
    said = trace.info.trace_metadata
    names = [span.name for span in trace.data.spans]
    return [said["mlflow.trace.session"], said["mlflow.trace.user"], names,
            trace.info.token_usage, trace.info.cost]  # fmt: skip


second = found(filter_string="metadata.`mlflow.trace.session` = 'session 1'")
print(
    json.dumps(
        {
            "attachments": attachments(),
            "sizes": sizes(),
            "turns": [told(turn) for turn in ordered("turn%")],
            "session": sorted(trace.data.spans[0].name for trace in second),
            "tokens": counted(MetricViewType.TRACES, "total_tokens"),
            "costs": counted(MetricViewType.SPANS, "total_cost", "span_model_name"),
        }
    )
)
