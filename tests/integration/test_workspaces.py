"""MLflow's server with workspaces on a ledger: its REST calls for them, and a script in two."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .programs import MLFLOW, PYTHON, Server, run, serving

SCRIPT = """
import json
import mlflow

mlflow.set_experiment("e")
with mlflow.start_run(run_name=WORKSPACE) as run:
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("from " + WORKSPACE, "note.txt")
with mlflow.start_span("asked") as span:
    span.set_inputs({"q": WORKSPACE})
mlflow.flush_trace_async_logging()
client = mlflow.MlflowClient()
client.create_registered_model("m")
client.create_model_version("m", f"runs:/{run.info.run_id}/model", run.info.run_id)
found = mlflow.search_runs(experiment_names=["e"], output_format="list")
traces = mlflow.search_traces(return_type="list", locations=[run.info.experiment_id])
print(json.dumps({
    "runs": [one.info.run_name for one in found],
    "uris": [one.info.artifact_uri for one in found],
    "versions": [v.run_id == run.info.run_id for v in client.search_model_versions("name='m'")],
    "traces": [trace.data.request for trace in traces],
    "note": mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt"),
}))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    command = [
        MLFLOW, "server", "--workers", "1", "--backend-store-uri", "ledger:./store",
        "--artifacts-destination", "ledger-artifacts:", "--enable-workspaces",
    ]  # fmt: skip
    with serving(folder, command, "/health") as server:
        yield server
        server.stop()
        assert server.tracebacks() == []


def ask(server: Server, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{server.url}/api/3.0/mlflow/workspaces{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def named(server: Server) -> list[str]:
    return [one["name"] for one in ask(server, "GET", "")[1]["workspaces"]]


def test_workspaces_over_rest(server: Server) -> None:
    assert ask(server, "POST", "", {"name": "third", "description": "what for"})[0] == 201
    status, error = ask(server, "POST", "", {"name": "third"})
    assert (status, error["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    assert ask(server, "PATCH", "/third", {"description": "else"})[0] == 200
    assert ask(server, "GET", "/third")[1]["workspace"]["description"] == "else"
    assert {"default", "third"} <= set(named(server))
    assert ask(server, "DELETE", "/third")[0] == 204
    assert ask(server, "GET", "/third")[0] == 404
    assert "third" not in named(server)


def test_a_script_in_two_workspaces(server: Server, tmp_path: Path) -> None:
    for name in ("team-a", "team-b"):
        ask(server, "POST", "", {"name": name})
        script = tmp_path / f"{name}.py"
        script.write_text(SCRIPT.replace("WORKSPACE", repr(name)))
        said = run(
            tmp_path, PYTHON, script,
            MLFLOW_TRACKING_URI=server.url, MLFLOW_WORKSPACE=name,
        )  # fmt: skip
        found = json.loads(said.stdout.splitlines()[-1])
        assert found["runs"] == [name]
        assert found["versions"] == [True]
        assert found["note"] == f"from {name}"
        assert [json.loads(request) for request in found["traces"]] == [{"q": name}]
    status, error = ask(server, "DELETE", "/team-a")
    assert (status, error["error_code"]) == (500, "INVALID_STATE")
    assert ask(server, "DELETE", "/team-a?mode=CASCADE")[0] == 204
