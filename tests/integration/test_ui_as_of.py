"""MLflow's UI of a past moment, in a real browser: the tour of that day, whatever came later."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

from mlflow_ledger.schemas import format_time

from .browser import need_chromium, visiting
from .programs import COMMAND, MLFLOW, PYTHON, SCRIPTS, Server, last_json, run, serving
from .test_ui import (
    LAYOUT,
    UPSTREAM,
    compare_runs,
    look_at_experiments,
    look_at_models,
    open_artifacts,
    read_a_run,
    sort_and_filter_runs,
)

expect.set_options(timeout=60_000)
REFUSED = 403


@pytest.mark.brokers
def test_a_tour_of_the_past(tmp_path: Path) -> None:
    need_chromium()
    now = "ledger:./store"
    made = last_json(run(tmp_path, PYTHON, SCRIPTS / "scene.py", now).stdout)
    moment = format_time(time.time_ns() // 1_000_000 + 1)
    run(tmp_path, PYTHON, SCRIPTS / "afterwards.py", now)
    then = f"{now}?as_of={moment}"
    command = [
        MLFLOW, "server", "--workers", "1", "--backend-store-uri", then,
        "--artifacts-destination", "ledger-artifacts:",
    ]  # fmt: skip
    with serving(tmp_path, command, "/health") as server, visiting(server.url) as visit:
        look_at_experiments(visit)
        sort_and_filter_runs(visit, made["experiment_id"])
        read_a_run(visit)
        open_artifacts(visit)
        compare_runs(visit, made["experiment_id"])
        look_at_models(visit)
        remarks = {remark for remark in visit.remarks if not LAYOUT.search(remark)}
        assert remarks == UPSTREAM
        assert refused(server) == REFUSED
        server.stop()
        assert server.tracebacks() == []
    lineage = run(tmp_path, COMMAND, "lineage", then, "models:/vintage@champion", "--json").stdout
    assert json.loads(lineage)["version"]["number"] == 2
    lineage = run(tmp_path, COMMAND, "lineage", now, "models:/vinegar@champion", "--json").stdout
    assert json.loads(lineage)["version"]["number"] == 1


def refused(server: Server) -> int:
    """The status of an answer to a write."""
    request = urllib.request.Request(
        f"{server.url}/api/2.0/mlflow/experiments/create",
        json.dumps({"name": "too late"}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
