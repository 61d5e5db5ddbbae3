"""MLflow's server on a ledger: several workers, clients over HTTP, artifacts through the proxy."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from mlflow_ledger.consumers import Ledger

from .conftest import Trained
from .programs import MLFLOW, PYTHON, Server, run, serving

THREADS = 6
ROUNDS = 8
CROWDS = 100


@pytest.fixture(scope="module")
def server(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers on a copy of the script's store, artifacts included."""
    folder = tmp_path_factory.mktemp("server")
    trained.copy(folder)
    command = [
        MLFLOW, "server", "--workers", "2", "--backend-store-uri", "ledger:./store",
        "--artifacts-destination", "ledger-artifacts:",
    ]  # fmt: skip
    with serving(folder, command, "/health") as server:
        yield server
        server.stop()
        assert server.tracebacks() == []
        assert {path.name for path in folder.iterdir()} == {
            "store",
            ".scratch",
            f"server-{server.port}.txt",
        }


@pytest.fixture
def client(server: Server) -> MlflowClient:
    return MlflowClient(server.url, server.url)


@pytest.fixture
def ledger(server: Server) -> Iterator[Ledger]:
    """The server's ledger, as another process on its machine sees it."""
    ledger = Ledger(server.folder / "store")
    yield ledger
    ledger.close()


def digest_kept(ledger: Ledger, path: str) -> str | None:
    """The digest that the ledger has for a file."""
    row = ledger.query(
        lambda db: db.execute("SELECT digest FROM artifacts WHERE path = ?", (path,)).fetchone()
    )
    return row[0] if row else None


def created_run(server: Server, experiment_id: str) -> str:
    """A new run, over a connection of its own."""
    status, answer = server.post("/api/2.0/mlflow/runs/create", {"experiment_id": experiment_id})
    assert status == 200
    return str(answer["run"]["info"]["run_id"])


def writers_of(ledger: Ledger, run_ids: Iterable[str]) -> set[str]:
    """The processes that have told of these runs."""
    subjects = {f"runs:/{run_id}" for run_id in run_ids}
    envelopes = (stored.record.envelope for stored in ledger.log.rows(1))
    return {e.source.split("/")[0] for e in envelopes if e.subject in subjects}


