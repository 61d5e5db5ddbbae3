"""The row about what the runs take on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mlflow_ledger.consumers import open_ledger
from mlflow_ledger.producers.edge import analytics_of

from .bench import Bench
from .rows import Kind, Row, Times

__all__ = ["disk"]

_MB = 1_000_000


def disk(bench: Bench) -> list[Row]:
    """Log, state and one snapshot together, against MLflow's SQLite file."""
    stores = bench.loaded()
    bench.say("disk")
    ledger = stores[Kind.LEDGER]
    opened = open_ledger(ledger.uri)
    snapshot = analytics_of(opened).publish()
    assert snapshot is not None
    folder = bench.stores.ledger_folder(ledger.name)
    log = _files_size(folder, "log.sqlite*")
    state = _files_size(folder, "state-*")
    published = _files_size(snapshot.folder, "*")
    clones = _files_size(Path(tempfile.gettempdir()), "mlflow-ledger-*/**/analytics.duckdb*")
    figures = {
        Kind.LEDGER: (log + state + published) / _MB,
        Kind.SQLITE: bench.stores.sqlite_file(stores[Kind.SQLITE].name).stat().st_size / _MB,
    }
    postgres = stores.get(Kind.POSTGRES)
    if postgres is not None and bench.stores.postgres is not None:
        figures[Kind.POSTGRES] = bench.stores.postgres.size_bytes(postgres.name) / _MB
    note = (
        f"ledger: log {log / _MB:.1f} MB, state {state / _MB:.1f} MB, snapshot "
        f"{published / _MB:.1f} MB; apart from these, clones {clones / _MB:.1f} MB in the "
        "temporary folder while a process searches"
    )
    return [
        Row(
            "disk", f"disk, {bench.sizes.runs:,} runs", "MB",
            "Log, state and one snapshot of the ledger together against MLflow's SQLite file: 20 "
            "params, 10 tags and 15 metrics a run, a long history on every 100th.", figures,
            (Times(1, (Kind.SQLITE,), "not above SQLite"),), notes=(note,),
        )
    ]  # fmt: skip


def _files_size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())
