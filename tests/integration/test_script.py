"""An unchanged training script, and what another process finds of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from .conftest import Once, Trained
from .programs import PYTHON, SCRIPTS, last_json, run, unknown

ROWS = 178
HEX = re.compile(r"[0-9a-f]+")


@pytest.fixture(scope="module")
def seen(trained: Trained, once: Once) -> Any:
    """What `look.py` prints: MLflow's own functions in another process, in another folder."""

    def make(folder: Path) -> Any:
        ids = trained.said["run_id"], trained.said["autologged_run_id"]
        uri = f"ledger://{trained.store}"
        done = run(folder, PYTHON, SCRIPTS / "look.py", *ids, MLFLOW_TRACKING_URI=uri)
        assert unknown(done.stderr) == []
        return last_json(done.stdout)

    return once("looked", make)[1]


@pytest.fixture(scope="module")
def by_hand(trained: Trained, seen: Any) -> Any:
    return seen["runs"][trained.said["run_id"]]


@pytest.fixture(scope="module")
def by_itself(trained: Trained, seen: Any) -> Any:
    return seen["runs"][trained.said["autologged_run_id"]]


def test_the_script_complains_of_nothing_new(trained: Trained) -> None:
    assert unknown(trained.stderr) == []


def test_the_script_leaves_its_store_and_nothing_else(trained: Trained) -> None:
    left = {path.name for path in trained.folder.iterdir()}
    assert left == {"train.py", "report.txt", "store", ".scratch"}
    kept = {path.name for path in trained.store.iterdir()}
    assert {"log.sqlite", "blobs", "lock"} <= kept


def test_without_an_experiment_the_default_one_is_used(seen: Any, by_hand: Any) -> None:
    assert seen["experiments"] == ["Default"]
    assert by_hand["info"]["experiment"] == "Default"


def test_params(by_hand: Any) -> None:
    params = by_hand["params"]
    assert params["rows"] == "133"
    assert params["note"] == "mit Umlaut: Süßwein 🍷"
    assert params["logisticregression__C"] == "0.5"  # autologged, of a step of the pipeline


def test_metrics_and_their_history(trained: Trained, seen: Any, by_hand: Any) -> None:
    assert by_hand["metrics"]["accuracy"] == trained.said["accuracy"]
    assert by_hand["metrics"]["loss"] == 0.25
    assert by_hand["metrics"]["training_f1_score"] > 0.9
    assert by_hand["metrics"]["Pipeline_score_x_test"] == trained.said["accuracy"]
    assert seen["loss"] == [[0, 0.9], [1, 0.5], [2, 0.25]]


def test_tags_and_status(by_hand: Any) -> None:
    tags = by_hand["tags"]
    assert (tags["team"], tags["purpose"]) == ("cellar", "test")
    assert (tags["mlflow.source.name"], tags["mlflow.runName"]) == ("train.py", "by hand")
    assert tags["estimator_name"] == "Pipeline"
    assert by_hand["info"]["status"] == "FINISHED"
    assert by_hand["info"]["name"] == "by hand"


def test_datasets(by_hand: Any, by_itself: Any) -> None:
    contexts = [d["context"] for d in by_hand["datasets"]]
    assert contexts[0] == ["train"]
    assert contexts[1:] == [["eval"]] * 3  # one score, two input examples
    assert all(HEX.fullmatch(d["digest"]) for d in by_hand["datasets"])
    [learnt_from] = by_itself["datasets"]
    assert learnt_from == by_hand["datasets"][0]  # the same rows, the same digest


def test_a_fit_without_a_run_is_a_run(by_itself: Any) -> None:
    assert by_itself["tags"]["mlflow.autologging"] == "sklearn"
    assert by_itself["info"]["status"] == "FINISHED"
    assert by_itself["params"]["C"] == "2.0"
    assert by_itself["outputs"] == 0  # log_models=False


def test_artifacts(seen: Any, by_hand: Any) -> None:
    assert by_hand["info"]["artifact_uri"].startswith("ledger-artifacts://")
    by_autologging = {"estimator.html", "metric_info.json", "training_confusion_matrix.png"}
    own = {"notes/deep/a.json", "notes/words.txt", "report.txt"}
    assert set(seen["downloaded"]) == by_autologging | own
    assert seen["listed"] == ["notes/deep", "notes/words.txt"]
    assert (seen["words"], seen["text"]) == ("some words", "a report")


def test_search_runs(trained: Trained, seen: Any) -> None:
    assert seen["found"] == [trained.said["run_id"]]
    assert {"params.rows", "metrics.loss", "tags.team", "start_time"} <= set(seen["found_columns"])


def test_logged_models(trained: Trained, seen: Any, by_hand: Any) -> None:
    models = seen["models"]
    assert [model["name"] for model in models] == ["model", "wine-model", "wine-model"]
    assert {model["status"] for model in models} == {"READY"}
    assert {model["run"] for model in models} == {trained.said["run_id"]}
    assert models[0]["right"] == ROWS  # the autologged one, loaded by models:/m-…
    assert trained.said["model_id"] in {model["id"] for model in models}
    assert by_hand["outputs"] == 3


def test_registered_versions(trained: Trained, seen: Any) -> None:
    assert seen["champion"] == {
        "version": 2,
        "stage": "Production",
        "run": trained.said["run_id"],
        "model": None,  # MLflow gives none to a version that its own SQL store keeps, either
        "source": f"models:/{trained.said['model_id']}",
        "status": "READY",
    }
    assert seen["stages"] == {"None": [], "Staging": [1], "Production": [2]}


def test_every_address_of_a_version_loads_it(seen: Any) -> None:
    right = seen["right"]
    assert right["models:/wine/2"] == ROWS
    assert right["models:/wine@champion"] == right["models:/wine/latest"] == ROWS
    assert right["models:/wine/1"] == right["models:/wine/Staging"] == 71  # the baseline
    assert seen["flavoured"] == "logisticregression"
    files = set(seen["model_files"])
    assert {"MLmodel", "input_example.json"} <= files
    assert files & {"model.skops", "model.pkl"}, "as MLflow 3.17 and as MLflow 3.12 has it"


def test_the_experiment_of_the_environment(trained: Trained, tmp_path: Path) -> None:
    store = trained.copy(tmp_path)
    done = run(
        tmp_path,
        PYTHON,
        SCRIPTS / "small.py",
        MLFLOW_TRACKING_URI="ledger:./store",
        MLFLOW_EXPERIMENT_NAME="tasting",
    )
    assert unknown(done.stderr) == []
    client = MlflowClient(f"ledger://{store}")
    experiment = client.get_experiment_by_name("tasting")
    [found] = client.search_runs([experiment.experiment_id])
    assert found.data.params == {"a": "1"}
    assert len(client.search_runs(["0"])) == 2
