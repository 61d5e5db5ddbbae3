"""MLflow Projects: the run of a project lands in the store of whoever started it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from .programs import MLFLOW, PYTHON, ROOT, SCRIPTS, last_json, run, unknown

pytestmark = pytest.mark.brokers


def stores_below(folder: Path) -> list[str]:
    """All logs of ledgers, wherever they were made."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("log.sqlite")]


def copied(project: Path, folder: Path) -> Path:
    """A project in a folder of its own, beside which nothing else may come to be."""
    return Path(shutil.copytree(project, folder / "project"))


def test_the_example_with_a_relative_uri_in_the_environment(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        MLFLOW, "run", copied(ROOT / "examples" / "project", tmp_path), "--env-manager", "local",
        "-P", "alpha=0.3",
        MLFLOW_TRACKING_URI="ledger:./store",
    )  # fmt: skip
    assert unknown(done.stderr) == []
    assert "alpha=0.3 l1_ratio=0.1 test_r2=" in done.stdout
    assert stores_below(tmp_path) == ["store/log.sqlite"]
    client = MlflowClient(f"ledger://{tmp_path / 'store'}")
    [found] = client.search_runs(["0"])
    assert found.info.status == "FINISHED"
    assert found.data.params == {"alpha": "0.3", "l1_ratio": "0.1"}
    assert set(found.data.metrics) == {"test_r2", "test_mae"}
    assert found.data.tags["mlflow.project.entryPoint"] == "main"
    assert found.data.tags["mlflow.project.backend"] == "local"
    assert len(found.outputs.model_outputs) == 1


def test_a_relative_uri_that_a_script_sets(tmp_path: Path) -> None:
    project = copied(SCRIPTS / "project", tmp_path)
    done = run(tmp_path, PYTHON, SCRIPTS / "launch.py", "ledger:./store", project)
    assert unknown(done.stderr) == []
    assert stores_below(tmp_path) == ["store/log.sqlite"]
    client = MlflowClient(f"ledger://{tmp_path / 'store'}")
    products = {}
    for run_id in last_json(done.stdout):
        found = client.get_run(run_id)
        assert found.info.status == "FINISHED"
        products[found.data.params["factor"]] = found.data.metrics["product"]
        note = client.download_artifacts(run_id, "note.txt", str(tmp_path))
        assert Path(note).read_text("utf-8") == "made by a project"
    assert products == {"2": 42.0, "3": 63.0}
    assert len(client.search_runs(["0"])) == 2