def test_it_answers_rest_with_what_the_script_logged(server: Server, trained: Trained) -> None:
    status, found = server.post(
        "/api/2.0/mlflow/runs/search",
        {"experiment_ids": ["0"], "filter": "tags.team = 'cellar'", "max_results": 10},
    )
    assert status == 200
    assert [run["info"]["run_id"] for run in found["runs"]] == [trained.said["run_id"]]
    status, refused = server.post("/api/2.0/mlflow/experiments/create", {"name": "Default"})
    assert (status, refused["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    status, _ = server.get("/")
    assert status == 200


def test_what_a_client_wrote_it_reads_at_once_from_any_worker(
    server: Server, ledger: Ledger
) -> None:
    experiment_id = MlflowClient(server.url).create_experiment("threads")
    together = threading.Barrier(THREADS)

    def work(number: int) -> str:
        client = MlflowClient(server.url, server.url)
        together.wait(60)
        run_id = client.create_run(experiment_id, tags={"thread": str(number)}).info.run_id
        for step in range(ROUNDS):
            client.log_batch(
                run_id,
                metrics=[Metric("loss", number + step / 10, 1_700_000_000_000 + step, step)],
                params=[Param(f"p{step}", str(number))],
                tags=[RunTag("step", str(step))],
            )
            run = client.get_run(run_id)
            assert run.data.metrics == {"loss": number + step / 10}
            assert len(run.data.params) == step + 1
            [found] = client.search_runs(
                [experiment_id], f"tags.step = '{step}' AND tags.thread = '{number}'"
            )
            assert found.info.run_id == run_id
            assert len(client.get_metric_history(run_id, "loss")) == step + 1
        client.set_terminated(run_id)
        assert client.get_run(run_id).info.status == "FINISHED"
        return str(run_id)

    with ThreadPoolExecutor(THREADS) as pool:
        run_ids = list(pool.map(work, range(THREADS)))
        assert len(MlflowClient(server.url).search_runs([experiment_id])) == THREADS
        # Who takes a connection is the kernel's choice: new ones come until both workers have one.
        for _ in range(CROWDS):
            if len(writers_of(ledger, run_ids)) > 1:
                break
            run_ids += pool.map(lambda _: created_run(server, experiment_id), range(THREADS))
    assert len(writers_of(ledger, run_ids)) == 2, "both workers wrote"


def test_versions_registered_at_once_get_numbers_of_their_own(server: Server) -> None:
    MlflowClient(server.url).create_registered_model("raced")

    def register(_: int) -> int:
        client = MlflowClient(server.url, server.url)
        version = client.create_model_version("raced", "s3://nowhere/model")
        assert client.get_model_version("raced", str(version.version)).version == version.version
        return int(version.version)

    with ThreadPoolExecutor(THREADS) as pool:
        numbers = list(pool.map(register, range(2 * THREADS)))
    assert sorted(numbers) == list(range(1, 2 * THREADS + 1))


def test_artifacts_through_the_proxy_are_kept_in_the_ledger(
    client: MlflowClient, ledger: Ledger, tmp_path: Path
) -> None:
    # The script's experiment has its artifacts in the ledger; one that the server makes, with it.
    experiment_id = client.create_experiment("proxied")
    run = client.create_run(experiment_id)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    text = "text\n" * 1000
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    (tmp_path / "a.txt").write_text(text, "utf-8")
    client.log_artifact(run.info.run_id, str(tmp_path / "a.txt"), "deep/er")
    client.log_text(run.info.run_id, "b", "b.txt")
    listed = [(file.path, file.is_dir) for file in client.list_artifacts(run.info.run_id)]
    assert listed == [("b.txt", False), ("deep", True)]
    [file] = client.list_artifacts(run.info.run_id, "deep/er")
    assert (file.path, file.file_size) == ("deep/er/a.txt", len(text))
    path = client.download_artifacts(run.info.run_id, "deep/er/a.txt", str(tmp_path / ""))
    assert Path(path).read_text("utf-8") == text
    kept = f"{experiment_id}/{run.info.run_id}/artifacts/deep/er/a.txt"
    assert digest_kept(ledger, kept) == digest
    assert ledger.blobs.get(digest) == text.encode()


def test_an_embedded_run_gives_its_artifacts_over_http(
    server: Server, client: MlflowClient, trained: Trained, tmp_path: Path
) -> None:
    run_id = trained.said["run_id"]
    status, body = server.get(f"/get-artifact?path=notes/words.txt&run_uuid={run_id}")
    assert (status, body) == (200, b"some words")
    assert {"notes", "report.txt"} <= {file.path for file in client.list_artifacts(run_id)}
    assert Path(client.download_artifacts(run_id, "report.txt")).read_text("utf-8") == "a report"
    client.log_text(run_id, "from afar", "afar.txt")
    path = download_artifacts(
        run_id=run_id, artifact_path="afar.txt", dst_path=str(tmp_path), tracking_uri=server.url
    )
    assert Path(path).read_text("utf-8") == "from afar"


def test_mlflow_finds_its_auth_app(tmp_path: Path) -> None:
    """Else each search over HTTP tries its import anew, and threads that meet there get a 500."""
    run(tmp_path, PYTHON, "-c", "from mlflow.server.auth import auth_config; assert auth_config")


def test_errors_come_over_http_as_mlflow_has_them(client: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="not found") as caught:
        client.get_run("0" * 32)
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    run_id = client.create_run("0").info.run_id
    client.log_param(run_id, "a", "1")
    with pytest.raises(MlflowException, match="Changing param") as caught:
        client.log_param(run_id, "a", "2")
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.brokers
def test_the_ui_starts_on_a_ledger_that_is_not_there_yet(tmp_path: Path) -> None:
    """`mlflow ui` as the README has it, with the four workers it takes by default."""
    command = [MLFLOW, "ui", "--backend-store-uri", "ledger:./store"]
    with serving(tmp_path, command, "/health") as server:
        status, page = server.get("/")
        assert status == 200
        assert b"<title>MLflow</title>" in page
        status, found = server.post("/api/2.0/mlflow/experiments/search", {"max_results": 5})
        assert status == 200
        assert [found["name"] for found in found["experiments"]] == ["Default"]
        run_id = MlflowClient(server.url).create_run("0").info.run_id
        server.stop(signal.SIGINT)
        assert server.tracebacks() == []
    assert MlflowClient(f"ledger://{tmp_path / 'store'}").get_run(run_id).info.status == "RUNNING"
