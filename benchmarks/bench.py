"""One run of the benchmarks: its sizes, its stores, and what was loaded into them."""

from __future__ import annotations

import sys
import time

from .load import Shape, load
from .load_traces import load_traces
from .rows import KAFKA, Kind
from .sizes import Sizes
from .stores import Store, Stores, analyze

__all__ = ["Bench"]

_SQL = (Kind.SQLITE, Kind.POSTGRES)


class Bench:
    """What the groups of rows share."""

    def __init__(self, sizes: Sizes, stores: Stores) -> None:
        """Nothing is made or loaded before a group asks for it."""
        self.sizes = sizes
        self.stores = stores
        self._loaded: dict[Kind, Store] | None = None
        self._in_kafka: dict[Kind, Store] | None = None
        self._began = time.monotonic()

    def say(self, what: str) -> None:
        """Tell whoever waits what is going on."""
        print(f"[{time.monotonic() - self._began:6.0f} s] {what}", file=sys.stderr, flush=True)

    def peers(self, name: str) -> dict[Kind, Store]:
        """Empty stores: the ledger and MLflow's SQL stores."""
        return self.stores.make(name, (Kind.LEDGER, *_SQL))

    def writable(self, name: str) -> dict[Kind, Store]:
        """Empty stores: the ledger, MLflow's SQL stores and its file store."""
        return self.stores.make(name, (Kind.LEDGER, *_SQL, Kind.FILES))

    def in_kafka(self, name: str, *, delivery: str = "spool") -> dict[Kind, Store]:
        """Empty stores: the ledger in Kafka by each client there is, and MLflow's SQL stores."""
        return self.stores.make(name, (*KAFKA, *_SQL), delivery=delivery)

    def loaded_in_kafka(self) -> dict[Kind, Store]:
        """The ledgers in Kafka that hold the runs which are searched; loaded once."""
        if self._in_kafka is None:
            shape = Shape(self.sizes.runs, history_steps=self.sizes.history_steps)
            self._in_kafka = self._load("runs", shape, KAFKA)
        return self._in_kafka

    def loaded(self) -> dict[Kind, Store]:
        """Stores with the runs that are searched; loaded once."""
        if self._loaded is None:
            sizes = self.sizes
            shape = Shape(sizes.runs, history_steps=sizes.history_steps)
            found = self._load("runs", shape, (Kind.LEDGER, *_SQL))
            self._loaded = {Kind.LEDGER: found.pop(Kind.LEDGER), Kind.SQLITE: found[Kind.SQLITE]}
            self._loaded[Kind.ANALYZED] = self.stores.analyzed(found.pop(Kind.SQLITE))
            self._loaded.update(found)
        return self._loaded

    def large(self) -> dict[Kind, Store]:
        """Stores with ten times as many; of SQLite only the one after ANALYZE."""
        sizes = self.sizes
        shape = Shape(sizes.large_runs, history_steps=sizes.history_steps)
        found = self._load("large", shape, (Kind.LEDGER, *_SQL))
        file = self.stores.sqlite_file("large")
        analyze(file)
        analyzed = Store(Kind.ANALYZED, "large", f"sqlite:///{file}")
        del found[Kind.SQLITE]
        return {Kind.LEDGER: found.pop(Kind.LEDGER), Kind.ANALYZED: analyzed, **found}

    def loaded_traces(self) -> dict[Kind, Store]:
        """Stores with the traces that are searched."""
        found = self.stores.make("traces", (Kind.LEDGER, *_SQL), keep=True)
        for kind, store in found.items():
            self.say(f"loading {self.sizes.traces} traces into {kind}")
            load_traces(store, self.sizes.traces)
            if kind is Kind.POSTGRES and self.stores.postgres is not None:
                self.stores.postgres.settle("traces")
        analyzed = self.stores.analyzed(found[Kind.SQLITE])
        return {**found, Kind.ANALYZED: analyzed}

    def history(self) -> tuple[dict[Kind, Store], Shape]:
        """Stores with one run that has one long history."""
        shape = Shape(1, 0, 0, 1, history_every=1, history_steps=self.sizes.history_points)
        return self._load("history", shape, (Kind.LEDGER, *_SQL)), shape

    def _load(self, name: str, shape: Shape, kinds: tuple[Kind, ...]) -> dict[Kind, Store]:
        stores = self.stores.make(name, kinds, keep=True)
        for kind, store in stores.items():
            self.say(f"loading {shape.runs} runs into {kind}")
            load(store, shape)
            store.settle()
            if kind is Kind.POSTGRES and self.stores.postgres is not None:
                self.stores.postgres.settle(name)
        return stores
