"""Scorers through MLflow's own functions, which ask a store of scorers for the tracking URI."""

from __future__ import annotations

from pathlib import Path

from .programs import PYTHON, SCRIPTS, last_json, run, unknown


def test_scorers_are_kept_in_the_tracking_store(tmp_path: Path) -> None:
    done = run(tmp_path, PYTHON, SCRIPTS / "judge.py", MLFLOW_TRACKING_URI="ledger:./store")
    assert unknown(done.stderr) == []
    assert last_json(done.stdout) == {
        "all": ["kind"],
        "versions": [1, 2],
        "first": "Is {{ outputs }} kind?",
        "latest": "Is {{ outputs }} kind and true?",
    }
