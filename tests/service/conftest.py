"""A small ledger in a folder, and a service that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_ledger.consumers import Ledger
from mlflow_ledger.schemas import ExperimentCreated, ExperimentCreatedContent

from .client import Client
from .running import threaded


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with one more experiment than a new one has."""
    made = Ledger(tmp_path / "store")
    event = ExperimentCreated(
        experiment_id="7", content=ExperimentCreatedContent(), name="seven", artifact_location="x"
    )
    made.write(lambda _: [event])
    yield made
    made.close()


@pytest.fixture
def client(ledger: Ledger) -> Iterator[Client]:
    """Whoever asks a service without a token."""
    with threaded(ledger) as service:
        yield Client(service)
