"""What takes long to make, made once for all workers of a session: `once`, `trained`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlflow_ledger.bus import FileLock

from .programs import PYTHON, SCRIPTS, last_json, run

Once = Callable[[str, Callable[[Path], Any]], tuple[Path, Any]]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make something in a folder, in whichever worker comes first; the others wait for it.

    Gives the folder, and what the maker returned, which has to be a document.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def get(name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
        folder, answer = shared / name, shared / f"{name}.json"
        lock = FileLock(shared / f"{name}.lock")
        with lock:
            if not answer.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a maker that failed
                folder.mkdir()
                answer.write_text(json.dumps(make(folder)), "utf-8")
        lock.close()
        return folder, json.loads(answer.read_text("utf-8"))

    return get


@dataclass(frozen=True)
class Trained:
    """The folder in which `train.py` ran, with its store; what it printed and complained of."""

    folder: Path
    said: Any
    stderr: str

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def copy(self, folder: Path) -> Path:
        """The store, copied into another folder."""
        return Path(shutil.copytree(self.store, folder / "store"))


@pytest.fixture(scope="session")
def trained(once: Once) -> Trained:
    def make(folder: Path) -> Any:
        shutil.copy(SCRIPTS / "train.py", folder)
        done = run(folder, PYTHON, "train.py", MLFLOW_TRACKING_URI="ledger:./store")
        return last_json(done.stdout), done.stderr

    folder, (said, stderr) = once("trained", make)
    return Trained(folder, said, stderr)
