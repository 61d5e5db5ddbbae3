"""The benchmarks run, and their table has every row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from benchmarks.load import Shape, load_by_client, load_directly
from benchmarks.rows import Bound, Kind, Row, Times, Verdict
from benchmarks.stores import Store

ROOT = Path(__file__).parents[1]
TINY = {
    "rounds": 1, "operations": 5, "creates": 2, "small": 2, "middle": 4, "most_versions": 6,
    "most_runs": 6, "writers": 2, "seconds": 0.1, "runs": 30, "large_runs": 40,
    "history_points": 1500, "table_runs": 20, "repetitions": 1,
}  # fmt: skip
ROWS = {
    "log_metric_p50", "log_metric_p99", "log_param_p50", "log_param_p99", "set_tag_p50",
    "set_tag_p99", "log_metric_durable", "create_run_small", "create_run_p50", "create_run_large",
    "create_run_growth", "create_model_version_small", "create_model_version_p50",
    "create_model_version_large", "create_model_version_growth", "log_batch", "writers_rate",
    "writers_worst", "writers_errors", "search_order", "search_pages", "search_filter",
    "search_like", "pandas", "history", "disk", "large_order", "large_pages", "large_filter",
    "large_like",
}  # fmt: skip


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    sizes = [f"--set={name}={value}" for name, value in TINY.items()]
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *sizes, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


def row(ours: float, *goals: Times | Bound, more: bool = False, **peers: float) -> Row:
    figures = {Kind.LEDGER: ours, **{Kind[name]: value for name, value in peers.items()}}
    return Row("id", "work", "ms", "meaning", figures, goals, more_is_better=more)


def test_a_small_run_has_every_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    done = program("--large", "--json", "--write", str(page))
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    rows = {row["id"]: row for row in report["rows"]}
    assert set(rows) == ROWS
    assert all({"ledger", "SQLite"} & set(row["figures"]) for row in rows.values())
    assert all("ledger" in row["figures"] for row in rows.values())
    assert all("SQLite, ANALYZEd" in rows[id_]["figures"] for id_ in ("search_order", "large_like"))
    assert rows["writers_errors"]["figures"]["ledger"] == 0
    assert ("none" in report["facts"]["PostgreSQL"]) == (
        any("PostgreSQL" in reason for reason in report["skipped"])
    )
    text = page.read_text("utf-8")
    assert all(f"| {row['work']} |" in text for row in rows.values())
    assert tempfile.gettempdir() not in text


def test_bulk_inserts_leave_what_log_batch_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shape = Shape(runs=3, history_every=2, history_steps=5)
    found = []
    for load in (load_by_client, load_directly):
        store = Store(Kind.SQLITE, "store", f"sqlite:///{tmp_path}/{load.__name__}.db")
        load(store, shape)
        runs = store.client.search_runs([store.experiment_id], order_by=["start_time"])
        found.append([contents(store, run) for run in runs])
    assert found[0] == found[1]
    assert len(found[0]) == 3


def contents(store: Store, run: Run) -> list[object]:
    info = {**dict(run.info), "run_id": None, "run_uuid": None}
    info["artifact_uri"] = run.info.artifact_uri.replace(run.info.run_id, "")
    history = store.client.get_metric_history(run.info.run_id, "metric_00")
    points = [(point.value, point.timestamp, point.step) for point in history]
    return [info, run.data.params, run.data.tags, run.data.metrics, points]


def test_a_group_runs_alone_and_prints_a_table(tmp_path: Path) -> None:
    done = program("--only", "batches", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "log_batch of 1000 metrics" in done.stdout
    assert "create_run" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_is_refused() -> None:
    done = program("--set", "speed=9")
    assert done.returncode == 2
    assert "'speed' is none of" in done.stderr


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (row(1, SQLITE=30, POSTGRES=25), Verdict.SHOWN),
        (row(1, Times(25, (Kind.SQLITE, Kind.POSTGRES), ""), SQLITE=30, POSTGRES=25), Verdict.MET),
        (
            row(1, Times(25, (Kind.SQLITE, Kind.POSTGRES), ""), SQLITE=30, POSTGRES=24),
            Verdict.NOT_MET,
        ),
        (row(50, Times(20, (Kind.POSTGRES,), ""), more=True, POSTGRES=2.5), Verdict.MET),
        (row(49, Times(20, (Kind.POSTGRES,), ""), more=True, POSTGRES=2.5), Verdict.NOT_MET),
        (row(1, Times(20, (Kind.POSTGRES,), ""), SQLITE=30), Verdict.NOT_MEASURED),
        (row(1, Times(20, (Kind.POSTGRES,), ""), Bound(0.5, ""), SQLITE=30), Verdict.NOT_MET),
        (row(0.5, Bound(0.5, "")), Verdict.MET),
    ],
)
def test_a_verdict_is_that_of_the_worst_goal(made: Row, verdict: Verdict) -> None:
    assert made.verdict is verdict


def test_a_peer_that_was_not_there_is_named() -> None:
    made = row(1, Times(25, (Kind.SQLITE, Kind.POSTGRES), ""), SQLITE=30)
    assert made.verdict is Verdict.MET
    assert made.missing == [Kind.POSTGRES]
