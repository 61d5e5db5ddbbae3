"""One store, filled by an ordinary script, for all tests that look at it or take a copy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .programs import PYTHON, SCRIPTS, last_json, run


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
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(SCRIPTS / "train.py", folder)
    done = run(folder, PYTHON, "train.py", MLFLOW_TRACKING_URI="ledger:./store")
    return Trained(folder, last_json(done.stdout), done.stderr)
