"""MLflow's server with workspaces on a ledger: its REST calls for them, and a script in two.

Once with one worker on a folder, and once with several on a ledger in Kafka.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.servers import servers

from .programs import COMMAND, MLFLOW, PYTHON, Server, run, serving

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


@pytest.fixture(scope="module", params=["folder", pytest.param("kafka", marks=pytest.mark.brokers)])
def uri(request: pytest.FixtureRequest) -> str:
    if request.param == "folder":
        return "ledger:./store"
    return f"ledger+kafka://{servers()}/workspaces-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def server(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    workers = "1" if uri == "ledger:./store" else "4"
    command = [
        MLFLOW, "server", "--workers", workers, "--backend-store-uri", uri,
        "--artifacts-destination", "ledger-artifacts:", "--enable-workspaces",
    ]  # fmt: skip
    with serving(folder, command, "/health", MLFLOW_LEDGER_HOME=str(folder / "home")) as server:
        yield server
        server.stop()
        assert server.tracebacks() == []


def ask(server: Server, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return tell(server, method, f"/api/3.0/mlflow/workspaces{path}", body)


def tell(
    server: Server, method: str, path: str, body: Any, workspace: str = "default"
) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{server.url}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-MLFLOW-WORKSPACE": workspace},
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


def at_once(server: Server, *request: Any) -> list[tuple[int, Any]]:
    """The answers to a request that eight clients send at once."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: tell(server, *request), range(8)))


def test_many_at_once_make_the_same(server: Server) -> None:
    """Whichever worker is asked: one wins, and all know at once."""
    made = at_once(server, "POST", "/api/3.0/mlflow/workspaces", {"name": "crowd"})
    assert sorted(status for status, _ in made) == [201] + [400] * 7
    for _, seen in at_once(server, "GET", "/api/3.0/mlflow/workspaces", None):
        assert "crowd" in {one["name"] for one in seen["workspaces"]}
    for name in ("default", "crowd"):
        create = "/api/2.0/mlflow/experiments/create"
        told = at_once(server, "POST", create, {"name": "x"}, name)
        assert sorted(status for status, _ in told) == [200] + [400] * 7
        (experiment_id,) = [said["experiment_id"] for status, said in told if status == 200]
        path = f"/api/2.0/mlflow/experiments/get?experiment_id={experiment_id}"
        for asked in ("default", "crowd"):
            found = {status for status, _ in at_once(server, "GET", path, None, asked)}
            assert found == {200 if asked == name else 404}


def test_another_host_sees_what_was_done_in_which(server: Server, uri: str) -> None:
    """By the command line, with a replica of its own where the ledger lies in Kafka."""
    ask(server, "POST", "", {"name": "told"})
    create = "/api/2.0/mlflow/registered-models/create"
    assert tell(server, "POST", create, {"name": "mine"}, "told")[0] == 200

    def audit(workspace: str, status: int) -> list[str]:
        words = ["audit", uri, "models:/mine", "--json", "--workspace", workspace]
        home = str(server.folder / "elsewhere")
        said = run(server.folder, COMMAND, *words, status=status, MLFLOW_LEDGER_HOME=home)
        return [json.loads(line)["action"] for line in said.stdout.splitlines()]

    assert audit("told", 0) == ["RegisteredModelCreated"]
    assert audit("default", 1) == []
