"""What one script of mlflow.genai reads is the same on a ledger and on MLflow's own store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .programs import COMMAND, MLFLOW, PYTHON, SCRIPTS, last_json, run, serving

STORES = {"ledger": "ledger:./store", "sqlite": "sqlite:///store.db"}
_FIXED = {"PYTHONHASHSEED": "0"}  # MLflow turns sets into lists


def said(folder: Path, uri: str) -> Any:
    """What the script read."""
    done = run(folder, PYTHON, SCRIPTS / "genai.py", MLFLOW_TRACKING_URI=uri, **_FIXED)
    return last_json(done.stdout)


def told_apart(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The answers that differ, ours before MLflow's."""
    assert ours.keys() == theirs.keys()
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def test_in_one_process(tmp_path: Path) -> None:
    found = {}
    for name, uri in STORES.items():
        (tmp_path / name).mkdir()
        found[name] = said(tmp_path / name, uri)
    assert told_apart(found["ledger"], found["sqlite"]) == {}
    run(tmp_path / "ledger", COMMAND, "verify", "ledger:./store")


@pytest.mark.brokers
@pytest.mark.timeout(600)
def test_through_a_server(tmp_path: Path) -> None:
    found = {}
    for name, uri in STORES.items():
        (tmp_path / name).mkdir()
        command = [MLFLOW, "server", "--workers", "1", "--backend-store-uri", uri]
        with serving(tmp_path / name, command, "/health", **_FIXED) as server:
            found[name] = said(tmp_path / name, server.url)
            server.stop()
            assert name == "sqlite" or server.tracebacks() == []
    assert told_apart(found["ledger"], found["sqlite"]) == {}
