"""One ledger with a story for all tests that only read it, and one for each that spoils it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.consumers import Ledger

from .story import Story, tell


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    ledger = Ledger(tmp_path_factory.mktemp("story") / "store")
    yield tell(ledger)
    ledger.close()


@pytest.fixture
def copy(story: Story, tmp_path: Path) -> Iterator[Ledger]:
    """A copy of the story's folder, to be spoilt."""
    story.ledger.catch_up()
    shutil.copytree(story.ledger.folder, tmp_path / "store")
    ledger = Ledger(tmp_path / "store")
    yield ledger
    ledger.close()


@pytest.fixture
def uri(story: Story) -> str:
    return f"ledger://{story.ledger.folder}"
