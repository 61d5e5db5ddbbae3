"""Functions that are traced, on a ledger and over HTTP, and plain OpenTelemetry."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .programs import COMMAND, HTTP_OK, MLFLOW, PYTHON, SCRIPTS, last_json, run, serving

EXPECTED = {
    "states": ["ERROR", *["OK"] * 9],
    "spans": [1, 2, 2, 2, 2, 2, 2, 2, 3, 12],
    "latest": ["outer", "inner"],
    "gathered": [
        ["", "gathered", "OK"],
        ["gathered", "counted", "OK"],
        ["gathered", "part", "ERROR"],
        *[["gathered", "part", "OK"]] * 3,
        *[["gathered", "waiting", "OK"]] * 2,
        *[["outer", "inner", "OK"]] * 2,
        *[["waiting", "outer", "OK"]] * 2,
    ],
    "events": [
        *[["counted", f"mlflow.chunk.item.{number}"] for number in range(3)],
        ["part", "no second part"],
    ],
    "answer": '[2, 3, ["no second part"], [0, 1, 2]]',
    "colour": "red",
    "tokens": 3,
    "of_run": 1,
    "failed": 1,
    "assessed": 1,
    "rows": 10,
}


def test_traces_on_a_ledger(tmp_path: Path) -> None:
    done = run(tmp_path, PYTHON, SCRIPTS / "traced.py", MLFLOW_TRACKING_URI="ledger:./store")
    assert last_json(done.stdout) == EXPECTED
    audit = run(tmp_path, COMMAND, "audit", "ledger:./store").stdout
    assert "TraceStarted" in audit
    assert "SpansLogged" in audit
    run(tmp_path, COMMAND, "verify", "ledger:./store")


def test_the_same_on_mlflows_own_store(tmp_path: Path) -> None:
    store = "sqlite:///mlflow.db"
    done = run(tmp_path, PYTHON, SCRIPTS / "traced.py", MLFLOW_TRACKING_URI=store)
    assert last_json(done.stdout) == EXPECTED


def test_opentelemetry_sends_what_both_stores_keep(tmp_path: Path) -> None:
    ours, theirs = (exported(tmp_path, store) for store in ("ledger:./store", "sqlite:///m.db"))
    assert of_threads(ours) == of_threads(theirs) == [["thread", "inner"]] * 20
    known = [trace for trace in ours if "number" not in root(trace)["attributes"]]
    assert known == [trace for trace in theirs if "number" not in root(trace)["attributes"]]
    failed, whole = known
    assert (failed["info"]["state"], root(failed)["status"]["message"]) == ("ERROR", "corked")
    names = [span["name"] for span in whole["data"]["spans"]]
    assert names == ["request", "chat 0", "chat 1", "chat 2"]
    said = whole["info"]["trace_metadata"]
    assert json.loads(said["mlflow.trace.tokenUsage"])["total_tokens"] == 48


def root(trace: dict[str, Any]) -> dict[str, Any]:
    span: dict[str, Any] = trace["data"]["spans"][0]
    return span


def of_threads(traces: list[dict[str, Any]]) -> list[list[str]]:
    """The names of the spans of traces whose ids and times are their own."""
    spans = [trace["data"]["spans"] for trace in traces if "number" in root(trace)["attributes"]]
    return [[span["name"] for span in of_one] for of_one in spans]


def exported(folder: Path, store: str) -> list[dict[str, Any]]:
    """What a server on a store answers about spans of a program that knows OpenTelemetry only."""
    command = [MLFLOW, "server", "--workers", "1", "--backend-store-uri", store]
    with serving(folder, command, "/health") as server:
        run(folder, PYTHON, SCRIPTS / "exported.py", server.url)
        traces = MlflowClient(server.url).search_traces(locations=["0"], max_results=100)
        server.stop()
        assert server.tracebacks() == []
    return [trace.to_dict() for trace in traces]


@pytest.mark.brokers
def test_attachments_and_large_spans(tmp_path: Path) -> None:
    """In process and over HTTP, what is read back is what MLflow's own store has."""
    found = []
    for store in ("ledger:./store", "sqlite:///m.db"):
        done = run(tmp_path, PYTHON, SCRIPTS / "attached.py", MLFLOW_TRACKING_URI=store)
        found.append(last_json(done.stdout))
    command = [MLFLOW, "server", "--workers", "1", "--backend-store-uri", "ledger:./other"]
    with serving(tmp_path, command, "/health") as server:
        done = run(tmp_path, PYTHON, SCRIPTS / "attached.py", MLFLOW_TRACKING_URI=server.url)
        found.append(last_json(done.stdout))
        server.stop()
        assert server.tracebacks() == []
    in_process, theirs, over_http = found
    assert in_process == over_http == theirs
    kinds = [kind for kind, _, _ in theirs["attachments"]]
    assert kinds == ["image/png", "audio/wav", "text/plain"]
    assert [size for _, _, size, _, _ in theirs["sizes"]] == [
        size * 1024 for size in (200, 256, 257, 300, 2048)
    ]


def test_traces_over_http(tmp_path: Path) -> None:
    command = [MLFLOW, "server", "--workers", "2", "--backend-store-uri", "ledger:./store"]
    with serving(tmp_path, command, "/health") as server:
        done = run(tmp_path, PYTHON, SCRIPTS / "traced.py", MLFLOW_TRACKING_URI=server.url)
        assert last_json(done.stdout) == EXPECTED
        sent = urllib.request.Request(  # our own server
            f"{server.url}/v1/traces",
            data=_export(),
            headers={"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": "0"},
        )
        with urllib.request.urlopen(sent) as answer:  # likewise
            assert answer.status == HTTP_OK
        [trace] = MlflowClient(server.url).search_traces(locations=["0"])
        assert trace.info.tags["service.name"] == "service"
        assert [span.name for span in trace.data.spans] == ["step"]
        server.stop()
        assert server.tracebacks() == []


def _export() -> bytes:
    """One span, as OpenTelemetry sends it."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    name = resource.resource.attributes.add()
    name.key, name.value.string_value = "service.name", "service"
    span = resource.scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes(range(16)), bytes(range(1, 9)), "step"
    span.start_time_unix_nano = time.time_ns()
    span.end_time_unix_nano = span.start_time_unix_nano + 10
    return bytes(request.SerializeToString())
