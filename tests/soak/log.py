"""A process that logs, and notes each call before it makes it and once it has returned."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from .notes import Call, Notes
from .process import Life, Orders
from .watch import Watch

__all__ = ["BATCH_PAIRS", "BATCH_POINTS", "MODELS", "STRIDE", "Logger", "log", "marked"]

STRIDE = 100
"""Marks are multiples of this: a call's values are its mark, and what follows it up to the next."""

MODELS = ("model-a", "model-b")
BATCH_POINTS, BATCH_PAIRS = 20, 2
_CALLS_A_RUN = 60
_TIME_MS = 1_760_000_000_000

_WEIGHTS = {
    "log_metric": 40, "log_param": 15, "set_tag": 15, "log_batch": 20, "create_model_version": 6,
    "log_artifact": 4,
}  # fmt: skip


def marked(mark: int, number: int = 0) -> str:
    """A key or name that says whose it is."""
    return f"m{mark + number}"


class Logger:
    """A client, the run it is at, and its notes."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._rng = life.rng
        self._watch = Watch()
        self._notes = Notes(life.folder / f"notes-{life.slot}.jsonl")
        self._marks = _marks(life)
        self._client: Any = None
        self._run = ""

    def open(self) -> None:
        """Open the ledger and begin a run: the first call of a process."""
        self._call("open", "", self._open)

    def make(self, kind: str) -> None:
        """Make a call of a kind."""
        about = "" if kind == "create_run" else self._run
        self._call(kind, about, getattr(self, f"_{kind}"))

    def run(self, orders: Orders) -> None:
        """Log until told to end."""
        self.open()
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        for number in itertools.count(1):
            orders.rest(self._rng.expovariate(self._life.rate))
            (kind,) = self._rng.choices(kinds, weights)
            self.make(kind if number % _CALLS_A_RUN else "create_run")

    def _call(self, kind: str, about: str, make: Callable[[int], str]) -> None:
        call = Call(next(self._marks), kind, about)
        self._notes.begin(call)
        with self._watch as watch:
            answer = make(call.mark)
        self._notes.acknowledge(call, answer, watch.took)

    def _open(self, mark: int) -> str:
        self._client = MlflowClient(self._life.uri, self._life.uri)
        return self._create_run(mark)

    def _create_run(self, mark: int) -> str:
        tags = {marked(mark): "run"}
        self._run = self._client.create_run("0", run_name=marked(mark), tags=tags).info.run_id
        return self._run

    def _log_metric(self, mark: int) -> str:
        self._client.log_metric(self._run, "loss", mark, _TIME_MS, mark)
        return ""

    def _log_param(self, mark: int) -> str:
        self._client.log_param(self._run, marked(mark), mark)
        return ""

    def _set_tag(self, mark: int) -> str:
        self._client.set_tag(self._run, marked(mark), mark)
        return ""

    def _log_batch(self, mark: int) -> str:
        self._client.log_batch(
            self._run,
            [Metric("batch", mark + n, _TIME_MS, mark + n) for n in range(BATCH_POINTS)],
            [Param(marked(mark, n), str(mark)) for n in range(BATCH_PAIRS)],
            [RunTag(marked(mark, n), str(mark)) for n in range(BATCH_PAIRS)],
        )
        return ""

    def _create_model_version(self, mark: int) -> str:
        name = self._rng.choice(MODELS)
        source = f"runs:/{self._run}/{marked(mark)}"
        version = self._client.create_model_version(
            name, source, self._run, {marked(mark): str(mark)}, description=marked(mark)
        )
        return f"{name}/{version.version}"

    def _log_artifact(self, mark: int) -> str:
        self._client.log_text(self._run, f"text {mark}", f"{marked(mark)}.txt")
        return ""


def log(life: Life, orders: Orders) -> None:
    """Log until told to end."""
    Logger(life).run(orders)


def _marks(life: Life) -> Iterator[int]:
    """Numbers that no other process has."""
    first = (life.slot * 10**5 + life.number) * 10**5
    return itertools.count(first * STRIDE, STRIDE)
