"""Functions that are traced, on a ledger and over HTTP, and plain OpenTelemetry."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

from mlflow import MlflowClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .programs import COMMAND, HTTP_OK, MLFLOW, PYTHON, SCRIPTS, last_json, run, serving

EXPECTED = {
    "states": ["ERROR", *["OK"] * 8],
    "spans": [1, 2, 2, 2, 2, 2, 2, 2, 3],
    "latest": ["outer", "inner"],
    "colour": "red",
    "tokens": 3,
    "of_run": 1,
    "failed": 1,
    "assessed": 1,
    "rows": 9,
}


def test_traces_on_a_ledger(tmp_path: Path) -> None:
    done = run(tmp_path, PYTHON, SCRIPTS / "traced.py", MLFLOW_TRACKING_URI="ledger:./store")
    assert last_json(done.stdout) == EXPECTED
    audit = run(tmp_path, COMMAND, "audit", "ledger:./store").stdout
    assert "TraceStarted" in audit
    assert "SpansLogged" in audit
    run(tmp_path, COMMAND, "verify", "ledger:./store")


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
