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

from benchmarks.__main__ import wanted
from benchmarks.load import Shape, load_by_client, load_directly
from benchmarks.load_traces import load_traces_by_store, load_traces_directly
from benchmarks.report import Report
from benchmarks.rows import Bound, Goal, Kind, Row, Times, Verdict
from benchmarks.stores import Store
from tests.kafka.servers import servers

ROOT = Path(__file__).parents[1]
TINY = {
    "rounds": 1, "operations": 5, "creates": 2, "small": 2, "middle": 4, "most_versions": 6,
    "most_runs": 6, "writers": 2, "seconds": 0.1, "runs": 30, "large_runs": 40,
    "past_runs": 1500, "large_past_runs": 2000, "moments": 2,
    "history_points": 1500, "table_runs": 20, "repetitions": 1, "decisions": 1, "fold_events": 30,
    "fold_batches": 2, "fold_rounds": 1, "lag_seconds": 0.5, "cold_starts": 1, "traces": 60,
}  # fmt: skip
ROWS = {
    "log_metric_p50", "log_metric_p99", "log_param_p50", "log_param_p99", "set_tag_p50",
    "set_tag_p99", "log_metric_durable", "create_run_small", "create_run_p50", "create_run_large",
    "create_run_growth", "create_model_version_small", "create_model_version_p50",
    "create_model_version_large", "create_model_version_growth", "log_batch", "writers_rate",
    "writers_worst", "writers_errors", "search_order", "search_pages", "search_filter",
    "search_like", "pandas", "history", "disk", "large_order", "large_pages", "large_filter",
    "signing_events", "signing_points",
    "past_run", "past_run_first", "past_search", "past_search_first", "past_large_run",
    "past_large_run_first", "past_large_search", "past_large_search_first",
    "large_like", "log_spans_small", "log_spans_middle", "log_spans_large",
    "start_trace", "get_trace",
    "traces_latest", "traces_by_tag", "traces_by_duration", "traces_deep", "traces_tag_like",
    "traces_status", "traces_feedback", "traces_span_name", "traces_span_attribute",
    "traces_span_rlike", "traces_text", "traces_span_latency", "traces_tokens", "traces_assessed",
    "traces_correlation",
}  # fmt: skip
KAFKA_ROWS = {
    "kafka_log_metric_spool", "kafka_log_metric_ack", "kafka_create_experiment",
    "kafka_create_model_version", "kafka_writers_rate", "kafka_writers_errors",
    "kafka_fold_events", "kafka_fold_points", "kafka_lag", "kafka_get_run", "kafka_search_runs",
    "kafka_cold_start", "kafka_serve_start",
}  # fmt: skip

# It starts some thirty processes one after another: a minute or two, more on a busy machine.
PATIENT = pytest.mark.timeout(900)


