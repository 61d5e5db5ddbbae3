"""MLflow Projects: the run of a project lands in the store of whoever started it."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from .programs import MLFLOW, PYTHON, ROOT, SCRIPTS, last_json, run, unknown

PROJECT = SCRIPTS / "project"


def stores_below(folder: Path) -> list[str]:
    """All logs of ledgers, wherever they were made."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("log.sqlite")]


@pytest.fixture(autouse=True)
def the_project_stays_as_it_is() -> object:
    """What a relative URI would name in the project's own folder is not made there."""
    yield
    for folder in (PROJECT, ROOT / "examples" / "project"):
        assert not (folder / "store").exists()
        assert not (folder / "mlruns").exists()
        assert not (folder / "mlflow.db").exists()


def test_the_example_with_a_relative_uri_in_the_environment(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        MLFLOW, "run", ROOT / "examples" / "project", "--env-manager", "local", "-P", "alpha=0.3",
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
    done = run(tmp_path, PYTHON, SCRIPTS / "launch.py", "ledger:./store", PROJECT)
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
