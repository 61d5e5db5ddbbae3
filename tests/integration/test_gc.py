"""MLflow's own commands on a ledger: garbage collection, experiments, runs, artifacts."""

from __future__ import annotations

import csv
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from click import Group
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from mlflow_ledger.consumers import Analytics, Ledger
from mlflow_ledger.query import artifacts_below

from .programs import MLFLOW, run, unknown


@dataclass
class Store:
    """A store that a test fills, and commands on it."""

    folder: Path
    client: MlflowClient
    program: Group

    def command(self, *words: str) -> str:
        """Call one of MLflow's commands in this process; returns what it printed."""
        done = CliRunner().invoke(self.program, words)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    def refused(self, *words: str) -> MlflowException:
        """The error that a command ends with."""
        done = CliRunner().invoke(self.program, words)
        assert isinstance(done.exception, MlflowException), (done.output, done.exception)
        return done.exception

    def run(self, experiment_id: str = "0", text: str | None = None) -> str:
        """A finished run, with a file where a text is given."""
        run_id = str(self.client.create_run(experiment_id).info.run_id)
        self.client.log_metric(run_id, "loss", 0.5)
        self.client.log_param(run_id, "depth", "3")
        if text is not None:
            self.client.log_text(run_id, text, "folder/file.txt")
        self.client.set_terminated(run_id)
        return run_id

    def model(self, experiment_id: str, run_id: str, folder: Path) -> str:
        """A logged model with one file."""
        model = self.client.create_logged_model(experiment_id, "m", run_id)
        folder.mkdir(exist_ok=True)
        (folder / "model.bin").write_bytes(b"model")
        self.client.log_model_artifacts(model.model_id, str(folder))
        self.client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def look(self) -> Ledger:
        """The ledger behind the store, as another process sees it."""
        return Ledger(self.folder / "store")


@pytest.fixture(scope="module")
def program() -> Group:
    """MLflow's program; importing it warns of what MLflow does itself, and reads its defaults."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        from mlflow.cli import cli

        return cli


@pytest.fixture
def store(tmp_path: Path, program: Group, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, which MLflow's commands find through the environment."""
    uri = f"ledger://{tmp_path / 'store'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    assert not mlflow.is_tracking_uri_set() or mlflow.get_tracking_uri() == uri
    return Store(tmp_path, MlflowClient(uri, uri), program)


def test_gc_takes_what_is_deleted_with_its_files_and_nothing_else(store: Store) -> None:
    client = store.client
    doomed = client.create_experiment("doomed")
    kept, alone = store.run(text="kept"), store.run(text="alone")
    inside = [store.run(doomed, "inside"), store.run(doomed)]
    kept_model = store.model("0", kept, store.folder / "files")
    model = store.model("0", kept, store.folder / "files")
    client.delete_run(alone)
    client.delete_logged_model(model)
    client.delete_experiment(doomed)

    ledger = store.look()
    paths = ledger.query(lambda db: {row.path for row in artifacts_below(db, "")})
    assert len(paths) == 5

    done = run(
        store.folder,
        MLFLOW, "gc", "--backend-store-uri", "ledger:./store",
        MLFLOW_TRACKING_URI="ledger:./store",
    )  # fmt: skip
    assert unknown(done.stderr) == []
    for gone in (alone, *inside, model, doomed):
        assert f"with ID {gone} has been permanently deleted" in done.stdout
    assert kept not in done.stdout
    assert kept_model not in done.stdout

    for run_id in (alone, *inside):
        with pytest.raises(MlflowException, match="not found"):
            client.get_run(run_id)
    with pytest.raises(MlflowException, match=doomed):
        client.get_experiment(doomed)
    with pytest.raises(MlflowException, match=model):
        client.get_logged_model(model)
    everything = ViewType.ALL
    assert [e.name for e in client.search_experiments(everything)] == ["Default"]
    found = client.search_runs(["0", doomed], run_view_type=everything)
    assert [run.info.run_id for run in found] == [kept]
    assert [m.model_id for m in client.search_logged_models(["0"])] == [kept_model]
    left = ledger.query(lambda db: {row.path for row in artifacts_below(db, "")})
    assert left == {
        f"0/{kept}/artifacts/folder/file.txt",
        f"0/models/{kept_model}/artifacts/model.bin",
    }
    path = client.download_artifacts(kept, "folder/file.txt")
    assert Path(path).read_text("utf-8") == "kept"

    analytics = Analytics(ledger)
    ours, states = analytics.digest()
    assert ours == states
    analytics.close()
    ledger.close()

    assert client.create_experiment("doomed") != doomed  # the name is free again


