"""The stores that are compared, each through ``MlflowClient``."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from .brokers import Brokers, client_environment, environment
from .postgres import Postgres
from .rows import KAFKA, Kind

__all__ = ["Store", "Stores", "file_store_works"]

_EXPERIMENT = "benchmarks"
_DURABLE = {"MLFLOW_LEDGER_SYNCHRONOUS": "full"}
_DRAIN_S = 300.0


class Store:
    """One store, opened, with an experiment in it."""

    def __init__(self, kind: Kind, name: str, uri: str) -> None:
        """Use the store at ``uri``, which may already hold the experiment."""
        self.kind = kind
        self.name = name
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        with environment(client_environment(kind)):
            found = self.client.get_experiment_by_name(_EXPERIMENT)
        self.experiment_id: str = (
            found.experiment_id if found else self.client.create_experiment(_EXPERIMENT)
        )

    @property
    def tracking(self) -> Any:
        """The store itself, for what `MlflowClient` has no method."""
        return self.client._tracing_client.store  # noqa: SLF001  # there is no public way

    def settle(self) -> None:
        """Wait until the brokers have all that this process has logged, where there are any.

        Raises:
            TimeoutError: they do not take it.
        """
        if self.kind in KAFKA:
            from mlflow_ledger.consumers import KafkaLedger, open_ledger

            ledger = open_ledger(self.uri)
            assert isinstance(ledger, KafkaLedger)
            left = ledger.forwarder.drain(_DRAIN_S)
            if left:
                raise TimeoutError(f"{left} events still wait: {ledger.forwarder.status().error}")

    def close(self) -> None:
        """Let go of a ledger, so that its folder can go away."""
        if self.kind is Kind.LEDGER or self.kind in KAFKA:
            from mlflow_ledger.consumers import open_ledger
            from mlflow_ledger.producers.edge import analytics_of

            ledger = open_ledger(self.uri)
            analytics_of(ledger).close()
            ledger.close()

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

    def __init__(
        self, folder: Path, postgres: Postgres | None, brokers: Brokers | None, *, files: bool
    ) -> None:
        """Make them below ``folder``; what needs a server or the file store where that is there."""
        self.folder = folder
        self.postgres = postgres
        self.brokers = brokers
        self._files = files
        self._made: list[Store] = []
        self._kept: list[Store] = []

    def make(
        self, name: str, kinds: Iterable[Kind], *, delivery: str = "spool", keep: bool = False
    ) -> dict[Kind, Store]:
        """Empty stores of these kinds, as far as they are to be had; the ledger comes first.

        Those to ``keep`` serve several groups of rows.
        """
        made = {}
        for kind in kinds:
            uri = self._uri(kind, name, delivery)
            if uri is not None:
                made[kind] = Store(kind, name, uri)
        (self._kept if keep else self._made).extend(made.values())
        return made

    def durable_ledger(self, name: str) -> Store:
        """A ledger that syncs its log at every call, as SQLite does for MLflow."""
        with environment(_DURABLE):
            return self.make(name, [Kind.LEDGER])[Kind.LEDGER]

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

    def let_go(self) -> None:
        """Close what no other group will use: a process has one ledger, not a dozen, open."""
        while self._made:
            self._made.pop().close()

    def close(self) -> None:
        """Let go of all ledgers, so that their folders can go away."""
        self._made += self._kept
        self._kept.clear()
        self.let_go()

    def _uri(self, kind: Kind, name: str, delivery: str) -> str | None:
        if kind is Kind.LEDGER:
            return f"ledger://{self.ledger_folder(name)}"
        if kind in KAFKA:
            there = self.brokers is not None and kind in self.brokers.clients
            return self.brokers.uri(kind, name, delivery) if self.brokers and there else None
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
