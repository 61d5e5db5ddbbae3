"""The stores that are compared, each through ``MlflowClient``."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from .postgres import Postgres
from .rows import Kind

__all__ = ["Store", "Stores", "file_store_works"]

_EXPERIMENT = "benchmarks"
_DURABLE = "MLFLOW_LEDGER_SYNCHRONOUS"


class Store:
    """One store, opened, with an experiment in it."""

    def __init__(self, kind: Kind, name: str, uri: str) -> None:
        """Use the store at ``uri``, which may already hold the experiment."""
        self.kind = kind
        self.name = name
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = self.client.get_experiment_by_name(_EXPERIMENT)
        self.experiment_id: str = (
            found.experiment_id if found else self.client.create_experiment(_EXPERIMENT)
        )

    def new_run(self) -> str:
        """A run to log to."""
        run_id: str = self.client.create_run(self.experiment_id).info.run_id
        return run_id

    def artifact_location(self) -> str:
        """Where artifacts of the experiment's runs go."""
        location: str = self.client.get_experiment(self.experiment_id).artifact_location
        return location


class Stores:
    """Makes stores, and lets go of them."""

    def __init__(self, folder: Path, postgres: Postgres | None, *, files: bool) -> None:
        """Make them below ``folder``; PostgreSQL and the file store where they are there."""
        self.folder = folder
        self.postgres = postgres
        self._files = files
        self._ledgers: list[str] = []

    def make(self, name: str, kinds: Iterable[Kind]) -> dict[Kind, Store]:
        """Empty stores of these kinds, as far as they are to be had; the ledger comes first."""
        made = {}
        for kind in kinds:
            uri = self._uri(kind, name)
            if uri is not None:
                made[kind] = Store(kind, name, uri)
        return made

    def durable_ledger(self, name: str) -> Store:
        """A ledger that syncs its log at every call, as SQLite does for MLflow."""
        before = os.environ.get(_DURABLE)
        os.environ[_DURABLE] = "full"
        try:
            return self.make(name, [Kind.LEDGER])[Kind.LEDGER]
        finally:
            del os.environ[_DURABLE]
            if before is not None:
                os.environ[_DURABLE] = before

    def analyzed(self, store: Store) -> Store:
        """A copy of an SQLite store, after ANALYZE."""
        source = self.sqlite_file(store.name)
        target = self.sqlite_file(f"{store.name}-analyzed")
        shutil.copyfile(source, target)
        analyze(target)
        return Store(Kind.ANALYZED, f"{store.name}-analyzed", f"sqlite:///{target}")

    def sqlite_file(self, name: str) -> Path:
        """The file of an SQLite store."""
        return self.folder / f"{name}.db"

    def ledger_folder(self, name: str) -> Path:
        """The folder of a ledger."""
        return self.folder / f"{name}-ledger"

    def close(self) -> None:
        """Let go of all ledgers, so that their folders can go away."""
        from mlflow_ledger.consumers import open_ledger
        from mlflow_ledger.producers.edge import analytics_of

        for uri in self._ledgers:
            ledger = open_ledger(uri)
            analytics_of(ledger).close()
            ledger.close()

    def _uri(self, kind: Kind, name: str) -> str | None:
        if kind is Kind.LEDGER:
            uri = f"ledger://{self.ledger_folder(name)}"
            self._ledgers.append(uri)
            return uri
        if kind is Kind.FILES:
            return f"file://{self.folder}/{name}-files" if self._files else None
        if kind is Kind.POSTGRES:
            return self.postgres.create(name) if self.postgres else None
        return f"sqlite:///{self.sqlite_file(name)}"


def analyze(file: Path) -> None:
    """Let SQLite's planner know what is in the tables."""
    db = sqlite3.connect(file)
    try:
        db.execute("ANALYZE")
        db.commit()
    finally:
        db.close()


def file_store_works(folder: Path) -> str | None:
    """None if MLflow still has its file store, or else why not."""
    try:
        Store(Kind.FILES, "probe", f"file://{folder}/probe-files").new_run()
    except (MlflowException, ImportError) as error:
        return str(error).replace(str(folder), "").strip().splitlines()[0]
    return None