def program(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    sizes = [f"--set={name}={value}" for name, value in TINY.items()]
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *sizes, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def row(ours: float, *goals: Times | Bound, more: bool = False, **peers: float) -> Row:
    figures = {Kind.LEDGER: ours, **{Kind[name]: value for name, value in peers.items()}}
    return Row("id", "work", "ms", "meaning", figures, goals, more_is_better=more)


@pytest.mark.brokers
@PATIENT
def test_a_small_run_has_every_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    done = program("--large", "--no-kafka", "--json", "--write", str(page))
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


@pytest.mark.brokers
@PATIENT
def test_a_small_run_in_kafka_has_every_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    named = {"MLFLOW_LEDGER_TEST_KAFKA": servers()}
    done = program("--kafka", "--json", "--write", str(page), "--folder", str(tmp_path), **named)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    rows = {row["id"]: row for row in report["rows"]}
    assert set(rows) == KAFKA_ROWS
    for name, found in rows.items():
        measured = "ledger, kafka-python" in found["figures"]
        assert measured or (name == "kafka_cold_start" and "not measured" in str(found["notes"]))
        assert measured == ("NOT MEASURED" not in found["verdicts"]["ledger, kafka-python"]) or (
            "PostgreSQL" in found["missing"]
        )
        assert "ledger" not in found["figures"]
    assert rows["kafka_writers_errors"]["figures"]["ledger, kafka-python"] == 0
    assert "stage by stage: 33 events" in rows["kafka_fold_events"]["notes"][0]
    assert list(tmp_path.iterdir()) == [page]
    assert "### A ledger in Kafka" in page.read_text("utf-8")


def test_a_run_goes_on_without_a_broker(tmp_path: Path) -> None:
    nothing = {"MLFLOW_LEDGER_TEST_KAFKA": "", "PATH": str(tmp_path)}
    done = program("--only", "kafka-folds", "--only", "batches", "--json", **nothing)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert [row["id"] for row in report["rows"]] == ["log_batch"]
    assert any("a ledger in Kafka: no java" in reason for reason in report["skipped"])
    assert "a ledger in Kafka IS NOT MEASURED" in done.stderr


def test_groups_are_chosen() -> None:
    everything = wanted((), large=True, kafka=None)
    in_kafka = wanted((), large=False, kafka=True)
    assert in_kafka
    assert all(group.startswith("kafka-") for group in in_kafka)
    assert wanted((), large=True, kafka=False) + in_kafka == everything
    assert not any("large" in group for group in wanted((), large=False, kafka=None))
    assert wanted(["kafka-lag", "disk"], large=False, kafka=None) == ["disk", "kafka-lag"]


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


def test_bulk_inserts_leave_what_log_spans_leaves(tmp_path: Path) -> None:
    found = []
    for load in (load_traces_by_store, load_traces_directly):
        store = Store(Kind.SQLITE, "store", f"sqlite:///{tmp_path}/{load.__name__}.db")
        load(store, 12)
        page, _ = store.tracking.search_traces(locations=[store.experiment_id])
        traces = [store.tracking.get_trace(info.trace_id).to_dict() for info in page]
        for trace in traces:
            for assessment in trace["info"].get("assessments", ()):
                del assessment["assessment_id"]
        found.append(traces)
    assert found[0] == found[1]
    assert len(found[0]) == 12


def contents(store: Store, run: Run) -> list[object]:
    info = {**dict(run.info), "run_id": None, "run_uuid": None}
    info["artifact_uri"] = run.info.artifact_uri.replace(run.info.run_id, "")
    history = store.client.get_metric_history(run.info.run_id, "metric_00")
    points = [(point.value, point.timestamp, point.step) for point in history]
    return [info, run.data.params, run.data.tags, run.data.metrics, points]


@pytest.mark.brokers
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
        (row(1, Times(20, (Kind.POSTGRES,), ""), Bound("", most=0.5), SQLITE=30), Verdict.NOT_MET),
        (row(0.5, Bound("", most=0.5)), Verdict.MET),
    ],
)
def test_a_verdict_is_that_of_the_worst_goal(made: Row, verdict: Verdict) -> None:
    assert made.verdict is verdict


def test_a_peer_that_was_not_there_is_named() -> None:
    made = row(1, Times(25, (Kind.SQLITE, Kind.POSTGRES), ""), SQLITE=30)
    assert made.verdict is Verdict.MET
    assert made.missing == [Kind.POSTGRES]


def in_kafka(*goals: Goal, more: bool = False, **figures: float) -> Row:
    found = {Kind[name]: value for name, value in figures.items()}
    return Row("kafka_id", "work", "ms", "meaning", found, goals, more_is_better=more)


def test_each_client_of_kafka_has_a_verdict_of_its_own() -> None:
    twice = Times(2, (Kind.POSTGRES,), "2x")
    made = in_kafka(twice, Bound("4", most=4), KAFKA_PYTHON=5, LIBRDKAFKA=3, POSTGRES=8)
    assert made.verdict_of(Kind.KAFKA_PYTHON) is Verdict.NOT_MET
    assert made.verdict_of(Kind.LIBRDKAFKA) is Verdict.MET
    assert made.verdict is Verdict.NOT_MET
    assert [round(times, 2) for times, _ in made.ratios] == [1.6, 2.67]
    page = Report([made], {"cores": "2"}, [], quick=False).markdown()
    assert "| work | ledger, kafka-python | ledger, librdkafka | PostgreSQL |" in page
    assert "| kafka-python: **NOT MET**; librdkafka: MET |" in page
    assert "kafka-python: 1.60x PostgreSQL; librdkafka: 2.67x PostgreSQL" in page


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (in_kafka(Bound("", least=20), more=True, KAFKA_PYTHON=20), Verdict.MET),
        (in_kafka(Bound("", least=20), more=True, KAFKA_PYTHON=19), Verdict.NOT_MET),
        (in_kafka(Bound("", least=20), more=True), Verdict.NOT_MEASURED),
    ],
)
def test_a_rate_has_to_be_reached(made: Row, verdict: Verdict) -> None:
    assert made.verdict is verdict
