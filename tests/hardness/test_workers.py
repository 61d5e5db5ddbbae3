"""Scripts as people write them: cells run again, threads, workers that are forked or spawned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_ledger.consumers import Ledger, state_digest
from tests.bus.programs import sources
from tests.bus.test_kill import replayed

WORKERS = """
import multiprocessing, sys, threading
import mlflow
from mlflow import MlflowClient

N = 40

def logs(run_id, name):
    client = MlflowClient()
    for step in range(N):
        client.log_metric(run_id, name, step / 2, step=step)
    client.set_tag(run_id, name, "done")
    client.log_text(run_id, name, f"{name}.txt")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with mlflow.start_run() as run:
        mlflow.log_param("p", 1)
        assert len(mlflow.search_runs()) == 1  # all that a child could inherit is open
        ids = run.info.run_id
        workers = [context.Process(target=logs, args=(ids, f"w{n}")) for n in range(2)]
        threads = [threading.Thread(target=logs, args=(ids, f"t{n}")) for n in range(2)]
        for worker in workers + threads:
            worker.start()
        logs(ids, "parent")
        for worker in workers + threads:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0]
    client = MlflowClient()
    for name in ("w0", "w1", "t0", "t1", "parent"):
        history = client.get_metric_history(ids, name)
        assert sorted((m.step, m.value) for m in history) == [(s, s / 2) for s in range(N)], name
    run = client.get_run(ids)
    assert {k: v for k, v in run.data.tags.items() if v == "done"}.keys() == {
        "w0", "w1", "t0", "t1", "parent"}
    assert {a.path for a in client.list_artifacts(ids)} == {
        f"{n}.txt" for n in ("w0", "w1", "t0", "t1", "parent")}
    assert len(mlflow.search_runs()) == 1
    print("fine")
"""

CELLS = """
import mlflow
from mlflow import MlflowException

for again in range(3):
    mlflow.set_experiment("notebook")
    with mlflow.start_run(run_name="cell"):
        mlflow.log_param("depth", 3)
        mlflow.log_param("depth", 3)
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.set_tag("t", again)
        try:
            mlflow.log_param("depth", 4)
        except MlflowException as error:
            assert error.error_code == "INVALID_PARAMETER_VALUE", error
        else:
            raise AssertionError("a param was changed")
    try:
        mlflow.create_experiment("notebook")
    except MlflowException as error:
        assert error.error_code == "RESOURCE_ALREADY_EXISTS", error
runs = mlflow.search_runs(experiment_names=["notebook"])
assert list(runs["tags.mlflow.runName"]) == ["cell"] * 3
assert sorted(runs["tags.t"]) == ["0", "1", "2"]
print("fine")
"""


def script(tmp_path: Path, text: str, *arguments: str) -> None:
    path = tmp_path / "script.py"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        env={**os.environ, "MLFLOW_TRACKING_URI": f"ledger:{tmp_path}/store"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip().endswith("fine"), done.stderr


def check(folder: Path) -> None:
    ledger = Ledger(folder)
    assert ledger.query(state_digest) == replayed(ledger)
    assert all(ids == list(range(1, len(ids) + 1)) for ids in sources(ledger).values())
    ledger.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_log_beside_their_parent(method: str, tmp_path: Path) -> None:
    script(tmp_path, WORKERS, method)
    check(tmp_path / "store")


def test_a_cell_that_is_run_again(tmp_path: Path) -> None:
    script(tmp_path, CELLS)
    check(tmp_path / "store")
