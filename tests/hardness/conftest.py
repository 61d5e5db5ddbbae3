"""A folder that other users can reach; pytest's own are for one user alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_path() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="mlflow-ledger-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
