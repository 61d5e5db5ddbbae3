"""Models served and scored from `models:/…` on a ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_wine

from .conftest import Trained
from .programs import MLFLOW, PYTHON, SCRIPTS, last_json, run, serving, unknown

CHAMPION = "models:/wine@champion"


@pytest.fixture(scope="module")
def rows() -> Any:
    """The first, the middle and the last rows of the data set, as the scoring server takes them."""
    features = load_wine(as_frame=True).data.iloc[[0, 90, -1]]
    return {"dataframe_split": features.to_dict(orient="split")}


@pytest.fixture(scope="module")
def expected(trained: Trained) -> list[int]:
    return [trained.said["predictions"][row] for row in (0, 90, -1)]


def test_models_serve(trained: Trained, rows: Any, expected: list[int], tmp_path: Path) -> None:
    trained.copy(tmp_path)
    command = [MLFLOW, "models", "serve", "-m", CHAMPION, "--env-manager", "local"]
    with serving(tmp_path, command, "/ping", MLFLOW_TRACKING_URI="ledger:./store") as server:
        status, answer = server.post("/invocations", rows)
        assert (status, answer) == (200, {"predictions": expected})
        status, refused = server.post("/invocations", {"dataframe_split": {"columns": ["x"]}})
        assert status == 400
        assert refused["error_code"]
        server.stop()
        assert server.tracebacks() == []


def test_models_predict(trained: Trained, rows: Any, expected: list[int], tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(rows), "utf-8")
    done = run(
        tmp_path,
        MLFLOW, "models", "predict", "-m", "models:/wine/2", "--env-manager", "local",
        "-i", "rows.json", "-o", "answer.json",
        MLFLOW_TRACKING_URI=f"ledger://{trained.store}",
    )  # fmt: skip
    assert unknown(done.stderr) == []
    answer = json.loads((tmp_path / "answer.json").read_text("utf-8"))
    assert answer == {"predictions": expected}


@pytest.mark.brokers
def test_batch_scoring(trained: Trained, tmp_path: Path) -> None:
    """`pyfunc.load_model` in a script that sets its own tracking URI, of a model by alias."""
    uri = f"ledger://{trained.store}"
    done = run(tmp_path, PYTHON, SCRIPTS / "score.py", uri, CHAMPION)
    assert unknown(done.stderr) == []
    assert last_json(done.stdout) == trained.said["predictions"]
    assert {path.name for path in tmp_path.iterdir()} == {".scratch"}