def test_gc_by_age_and_by_id(store: Store) -> None:
    old, active = store.run(), store.run()
    store.client.delete_run(old)
    gc = ("gc", "--backend-store-uri", f"ledger://{store.folder / 'store'}")
    assert store.command(*gc, "--older-than", "1d") == ""
    refused = store.refused(*gc, "--older-than", "1d", "--run-ids", old)
    assert "is not older than the required age" in refused.message
    refused = store.refused(*gc, "--run-ids", active)
    assert "is not in `deleted` lifecycle stage" in refused.message
    assert old in store.command(*gc, "--run-ids", old)
    assert [r.info.run_id for r in store.client.search_runs(["0"], run_view_type=3)] == [active]


def test_experiments(store: Store) -> None:
    assert "Created experiment 'first'" in store.command("experiments", "create", "-n", "first")
    experiment_id = store.client.get_experiment_by_name("first").experiment_id
    store.command("experiments", "rename", "-x", experiment_id, "--new-name", "second")
    assert "second" in store.command("experiments", "search")
    shown = store.command("experiments", "get", "-x", experiment_id, "--output", "json")
    assert json.loads(shown)["name"] == "second"
    run_id = store.run(experiment_id)
    [row] = csv.DictReader(io.StringIO(store.command("experiments", "csv", "-x", experiment_id)))
    assert (row["run_id"], row["metrics.loss"], row["params.depth"]) == (run_id, "0.5", "3")
    store.command("experiments", "delete", "-x", experiment_id)
    assert "second" not in store.command("experiments", "search")
    assert "second" in store.command("experiments", "search", "--view", "deleted_only")
    store.command("experiments", "restore", "-x", experiment_id)
    assert "second" in store.command("experiments", "search")
    refused = store.refused("experiments", "create", "-n", "second")
    assert refused.error_code == "RESOURCE_ALREADY_EXISTS"


def test_runs(store: Store) -> None:
    run_id = store.run()
    assert run_id in store.command("runs", "list", "--experiment-id", "0")
    described = json.loads(store.command("runs", "describe", "--run-id", run_id))
    assert described["data"]["metrics"] == {"loss": 0.5}
    store.command("runs", "delete", "--run-id", run_id)
    assert run_id not in store.command("runs", "list", "--experiment-id", "0")
    listed = store.command("runs", "list", "--experiment-id", "0", "--view", "deleted_only")
    assert run_id in listed
    store.command("runs", "restore", "--run-id", run_id)
    assert run_id in store.command("runs", "list", "--experiment-id", "0")
    made = json.loads(store.command("runs", "create", "--experiment-id", "0"))
    assert store.client.get_run(made["run_id"]).info.status == "FINISHED"


def test_artifacts(store: Store) -> None:
    run_id = store.run()
    folder = store.folder / "given"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("a", "utf-8")
    (folder / "b.txt").write_text("b", "utf-8")
    store.command("artifacts", "log-artifacts", "--local-dir", str(folder), "--run-id", run_id)
    store.command(
        "artifacts", "log-artifact", "--local-file", str(folder / "b.txt"), "--run-id", run_id,
        "--artifact-path", "one/by/one",
    )  # fmt: skip
    listed = json.loads(store.command("artifacts", "list", "--run-id", run_id))
    assert [(entry["path"], entry["is_dir"]) for entry in listed] == [
        ("b.txt", False),
        ("deep", True),
        ("one", True),
    ]
    got = store.folder / "got"
    store.command("artifacts", "download", "--run-id", run_id, "-d", str(got))
    files = {p.relative_to(got).as_posix(): p.read_text("utf-8") for p in got.rglob("*.txt")}
    assert files == {"b.txt": "b", "deep/a.txt": "a", "one/by/one/b.txt": "b"}
