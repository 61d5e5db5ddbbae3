"""What the processes of a day do: log runs, search them, and clear up."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from .process import ENVIRONMENT, Ended, Life, Orders

__all__ = ["TENTHS", "Progress", "clear_up", "log_runs", "look"]

TENTHS = 10
_KEYS = 5
_BATCHES = 2
_FILE_EVERY = 20
_DELETE_EVERY, _RESTORE_EVERY = 20, 50
_TIME_MS = 1_760_000_000_000
_PAGE = 100
_LOOK_EVERY_S = 0.2
_CLEAR_EVERY_S = 1.0
_LONG_S = 3600


class Progress:
    """How far each process is: a number for each slot, in a file that all of them share."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / "progress", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

    def set(self, slot: int, number: int) -> None:
        """This slot has done so many."""
        os.pwrite(self._descriptor, number.to_bytes(8, "little"), slot * 8)

    def done(self, slots: int) -> int:
        """What the first slots have done together."""
        data = os.pread(self._descriptor, slots * 8, 0)
        return sum(int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8))


def log_runs(runs: int, points: int, life: Life, orders: Orders) -> None:
    """Log so many runs, each with so many points, then wait to be told to end."""
    client: Any = MlflowClient(life.uri, life.uri)
    progress = Progress(life.folder)
    rng = life.rng
    steps = max(points // _KEYS // _BATCHES, 1)
    for number in range(runs):
        run_id = client.create_run("0", run_name=f"run-{life.slot}-{number}").info.run_id
        params = [Param(f"param-{n}", str(rng.randrange(1000))) for n in range(_KEYS)]
        tags = [RunTag("team", str(rng.randrange(20))), RunTag("fate", _fate(number))]
        for batch in range(_BATCHES):
            metrics = [
                Metric(f"metric-{key}", rng.random(), _TIME_MS + step, step)
                for key in range(_KEYS)
                for step in range(batch * steps, (batch + 1) * steps)
            ]
            client.log_batch(run_id, metrics, params if batch == 0 else (), tags)
        if number % _FILE_EVERY == 0:
            client.log_text(run_id, f"{run_id}\n" * rng.randrange(50, 500), "file.txt")
        client.set_terminated(run_id)
        progress.set(life.slot, number + 1)
        orders.rest(0)
    _until_told(orders)


def _fate(number: int) -> str:
    if number % _DELETE_EVERY == 1:
        return "delete"
    return "restore" if number % _RESTORE_EVERY == 2 else "keep"  # any but the others


def look(life: Life, orders: Orders) -> None:
    """Search, turn pages and read histories until told to end."""
    client: Any = MlflowClient(life.uri, life.uri)
    rng = life.rng
    while True:
        orders.rest(_LOOK_EVERY_S)
        condition = f"params.`param-0` = '{rng.randrange(1000)}'"
        client.search_runs(["0"], condition, max_results=_PAGE)
        condition = f"tags.team = '{rng.randrange(20)}' and metrics.`metric-1` > 0.5"
        page = client.search_runs(
            ["0"], condition, order_by=["metrics.`metric-0` DESC"], max_results=_PAGE
        )
        if page.token:
            client.search_runs(
                ["0"], condition, order_by=["metrics.`metric-0` DESC"], max_results=_PAGE,
                page_token=page.token,
            )  # fmt: skip
        for run in page[:3]:
            for key in range(_KEYS):
                client.get_metric_history(run.info.run_id, f"metric-{key}")


def clear_up(loggers: int, runs: int, life: Life, orders: Orders) -> None:
    """Delete and restore runs until told to end; once a tenth collect what is garbage."""
    client: Any = MlflowClient(life.uri, life.uri)
    progress = Progress(life.folder)
    collected = 0
    for _ in itertools.count():
        orders.rest(_CLEAR_EVERY_S)
        for fate in ("delete", "restore"):
            found = client.search_runs(
                ["0"], f"tags.fate = '{fate}' and attributes.status = 'FINISHED'", max_results=_PAGE
            )
            for run in found:
                if fate == "restore":
                    client.set_tag(run.info.run_id, "fate", "keep")
                client.delete_run(run.info.run_id)
                if fate == "restore":
                    client.restore_run(run.info.run_id)
                orders.rest(0)
        if progress.done(loggers) * TENTHS // runs > collected:
            collected += 1
            _collect(life)


def _collect(life: Life) -> None:
    programs = Path(sys.executable).parent
    environment = {**os.environ, **ENVIRONMENT, "MLFLOW_TRACKING_URI": life.uri}
    for command in (
        (programs / "mlflow", "gc", "--backend-store-uri", life.uri),
        (programs / "mlflow-ledger", "collect", life.uri, "--yes", "--grace-days", "0"),
    ):
        subprocess.run(
            command, check=True, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def _until_told(orders: Orders) -> None:
    while True:
        orders.rest(_LONG_S)


def closing(work: Callable[[Life, Orders], None], life: Life, orders: Orders) -> None:
    """Do something until told to end, and let go of everything then, as an interpreter does."""
    try:
        work(life, orders)
    except Ended:
        from mlflow_ledger.consumers.clone import close_all

        close_all()
        raise
